"""``criproxy show``: what kubelet sees on a CRI socket; on criproxy's own also the runtimes behind it.

- ``command.py``: the command line;
- ``look.py``: asks, and gives ``entries.py``; ``choice.py``: those of them that are asked for;
- ``tables.py``: them for people, ``plain.py``: for programs.
"""
