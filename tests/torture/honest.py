"""The primary runtime: a server of grpcio's.

python -m tests.torture.honest SOCKET NAME
"""

from __future__ import annotations

import sys
from concurrent import futures
from typing import Any, Callable, Optional

import grpc

from tests.torture.answers import made

_PACKAGE = "/runtime.v1."
_THREADS = 16
_OPTIONS = (("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0))


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[type-arg] # takes none at run time
    def __init__(self, name: str) -> None:
        self._name = name

    def service(self, details: Any) -> Optional[Any]:
        method = details.method.rpartition("/")[2]
        if not details.method.startswith(_PACKAGE) or method == "GetContainerEvents":
            return None
        return grpc.unary_unary_rpc_method_handler(self._answering(method))

    def _answering(self, method: str) -> Callable[[bytes, grpc.ServicerContext], bytes]:
        return lambda body, context: made(self._name, method, body)


def main() -> None:
    """Serves until it is killed."""
    path, name = sys.argv[1:]
    server = grpc.server(futures.ThreadPoolExecutor(_THREADS), [_Handlers(name)], options=_OPTIONS)
    server.add_insecure_port(f"unix:{path}")
    server.start()
    print("ready", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
