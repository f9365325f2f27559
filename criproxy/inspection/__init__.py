"""Commands that say what criproxy would do and whether all is right, from the same configuration as the daemon's.

- ``subject.py``: the daemon that a command is about: that of the options given to it, or the installed service;
- ``settings.py``: ``criproxy config``;
- ``route.py``: ``criproxy route``; ``manifest.py`` reads its pods, ``questions.py`` asks the router about them;
- ``check.py``: ``criproxy check``; ``options.py`` is what a reload asks, ``whole.py`` everything: ``interview.py`` asks
  a runtime and ``runtimes.py`` judges it, ``node.py`` looks at the node, ``together.py`` does all at once within a
  bound; ``findings.py`` is what is found, and how it is shown.
"""
