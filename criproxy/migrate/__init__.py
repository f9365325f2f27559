"""A node's move from one runtime to another while its pods run.

- ``command.py``: the words of ``criproxy node migrate``; ``scene.py``: a node and what it takes to change it;
- ``switch.py``: the beginning of a move, and the way back;
- ``checks.py``: what is looked at before it: ``side.py`` asks a runtime, ``cgroups.py``, ``network.py`` and
  ``kubelets.py`` judge;
- ``images.py``: images that the new runtime lacks, and ``pipes.py``: the programs that copy them;
- ``finish.py``: the end of a move: ``left.py``, what is on the old runtime; ``evict.py``, how it leaves;
  ``endpoint.py``, kubelet's own files on the new one.
"""
