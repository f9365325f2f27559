"""What a check finds, and how it is shown."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from enum import Enum
from typing import Any, Dict, Iterable, Iterator, Sequence, TextIO

from criproxy.terminal import Mark, Terminal, plain_table
from criproxy.text import escape

_NEXT = "next: "
_NARROWEST = 30
"""characters: a text is not put into less."""


class State(Enum):
    """How something is. Of several the last counts for all."""

    NOT_APPLICABLE = "not applicable"
    RIGHT = "right"
    DEGRADED = "degraded"
    """Something should be better, and kubelet can work."""
    BROKEN = "broken"


STATUS = {State.NOT_APPLICABLE: 0, State.RIGHT: 0, State.DEGRADED: 1, State.BROKEN: 2}
"""Exit statuses."""
_MARKS = {State.NOT_APPLICABLE: "\u2013", State.RIGHT: "✓", State.DEGRADED: "✗", State.BROKEN: "✗"}
_COLORS = {
    State.NOT_APPLICABLE: Mark.FAINT,
    State.RIGHT: Mark.GOOD,
    State.DEGRADED: Mark.DOUBTFUL,
    State.BROKEN: Mark.BAD,
}
_PLAIN_MARKS = {State.NOT_APPLICABLE: "--", State.RIGHT: "ok", State.DEGRADED: "no", State.BROKEN: "no"}


@dataclass(frozen=True)
class Finding:
    """One thing that has been looked at."""

    subject: str
    """Whose it is: a runtime's id, a unit, ``configuration``."""
    what: str
    state: State
    text: str
    """What has been found."""
    remedy: str = ""
    """What to do about it."""


def right(subject: str, what: str, text: str) -> Finding:
    """It is as it should be."""
    return Finding(subject, what, State.RIGHT, text)


def wrong(subject: str, what: str, text: str, remedy: str, broken: bool = False) -> Finding:
    """It is not as it should be; ``broken``: kubelet cannot work so."""
    return Finding(subject, what, State.BROKEN if broken else State.DEGRADED, text, remedy)


def skipped(subject: str, what: str, why: str) -> Finding:
    """There is nothing to look at."""
    return Finding(subject, what, State.NOT_APPLICABLE, why)


def verdict(findings: Iterable[Finding]) -> State:
    """All of them in one word."""
    return max((State.RIGHT, *(finding.state for finding in findings)), key=list(State).index)


def can_show_marks(stream: TextIO) -> bool:
    """Whether the marks are in the characters that a stream has."""
    try:
        "".join(_MARKS.values()).encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def lines(findings: Sequence[Finding], marks: bool, colors: bool, width: int = 0) -> Iterator[str]:
    """A line for each, one more for what to do, and one for all.

    ``width``: after how many characters a line goes on in the next one, below its text; 0: never.
    """
    signs, terminal = _MARKS if marks else _PLAIN_MARKS, Terminal(colour=colors)
    # What stands in the last column has the same place in each line: there the texts begin.
    _, *heads = plain_table(("",) * 4, [(signs[each.state], each.subject, each.what, "|") for each in findings])
    for finding, head in zip(findings, heads):
        sign, begin = signs[finding.state], len(head) - 1
        first, *others = _pieces(finding, width - begin)
        line = f"{head[:begin]}{first}"
        yield terminal.paint(sign, _COLORS[finding.state]) + line[len(sign) :]
        yield from (f"{' ' * begin}{piece}" for piece in others)
    yield _summary(findings)


def _pieces(finding: Finding, width: int) -> Iterator[str]:
    """The text, and what to do, in pieces of so many characters; whole where that would be too few."""
    for text in (finding.text, finding.remedy and f"{_NEXT}{finding.remedy}"):
        shown = escape(text)
        if width < _NARROWEST:
            yield from filter(None, [shown])
        else:
            yield from textwrap.wrap(shown, width, break_long_words=False, break_on_hyphens=False)


def _summary(findings: Sequence[Finding]) -> str:
    states = [finding.state for finding in findings]
    broken, degraded = states.count(State.BROKEN), states.count(State.DEGRADED)
    counts = [f"broken: {broken}"] if broken else []
    counts += [f"should be better: {degraded}"] if degraded else []
    return ", ".join(counts) or "all is right"


def plain(findings: Sequence[Finding]) -> Dict[str, Any]:
    """The same for programs."""
    return {
        "verdict": verdict(findings).value,
        "findings": [
            {
                "subject": each.subject,
                "what": each.what,
                "state": each.state.value,
                "text": each.text,
                "next": each.remedy,
            }
            for each in findings
        ],
    }
