"""Faults of a node's disk: each thing that a program asks of it may be its last, or may be refused."""

from __future__ import annotations

import errno
import os
from typing import Any, Callable, Dict, List, Optional, Tuple

import pytest

_BLOCK = 4096
Refuses = Callable[[str, Tuple[Any, ...]], bool]
_ASKED = (
    "open", "replace", "unlink", "symlink", "mkdir", "rmdir", "fsync", "fchmod", "fchown", "lchown", "ftruncate",
    "posix_fallocate",
)  # fmt: skip


def everything(name: str, args: Tuple[Any, ...]) -> bool:
    """What a disk refuses that can only be read."""
    return name != "fsync"


def what_takes_room(name: str, args: Tuple[Any, ...]) -> bool:
    """What a full disk refuses."""
    if name == "posix_fallocate":
        fd, _, size = args
        return bool(size > -(-os.fstat(fd).st_size // _BLOCK) * _BLOCK)
    return name in ("symlink", "mkdir") or (name == "open" and bool(args[1] & os.O_CREAT))


class Killed(BaseException):
    """The end of a process, as by SIGKILL: nothing that it asks for after that happens."""


class Disk:
    """Counts what is asked of it. From the so-manieth on it is as ``error`` says; without one, the process is killed.

    ``refuses``: what is refused then; ``once``: it works again after one refusal.
    """

    def __init__(
        self, error: Optional[int] = None, at: int = 0, refuses: Optional[Refuses] = None, once: bool = False
    ) -> None:
        self._error, self._at, self._refuses, self._once = error, at, refuses, once
        self._count = 0
        self.struck = False
        self.asked: List[Tuple[str, str]] = []
        """Names and paths."""

    def mend(self) -> None:
        """From now on it does all that it is asked for."""
        self._at = 0

    def put_under(self, patch: pytest.MonkeyPatch) -> None:
        """From now on, ``os`` goes through here."""
        reals: Dict[str, Callable[..., Any]] = {name: getattr(os, name) for name in _ASKED}
        for name, real in reals.items():
            patch.setattr(os, name, self._wrapped(name, real))

    def _wrapped(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def ask(*args: Any) -> Any:
            if name == "open" and not args[1] & (os.O_WRONLY | os.O_RDWR):
                return real(*args)
            self.asked.append((name, _path(name, args)))
            self._count += 1
            if self._strikes(name, args):
                self.struck = True
                if self._error is None:
                    raise Killed
                raise OSError(self._error, os.strerror(self._error), args[0])
            return real(*args)

        return ask

    def _strikes(self, name: str, args: Tuple[Any, ...]) -> bool:
        if self._at == 0 or self._count < self._at or (self._once and self.struck):
            return False
        return self._refuses is None or self._refuses(name, args)


ERRORS: Dict[int, Refuses] = {errno.EROFS: everything, errno.ENOSPC: what_takes_room}
"""What a disk says, and of what."""


def _path(name: str, args: Tuple[Any, ...]) -> str:
    """What is asked for, or changed."""
    asked = args[1] if name in ("replace", "symlink") else args[0]
    return os.readlink(f"/proc/self/fd/{asked}") if isinstance(asked, int) else str(asked)
