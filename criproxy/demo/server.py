"""Serves a demo runtime on a unix socket, by gRPC's own library: ``criproxy demo-runtime``."""

from __future__ import annotations

import argparse
import contextlib
import os
import queue
import signal
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Collection, Dict, Iterator, List, Optional, Sequence, Tuple

import grpc

from criproxy.cri.methods import METHODS, Verbosity
from criproxy.cri.schema import Rpc, load
from criproxy.demo.messages import MESSAGES, CriError, Msg
from criproxy.demo.pods import run_pod
from criproxy.demo.runtime import DemoRuntime
from criproxy.demo.state import StateFile

VERSIONS = ("v1", "v1alpha2")
AFTER_V1ALPHA2 = frozenset(
    {
        "CheckpointContainer",
        "CheckpointPod",
        "GetContainerEvents",
        "ListMetricDescriptors",
        "ListPodSandboxMetrics",
        "RestorePod",
        "RuntimeConfig",
        "StreamContainerStats",
        "StreamContainers",
        "StreamImages",
        "StreamPodSandboxMetrics",
        "StreamPodSandboxStats",
        "StreamPodSandboxes",
        "UpdatePodSandboxResources",
    }
)
"""The methods that v1 alone has. A runtime of v1alpha2 must not know them: callers fall back when it says so."""

_MESSAGE_SIZE = 64 << 20
"""The largest message in either direction, bytes: the default of ``--max-message-size``."""
_WORKERS = 256
"""Threads at most, made as they are needed. A subscriber to events occupies one."""
_STOP_TIME = 1.0
"""How long calls may take to end when the server stops, seconds."""

Behavior = Callable[[Msg, Any], Any]


class Servicer:
    """A runtime as gRPC's server wants it: its methods' handlers, one call at a time.

    ``without``: the methods that it lacks; ``file``: where what the runtime has is to be kept, there before a call that
    changes it is answered.
    """

    def __init__(self, runtime: DemoRuntime, without: Collection[str] = (), file: Optional[StateFile] = None) -> None:
        self._runtime = runtime
        self._without = without
        self._file = file
        self._lock = threading.Lock()

    def handlers(self, version: str) -> List[Any]:
        """The handlers of this version of the CRI. gRPC answers for methods that have none."""
        services: Dict[str, Dict[str, Any]] = {}
        for rpc in load().methods.values():
            if rpc.name in self._without or (version == "v1alpha2" and rpc.name in AFTER_V1ALPHA2):
                continue
            handler = self._handler(rpc, version)
            if handler is not None:
                services.setdefault(f"runtime.{version}.{rpc.service}", {})[rpc.name] = handler
        return [grpc.method_handlers_generic_handler(name, methods) for name, methods in services.items()]

    def _handler(self, rpc: Rpc, version: str) -> Any:
        if rpc.name == "GetContainerEvents":
            answer: Behavior = self._events
        elif rpc.name == "Version":
            answer = self._version(version)
        elif hasattr(self._runtime, rpc.name):
            answer = self._answer(getattr(self._runtime, rpc.name), METHODS[rpc.name].verbosity == Verbosity.CHANGES)
        else:
            return None
        make = grpc.unary_stream_rpc_method_handler if rpc.server_streaming else grpc.unary_unary_rpc_method_handler
        return make(
            answer,
            request_deserializer=MESSAGES[rpc.request].FromString,
            response_serializer=MESSAGES[rpc.response].SerializeToString,
        )

    def _answer(self, method: Callable[[Msg], Any], changes: bool) -> Behavior:
        """Answers with what the runtime's method gives: a message, or a list of them for a stream."""

        def answer(request: Msg, context: Any) -> Any:
            try:
                with self._lock:
                    given = method(request)
                    if changes and self._file is not None:
                        self._file.save(self._runtime.store)
            except CriError as error:
                context.abort(grpc.StatusCode[error.code], str(error))
            return iter(given) if isinstance(given, list) else given

        return answer

    def _version(self, version: str) -> Behavior:
        def answer(request: Msg, context: Any) -> Any:
            given = self._runtime.Version(request)
            given.runtime_api_version = version
            return given

        return answer

    def _events(self, request: Msg, context: Any) -> Iterator[Msg]:
        """The events from now on, until the caller has gone or the server stops."""
        events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        sink = events.put
        with self._lock:
            self._runtime.subscribe(sink)
        try:
            if context.add_callback(lambda: sink(None)):
                # Without an event there would be no headers, and no way to know that none gets lost from here on.
                context.send_initial_metadata(())
                yield from iter(events.get, None)
        finally:
            with self._lock:
                self._runtime.unsubscribe(sink)


