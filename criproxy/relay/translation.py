"""How calls of one plan go over one connection: in which version, and what that makes of their messages."""

from __future__ import annotations

from typing import NamedTuple, Optional

from criproxy.cri.steps import InSteps, Transform
from criproxy.cri.versions import ApiVersion, conversion
from criproxy.http2.headers import taken_by
from criproxy.relay.complaint import Complaint
from criproxy.relay.routing import Plan, Router
from criproxy.relay.runtime import Runtime
from criproxy.relay.upstream import Upstream


class Translation(NamedTuple):
    """How calls of one plan go over one connection."""

    wire: bytes
    """The request's head, in a version that the runtime speaks."""
    request: Optional[Transform]
    """What makes the request's message one of that version; None if nothing has to."""
    response: Optional[Transform]
    """What makes a message of the runtime's kubelet's; None if nothing has to."""
    in_steps: Optional[InSteps] = None
    """The same where a message may take long."""


def translation_of(upstream: Upstream, plan: Plan, router: Router, runtime: Runtime) -> Translation:
    """The translation of a plan's calls; found once, and kept with the connection."""
    known: Optional[Translation] = upstream.translations.get(plan)
    if known is None:
        known = _translation(upstream, plan, router, runtime)
        upstream.translations.keep(plan, known, taken_by(plan.head))
    return known


def _translation(upstream: Upstream, plan: Plan, router: Router, runtime: Runtime) -> Translation:
    asked, row = plan.version, plan.method
    spoken = _version_for(upstream, asked)
    if asked is None or spoken is None or row is None:
        return Translation(plan.wire(spoken), None, None)
    request = conversion(row.rpc.request, asked, spoken)
    response = router.answers.transform(row, runtime.names, asked, spoken, Complaint(runtime, row.name))
    return Translation(plan.wire(spoken), request, response, response if isinstance(response, InSteps) else None)


def _version_for(upstream: Upstream, asked: Optional[ApiVersion]) -> Optional[ApiVersion]:
    """The version to call the runtime in: the caller's if it speaks that, else the newest that it does."""
    if asked is None or asked in upstream.versions:
        return asked
    return next(version for version in ApiVersion if version in upstream.versions)
