"""What is to be done with a call: whom it is for and what is renamed on the way there and back.

`plan_of` reads the head of a request once for all calls that begin with the same bytes. `Router` applies a method's
row to a request's message; the functions that rename are compiled when a method is first called for a runtime.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

from google.protobuf.message import DecodeError

from criproxy.cri.identity import TARGET_RUNTIME, Names, Runtimes, is_digest
from criproxy.cri.incremental import Incremental
from criproxy.cri.merge import MergeOf, merge_of
from criproxy.cri.methods import METHODS, Kind, Mark, Merge, Method, To
from criproxy.cri.rewrite import VIEWS, Change, Walk, walk
from criproxy.cri.versions import Version, conversion, path_of, split_path
from criproxy.http2.headers import Head, block_of, encode
from criproxy.relay.grpc import CONTENT_TYPE, Code, RpcError
from criproxy.relay.pods import Pods

Transform = Callable[[bytes], bytes]
"""Makes one message of another (serialized, both)."""


class Plan:
    """What the head of a request says."""

    __slots__ = ("_twin", "_wires", "head", "method", "path", "refusal", "service", "version")

    def __init__(self, head: Head) -> None:
        self.head = head
        self.path = (head.get(b":path") or b"").decode("latin-1")
        self.method: Optional[Method] = None
        """The method's row; None for a method that nobody knows."""
        self.version: Optional[Version] = None
        """The CRI's version that the caller speaks; None for a service that is not of the CRI."""
        self.service = ""
        self.refusal = _refusal(head)
        self._twin: Optional[Plan] = None
        self._wires: Dict[Version, bytes] = {}
        found = split_path(self.path)
        if found is not None:
            self.version, self.service, name = found
            row = METHODS.get(name)
            if row is not None and row.rpc.service == self.service:
                self.method = row

    @property
    def streams(self) -> bool:
        """Whether the answer is a stream of messages, of which there may be none."""
        return self.method is not None and self.method.rpc.server_streaming

    @property
    def twin(self) -> Optional[Plan]:
        """The plan by which the same list is asked for in the other way (`Method.twin`); None if there is none."""
        if self._twin is None and self.method is not None and self.method.twin:
            path = f"{self.path.rpartition('/')[0]}/{self.method.twin}".encode("latin-1")
            fields = ((name, path if name == b":path" else value) for name, value in self.head.fields)
            self._twin = plan_of(block_of(fields).head)
            self._twin._twin = self
        return self._twin

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

    __slots__ = ("by", "filters", "marks", "narrow", "requires", "starts", "takers", "view")

    def __init__(self, row: Method) -> None:
        self.view: Any = VIEWS[row.rpc.request]
        self.by: Callable[[Any], Any] = attrgetter(row.by) if row.by else bool
        self.marks = [(attrgetter(path), mark) for path, mark in row.marks]
        self.requires: Optional[Callable[[Any], Any]] = attrgetter(row.requires) if row.requires else None
        self.starts: Optional[Callable[[Any], Any]] = attrgetter(row.starts) if row.starts else None
        self.filters = [(attrgetter(field.path), field.kind) for field in row.narrowed_by]
        self.narrow = row.to is To.OWNER and [field.path for field in row.takes] == [row.by]
        """Whether the request names nothing but what says whom it is for."""
        self.takers: Dict[Tuple[Names, bool], Walk] = {}


@dataclass(frozen=True)
class Rules:
    """Which of the ways that the Go program did not know are taken."""

    marks: bool = True
    """An image is of the runtime that a mark in the request names, and not by its own name alone."""
    digests: bool = True
    """A bare digest stands for the image on whichever runtime has it, and what several have is listed once."""
    status: bool = True
    """The status is that of all runtimes."""


