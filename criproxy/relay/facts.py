"""What is known of a call, as fields of its records in the journal."""

from __future__ import annotations

from typing import Final, Iterable, List, Optional, Tuple

from criproxy.cri.identity import Names
from criproxy.cri.subjects import CONTAINER, POD
from criproxy.relay.known import Known, Subject
from criproxy.relay.routing import Plan
from criproxy.report.log import code_name

_OF_SUBJECT: Final = {POD: "CRI_POD", CONTAINER: "CRI_CONTAINER"}
_Facts = List[Tuple[str, str]]


def of_runtime(names: Names) -> Tuple[str, str]:
    """The fact that a record is about this runtime."""
    return "CRI_RUNTIME", names.title


def of_call(
    known: Known, number: int, plan: Plan, runtimes: Iterable[Names], request: bytes, answer: Optional[bytes] = None
) -> _Facts:
    """Which call it is, whom it is for, and which pods and containers it is about, as kubelet calls them.

    The journal takes a field more than once: a list's record is found by each of the runtimes that are asked.
    """
    about = known.subject(plan.method, request, answer)
    return [("CRI_CALL", str(number)), ("CRI_METHOD", plan.name), *map(of_runtime, runtimes), *_of_subject(about)]


def _of_subject(about: Subject) -> _Facts:
    facts = list(dict.fromkeys((_OF_SUBJECT[what], id) for what, id in about.ids))
    if about.pod is not None:
        facts += (("CRI_POD_NAMESPACE", about.pod.namespace), ("CRI_POD_NAME", about.pod.name))
    if about.container is not None:
        facts.append(("CRI_CONTAINER_NAME", about.container.name))
    return facts


def of_end(code: Optional[int], seconds: float) -> _Facts:
    """How a call has ended, and how long it has taken; ``code`` is None as long as that is not known."""
    status = [] if code is None else [("GRPC_STATUS", code_name(code))]
    return [*status, ("DURATION_USEC", str(int(seconds * 1e6)))]
