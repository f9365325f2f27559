"""Turning a node over to criproxy, and back.

- ``tree.py``: the node's files, below a root directory that is never left;
- ``syntax.py``, ``units.py``: what systemd makes of unit files, drop-ins and environment files;
- ``arguments.py``, ``service.py``: what a service is started with, and what criproxy's own is;
- ``kubelet.py``: what this node's kubelet is started with, and which runtime it uses;
- ``plan.py``: which files the node is to have, worked out from that, without touching anything;
- ``files.py``: changes of files, each made whole or not at all, and on the disk when it is done;
- ``ledger.py``: changes that are registered before they are made, so that they can be undone;
- ``turn.py``: the change itself and the way back, in the order that keeps kubelet served;
- ``command.py``: ``criproxy node``.
"""
