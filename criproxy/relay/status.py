"""Status: what each of the runtimes says of itself, in one answer (cri/status.py)."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, Callable, Dict, Final, Sequence

from criproxy.cri.status import FAILED, NO_ANSWER, NOT_AVAILABLE, ReportedStatus, merge, read, wants_info
from criproxy.cri.versions import ApiVersion
from criproxy.cri.wire import DecodeError
from criproxy.http2.grpc import OK_TRAILERS, Code, RpcError, too_large
from criproxy.relay.context import Context
from criproxy.relay.exchange import Exchange
from criproxy.relay.outcome import RUNTIME, Outcome, failure
from criproxy.relay.response import Response
from criproxy.relay.runtime import Runtime
from criproxy.relay.scatter import Scatter, ScatterSink

_REASONS: Final[Dict[int, str]] = {Code.UNAVAILABLE: NOT_AVAILABLE, Code.DEADLINE_EXCEEDED: NO_ANSWER}
"""By how a runtime's part ends where it is not the runtime that says so."""


class Status(ScatterSink):
    """The Status of all runtimes. If the primary is not there or fails, the call fails.

    Kubelet tolerates that for 30 seconds, but an answer with RuntimeReady=false makes the node not ready at once. Only
    a verbose request, which is a person's, is answered without the primary: it says so.

    ``own_info`` gives what the proxy says of itself, JSON. Raises RpcError if the request does not parse.
    """

    def __init__(
        self, context: Context, response: Response, runtimes: Sequence[Runtime], own_info: Callable[[], str]
    ) -> None:
        self._context = context
        self._response = response
        self._own_info = own_info
        self._bodies: Dict[Exchange, bytes] = {}
        self._answers: Dict[Exchange, Any] = {}
        """The messages, parsed."""
        self._excuses: Dict[Exchange, ReportedStatus] = {}
        """The reasons of those that have not answered."""
        try:
            self._verbose = wants_info(response.request.body)
        except DecodeError as error:
            text = f"criproxy: the request is not a StatusRequest: {error}"
            raise RpcError(Code.INVALID_ARGUMENT, text) from error
        waits = not self._verbose
        self.scatter = Scatter(context, response.request, runtimes, self, response, self._on_timeout, waits)

    def _on_timeout(self) -> None:
        """Alternative runtimes are given up; the primary is, too, unless it shows that it is only slow.

        It is asked for that once: gRPC's servers hang up on who sends PINGs often and gets nothing else from them.
        """
        self.scatter.give_up_late()
        primary = self.scatter.primary
        if not (self.scatter.over or primary.ended) and primary.upstream is not None:
            primary.upstream.check_liveness(self._on_silence)

    def _on_silence(self) -> None:
        primary = self.scatter.primary
        if not primary.ended:
            primary.cancel(Code.UNAVAILABLE)
            self.scatter.on_end(primary, failure(primary.runtime.error()))

    def held(self, exchange: Exchange) -> int:
        """What waits for the others."""
        return len(self._bodies.get(exchange, b""))

    def on_message(self, exchange: Exchange, body: bytes) -> None:
        """Kept until all are there."""
        self._answers[exchange] = read(body)
        self._bodies[exchange] = body

    def on_end(self, exchange: Exchange, outcome: Outcome) -> None:
        """Answers when the last one is there."""
        if outcome.ok:
            exchange.runtime.clear_warning("Status")
        elif not self._excuse(exchange, outcome):
            self.scatter.stop()
            self._response.end(outcome, exchange.head)
            return
        if self.scatter.all_ended:
            self._answer()

    def _excuse(self, exchange: Exchange, outcome: Outcome) -> bool:
        """Puts down why a runtime has not answered; says whether there is an answer without it."""
        runtime = exchange.runtime
        reason = FAILED if outcome.source is RUNTIME else _REASONS.get(outcome.code, FAILED)
        if runtime.primary and not (self._verbose and reason == NOT_AVAILABLE):
            return False
        if reason == NOT_AVAILABLE:  # The runtime has logged that.
            self._excuses[exchange] = ReportedStatus(None, reason, outcome.message)
            return True
        self._excuses[exchange] = ReportedStatus(None, reason, str(outcome))
        runtime.warn_once("Status", f"Status: {runtime} counts as not ready: {outcome}")
        return True

    def _said(self, exchange: Exchange) -> ReportedStatus:
        return self._excuses.get(exchange) or ReportedStatus(self._answers[exchange])

    def _answer(self) -> None:
        self.scatter.stop()
        primary, *others = self.scatter.exchanges
        outcome = self.scatter.outcomes[primary]
        if outcome.ok and not (others or self._verbose):
            body = self._bodies[primary]
        else:
            own_info = self._own_info() if self._verbose else ""
            runtimes = self._context.router.runtimes
            body = merge(runtimes, self._said(primary), [self._said(each) for each in others], own_info)
        limit = self._context.config.max_message_size
        if len(body) > limit:
            self._response.fail(too_large(len(body), limit))
            return
        self._response.send_message(body, primary.head)
        if outcome.ok:
            self._response.end(outcome, primary.head)
        else:
            self._response.finish(OK_TRAILERS)


def about(runtime: Runtime) -> Dict[str, object]:
    """What the proxy says of a runtime, for JSON."""
    upstream = runtime.upstream
    versions = frozenset() if upstream is None else upstream.versions
    return {
        "socket": runtime.path,
        "available": runtime.there,
        "state": runtime.summary,
        "connectedSince": None if upstream is None else _rfc3339(upstream.since),
        "apiVersions": [version.spoken for version in ApiVersion if version in versions],
        "callsInFlight": runtime.under_way,
    }


def _rfc3339(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
