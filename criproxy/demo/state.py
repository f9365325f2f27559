"""A file that keeps a demo runtime's store, so that another process finds it again."""

from __future__ import annotations

import json
import os

from criproxy.demo.store import Store


class StateFile:
    """The file at a path, which is whole at any moment."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._written = ""

    def load(self, store: Store) -> None:
        """Adds what the file has to the store; a file that does not exist has nothing.

        Raises OSError, or ValueError if the file is not a runtime's state.
        """
        try:
            with open(self._path, encoding="utf-8") as file:
                store.restore(json.load(file))
        except FileNotFoundError:
            return

    def save(self, store: Store) -> None:
        """Writes what the store has, unless the file has it already. Raises OSError."""
        text = json.dumps(store.state())
        if text == self._written:
            return
        aside = f"{self._path}.new"
        with open(aside, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(aside, self._path)
        self._written = text
