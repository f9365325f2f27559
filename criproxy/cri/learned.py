"""Answers that pass as they are, of which the ids are noted.

Nothing of them is verified, left out or written anew: what a runtime says that kubelet has always talked to reaches it
unchanged, a field that nobody can read included. A list that was the same the last time is not looked at.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Callable, ClassVar

from criproxy.cri.incremental import ENTRIES_AT_ONCE, LARGEST_KEPT
from criproxy.cri.methods import FieldKind, NamedFields
from criproxy.cri.rewrite import renaming
from criproxy.cri.steps import InSteps, Steps, finish
from criproxy.cri.wire import DecodeError, field_at


class Learned(InSteps):
    """Tells ``note`` the ids in one list after another.

    ``message`` is the response's; ``fields`` are those of its fields that hold ids.
    """

    __slots__ = ("_last", "_read_ids")
    long: ClassVar[int] = 16 * 1024

    def __init__(self, message: str, fields: NamedFields, note: Callable[[bytes], None]) -> None:
        def noted(value: bytes) -> bytes:
            note(value)
            return value

        self._read_ids = renaming(message, fields, {FieldKind.ID: noted})
        self._last = b""

    def __call__(self, body: bytes) -> bytes:
        """The answer. Raises DecodeError if it does not consist of whole entries."""
        return body if body == self._last else finish(self.steps(body))

    @property
    def held(self) -> int:
        """The memory that the last answer takes, bytes."""
        return len(self._last)

    def forget(self) -> None:
        """Keeps no answer: the next one is read as a whole."""
        self._last = b""

    def steps(self, body: bytes) -> Steps:
        """The answer, in steps."""
        if body == self._last:
            return body
        begin = at = found = 0
        while at < len(body):
            at = field_at(body, at, len(body))[3]
            found += 1
            if found == ENTRIES_AT_ONCE or at == len(body):
                self._read(body[begin:at])
                begin, found = at, 0
                yield
        self._last = body if len(body) <= LARGEST_KEPT else b""
        return body

    def _read(self, body: bytes) -> None:
        # Kubelet may know what to do with what cannot be read here; an id that is not noted is asked for.
        with suppress(DecodeError):
            self._read_ids(body)
