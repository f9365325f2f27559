"""Commands that say what criproxy would do and whether all is right, from the same configuration as the daemon's.

- ``subject.py``: the daemon that a command is about: that of the options given to it, or the installed service;
- ``settings.py``: ``criproxy config``;
- ``route.py``: ``criproxy route``; ``manifest.py`` reads its pods, ``questions.py`` asks the router about them.
"""
