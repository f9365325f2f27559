"""How a configuration is refused."""

from __future__ import annotations

from criproxy.text import escape


class ConfigError(Exception):
    """The configuration is refused. The text is one line that names the offending value."""

    def __init__(self, text: str) -> None:
        super().__init__(escape(text))
