"""A systemd that is only asked."""

from __future__ import annotations

from typing import Dict

_FRESH = {"LoadState": "loaded", "NeedDaemonReload": "no"}


class FakeSystemd:
    """Shows what it is given as the properties of any unit."""

    def __init__(self, version: int = 257, variables: Dict[str, str] = {}, **shown: str) -> None:  # noqa: B006
        self.running = True
        self.version = version
        self._variables = variables
        self._shown = {**_FRESH, **shown}

    def show(self, unit: str, *names: str) -> Dict[str, str]:
        return {name: self._shown.get(name, "") for name in names}

    def environment(self) -> Dict[str, str]:
        return self._variables
