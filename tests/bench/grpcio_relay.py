"""The relay that one would write first: grpcio's server and channel, messages as bytes.

python -m tests.bench.grpcio_relay LISTEN CONNECT
"""

from __future__ import annotations

import sys
from concurrent import futures
from typing import Any

import grpc

_NO_LIMIT = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
_THREADS = 32
_STREAM = "/GetContainerEvents"


class _Relay(grpc.GenericRpcHandler):  # type: ignore[type-arg] # takes none at run time
    def __init__(self, channel: Any) -> None:
        self._channel = channel

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        if details.method.endswith(_STREAM):
            return grpc.unary_stream_rpc_method_handler(self._stream(self._channel.unary_stream(details.method)))
        call = self._channel.unary_unary(details.method)
        return grpc.unary_unary_rpc_method_handler(lambda request, context: call(request))

    def _stream(self, call: Any) -> Any:
        def relay(request: bytes, context: grpc.ServicerContext) -> Any:
            events = call(request)
            context.add_callback(events.cancel)
            return events

        return relay


def main() -> None:
    """Serves until it is killed."""
    listen, connect = sys.argv[1:]
    channel = grpc.insecure_channel(f"unix:{connect}", options=_NO_LIMIT)
    server = grpc.server(futures.ThreadPoolExecutor(_THREADS), options=_NO_LIMIT)
    server.add_generic_rpc_handlers((_Relay(channel),))
    server.add_insecure_port(f"unix:{listen}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
