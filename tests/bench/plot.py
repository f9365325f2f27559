"""How the cost of a list grows with its containers, as SVG: once for a light page, once for a dark one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Callable, Iterator, List, Sequence, Tuple
from xml.sax.saxutils import escape, quoteattr

from tests.bench.aims import slower
from tests.bench.cases import list_figure
from tests.bench.figures import BenchError, Run, differences, spread
from tests.bench.runtime import ALL, SAME
from tests.bench.turns import SIZES

_FONT = "font-family='-apple-system, Segoe UI, Noto Sans, Helvetica, Arial, sans-serif' font-size='12'"
_WIDTH, _HEIGHT = 880, 330
_TOP, _BOTTOM, _LEFT, _PANEL, _GAP, _LEGEND = 74, 282, 52, 350, 90, 270
_ABOUT_TICKS = 5
_ACROSS = "containers of each of two runtimes (bars: quartiles)"


@dataclass(frozen=True)
class _Theme:
    name: str
    text: str
    grid: str
    lines: Tuple[str, str, str]


_THEMES = (
    _Theme("light", "#1f2328", "#d1d9e0", ("#59636e", "#0969da", "#bc4c00")),
    _Theme("dark", "#f0f6fc", "#3d444d", ("#9198a1", "#4493f8", "#f0883e")),
)


@dataclass(frozen=True)
class Series:
    """A line: for each of `SIZES` the rounds' numbers. ``line`` is which of a theme's colours it has."""

    name: str
    line: int
    rounds: Sequence[Sequence[float]]


@dataclass(frozen=True)
class Panel:
    """One pair of axes."""

    title: str
    series: Sequence[Series]
    even: bool
    """Whether the numbers of containers stand at even distances, and not at their values."""

    @property
    def top(self) -> float:
        """The highest number that has room."""
        highest = max(spread(rounds)[1] for series in self.series for rounds in series.rounds)
        step = tick_step(highest)
        return max(1, math.ceil(highest / step)) * step


def tick_step(highest: float) -> float:
    """A round number of which about five reach so high."""
    rough = max(highest, 1e-9) / _ABOUT_TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    return float(next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999))


def write(run: Run, folder: Path) -> List[Path]:
    """Writes both plots. Raises BenchError if the run has no lists, and OSError."""
    panels = _panels(run)
    written = []
    for theme in _THEMES:
        path = folder / f"lists-{theme.name}.svg"
        path.write_text("\n".join(_picture(panels, theme)) + "\n", encoding="utf-8")
        written.append(path)
    return written


def _panels(run: Run) -> Sequence[Panel]:
    direct, same, changed = (
        [slower(run, list_figure(ALL, size)) for size in SIZES],
        *([run.of("criproxy", list_figure(change, size)) for size in SIZES] for change in (SAME, ALL)),
    )
    if not all((*direct, *same, *changed)):
        raise BenchError("the run has not measured all lists")
    whole = (
        Series("the slower runtime alone", 0, direct),
        Series("both by criproxy, nothing changed", 1, same),
        Series("both by criproxy, all changed", 2, changed),
    )
    alone = {SAME: [slower(run, list_figure(SAME, size)) for size in SIZES], ALL: direct}
    added = [
        Series("", line, [_added(ours, theirs, size) for ours, theirs, size in zip(found, alone[change], SIZES)])
        for line, change, found in ((1, SAME, same), (2, ALL, changed))
    ]
    return Panel("ListContainers, ms", whole, False), Panel("added for each container, µs", added, True)


def _added(ours: Sequence[float], alone: Sequence[float], size: int) -> List[float]:
    """For each of the containers of both runtimes, µs."""
    return [added * 1e3 / (2 * size) for added in differences(ours, alone)]


def _picture(panels: Sequence[Panel], theme: _Theme) -> Iterator[str]:
    yield f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {_WIDTH} {_HEIGHT}' {_FONT} fill='{theme.text}'>"
    yield "<title>What ListContainers takes, by the number of containers</title>"
    for number, series in enumerate(panels[0].series):
        at = _LEFT + number * _LEGEND
        yield _line([(at, 16), (at + 24, 16)], theme.lines[series.line])
        yield _text(at + 32, 20, series.name, "start")
    for number, panel in enumerate(panels):
        yield from _panel(panel, _LEFT + number * (_PANEL + _GAP), theme)
    yield "</svg>"


def _panel(panel: Panel, left: float, theme: _Theme) -> Iterator[str]:
    across, up = _scales(panel, left)
    yield _text(left, _TOP - 18, panel.title, "start", "font-weight='600'")
    step = tick_step(panel.top)
    for number in range(round(panel.top / step) + 1):
        at = up(number * step)
        yield _line([(left, at), (left + _PANEL, at)], theme.grid, 1)
        yield _text(left - 8, at + 4, f"{number * step:g}", "end")
    for place, size in enumerate(SIZES):
        if panel.even or size >= SIZES[-1] / 10:
            yield _text(across(place), _BOTTOM + 18, f"{size:,}", "middle")
    yield _text(left + _PANEL / 2, _BOTTOM + 38, _ACROSS, "middle")
    for series in panel.series:
        colour = theme.lines[series.line]
        points = [(across(place), up(median(rounds))) for place, rounds in enumerate(series.rounds)]
        yield _line(points, colour)
        for (x, y), rounds in zip(points, series.rounds):
            yield f"<circle cx='{x:.1f}' cy='{y:.1f}' r='3' fill='{colour}'/>"
            yield _line([(x, up(quartile)) for quartile in spread(rounds)], colour, 1)


def _scales(panel: Panel, left: float) -> Tuple[Callable[[int], float], Callable[[float], float]]:
    """Where a place in `SIZES` is, and where a number."""
    shares = [place / (len(SIZES) - 1) if panel.even else size / SIZES[-1] for place, size in enumerate(SIZES)]
    return (
        lambda place: left + shares[place] * _PANEL,
        lambda value: _BOTTOM - max(0.0, value) / panel.top * (_BOTTOM - _TOP),
    )


def _line(points: Sequence[Tuple[float, float]], colour: str, width: float = 2) -> str:
    places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f"<polyline points='{places}' fill='none' stroke='{colour}' stroke-width='{width}'/>"


def _text(x: float, y: float, text: str, anchor: str, more: str = "") -> str:
    return f"<text x='{x:.1f}' y='{y:.1f}' text-anchor={quoteattr(anchor)} {more}>{escape(text)}</text>"
