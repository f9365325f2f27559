"""A node's move from one runtime to another while its pods run.

- ``images.py``: images that the new runtime lacks, and ``pipes.py``: the programs that copy them; ``side.py`` asks a
  runtime what it is.
"""