def main(argv: Sequence[str]) -> int:
    """``criproxy demo-runtime``: serves until SIGTERM or SIGINT; gives the exit status."""
    options = _parser().parse_args(argv)
    # Before there are threads, so that they leave the signals to sigwait.
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    runtime = DemoRuntime(options.name, options.stream_url, handlers=options.handler)
    file = StateFile(options.state) if options.state else None
    try:
        if file is not None:
            file.load(runtime.store)
    except (OSError, ValueError) as error:
        print(f"criproxy demo-runtime: {options.state}: {error}", file=sys.stderr)
        return 1
    for namespace, name, images in options.seed:
        run_pod(lambda method, **fields: _call(runtime, method, fields), namespace, name, images)
    try:
        server = serve(runtime, options.listen, options.version or VERSIONS, options.without, file)
    except OSError as error:
        print(f"criproxy demo-runtime: cannot listen on {options.listen}: {error}", file=sys.stderr)
        return 1
    print(f"criproxy demo-runtime: {options.name} serves {options.listen}", file=sys.stderr, flush=True)
    signal.sigwait(signals)
    server.stop(_STOP_TIME).wait()
    with contextlib.suppress(FileNotFoundError):
        os.unlink(options.listen)
    return 0


def serve(
    runtime: DemoRuntime,
    path: str,
    versions: Sequence[str],
    without: Collection[str] = (),
    file: Optional[StateFile] = None,
) -> Any:
    """A server of the runtime on a unix socket, started; see `Servicer` for what is ``without`` and the ``file``.

    Raises OSError if the socket is not to be had.
    """
    if is_served(path):
        raise OSError("another process serves it")
    size = [("grpc.max_receive_message_length", _MESSAGE_SIZE), ("grpc.max_send_message_length", _MESSAGE_SIZE)]
    service = Servicer(runtime, without, file)
    handlers = [handler for version in versions for handler in service.handlers(version)]
    server = grpc.server(ThreadPoolExecutor(_WORKERS), handlers=handlers, options=size)
    try:
        bound = server.add_insecure_port(f"unix:{path}")
    except RuntimeError:  # Older releases return 0 instead.
        bound = 0
    if not bound:
        raise OSError("the directory is missing or not writable, or the path is too long")
    server.start()
    return server


def is_served(path: str) -> bool:
    """Whether somebody accepts connections on a unix socket."""
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
        try:
            return probe.connect_ex(path) == 0
        except OSError:  # The path is too long.
            return False


def _call(runtime: DemoRuntime, method: str, fields: Dict[str, Any]) -> Msg:
    return getattr(runtime, method)(MESSAGES[load().methods[method].request](**fields))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="criproxy demo-runtime", description="Serve a container runtime in memory, to try things out."
    )
    parser.add_argument("--listen", required=True, metavar="PATH", help="the unix socket to serve")
    parser.add_argument("--name", default="demo", help="what the runtime calls itself (default: %(default)s)")
    parser.add_argument(
        "--version", action="append", choices=VERSIONS, help="a version of the CRI to serve, repeatable (default: all)"
    )
    parser.add_argument(
        "--without",
        action="extend",
        default=[],
        type=_methods,
        metavar="METHOD[,METHOD...]",
        help="methods of the CRI that the runtime does not have, repeatable; RuntimeService and ImageService stand for"
        " all of theirs",
    )
    parser.add_argument(
        "--stream-url", default="", metavar="PREFIX", help="what streaming URLs begin with (default: they are paths)"
    )
    parser.add_argument(
        "--handler",
        action="append",
        default=[],
        metavar="NAME",
        help="a runtime handler that pods can ask for, repeatable (default: none but the one without a name)",
    )
    parser.add_argument(
        "--state", default="", metavar="FILE", help="where to keep what there is, for the next start (default: nowhere)"
    )
    parser.add_argument(
        "--seed",
        action="append",
        default=[],
        type=_seed,
        metavar="NAMESPACE/POD=IMAGE[,IMAGE...]",
        help="begin with this pod, repeatable",
    )
    return parser


def _methods(text: str) -> List[str]:
    names: List[str] = []
    for given in text.split(","):
        found = [rpc.name for rpc in load().methods.values() if given in (rpc.name, rpc.service)]
        if not found:
            raise argparse.ArgumentTypeError(f"the CRI has no method {given!r}")
        names += found
    return names


def _seed(text: str) -> Tuple[str, str, List[str]]:
    pod, _, images = text.partition("=")
    namespace, _, name = pod.partition("/")
    if not (namespace and name):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAMESPACE/POD=IMAGE[,IMAGE...]")
    return namespace, name, [image for image in images.split(",") if image]
