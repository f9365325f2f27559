"""What the calls say of each row: who has felt it, what was lost, what was mixed."""

from __future__ import annotations

import math
from typing import List, NamedTuple, Optional, Sequence, Tuple

from tests.torture.faults import PROXY
from tests.torture.load import BOTH, LOST, MIXED, OK, Record
from tests.torture.rows import Row

MEDIAN_BAR = 0.025
"""By how much the others' median may be above the undisturbed one, seconds."""
TAIL_BAR = 10.0
"""How many times the undisturbed 99th percentile the others' may be."""
MEMORY_BAR = 200 * 2**20
"""bytes"""
_EXAMPLES = 3


class Period(NamedTuple):
    """One row's time, seconds of the monotonic clock, and what was seen of criproxy's process."""

    row: Row
    begin: float
    end: float
    """When the attack was over."""
    well: Optional[float]
    """When all runtimes answered again; None if they have not."""
    times: int
    peak: int
    """bytes"""
    problems: Tuple[str, ...] = ()
    """Ends of the process and internal errors."""

    @property
    def over(self) -> float:
        """Until when what goes wrong is this row's."""
        return math.inf if self.well is None else self.well


class Result(NamedTuple):
    """What a row has come to."""

    period: Period
    median: Optional[float]
    """Of the others' calls, seconds; None for rows without a time, and where there were no calls."""
    tail: Optional[float]
    """Their 99th percentile."""
    calm_median: Optional[float]
    """Of the same calls, undisturbed."""
    calm_tail: Optional[float]
    lost: Sequence[Record]
    mixed: Sequence[Record]

    @property
    def failures(self) -> List[str]:
        """What must not be, whatever the machine does meanwhile."""
        found = list(self.period.problems)
        found += [f"{len(self.lost)} lost"] if self.lost else []
        found += [f"{len(self.mixed)} mixed"] if self.mixed else []
        found += ["memory"] if self.period.peak > MEMORY_BAR else []
        found += ["not well afterwards"] if self.period.well is None else []
        found += [] if self.period.times else ["has not taken place"]
        return found

    @property
    def slow(self) -> List[str]:
        """Which bars of time it has broken."""
        if self.median is None or self.tail is None or self.calm_median is None or self.calm_tail is None:
            return []
        found = ["p50"] if self.median > self.calm_median + MEDIAN_BAR else []
        return found + (["p99"] if self.tail > self.calm_tail * TAIL_BAR else [])

    @property
    def examples(self) -> List[str]:
        """Some of what was lost or mixed."""
        return [f"{one.outcome}: {one.detail}" for one in (*self.mixed[:_EXAMPLES], *self.lost[:_EXAMPLES])]


def percentile(values: Sequence[float], share: float) -> Optional[float]:
    """The smallest value that so large a share of them does not exceed; None of none."""
    return sorted(values)[max(0, math.ceil(len(values) * share) - 1)] if values else None


def _explains(row: Row, record: Record) -> bool:
    """Whether the row's fault explains the call's failure. Nothing explains a mixed answer."""
    return record.outcome == LOST and (record.blame in row.suffers or PROXY in row.suffers)


def _times(row: Row, records: Sequence[Record]) -> List[float]:
    """How long the calls of those have taken whom the row must not disturb."""
    if not row.timed or PROXY in row.suffers:
        return []
    not_timed = (*row.suffers, *row.busy)
    owners = (*not_timed, BOTH) if not_timed else ()
    return [one.end - one.begin for one in records if one.outcome == OK and one.owner not in owners]


def judge(
    records: Sequence[Record], periods: Sequence[Period], since: float = 0.0
) -> Tuple[List[Result], List[Record]]:
    """The rows' results, and the calls that have failed while there was none.

    What began before ``since``, seconds of the monotonic clock, is ignored.
    """
    calm: List[Record] = []
    bad: List[Record] = []
    during: List[List[Record]] = [[] for _ in periods]
    blamed: List[List[Record]] = [[] for _ in periods]
    for record in records:
        if record.begin < since:
            continue
        touched = [at for at, one in enumerate(periods) if record.begin < one.over and record.end > one.begin]
        if not touched:
            (calm if record.outcome == OK else bad).append(record)
            continue
        for at in touched:
            if periods[at].begin <= record.begin < periods[at].end:
                during[at].append(record)
        if record.outcome != OK and not any(_explains(periods[at].row, record) for at in touched):
            blamed[touched[0]].append(record)
    return [_result(*one, calm) for one in zip(periods, during, blamed)], bad


def _result(period: Period, during: Sequence[Record], blamed: Sequence[Record], calm: Sequence[Record]) -> Result:
    row = period.row
    there, undisturbed = _times(row, during), _times(row, calm)
    return Result(
        period,
        percentile(there, 0.5),
        percentile(there, 0.99),
        percentile(undisturbed, 0.5),
        percentile(undisturbed, 0.99),
        [one for one in blamed if one.outcome == LOST],
        [one for one in blamed if one.outcome == MIXED],
    )


_COLUMNS = ("", "TIMES", "P50 ms", "of calm", "P99 ms", "of calm", "MiB", "LOST", "MIXED", "BACK s", "")


def table(results: Sequence[Result]) -> List[str]:
    """The results, a line for each."""
    rows = [_COLUMNS, *map(_cells, results)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(_COLUMNS))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:-1], widths[1:-1])]
        lines.append("  ".join((*cells, row[-1])).rstrip())
    return lines


def _cells(result: Result) -> Tuple[str, ...]:
    period = result.period
    broken = [*result.failures, *(f"{bar} (time)" for bar in result.slow)]
    return (
        period.row.title,
        str(period.times),
        *_time(result.median, result.calm_median),
        *_time(result.tail, result.calm_tail),
        str(period.peak >> 20),
        str(len(result.lost)),
        str(len(result.mixed)),
        "-" if period.well is None else f"{period.well - period.end:.1f}",
        ", ".join(broken) or "ok",
    )


def _time(there: Optional[float], calm: Optional[float]) -> Tuple[str, str]:
    if there is None or not calm:
        return "-", "-"
    return f"{there * 1000:.1f}", f"x{there / calm:.1f}"
