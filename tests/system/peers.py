"""Real processes and sockets: the proxy as its users start it, and runtimes served by grpcio on the other side."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple, Union

import grpc
import pytest
from cri_api.v1 import api_pb2
from cri_api.v1alpha2 import api_pb2 as v1alpha2

from criproxy.cri import messages, schema

PATIENCE = 20.0
"""How long a test waits for what must happen, seconds. The machines are slow and shared."""
MODULE = ("-m", "criproxy")
NO_LIMIT = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_metadata_size", 65536),
)

v1: Any = api_pb2 if hasattr(api_pb2, "MetricDescriptor") else SimpleNamespace(**messages.api("runtime.v1"))
"""The messages of v1 as others have them (cri_api). Its last release for Python 3.9 lacks some: there, as we do."""

Answer = Union[Any, Callable[[Any, grpc.ServicerContext], Any]]


def message_class(package: str, name: str) -> Any:
    """A message as others have it (cri_api); what they lack, as we do."""
    theirs = {"runtime.v1": v1}.get(package, v1alpha2)
    found = getattr(theirs, name, None)
    return found if found is not None else messages.api(package)[name]


@dataclass
class Call:
    """A call as it arrived at a runtime."""

    package: str
    method: str
    request: Any
    metadata: Dict[str, Any]
    time_remaining: Optional[float]
    raw: bytes

    @property
    def own(self) -> bool:
        """Whether the proxy has made it by itself: kubelet's client says what it is."""
        return self.method != "Version" and "user-agent" not in self.metadata


