"""What is known of a call, as fields of its records in the journal."""

from __future__ import annotations

from itertools import chain
from typing import Final, Iterable, List, Optional, Tuple

from criproxy.cri.identity import Names
from criproxy.cri.subjects import CONTAINER, POD, subjects
from criproxy.relay.routing import Plan
from criproxy.report.log import code_name

_OF_SUBJECT: Final = {POD: "CRI_POD", CONTAINER: "CRI_CONTAINER"}
_Facts = List[Tuple[str, str]]


def of_runtime(names: Names) -> Tuple[str, str]:
    """The fact that a record is about this runtime."""
    return "CRI_RUNTIME", names.runtime or "primary"


def of_call(plan: Plan, runtimes: Iterable[Names], request: bytes, answer: Optional[bytes] = None) -> _Facts:
    """Whom a call is for, and which pods and containers it is about, as kubelet calls them.

    The journal takes a field more than once: a list's record is found by each of the runtimes that are asked.
    """
    facts = [("CRI_METHOD", plan.path.rpartition("/")[2]), *map(of_runtime, runtimes)]
    row = plan.method
    if row is not None:
        found = subjects(row.rpc.request, request)
        if answer is not None:
            found = chain(found, subjects(row.rpc.response, answer))
        facts += dict.fromkeys((_OF_SUBJECT[subject], name) for subject, name in found)
    return facts


def of_end(code: Optional[int], seconds: float) -> _Facts:
    """How a call has ended, and how long it has taken; ``code`` is None as long as that is not known."""
    status = [] if code is None else [("GRPC_STATUS", code_name(code))]
    return [*status, ("DURATION_USEC", str(int(seconds * 1e6)))]
