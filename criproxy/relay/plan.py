"""What is to be done with a call: whom it is for and what is renamed on the way there and back.

`plan_of` reads the head of a request once for all calls that begin with the same bytes. `Router` applies a method's
row to a request's message; the functions that rename are compiled when a method is first called for a runtime.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

from google.protobuf.message import DecodeError

from criproxy.cri.identity import TARGET_RUNTIME, Names, Runtimes, is_digest
from criproxy.cri.incremental import Incremental
from criproxy.cri.methods import METHODS, Kind, Method, To
from criproxy.cri.rewrite import VIEWS, Change, Walk, walk
from criproxy.cri.versions import Version, conversion, path_of, split_path
from criproxy.http2.headers import Head, encode
from criproxy.relay.grpc import CONTENT_TYPE, Code, RpcError

Transform = Callable[[bytes], bytes]
"""Makes one message of another (serialized, both)."""


class Plan:
    """What the head of a request says."""

    __slots__ = ("_wires", "head", "method", "path", "refusal", "service", "version")

    def __init__(self, head: Head) -> None:
        self.head = head
        self.path = (head.get(b":path") or b"").decode("latin-1")
        self.method: Optional[Method] = None
        """The method's row; None for a method that nobody knows."""
        self.version: Optional[Version] = None
        """The CRI's version that the caller speaks; None for a service that is not of the CRI."""
        self.service = ""
        self.refusal = _refusal(head)
        self._wires: Dict[Version, bytes] = {}
        found = split_path(self.path)
        if found is not None:
            self.version, self.service, name = found
            row = METHODS.get(name)
            if row is not None and row.rpc.service == self.service:
                self.method = row

    def wire(self, version: Optional[Version]) -> bytes:
        """The head's bytes for a runtime that is called in this version."""
        if version is None or self.version is None or version is self.version:
            return self.head.wire
        wire = self._wires.get(version)
        if wire is None:
            path = path_of(version, self.service, self.path.rpartition("/")[2]).encode("latin-1")
            fields = ((name, path if name == b":path" else value) for name, value in self.head.fields)
            wire = self._wires[version] = encode(fields)
        return wire


def _refusal(head: Head) -> Optional[RpcError]:
    """Why this is no request of gRPC's, or None."""
    if head.get(b":method") != b"POST" or not head.get(b":path"):
        return RpcError(Code.UNIMPLEMENTED, "criproxy: a gRPC call is a POST with a path")
    content_type = head.get(b"content-type") or b""
    if not content_type.startswith(CONTENT_TYPE):
        return RpcError(Code.INVALID_ARGUMENT, f"criproxy: content-type {content_type.decode('latin-1')!r}")
    return None


def plan_of(head: Head) -> Plan:
    """The plan for calls with this head; made once and kept with it."""
    plan = head.memo
    if not isinstance(plan, Plan):
        plan = head.memo = Plan(head)
    return plan


class Route(NamedTuple):
    """Where one call goes, with the message that each runtime there gets."""

    targets: Sequence[Names]
    """Nobody: the answer is the empty one."""
    body: bytes


class _Reading:
    """A method's row, made ready to read requests by."""

    __slots__ = ("by", "filters", "narrow", "requires", "takers", "view")

    def __init__(self, row: Method) -> None:
        self.view: Any = VIEWS[row.rpc.request]
        self.by: Callable[[Any], Any] = attrgetter(row.by) if row.by else bool
        self.requires: Optional[Callable[[Any], Any]] = attrgetter(row.requires) if row.requires else None
        self.filters = [(attrgetter(field.path), field.kind) for field in row.narrowed_by]
        self.narrow = row.to is To.OWNER and [field.path for field in row.takes] == [row.by]
        """Whether the request names nothing but what says whom it is for."""
        self.takers: Dict[Names, Walk] = {}


