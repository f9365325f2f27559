"""Status: what each of the runtimes says of itself, in one answer (cri/status.py)."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Dict, List, Optional

from google.protobuf.message import DecodeError

from criproxy import __version__
from criproxy.cri.status import FAILED, NO_ANSWER, NOT_AVAILABLE, Said, merge, read, wants_info
from criproxy.cri.versions import Version
from criproxy.http2.headers import Block
from criproxy.relay.backend import Backend
from criproxy.relay.call import Origin
from criproxy.relay.fan import Branch, FanOut
from criproxy.relay.grpc import (
    OK_TRAILERS,
    RESPONSE_HEADERS,
    Code,
    RpcError,
    no_message,
    prefix,
    several_messages,
    too_large,
)

RESTART_TIME = 2.0
"""How long a primary runtime that has just gone may take to come back, seconds.

Kubelet makes of RuntimeReady=false a node that is not ready, and the cluster makes of that pods that are not: for a
runtime that is restarted that is too much.
"""
_REASONS = {Code.UNAVAILABLE: NOT_AVAILABLE, Code.DEADLINE_EXCEEDED: NO_ANSWER}
"""By how a runtime's part ends where it is not the runtime that says so."""


class Survey(FanOut):
    """The Status of all runtimes. That the primary is not there is an answer, too; what it fails with is the call's."""

    def __init__(self, origin: Origin, backends: List[Backend]) -> None:
        super().__init__(origin, backends)
        self._runtimes = self.proxy.router.runtimes
        self._verbose = False
        self._said: Dict[Branch, Said] = {}
        self._again = False
        """Whether the primary has been asked again, after it had gone with the call."""

    def start(self, body: bytes) -> None:
        """Asks all runtimes at once."""
        try:
            self._verbose = wants_info(body)
        except DecodeError as error:
            self.fail(RpcError(Code.INVALID_ARGUMENT, f"criproxy: StatusRequest: {error}"))
            return
        super().start(body)
        if self._timer is None and not self._over:
            self._timer = self.proxy.loop.call_later(self._fan_out_timeout(), self._on_timeout)

    def patience(self) -> float:
        """Hardly any: that the primary runtime is not there is what is asked for."""
        primary = self.branches[0].backend
        left = RESTART_TIME - primary.absent_for if primary.link is None else 0.0
        return max(0.0, min(left, super().patience()))

    def _on_timeout(self) -> None:
        """Alternative runtimes are given up; the primary is, too, unless it shows that it is only slow.

        It is asked for that once: gRPC's servers hang up on who sends PINGs often and gets nothing else from them.
        """
        super()._on_timeout()
        primary = self.branches[0]
        if not (self._over or primary.done) and primary.link is not None:
            primary.link.ask_for_life(self._on_silence)

    def _on_silence(self) -> None:
        primary = self.branches[0]
        if not primary.done:
            primary.cancel()
            self.on_end(primary, primary.backend.error(), None)

    def on_message(self, branch: Branch, body: bytes) -> None:
        """Kept until all are there."""
        if branch.bodies:
            raise several_messages()
        self._said[branch] = Said(read(body))
        branch.bodies.append(body)

    def on_end(self, branch: Branch, error: Optional[RpcError], trailers: Optional[Block]) -> None:
        """Answers when the last one is there."""
        if self._over:
            return
        if error is None and not branch.bodies:
            error, trailers = no_message(), None
        if error is None:
            branch.backend.well(self._name)
            if branch.primary:
                self.trailers = trailers
        elif branch.primary and trailers is None and self._ask_again(branch):
            return
        elif not self._excuse(branch, error, trailers):
            self.fail_as(branch, error, trailers)
            return
        if all(other.done for other in self.branches):
            self._answer()

    def _ask_again(self, branch: Branch) -> bool:
        """Asks a primary runtime that has gone with the call when it is back, if that may be soon."""
        if self._again or self.patience() <= 0.0:
            return False
        self._again = True
        self.branches[0] = fresh = Branch(self, branch.backend)
        fresh.start()
        return True

    def _excuse(self, branch: Branch, error: RpcError, trailers: Optional[Block]) -> bool:
        """Puts down why a runtime has not answered; says whether there is an answer without it."""
        reason = FAILED if trailers is not None else _REASONS.get(error.code, FAILED)
        if reason == NOT_AVAILABLE:  # The backend has logged that.
            self._said[branch] = Said(None, reason, str(error))
            return True
        if branch.primary:
            return False
        text = f"{error.code.name}: {error}"
        self._said[branch] = Said(None, reason, text)
        branch.backend.complain(self._name, f"{self._name}: {branch.backend} counts as not ready: {text}")
        return True

    def _answer(self) -> None:
        primary, *others = self.branches
        if self.trailers is not None and not (others or self._verbose):
            body = primary.bodies[0]
        else:
            own_info = self._own_info() if self._verbose else ""
            body = merge(self._runtimes, self._said[primary], [self._said[branch] for branch in others], own_info)
        size, limit = len(body), self.proxy.config.max_message_size
        if size > limit:
            self.fail(too_large(size, limit))
            return
        headers = None if self.trailers is None else primary.headers
        self.send_headers(RESPONSE_HEADERS if headers is None else headers.wire)
        self.send_data(prefix(size))
        self.send_data(body)
        self.log_answer(body)
        self.finish(OK_TRAILERS if self.trailers is None else self.trailers.wire)

    def _own_info(self) -> str:
        """What the proxy says of itself, without this call."""
        return json.dumps(
            {
                "version": __version__,
                "callsInFlight": self.proxy.under_way - 1,
                "runtimes": [_about(branch.backend) for branch in self.branches],
            }
        )


def _about(backend: Backend) -> Dict[str, object]:
    link = backend.link
    return {
        "id": backend.names.runtime,
        "socket": backend.path,
        "available": backend.available is not None,
        "state": backend.state,
        "connectedSince": None if link is None else _rfc3339(link.since),
        "apiVersions": [] if link is None else [version.spoken for version in Version if version in link.versions],
        "callsInFlight": backend.under_way,
    }


def _rfc3339(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
