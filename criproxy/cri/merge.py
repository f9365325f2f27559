"""Answers of several runtimes that are more than one after the other, because they list the same things."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional, Sequence, Set

from criproxy.cri.methods import Merge, Method
from criproxy.cri.rewrite import VIEWS

MergeOf = Callable[[Sequence[bytes]], List[bytes]]
"""Makes answers, the primary runtime's first, into messages of which the concatenation is the merged answer."""


def merge_of(row: Method) -> Optional[MergeOf]:
    """How a method's answers are merged; None if the concatenation of them is it."""
    return _MERGES.get(row.merge)


def _one_of_a_metric(bodies: Sequence[bytes]) -> List[bytes]:
    """Answers to ListMetricDescriptors of which each metric's description stands in the first that has it."""
    known: Set[bytes] = set()
    out: List[bytes] = []
    for body in bodies:
        answer: Any = VIEWS["ListMetricDescriptorsResponse"].FromString(body)
        fresh = [descriptor for descriptor in answer.descriptors if descriptor.name not in known]
        known.update(descriptor.name for descriptor in fresh)
        if len(fresh) < len(answer.descriptors):
            kept = type(answer)()
            kept.descriptors.extend(fresh)
            body = kept.SerializeToString()
        out.append(body)
    return out


_MERGES: Dict[Merge, MergeOf] = {Merge.ONE_OF_A_METRIC: _one_of_a_metric}
