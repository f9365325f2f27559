"""Whether a contestant's answers are right. Whoever answers wrongly is not measured."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Sequence

import grpc

from criproxy.cri.messages import api
from criproxy.http2.grpc import PREFIX_SIZE
from tests.bench.figures import BenchError
from tests.bench.processes import PATIENCE
from tests.bench.programs import Contestant, outer_id, outer_image
from tests.bench.runtime import CONTAINERS, SERVICE, containers, status

_OPTIONS = (("grpc.max_receive_message_length", -1),)


@dataclass(frozen=True)
class Sizes:
    """How long a contestant's right answers are as data on the wire, bytes."""

    status: int
    containers: int


def check(contestant: Contestant) -> Sizes:
    """Compares a contestant's answers, got by grpcio, with what the runtimes say. Raises BenchError.

    What measures afterwards looks at sizes alone, and a size tells a right answer from an error, which h2load does
    not: to HTTP/2 an error of gRPC's is a success without data.
    """
    with grpc.insecure_channel(f"unix:{contestant.path}", options=_OPTIONS) as channel:
        found = _call(channel, contestant, "ContainerStatus", contestant.request)
        if _parsed("ContainerStatus", found) != _status(contestant.runtime):
            raise BenchError(f"{contestant.name}: ContainerStatus: not what the runtime says")
        listed = _call(channel, contestant, "ListContainers", b"")
        if _parsed("ListContainers", listed) != _lists(contestant):
            raise BenchError(f"{contestant.name}: ListContainers: not what the runtimes say")
    return Sizes(PREFIX_SIZE + len(found), PREFIX_SIZE + len(listed))


def list_size(contestant: Contestant, wanted: int, changes: bool) -> int:
    """The size on the wire of a list that must have so many containers, and be another each time or not.

    Raises BenchError.
    """
    with grpc.insecure_channel(f"unix:{contestant.path}", options=_OPTIONS) as channel:
        first, second = (_call(channel, contestant, "ListContainers", b"") for _ in range(2))
    found = len(_parsed("ListContainers", second).containers)
    if found != wanted:
        raise BenchError(f"{contestant.name}: ListContainers: {found} containers instead of {wanted}")
    if (first != second) is not changes:
        raise BenchError(f"{contestant.name}: ListContainers: {'no change' if changes else 'a change'}")
    return PREFIX_SIZE + len(second)


def wait_for(path: str, runtimes: Sequence[str]) -> None:
    """Waits until a proxy has found these runtimes. Raises BenchError.

    It serves before that, and lists without what it has not found.
    """
    deadline = time.monotonic() + PATIENCE
    with grpc.insecure_channel(f"unix:{path}") as channel:
        for runtime in runtimes:
            request = Contestant(path, path, runtime=runtime).request
            while not _is_there(channel, request, deadline):
                time.sleep(0.001)


def _is_there(channel: grpc.Channel, request: bytes, deadline: float) -> bool:
    try:
        _ask(channel, "ContainerStatus", request)
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.UNAVAILABLE or time.monotonic() > deadline:
            raise BenchError(str(error)) from error
        return False
    return True


def _call(channel: grpc.Channel, contestant: Contestant, method: str, request: bytes) -> bytes:
    try:
        return _ask(channel, method, request)
    except grpc.RpcError as error:
        raise BenchError(f"{contestant.name}: {method}: {error}") from error


def _ask(channel: Any, method: str, request: bytes) -> bytes:
    answer: bytes = channel.unary_unary(SERVICE + method)(request, timeout=PATIENCE, wait_for_ready=True)
    return answer


def _parsed(method: str, body: bytes) -> Any:
    answer: Any = api()[f"{method}Response"]
    return answer.FromString(body)


def _status(runtime: str) -> Any:
    answer = status()
    answer.status.id = outer_id(runtime, answer.status.id)
    for part, name in ((answer.status.image, "image"), (answer.status, "image_id")):
        setattr(part, name, outer_image(runtime, getattr(part, name)))
    return answer


def _lists(contestant: Contestant) -> Any:
    answer: Any = api()["ListContainersResponse"]()
    for runtime in contestant.merged:
        part = _parsed("ListContainers", containers(CONTAINERS))
        for found in part.containers:
            found.id = outer_id(runtime, found.id)
            found.pod_sandbox_id = outer_id(runtime, found.pod_sandbox_id)
            found.image.image = outer_image(runtime, found.image.image)
        answer.MergeFrom(part)
    return answer
