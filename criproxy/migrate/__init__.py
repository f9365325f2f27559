"""A node's move from one runtime to another while its pods run.

- ``checks.py``: what is looked at before it: ``side.py`` asks a runtime, ``cgroups.py``, ``network.py`` and
  ``kubelets.py`` judge;
- ``images.py``: images that the new runtime lacks, and ``pipes.py``: the programs that copy them.
"""