class Router:
    """Applies the methods' rows for a set of runtimes. ``stream_url`` gives the URL to put before a bare path."""

    def __init__(self, runtimes: Runtimes, stream_url: Callable[[], str]) -> None:
        self.runtimes = runtimes
        self._all: Tuple[Names, ...] = (runtimes.primary, *runtimes.alternatives)
        self._stream_url = stream_url
        self._readings = {row.name: _Reading(row) for row in METHODS.values()}
        self._givers: Dict[Tuple[str, str, Version, Version], Optional[Transform]] = {}

    def route(self, row: Method, body: bytes) -> Route:
        """Where a call goes. Raises RpcError if the request is not one that can go anywhere."""
        if row.to is To.PRIMARY:
            return Route(self._all[:1], body)
        if row.to in (To.CONNECTED, To.EVENTS, To.STATUS):
            return Route(self._all, body)
        reading = self._readings[row.name]
        try:
            request = reading.view.FromString(body)
        except DecodeError as error:
            raise RpcError(Code.INVALID_ARGUMENT, f"criproxy: {row.rpc.request}: {error}") from error
        if row.to is To.EVERYONE:
            return self._route_list(row, reading, request, body)
        names = self._target(row, reading.by(request))
        if reading.requires is not None and not reading.requires(request):
            raise RpcError(Code.INVALID_ARGUMENT, "criproxy: no image specified")
        return Route((names,), self._renamed(row, reading, names, request, body))

    def _route_list(self, row: Method, reading: _Reading, request: Any, body: bytes) -> Route:
        owners: Set[Names] = set()
        for get, kind in reading.filters:
            value = get(request)
            if value:
                owners.add(self.runtimes.of_id(value) if kind is Kind.ID else self.runtimes.of_image(value))
        if not owners:
            return Route(self._all, body)
        if len(owners) > 1:
            return Route((), body)
        names = owners.pop()
        return Route((names,), self._renamed(row, reading, names, request, body))

    def _target(self, row: Method, value: Any) -> Names:
        if row.to is To.OWNER:
            return self.runtimes.of_id(value)
        if row.to is To.IMAGE:
            return self.runtimes.of_image(value)
        for entry in value:
            if entry.key == TARGET_RUNTIME:
                try:
                    return self.runtimes.of_target(entry.value)
                except KeyError:
                    raise RpcError(
                        Code.INVALID_ARGUMENT, f'criproxy: unknown runtime: "{_text(entry.value)}"'
                    ) from None
        return self.runtimes.primary

    def _renamed(self, row: Method, reading: _Reading, names: Names, request: Any, body: bytes) -> bytes:
        """The request as the runtime is to see it; the primary's things have no other names."""
        if reading.narrow and not names.runtime:
            return body
        taker = reading.takers.get(names)
        if taker is None:
            taker = reading.takers[names] = walk(row.rpc.request, row.takes, self._inner(names))
        taker(request)
        if not names.runtime:
            return body
        renamed: bytes = request.SerializeToString()
        return renamed

    def _inner(self, names: Names) -> Dict[Kind, Change]:
        """How a request's fields are renamed for this runtime. What is another runtime's cannot go there."""

        def inner_id(value: bytes) -> bytes:
            owner = self.runtimes.of_id(value)
            if owner is not names and owner is not self.runtimes.primary:
                raise RpcError(Code.INVALID_ARGUMENT, f'criproxy: id "{_text(value)}" is for a wrong runtime')
            return names.inner_id(value)

        def inner_own_image(value: bytes) -> bytes:
            if not is_digest(value) and self.runtimes.of_image(value) is not names:
                raise RpcError(Code.INVALID_ARGUMENT, f'criproxy: image "{_text(value)}" is for a wrong runtime')
            return names.inner_image(value)

        return {Kind.ID: inner_id, Kind.IMAGE: names.inner_image, Kind.OWN_IMAGE: inner_own_image}

    def request_conversion(self, row: Method, asked: Version, spoken: Version) -> Optional[Transform]:
        """What makes a request in the caller's version into one in the runtime's; None if nothing has to."""
        return conversion(row.rpc.request, asked, spoken)

    def answer(self, row: Method, names: Names, asked: Version, spoken: Version) -> Optional[Transform]:
        """What makes a runtime's answer into kubelet's; None if it goes through as it is."""
        key = (row.name, names.runtime, asked, spoken)
        if key not in self._givers:
            self._givers[key] = self._make_answer(row, names, asked, spoken)
        return self._givers[key]

    def _make_answer(self, row: Method, names: Names, asked: Version, spoken: Version) -> Optional[Transform]:
        changes: Dict[Kind, Change] = {Kind.URL: self._absolute}
        if names.runtime:
            changes[Kind.ID] = names.outer_id
            changes[Kind.IMAGE] = names.outer_image
            changes[Kind.REPO_DIGEST] = names.outer_repo_digest
        changes[Kind.API_VERSION] = lambda _: asked.spoken.encode()
        steps: List[Transform] = []
        convert = conversion(row.rpc.response, spoken, asked)
        if convert is not None:
            steps.append(convert)
        if any(field.kind in changes for field in row.gives):
            walker = _walker(row.rpc.response, walk(row.rpc.response, row.gives, changes))
            steps.append(Incremental(walker) if row.to is To.EVERYONE else walker)
        if not steps:
            return None
        return steps[0] if len(steps) == 1 else lambda body: steps[1](steps[0](body))

    def _absolute(self, url: bytes) -> bytes:
        """A streaming URL that is a path alone lacks the runtime's address; ``//host/path`` has one."""
        if url.startswith(b"/") and not url.startswith(b"//"):
            return self._stream_url().encode() + url
        return url


def _walker(message: str, change: Walk) -> Transform:
    view = VIEWS[message]

    def apply(body: bytes) -> bytes:
        parsed = view.FromString(body)
        change(parsed)
        serialized: bytes = parsed.SerializeToString()
        return serialized

    return apply


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
