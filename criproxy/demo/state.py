"""What a demo runtime keeps in a file, so that another process finds it again."""

from __future__ import annotations

import json
import os

from criproxy.demo.runtime import Runtime


class StateFile:
    """The file at a path, which is whole at any moment."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._written = ""

    def load(self, runtime: Runtime) -> None:
        """Gives the runtime what the file has; a file that is not there has nothing.

        Raises OSError, or ValueError if it is no such file.
        """
        try:
            with open(self._path, encoding="utf-8") as file:
                runtime.restore(json.load(file))
        except FileNotFoundError:
            return

    def save(self, runtime: Runtime) -> None:
        """Writes what the runtime has, unless that is there already. Raises OSError."""
        text = json.dumps(runtime.state())
        if text == self._written:
            return
        aside = f"{self._path}.new"
        with open(aside, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(aside, self._path)
        self._written = text
