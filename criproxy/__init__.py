"""criproxy: one CRI socket for several container runtimes."""

__version__ = "1.0.0"
