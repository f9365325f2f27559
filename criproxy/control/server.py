"""Serves the control socket, in the daemon's loop and with the relay's own HTTP/2.

Whoever can open the socket is root, and may still be a script that has gone wild: there is a bound for the clients, for
the calls of each, for a request, and for what waits for a client that does not read.
"""

from __future__ import annotations

import socket
from typing import Callable, Dict, Mapping

from criproxy.control.call import MOST_UNREAD, Answer, Call, Method
from criproxy.http2.errors import ErrorCode
from criproxy.http2.grpc import Code, RpcError, is_grpc, quoted
from criproxy.http2.headers import Block
from criproxy.relay.clients import Clients
from criproxy.relay.downstream import DownstreamConnection
from criproxy.relay.listener import Listener
from criproxy.relay.loop import Loop
from criproxy.relay.peer import peer_of
from criproxy.report.log import Log
from criproxy.report.ratelimit import RateLimit

MOST_CLIENTS = 16
"""Clients at once. For one more, one that is idle is hung up on, or it has to wait."""
MOST_CALLS = 32
"""Calls of one client at once: more are refused."""


class ControlServer:
    """Answers calls on a listening socket.

    ``methods`` gives the methods by their paths. It is called once, when the first call comes.
    """

    def __init__(self, loop: Loop, log: Log, sock: socket.socket, methods: Callable[[], Mapping[str, Method]]) -> None:
        self._loop = loop
        self._log = log
        self._faults = RateLimit(loop)
        self._give = methods
        self._methods: Dict[bytes, Method] = {}
        self._clients = Clients(loop, log, lambda: MOST_CLIENTS, self._let_in, "clients of the control socket")
        self._listener = Listener(loop, log, sock, self._on_connection)
        self._listener.open()

    def close(self) -> None:
        """Hangs up on everybody, and takes no more connections."""
        self._listener.close()
        self._faults.finish()
        for client in list(self._clients.connected):
            client.transport.close("criproxy stops")

    def _let_in(self, more: bool) -> None:
        self._listener.pause(not more)

    def _on_connection(self, sock: socket.socket) -> None:
        peer = peer_of(sock)
        self._clients.come(
            DownstreamConnection(self._loop, self._log, sock, self._dispatch, _nothing, self._forget, peer)
        )

    def _forget(self, client: DownstreamConnection) -> None:
        if client.fault:
            self._complain(client, client.fault)
        self._clients.go(client)

    def _complain(self, client: DownstreamConnection, why: str) -> None:
        self._faults.say(self._log.warning, f"control: {client} is cut off: {why}")

    def _dispatch(self, client: DownstreamConnection, stream_id: int, block: Block, end: bool) -> None:
        """Makes a call of a request's head; ``end``: nothing else comes of the request."""
        if client.transport.closed:  # by what has come before this in the same piece
            return
        if client.transport.unread > MOST_UNREAD:
            why = "it asks, and does not read the answers"
            self._complain(client, why)
            client.transport.cut_off(why, ErrorCode.ENHANCE_YOUR_CALM)
            return
        try:
            call = Call(client, stream_id, block, self._method(client, block))
        except RpcError as error:
            refusal = Answer(client, stream_id)
            refusal.complete = end
            refusal.fail(error)
            return
        client.calls[stream_id] = call
        if end:
            call.on_request(b"", 0, True)

    def _method(self, client: DownstreamConnection, block: Block) -> Method:
        """The method that a request is for. Raises RpcError."""
        if len(client.calls) >= MOST_CALLS:
            raise RpcError(Code.RESOURCE_EXHAUSTED, f"criproxy: a client may have {MOST_CALLS} calls at once")
        content_type = block.get(b"content-type") or b""
        if block.get(b":method") != b"POST" or not is_grpc(content_type):
            raise RpcError(Code.INVALID_ARGUMENT, f"criproxy: no gRPC: content-type {quoted(content_type)}")
        path = block.get(b":path") or b""
        if not self._methods:
            self._methods = {known.encode("ascii"): method for known, method in self._give().items()}
        method = self._methods.get(path)
        if method is None:
            raise RpcError(Code.UNIMPLEMENTED, f"criproxy: the control socket has no method {quoted(path)}")
        return method


def _nothing(client: DownstreamConnection) -> None:
    """No call of a control client's has to be ended for the others' sake."""
