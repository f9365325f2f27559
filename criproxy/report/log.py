"""The log: what is said of the proxy and of its calls, in records for standard error or the journal.

Verbosity, by which a caller decides whether to log a call: 0 calls that fail because something on this node does not
work, 2 all that fail, 3 also requests and answers of calls that change something, 4 also status, 5 also lists, 6 also
each change of a state of runtimes, calls and connections.

The daemon has one thread, and kubelet waits for it, so it never waits for the log. A record that cannot be written at
once is lost; the next one that can be written says how many were.
"""

from __future__ import annotations

from typing import Callable, Final, Optional

from criproxy.report.record import ERROR, INFO, REFUSAL, WARNING, JournalFields, Level, Output
from criproxy.report.stream import StreamOutput
from criproxy.report.yaml import dump
from criproxy.text import escape

FAILURES: Final = 2
"""The verbosity from which on calls that fail are logged whatever the reason is."""
STATES: Final = 6
"""The verbosity from which on each change of a state is logged."""
_CODES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)
_INVALID_ARGUMENT = _CODES.index("INVALID_ARGUMENT")
_OF_THE_NODE = {"UNKNOWN", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
"""The statuses that say that something on this node does not work. The others are the caller's fault. Kubelet gets some
of them all day long: it asks for things that are gone, and creates things that exist."""

Facts = Callable[[], JournalFields]
"""Finds out a record's fields; called only for an output that has them."""


def _no_facts() -> JournalFields:
    return ()


class Log:
    """Writes records to an output (standard error if none is given).

    A text is always one line: control characters are escaped, so a peer cannot forge a record.
    """

    def __init__(self, verbosity: int, output: Optional[Output] = None) -> None:
        self.verbosity = verbosity
        self.output: Output = StreamOutput() if output is None else output
        self._lost = 0

    def enabled(self, level: int) -> bool:
        """Whether what belongs to this verbosity is to be logged."""
        return level <= self.verbosity

    def info(self, text: str, facts: Facts = _no_facts) -> None:
        """Logs a line, at any verbosity."""
        self._record(INFO, escape(text), facts)

    def warning(self, text: str, facts: Facts = _no_facts) -> None:
        """Logs a line about something that is not as it should be, at any verbosity."""
        self._record(WARNING, escape(text), facts)

    def error(self, text: str, facts: Facts = _no_facts) -> None:
        """Logs a line about something that failed, at any verbosity."""
        self._record(ERROR, escape(text), facts)

    def enter(self, path: str, message: str, body: bytes, facts: Facts = _no_facts) -> None:
        """Logs a call's request: ``body`` is the serialized CRI message called ``message``."""
        self._record(INFO, f"ENTER: {escape(path)}():\n{dump(message, body)}", facts)

    def leave(self, path: str, message: str, body: bytes, facts: Facts = _no_facts) -> None:
        """Logs a call's answer, likewise."""
        self._record(INFO, f"LEAVE: {escape(path)}():\n{dump(message, body)}", facts)

    @property
    def logs_all_failures(self) -> bool:
        """Whether all calls that fail are to be logged, and not only the urgent ones (`is_urgent`)."""
        return self.verbosity >= FAILURES

    def fail(
        self,
        path: str,
        code: int,
        text: str,
        facts: Facts = _no_facts,
        subject: str = "",
        own: bool = False,
        level: Optional[Level] = None,
    ) -> None:
        """Logs that a call ends with this gRPC status.

        ``subject``: the pod or container that it is about; ``own``: the status is the proxy's own, which needs no name
        besides its text; ``level``: how serious that is, if not as the status says. From verbosity 2 on the record has
        the form that the Go program gives it.
        """
        name = code_name(code)
        if self.logs_all_failures:
            line = f"FAIL: {path}(): {subject}{': ' if subject else ''}{name}: {text}"
        else:
            method = path.rpartition("/")[2]
            line = f"{method}{' ' if subject else ''}{subject}: {'' if own else f'{name}: '}{text}"
        self._record(level or (ERROR if name in _OF_THE_NODE else REFUSAL), escape(line), facts)

    def _record(self, level: Level, text: str, facts: Facts) -> None:
        output = self.output
        if self._lost:
            said = output.write(WARNING, f"{self._lost} records are lost: {output.name} did not take them", ())
            if not said:
                self._lost += 1
                return
            self._lost = 0
        if not output.write(level, text, facts() if output.has_fields else ()):
            self._lost += 1


def is_urgent(code: int, own: bool) -> bool:
    """Whether a call that ends with this status is logged at any verbosity; ``own``: it is the proxy's own status.

    Something on the node does not work, or a pod asks for what the configuration does not have.
    """
    return code_name(code) in _OF_THE_NODE or (own and code == _INVALID_ARGUMENT)


def code_name(code: int) -> str:
    """What gRPC calls a status; the number of one that it does not have."""
    return _CODES[code] if 0 <= code < len(_CODES) else str(code)
