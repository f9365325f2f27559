"""What is measured: the relay, a little further than the control socket looks into it."""

from __future__ import annotations

from typing import Protocol

from criproxy.control.subject import Relay
from criproxy.relay.runtime import Runtime


class Account(Protocol):
    """The memory that is held of messages."""

    @property
    def total(self) -> int:
        """What is held, bytes."""

    @property
    def limit(self) -> int:
        """Below what it is kept, bytes."""


class Measured(Relay, Protocol):
    """The relay (criproxy.relay.proxy), as far as it is measured."""

    @property
    def account(self) -> Account:
        """The memory that is held."""

    def remembered(self, runtime: Runtime) -> int:
        """The memory that is taken by the last lists of a runtime, bytes."""
