"""Lists that are put together of several answers, where that is more than one after the other, and cut to messages."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional, Sequence, Set

from criproxy.cri.incremental import ends
from criproxy.cri.methods import Merge, Method
from criproxy.cri.rewrite import VIEWS

MergeOf = Callable[[Sequence[bytes]], List[bytes]]
"""Makes answers, the primary runtime's first, into messages of which the concatenation is the merged answer."""


def merge_of(row: Method) -> Optional[MergeOf]:
    """How a method's answers are merged; None if the concatenation of them is it."""
    return _MERGES.get(row.merge)


def in_messages(body: bytes, limit: int) -> List[bytes]:
    """A list as messages of at most ``limit`` bytes that hold its entries in their order.

    An entry that is larger has a message of its own. What is no row of whole entries stays one message.
    """
    if len(body) <= limit:
        return [body]
    messages: List[bytes] = []
    start = last = 0
    for end in ends(body) or ():
        if end - start > limit and last > start:
            messages.append(body[start:last])
            start = last
        last = end
    messages.append(body[start:])
    return messages


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
