"""Figures: what a case gives, how a run keeps it, and what is said of several rounds."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import List, Mapping, Sequence, Tuple

Samples = Mapping[str, Mapping[str, Sequence[float]]]
"""By contestant and figure: one number a round, in the figure's unit."""


class BenchError(Exception):
    """There is nothing to measure or to show: something does not start, or answers wrongly. The text says what."""


class UnservedError(BenchError):
    """A contestant lacks what a case is about."""


@dataclass(frozen=True)
class Figure:
    """Something that is measured."""

    name: str
    title: str
    """Above its column."""
    unit: str
    added: bool = False
    """Whether what it is more than the direct call's is told, too."""
    more_is_better: bool = False


@dataclass(frozen=True)
class Run:
    """What a run has measured."""

    machine: List[str]
    """Lines about where that was."""
    version: str
    """What `criproxy --version` says."""
    absent: List[str]
    """Who was to take part, and is not installed."""
    units: Mapping[str, str]
    """Each figure's."""
    samples: Samples

    @property
    def is_compiled(self) -> bool:
        """Whether what moves calls was compiled."""
        return "(compiled)" in self.version

    def save(self, path: Path) -> None:
        """Writes it for `load`, and for other programs."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Run:
        """Raises OSError, and BenchError for another file."""
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            return cls(data["machine"], data["version"], data["absent"], data["units"], data["samples"])
        except (KeyError, TypeError, ValueError) as error:
            raise BenchError(f"{path}: not a run's figures") from error

    def of(self, contestant: str, figure: str) -> Sequence[float]:
        """The rounds' numbers; none if this was not measured."""
        return self.samples.get(contestant, {}).get(figure, ())


def percentile(times: Sequence[float], share: float) -> float:
    """What this share of the times is not above."""
    return sorted(times)[min(len(times) - 1, int(share * len(times)))]


def spread(samples: Sequence[float]) -> Tuple[float, float]:
    """The quartiles of the rounds."""
    if len(samples) < 2:
        return samples[0], samples[0]
    low, _, high = statistics.quantiles(samples, n=4, method="inclusive")
    return low, high


def differences(of: Sequence[float], to: Sequence[float]) -> List[float]:
    """Round by round: a machine's noise changes from round to round."""
    return [one - other for one, other in zip(of, to)]


def quotients(of: Sequence[float], to: Sequence[float]) -> List[float]:
    """Round by round, but for rounds in which there is nothing to compare with."""
    return [one / other for one, other in zip(of, to) if other > 0]


def number(value: float) -> str:
    """Three digits of it, or as many as stand before the point."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}"