class Router:
    """Applies the methods' rows for a set of runtimes.

    ``stream_url`` gives the URL to put before a bare path. ``pods`` says which runtime a pod was started on, and is
    told of those that are to be started.
    """

    def __init__(self, runtimes: Runtimes, stream_url: Callable[[], str], pods: Pods, rules: Rules) -> None:
        self.runtimes = runtimes
        self.rules = rules
        self._pods = pods
        self._all: Tuple[Names, ...] = (runtimes.primary, *runtimes.alternatives)
        self._stream_url = stream_url
        self._readings = {row.name: _Reading(row) for row in METHODS.values()}
        self._givers: Dict[Tuple[str, str, Version, Version], Optional[Transform]] = {}

    def route(self, row: Method, body: bytes) -> Route:
        """Where a call goes. Raises RpcError if the request is not one that can go anywhere."""
        if row.to is To.PRIMARY or (row.to is To.STATUS and not self.rules.status):
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
        names, marked = self._target(row, reading, request)
        if reading.requires is not None and not reading.requires(request):
            raise RpcError(Code.INVALID_ARGUMENT, "criproxy: no image specified")
        if reading.starts is not None:
            # Whether that works is not waited for: nobody asks for a pod that could not be started.
            self._pods.note(reading.starts(request), names.runtime)
        if row.digest is not To.PRIMARY and not names.runtime and self._is_anybodys(reading.by(request)):
            return Route(self._all, body)
        return Route((names,), self._renamed(row, reading, names, request, body, marked))

    def _route_list(self, row: Method, reading: _Reading, request: Any, body: bytes) -> Route:
        owners: Set[Names] = set()
        for get, kind in reading.filters:
            value = get(request)
            if kind is Kind.ID and value:
                owners.add(self.runtimes.of_id(value))
            elif value and not self._is_anybodys(value):
                owners.add(self.runtimes.of_image(value))
        if not owners:
            return Route(self._all, body)
        if len(owners) > 1:
            return Route((), body)
        names = owners.pop()
        return Route((names,), self._renamed(row, reading, names, request, body))

    def _target(self, row: Method, reading: _Reading, request: Any) -> Tuple[Names, bool]:
        """Whom a call is for, and whether its request bears a mark that says so."""
        if row.to is To.TARGET:
            return self._target_of_pod(reading, request)
        value = reading.by(request)
        names = self.runtimes.of_id(value) if row.to is To.OWNER else self.runtimes.of_image(value)
        if not (self.rules.marks and reading.marks):
            return names, False
        if row.to is To.IMAGE and names.runtime:
            return names, False
        marked = next(filter(None, (self._marked(mark, get(request)) for get, mark in reading.marks)), None)
        if row.to is To.IMAGE and marked is not None:
            return marked, True
        return names, marked is names

    def _is_anybodys(self, image: bytes) -> bool:
        """Whether an image's name does not say whose it is."""
        return self.rules.digests and is_digest(image)

    def merge(self, row: Method) -> Optional[MergeOf]:
        """How the answers of several runtimes are merged; None if the concatenation of them is it."""
        if row.merge is Merge.ONE_OF_AN_IMAGE and not self.rules.digests:
            return None
        return merge_of(row)

    def _target_of_pod(self, reading: _Reading, request: Any) -> Tuple[Names, bool]:
        chosen: Optional[Names] = None
        for get, mark in reading.marks:
            value = get(request)
            names = self._marked(mark, value)
            if names is None:
                if mark is Mark.ANNOTATIONS and _target_runtime(value):
                    raise _refused(f'unknown runtime: "{_text(_target_runtime(value))}"')
            elif chosen is not None and names is not chosen:
                raise _refused(
                    f'the annotation {_text(TARGET_RUNTIME)} asks for the runtime "{chosen.runtime}", and the runtime'
                    f' handler "{_text(value)}" for "{names.runtime}"'
                )
            else:
                chosen = names
        if chosen is None:
            return self.runtimes.primary, False
        return chosen, self.rules.marks

    def _marked(self, mark: Mark, value: Any) -> Optional[Names]:
        """The alternative runtime that a mark names, if it names one."""
        if mark is Mark.HANDLER:
            return self.runtimes.of_handler(value)
        target = self._pods.owner(value).encode() if mark is Mark.POD_UID else _target_runtime(value)
        try:
            return self.runtimes.of_target(target)
        except KeyError:
            return None

    def _renamed(
        self, row: Method, reading: _Reading, names: Names, request: Any, body: bytes, marked: bool = False
    ) -> bytes:
        """The request as the runtime is to see it; the primary's things have no other names."""
        if reading.narrow and not names.runtime:
            return body
        taker = reading.takers.get((names, marked))
        if taker is None:
            changes = self._inner(names, marked)
            taker = reading.takers[names, marked] = walk(row.rpc.request, row.takes, changes)
        taker(request)
        if not names.runtime:
            return body
        renamed: bytes = request.SerializeToString()
        return renamed

    def _inner(self, names: Names, marked: bool) -> Dict[Kind, Change]:
        """How a request's fields are renamed for this runtime. What is another runtime's cannot go there.

        ``marked``: whether an image without a prefix is the runtime's, because the request says whose it is.
        """

        def inner_id(value: bytes) -> bytes:
            owner = self.runtimes.of_id(value)
            if owner is not names and owner is not self.runtimes.primary:
                raise _refused(f'id "{_text(value)}" is for a wrong runtime')
            return names.inner_id(value)

        def inner_own_image(value: bytes) -> bytes:
            owner = self.runtimes.of_image(value)
            if owner is not names and not is_digest(value) and not (marked and owner is self.runtimes.primary):
                raise _refused(f'image "{_text(value)}" is for a wrong runtime')
            return names.inner_image(value)

        def inner_said_image(value: bytes) -> bytes:
            # Kubelet creates containers by digest: what the pod says is then all that tells whose image it wants.
            owner = self.runtimes.of_image(value)
            if owner is not names and owner is not self.runtimes.primary:
                raise _refused(f'image "{_text(value)}" is for a wrong runtime')
            return names.inner_image(value)

        def inner_handler(value: bytes) -> bytes:
            owner = self.runtimes.of_handler(value)
            # Where the image's name says otherwise, the handler is one that this runtime does not have.
            return names.inner_handler(value) if owner is None or owner is names else b""

        return {
            Kind.ID: inner_id,
            Kind.IMAGE: names.inner_image,
            Kind.OWN_IMAGE: inner_own_image,
            Kind.SAID_IMAGE: inner_said_image,
            Kind.HANDLER: inner_handler,
        }

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
        if names.has_outer_handlers:
            changes[Kind.HANDLER] = names.outer_handler
            changes[Kind.POD_HANDLER] = names.outer_handler
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


def _target_runtime(annotations: Any) -> bytes:
    """What the target-runtime annotation says; nothing if there is none."""
    for entry in annotations:
        if entry.key == TARGET_RUNTIME:
            target: bytes = entry.value
            return target
    return b""


def _refused(text: str) -> RpcError:
    return RpcError(Code.INVALID_ARGUMENT, f"criproxy: {text}")


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