@dataclass
class Runtime:
    """A CRI runtime whose answers a test decides. Without a decision an answer is empty.

    Calls that the proxy has made by itself are answered like others, and kept apart.
    """

    path: str
    name: str
    packages: Sequence[str] = ("runtime.v1", "runtime.v1alpha2")
    services: Sequence[str] = ("RuntimeService", "ImageService")
    answers: Dict[str, Answer] = field(default_factory=dict)
    calls: List[Call] = field(default_factory=list)
    own_calls: List[Call] = field(default_factory=list)
    compression: Any = None
    options: Sequence[Tuple[str, int]] = ()
    """gRPC's, of its server."""
    _server: Any = None
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def start(self) -> Runtime:
        """Serves its socket."""
        options = (*NO_LIMIT, *self.options)
        self._server = grpc.server(futures.ThreadPoolExecutor(64), options=options, compression=self.compression)
        self._server.add_generic_rpc_handlers((_Handlers(self),))
        assert self._server.add_insecure_port(f"unix:{self.path}")
        self._server.start()
        return self

    def stop(self) -> None:
        """Goes away at once, calls under way and all."""
        if self._server is not None:
            self._server.stop(0).wait(PATIENCE)
            self._server = None
        if os.path.exists(self.path):
            os.unlink(self.path)

    def forget(self) -> None:
        """Answers as at first, and has not been called."""
        with self._changed:
            self.answers.clear()
            self.calls.clear()
            self.own_calls.clear()

    def called(self, method: str, own: bool = False) -> List[Call]:
        """The calls of one method that have arrived, kubelet's or the proxy's own."""
        with self._changed:
            return [call for call in (self.own_calls if own else self.calls) if call.method == method]

    def wait_for(self, method: str, count: int = 1, own: bool = False) -> List[Call]:
        """Waits for calls of a method to arrive."""
        with self._changed:
            there = self._changed.wait_for(lambda: len(self.called(method, own)) >= count, PATIENCE)
        assert there, f"{method} has not reached {self.name}"
        return self.called(method, own)

    def note(self, call: Call) -> None:
        """A call has arrived."""
        with self._changed:
            (self.own_calls if call.own else self.calls).append(call)
            self._changed.notify_all()

    def answer(self, call: Call, context: grpc.ServicerContext) -> Any:
        """The answer to a call: a message, or an iterator of them."""
        decided = self.answers.get(call.method)
        if decided is None and call.method == "Version":
            decided = message_class(call.package, "VersionResponse")(
                version="0.1.0", runtime_name=self.name, runtime_version="1", runtime_api_version=call.package
            )
        if callable(decided):
            decided = decided(call.request, context)
        return decided


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[type-arg] # takes none at run time
    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def service(self, details: Any) -> Any:
        package, _, rest = details.method[1:].rpartition(".")
        service, _, method = rest.partition("/")
        if package not in self._runtime.packages or service not in self._runtime.services:
            return None
        rpc = schema.load().methods.get(method)
        metadata = {item.key: item.value for item in details.invocation_metadata}

        def take(raw: bytes, context: grpc.ServicerContext) -> Any:
            request = message_class(package, rpc.request).FromString(raw) if rpc else raw
            call = Call(package, method, request, metadata, context.time_remaining(), raw)
            self._runtime.note(call)
            return self._runtime.answer(call, context)

        def unary(raw: bytes, context: grpc.ServicerContext) -> bytes:
            answer = take(raw, context)
            if answer is None and rpc:
                answer = message_class(package, rpc.response)()
            return _bytes(answer)

        def stream(raw: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
            for answer in take(raw, context) or ():
                yield _bytes(answer)

        def talk(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            self._runtime.note(Call(package, method, None, metadata, context.time_remaining(), b""))
            answered: Iterator[bytes] = self._runtime.answers[method](requests, context)
            return answered

        if rpc is None and method.startswith("Talk"):
            return grpc.stream_stream_rpc_method_handler(talk)
        if rpc is not None and rpc.server_streaming:
            return grpc.unary_stream_rpc_method_handler(stream)
        if rpc is None and method not in self._runtime.answers:
            return None
        return grpc.unary_unary_rpc_method_handler(unary)


def _bytes(answer: Any) -> bytes:
    return answer if isinstance(answer, bytes) else answer.SerializeToString()


class Client:
    """kubelet, as far as the proxy can tell. ``call`` gives the answer, ``fail`` the error that must come instead."""

    def __init__(self, path: str, package: str = "runtime.v1", **options: Any) -> None:
        self.package = package
        # A subchannel of its own for each: grpc would share one connection among channels of the same options. Of an
        # option that is given twice grpc takes the first.
        options_list = [*{**dict(NO_LIMIT), "grpc.use_local_subchannel_pool": 1, **options}.items()]
        self.channel: Any = grpc.insecure_channel(f"unix:{path}", options=options_list)

    def stub(self, method: str, package: Optional[str] = None) -> Any:
        """The callable of a method; its answers are messages, its requests messages or bytes."""
        package = package or self.package
        rpc = schema.load().methods[method]
        kind = self.channel.unary_stream if rpc.server_streaming else self.channel.unary_unary
        path = f"/{package}.{rpc.service}/{method}"
        return kind(path, _bytes, message_class(package, rpc.response).FromString)

    def request(self, method: str, **fields: Any) -> Any:
        """A request's message."""
        return message_class(self.package, schema.load().methods[method].request)(**fields)

    def call(self, method: str, timeout: Any = PATIENCE, **fields: Any) -> Any:
        """Calls a method; of one that streams, gives all messages. ``timeout`` is the deadline, seconds."""
        answer = self.stub(method)(self.request(method, **fields), timeout=timeout)
        return list(answer) if schema.load().methods[method].server_streaming else answer

    def fail(self, method: str, timeout: Any = PATIENCE, **fields: Any) -> Tuple[grpc.StatusCode, str]:
        """Calls a method that must fail; gives the status."""
        with pytest.raises(grpc.RpcError) as caught:
            self.call(method, timeout, **fields)
        return caught.value.code(), str(caught.value.details())

    def close(self) -> None:
        """Hangs up."""
        self.channel.close()


class Proxy:
    """The proxy's process. What it writes is collected in ``lines``.

    ``launcher`` is what runs the program with the arguments that follow, ``how`` goes to Popen. With an empty
    ``connect`` it is configured elsewhere, to listen at the path that is given.
    """

    def __init__(self, connect: str, listen: str, *options: str, launcher: Sequence[str] = MODULE, **how: Any) -> None:
        words = ("-connect", connect, "-listen", listen) if connect else ()
        command = [sys.executable, *launcher, *words, *options]
        self.path = listen
        self.control = f"{listen}.control"
        how["env"] = {"CRIPROXY_CONTROL": self.control, **how.get("env", os.environ)}
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace", **how)
        self.lines: List[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def wait_for_log(self, text: str, count: int = 1) -> str:
        """Waits for a line with this text in it, and gives it."""

        def found() -> List[str]:
            return [line for line in self.lines if text in line]

        with self._changed:
            there = self._changed.wait_for(lambda: len(found()) >= count, PATIENCE)
        assert there, f"not in the log: {text!r}\n" + "\n".join(self.lines)
        return found()[count - 1]

    def logged(self, text: str) -> List[str]:
        """The lines with this text that there are by now."""
        with self._changed:
            return [line for line in self.lines if text in line]

    def forget(self) -> None:
        """Has logged nothing."""
        with self._changed:
            self.lines.clear()

    def signal(self, number: int) -> None:
        """Sends a signal."""
        self.process.send_signal(number)

    def wait(self) -> int:
        """Waits for the process to end; gives its exit status. All it wrote is in ``lines`` then."""
        status = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return status

    def stop(self) -> int:
        """Ends the process as systemd would."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        try:
            return self.wait()
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            if self.process.stderr is not None:
                self.process.stderr.close()

    def as_runtime(self) -> Runtime:
        """The proxy as a runtime of another one: a process that can be stopped and killed."""
        return Runtime(self.path, "inner")

    def memory(self) -> int:
        """Resident memory, bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) * 1024


MakeRuntime = Callable[..., Runtime]
StartProxy = Callable[..., Proxy]
Connect = Callable[..., Client]
StartService = Callable[..., Proxy]


def run(proxy: Proxy, *words: str) -> Any:
    """Runs a command that asks the daemon; gives what subprocess.run gives."""
    line = [sys.executable, *MODULE, *words, "--socket", proxy.control]
    return subprocess.run(line, capture_output=True, text=True, timeout=PATIENCE, check=False)
