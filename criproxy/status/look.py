"""What there is to see: the daemon's own answer, and the node around it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Optional, Sequence

from criproxy.control.api import control
from criproxy.node.kubelet import NodeError
from criproxy.node.status import Report

if TYPE_CHECKING:
    from criproxy.operate.pods import LeftPod

_RETIRING = control().enums["Role"]["ROLE_RETIRING"]


@dataclass(frozen=True)
class Seen:
    """All of one look."""

    at: float
    """When it was, seconds since 1970."""
    socket: str
    """The control socket that was asked."""
    answer: Optional[Any]
    """The daemon's answer (StatusResponse); None if it has not answered."""
    silence: str
    """Why it has not."""
    node: Optional[Report]
    """How the node is; None if it cannot be looked at."""
    blindness: str
    """Why it cannot."""
    left: Optional[Sequence[LeftPod]] = None
    """What the retiring runtime still has; None if there is none such, or if it does not tell."""


def look(socket: str, report: Callable[[], Report], now: Callable[[], float] = time.time) -> Seen:
    """Looks at the daemon behind a control socket, and at the node, of which ``report`` tells."""
    node, blindness = None, ""
    try:
        node = report()
    except NodeError as error:
        blindness = str(error)
    except OSError as error:
        blindness = f"{error.filename}: {error.strerror}"
    answer, silence = _asked(socket)
    return Seen(now(), socket, answer, silence, node, blindness, _left(answer))


def _asked(socket: str) -> Any:
    # gRPC's library does not like programs to be started while it works: it is loaded when the node has been seen.
    from criproxy.client import ClientError
    from criproxy.control.client import ControlClient

    try:
        with ControlClient(socket) as client:
            return client.call("Status"), ""
    except ClientError as error:
        return None, error.cause


def _left(answer: Optional[Any]) -> Optional[Sequence[LeftPod]]:
    """The pods of the retiring runtime, which the daemon counts and does not name."""
    runtimes = () if answer is None else answer.runtimes
    retiring = next((runtime.socket for runtime in runtimes if runtime.role == _RETIRING), "")
    if not retiring:
        return None
    from criproxy.client import ClientError
    from criproxy.operate.pods import pods_of

    try:
        return pods_of(retiring)
    except ClientError:  # the daemon says of each runtime whether it is there, and why not
        return None
