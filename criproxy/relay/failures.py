"""What is logged of calls that fail: with the pod's name, and of one problem one record, then a count.

From verbosity 3 on, where calls are logged that succeed, each failure is, too: it belongs to its request.
"""

from __future__ import annotations

from typing import Final, Optional, Sequence

from criproxy.cri.identity import Names
from criproxy.cri.methods import To
from criproxy.http2.grpc import Code
from criproxy.relay import facts
from criproxy.relay.context import Context
from criproxy.relay.request import Request
from criproxy.relay.routing import Plan
from criproxy.report.log import is_urgent
from criproxy.report.problems import Problem
from criproxy.report.record import ERROR, WARNING, Level

EACH: Final = 3
"""The verbosity from which on each call that fails is logged."""
_LONGEST: Final = 4096
"""characters of an error's text that are logged: it may have megabytes, and is kept until it is counted."""
_EVENTS: Final = To.EVENTS
_OF_PRIMARY: Final = (To.ALL, To.STATUS)
"""Whose calls to several runtimes fail with the primary alone."""


def log_failure(context: Context, request: Request, targets: Sequence[Names], code: int, text: str, own: bool) -> None:
    """Logs that a call ends with this gRPC status. ``own``: it is the proxy itself that has found that.

    That a runtime is not there is as serious as its loss: without the primary the node does not work.
    A stream of events ends as often as a runtime goes or comes, which is logged as such: it is nothing urgent.
    """
    log = context.log
    plan = request.plan
    urgent = is_urgent(code, own) and (plan.method is None or plan.method.to is not _EVENTS)
    if not (urgent or log.logs_all_failures):
        return
    subject = str(context.known.subject(plan.method, request.body))
    fields = []
    if log.output.has_fields:
        fields = facts.of_call(context.known, request.number, plan, targets, request.body)
        fields += facts.of_end(code, request.age)
    said = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."

    problem: Problem = (plan.name, str(code), subject)
    level: Optional[Level] = None
    if own and code == Code.UNAVAILABLE and (len(targets) == 1 or _fails_with_primary(plan)):
        problem = absence_of(targets[0])
        level = WARNING if targets[0].runtime else ERROR

    def write(note: str) -> None:
        log.fail(plan.path, code, said + note, lambda: fields, subject, own, level)

    if log.enabled(EACH):
        write("")
        return
    (context.faults if urgent else context.refusals).say(problem, write)


def _fails_with_primary(plan: Plan) -> bool:
    return plan.method is not None and plan.method.to in _OF_PRIMARY


def absence_of(names: Names) -> Problem:
    """The problem that a runtime is not there: one, whatever is asked of it."""
    return ("absence", names.runtime)
