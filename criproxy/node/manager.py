"""What has to be known of a systemd: the manager of a node's services, and how a unit is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Optional, Protocol

_RUNNING = ("active", "activating", "reloading", "deactivating")
"""States in which a unit that is to run does, or is about to be started again."""
_RESTARTING = ("auto-restart", "auto-restart-queued")


@dataclass(frozen=True)
class UnitState:
    """How a unit is, in systemd's words; empty or None for what is not known."""

    load: str = ""
    """``loaded``, ``not-found``, ``masked``, ``bad-setting``, …"""
    active: str = ""
    """``active``, ``inactive``, ``failed``, ``activating``, …"""
    sub: str = ""
    """``running``, ``dead``, ``auto-restart``, …"""
    pid: int = 0
    """The main process; 0 if there is none."""
    restarts: Optional[int] = None
    """How often it was started again since somebody started it; None before systemd 235."""
    result: str = ""
    """How it has ended: ``success``, ``exit-code``, ``signal``, ``timeout``, …"""

    @property
    def runs(self) -> bool:
        """Whether the unit is to run, though it may just now be between two attempts."""
        return self.active in _RUNNING

    @property
    def restarting(self) -> bool:
        """Whether it has ended and waits for its next attempt."""
        return self.sub in _RESTARTING


class Manager(Protocol):
    """The system's manager of services."""

    @property
    def running(self) -> bool:
        """Whether there is one: no services are started while an image is built."""

    @property
    def version(self) -> int:
        """The version of the node's systemd, which the image that is being built may start later; 0 if not known."""

    def do(self, *words: str) -> None:
        """``systemctl`` with these words. Raises NodeError with what it says."""

    def show(self, unit: str, *names: str) -> Dict[str, str]:
        """Properties of a unit: one that comes several times with a line for each, one that is not known empty.

        Raises NodeError if the manager does not answer; so do the others.
        """

    def state(self, unit: str) -> UnitState:
        """How the unit is."""

    def last_words(self, unit: str, lines: int = 3) -> str:
        """What the unit's last process has logged last, in one line; empty if nothing is known."""

    def restarts(self, unit: str, most: int) -> List[float]:
        """When the unit was last started again by itself: at most so many times, in seconds of `time.monotonic`.

        Empty if nothing is known.
        """

    def failures(self, unit: str, most: int) -> List[float]:
        """When its main process last ended by itself and badly; as `restarts`."""

    def environment(self) -> Dict[str, str]:
        """The variables that every unit inherits from the manager."""
