"""Which runtime a call goes to, and which fields are renamed in the request and in the response.

`plan_of` reads the head of a request once for all calls that begin with the same bytes. `Router` applies a method's
row to a request's message; the functions that rename are compiled when a method is first called for a runtime.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any, Callable, Dict, Final, FrozenSet, NamedTuple, Optional, Sequence, Set, Tuple

from criproxy.cri.filter import ListKind, list_kind_of
from criproxy.cri.identity import LONGEST_NAME, TARGET_RUNTIME, Names, Runtimes, UnknownRuntime, is_digest
from criproxy.cri.merge import MergeOf, merge_of
from criproxy.cri.methods import METHODS, FieldKind, Merge, Method, RuntimeSelector, To, ids
from criproxy.cri.rewrite import VIEWS, Change, Rewriter, renaming
from criproxy.cri.schema import load
from criproxy.cri.steps import Work
from criproxy.cri.verify import LONGEST_ID, check, too_long
from criproxy.cri.versions import ApiVersion, path_of, split_path
from criproxy.cri.wire import DecodeError, text_in
from criproxy.http2.grpc import Code, RpcError, is_grpc, quoted
from criproxy.http2.headers import Head, encode, with_value
from criproxy.relay.answers import Answers
from criproxy.relay.owners import Owners, UnknownOwner
from criproxy.relay.placement import Placement
from criproxy.relay.pods import Pods

# An enumeration's members are slow to get in the middle of a call.
_PRIMARY: Final = To.PRIMARY
_STATUS: Final = To.STATUS
_ALL: Final = To.ALL
_SELECTED: Final = To.SELECTED
_OWNER: Final = To.OWNER
_IN_COMMON: Final = To.IN_COMMON
_IMAGE: Final = To.IMAGE


class Plan:
    """What the head of a request says."""

    __slots__ = ("_wires", "head", "listed", "method", "name", "path", "refusal", "service", "version")

    def __init__(self, head: Head) -> None:
        self.head = head
        self.path = (head.get(b":path") or b"").decode("latin-1")
        self.name = self.path.rpartition("/")[2]
        """The method's, without its service."""
        self.method: Optional[Method] = None
        """The method's row; None for a method that nobody knows."""
        self.version: Optional[ApiVersion] = None
        """The CRI's version that the caller speaks; None for a service that is not of the CRI."""
        self.service = ""
        self.refusal = _refusal(head)
        self.listed: Optional[ListKind] = None
        """The kind of list that it gives in one message, if it gives one."""
        self._wires: Dict[ApiVersion, bytes] = {}
        found = split_path(self.path)
        if found is not None:
            self.version, self.service, name = found
            row = METHODS.get(name)
            if row is not None and row.rpc.service == self.service:
                self.method = row
                self.listed = None if row.rpc.server_streaming else list_kind_of(row)

    def wire(self, version: Optional[ApiVersion]) -> bytes:
        """The head's bytes for a runtime that is called in this version."""
        if version is None or self.version is None or version is self.version:
            return self.head.wire
        wire = self._wires.get(version)
        if wire is None:
            path = path_of(version, self.service, self.name).encode("latin-1")
            wire = self._wires[version] = encode(with_value(self.head.fields, b":path", path))
        return wire


def _refusal(head: Head) -> Optional[RpcError]:
    """Why this is no request of gRPC's, or None."""
    if head.get(b":method") != b"POST" or not head.get(b":path"):
        return RpcError(Code.UNIMPLEMENTED, "criproxy: a gRPC call is a POST with a path")
    content_type = head.get(b"content-type") or b""
    if not is_grpc(content_type):
        return RpcError(Code.INVALID_ARGUMENT, f"criproxy: content-type {quoted(content_type)}")
    return None


def plan_of(head: Head) -> Plan:
    """The plan for calls with this head; made once and kept with it."""
    plan = head.memo
    if not isinstance(plan, Plan):
        plan = head.memo = Plan(head)
    return plan


class Route:
    """Where one call goes, with the message that each runtime there gets. To nobody: the answer is the empty one.

    ``to``: what the runtimes are to the call, if that is something else than what its row says at first.
    """

    __slots__ = ("body", "targets", "to")

    def __init__(self, targets: Sequence[Names], body: bytes, to: Optional[To] = None) -> None:
        self.targets = targets
        self.body = body
        self.to = to


class _Reading:
    """A method's row, made ready to read requests by."""

    __slots__ = (
        "check_ids",
        "filters",
        "ids",
        "narrow",
        "number",
        "owner_field",
        "pulls_for",
        "renamings",
        "requires",
        "selectors",
        "starts",
        "unread",
        "view",
    )

    def __init__(self, row: Method) -> None:
        self.unread = row.to in (_PRIMARY, To.CONNECTED, To.EVENTS, _STATUS)
        """Whether the request does not name a runtime."""
        self.view = VIEWS[row.rpc.request]
        self.owner_field: Callable[[Any], Any] = attrgetter(row.owner_field) if row.owner_field else bool
        self.selectors = [(attrgetter(path), selector) for path, selector in row.selectors]
        self.requires: Optional[Callable[[Any], Any]] = attrgetter(row.requires) if row.requires else None
        self.starts: Optional[Callable[[Any], Any]] = attrgetter(row.starts) if row.starts else None
        of_pods = (get for get, selector in self.selectors if selector is RuntimeSelector.POD)
        self.pulls_for: Optional[Callable[[Any], Any]] = next(of_pods, None)
        self.filters = [(attrgetter(field.path), field.kind) for field in row.narrowed_by]
        self.narrow = row.to is To.OWNER and [field.path for field in row.request_fields] == [row.owner_field]
        """Whether the owner field is the only one that is read and renamed."""
        self.number = load().messages[row.rpc.request][row.owner_field].number if self.narrow else 0
        """That of the owner field."""
        self.renamings: Dict[Tuple[Names, bool], Rewriter] = {}
        named = (*row.request_fields, *ids(*(f"{pod}.metadata.uid" for pod in row.pods)))
        self.ids = frozenset(field.path for field in named if field.kind is FieldKind.ID)
        self.check_ids = renaming(row.rpc.request, named, {FieldKind.ID: _checked})


class Rules(NamedTuple):
    """Which rules beyond those of the Go program apply."""

    selectors: bool = True
    """An image is of the runtime that a selector in the request names, and not by its own name alone."""
    digests: bool = True
    """A bare digest stands for the image on whichever runtime has it, and what several have is listed once."""
    status: bool = True
    """The status is that of all runtimes."""


class Router:
    """Applies the methods' rows for a set of runtimes.

    ``stream_url`` gives the URL to put before a bare path. ``pods`` knows which runtime a pod was started on; the
    router adds the pods that are about to start.
    """

    def __init__(self, runtimes: Runtimes, stream_url: Callable[[], str], pods: Pods, rules: Rules) -> None:
        self.runtimes = runtimes
        self.rules = rules
        self.drained: FrozenSet[str] = frozenset()
        """The ids of the runtimes that get no new pods. To be set whenever there are others."""
        self.placement = Placement(runtimes)
        """Where new pods go that ask for none. Likewise."""
        self._pods = pods
        self._all: Tuple[Names, ...] = (runtimes.primary, *runtimes.others)
        self.owners = Owners()
        """Whose the ids without a prefix are, while there is a retiring runtime."""
        self.answers = Answers(runtimes, self.owners, stream_url)
        self._annotates = False
        """Whether kubelet has ever asked for an image with its pod's annotations."""
        self._readings: Dict[str, _Reading] = {}

    def route(self, row: Method, body: bytes, owner: Optional[Names] = None) -> Route:
        """Where a call goes. Raises RpcError if the request is not one that can go anywhere, and UnknownOwner if it has
        to be asked first whose its id is; ``owner``: whose it is then.

        NOT_FOUND if an id in it has the prefix of a runtime that is not configured: what the primary runtime says of
        it, or does, would be wrong. Of a list that is narrowed to such an id nothing is left.
        """
        reading = self._reading(row)
        if reading.unread:
            to_primary = row.to is _PRIMARY or (row.to is _STATUS and not self.rules.status)
            return Route(self._all[:1] if to_primary else self._all, body)
        try:
            if len(body) > LONGEST_ID:
                reading.check_ids(body)
            if reading.narrow:
                names = owner or self._owner(row, text_in(body, reading.number))
                # What has no prefix has no other name there.
                return Route((names,), self._renamed(row, reading, names, body) if names.prefixed else body)
            request = reading.view.read(body)
            if row.to is _ALL:
                return self._route_list(row, reading, request, body)
            return self._route_to_one(row, reading, request, body, owner)
        except DecodeError as error:
            raise _unreadable(row, error) from error
        except UnknownRuntime as unknown:
            raise self._not_found(unknown.runtime) from unknown

    def check(self, row: Method, body: bytes) -> Work[None]:
        """Looks at a large request before anybody reads it, in steps. Raises RpcError for one that takes too long."""
        if row.to is not _PRIMARY:
            try:
                yield from check(row.rpc.request, body, ids=self._reading(row).ids)
            except DecodeError as error:
                raise _unreadable(row, error) from error

    def _reading(self, row: Method) -> _Reading:
        reading = self._readings.get(row.name)
        if reading is None:
            reading = self._readings[row.name] = _Reading(row)
        return reading

    def _owner(self, row: Method, id: bytes) -> Names:
        """The runtime that has an id. Raises UnknownRuntime, and UnknownOwner if that has to be asked."""
        names = self.runtimes.of_id(id)
        if self.runtimes.retiring is None or names.prefixed:
            return names
        owner = self.owners.of(id)
        if owner is None:
            raise UnknownOwner(id, row.owner_field)
        return owner

    def runtime_of(self, id: bytes) -> str:
        """The id of the runtime that has an id, as far as that is known; nothing if it is not, or is the primary."""
        try:
            names = self.runtimes.of_id(id)
        except UnknownRuntime:
            return ""
        return (names if names.prefixed else self.owners.of(id) or names).runtime

    def _route_to_one(self, row: Method, reading: _Reading, request: Any, body: bytes, owner: Optional[Names]) -> Route:
        names, selected = self._target(row, reading, request, owner)
        if reading.requires is not None and not reading.requires(request):
            raise RpcError(Code.INVALID_ARGUMENT, "criproxy: no image specified")
        if reading.starts is not None:
            if names.runtime in self.drained:
                raise _drained(names)
            # Whether that works is not waited for: nobody asks for a pod that could not be started.
            metadata = reading.starts(request).metadata
            self._pods.note(metadata.uid, metadata.attempt, names.runtime)
        if row.digest is not _PRIMARY and not names.runtime and self._is_anybodys(reading.owner_field(request)):
            return Route(self._all, body, row.digest if len(self._all) > 1 else None)
        to: Optional[To] = None
        if row.to is _IMAGE and self.runtimes.others:
            to, others = self._others_of_image(row, names, request.image)
            if others:
                return Route((names, *others), body, to)
        return Route((names,), self._renamed(row, reading, names, body, selected), to)

    def _others_of_image(self, row: Method, names: Names, image: Any) -> Tuple[Optional[To], Tuple[Names, ...]]:
        """What becomes of a call for an image that goes to this runtime otherwise, and whom it goes to, too.

        Before a container is made, kubelet asks a second time for its image, for the user that it names, and runs it as
        root if it is not there (presence.py). That question does not say which pod it is for: it has none of the
        annotations that the first one has with kubelets that hand them on.
        """
        asks_for_user = False
        if row.shared is _IN_COMMON and self.rules.selectors:
            self._annotates = self._annotates or bool(image.annotations)
            asks_for_user = self._annotates and not image.annotations and not names.runtime
        if self.placement.sharers:
            to, others = self.placement.of_image(row.shared, names, image.image)
            return to, self.runtimes.others if others and asks_for_user else others
        return (To.FIRST_HOLDER, self.runtimes.others) if asks_for_user and image.image else (None, ())

    def _route_list(self, row: Method, reading: _Reading, request: Any, body: bytes) -> Route:
        owners: Set[Names] = set()
        alike: Tuple[Names, ...] = ()
        untold = False
        for get, kind in reading.filters:
            value = get(request)
            if kind is FieldKind.ID and value:
                try:
                    owners.add(self._owner(row, value))
                except UnknownRuntime:
                    return Route((), body)
                except UnknownOwner:
                    untold = True
            elif value and not self._is_anybodys(value):
                owners.add(self.runtimes.of_image(value))
                alike = self.placement.alike
        if untold:
            return self._route_untold_list(owners, body)
        if not owners:
            return Route(self._all, body)
        if len(owners) > 1:
            return Route((), body)
        names = owners.pop()
        if alike and not names.runtime:
            return Route((names, *alike), body)
        return Route((names,), self._renamed(row, reading, names, body))

    def _route_untold_list(self, others: Set[Names], body: bytes) -> Route:
        """A list that is narrowed to an id without a prefix of which nobody has told yet: who does not have it lists
        nothing. ``others``: whose the other id in the filter is, if it has one."""
        unprefixed = self.runtimes.unprefixed
        if not others:
            return Route(unprefixed, body)
        return Route(tuple(others.intersection(unprefixed)), body)

    def _target(
        self, row: Method, reading: _Reading, request: Any, owner: Optional[Names] = None
    ) -> Tuple[Names, bool]:
        """Whom a call is for, and whether a selector of the request says so."""
        if row.to is _SELECTED:
            return self._target_of_pod(row, reading, request)
        value = reading.owner_field(request)
        names = owner or self._owner(row, value) if row.to is _OWNER else self.runtimes.of_image(value)
        if not (self.rules.selectors and reading.selectors):
            return self._retained(reading, request) or names, False
        if row.to is _IMAGE and names.runtime:
            return names, False
        selected = next(
            filter(None, (self._selected(selector, get(request)) for get, selector in reading.selectors)), None
        )
        if row.to is _IMAGE and selected is not None:
            return selected, True
        # Pods that a rule has put somewhere have images without prefixes, and nothing in the request says why.
        return names, selected is names or names in self.placement.sharers

    def _retained(self, reading: _Reading, request: Any) -> Optional[Names]:
        """The retiring runtime, if an image is pulled for a pod that is there, though selectors do not count."""
        retiring = self.runtimes.retiring
        if retiring is None or reading.pulls_for is None:
            return None
        return retiring if self._runtime_of(reading.pulls_for(request)) is retiring else None

    def _not_found(self, runtime: bytes) -> RpcError:
        """Kubelet takes it as what is gone already, to stop it and to remove it included."""
        prefix = f'an id begins with "{_text(runtime[:LONGEST_NAME])}__"'
        return RpcError(
            Code.NOT_FOUND, f"criproxy: {prefix}, and there is no such runtime (configured: {self._configured})"
        )

    @property
    def _configured(self) -> str:
        return ", ".join(names.runtime for names in self.runtimes.alternatives) or "none"

    def _is_anybodys(self, image: bytes) -> bool:
        """Whether an image's name does not say whose it is."""
        return self.rules.digests and is_digest(image)

    def merge(self, row: Method) -> Optional[MergeOf]:
        """How the answers of several runtimes are merged; None if the concatenation of them is it."""
        if row.merge is Merge.ONE_OF_AN_IMAGE and not self.rules.digests:
            return None
        return merge_of(row)

    def _target_of_pod(self, row: Method, reading: _Reading, request: Any) -> Tuple[Names, bool]:
        chosen: Optional[Names] = None
        for get, selector in reading.selectors:
            value = get(request)
            names = self._selected(selector, value)
            if names is None:
                if selector is RuntimeSelector.ANNOTATIONS and _target_runtime(value):
                    target = f'unknown runtime: "{_text(_target_runtime(value)[:LONGEST_NAME])}"'
                    raise _refused(f"{target} (configured: {self._configured})")
            elif chosen is not None and names is not chosen:
                raise _refused(
                    f"the annotation {_text(TARGET_RUNTIME)} asks for the runtime"
                    f' "{chosen.runtime}", and the runtime handler "{_text(value)}" for "{names.runtime}"'
                )
            else:
                chosen = names
        if chosen is None and self.placement.rules:
            chosen = self._by_rule(reading, request)
        if chosen is None:
            return self.runtimes.primary, False
        return chosen, self.rules.selectors

    def _by_rule(self, reading: _Reading, request: Any) -> Optional[Names]:
        """The alternative runtime that a rule has for a new pod, if one has.

        A RuntimeClass goes before, though it may ask for a handler of the primary runtime's.
        """
        if any(get(request) for get, selector in reading.selectors if selector is RuntimeSelector.HANDLER):
            return None
        assert reading.starts is not None  # what goes where a pod asks to go starts one
        return self.placement.of_pod(reading.starts(request))

    def _selected(self, selector: RuntimeSelector, value: Any) -> Optional[Names]:
        """The alternative runtime that a selector names, if it names one."""
        if selector is RuntimeSelector.HANDLER:
            return self.runtimes.of_handler(value)
        if selector is RuntimeSelector.POD:
            return self._runtime_of(value)
        try:
            return self.runtimes.of_target(_target_runtime(value))
        except KeyError:
            return None

    def _runtime_of(self, pod: Any) -> Optional[Names]:
        """The runtime, if it is not the primary one, that this sandbox of a pod was started on."""
        id = self._pods.owner(pod.metadata.uid, pod.metadata.attempt)
        return next((names for names in self.runtimes.others if names.runtime == id), None)

    def _renamed(self, row: Method, reading: _Reading, names: Names, body: bytes, selected: bool = False) -> bytes:
        """The request as the runtime is to see it. Raises DecodeError."""
        change = reading.renamings.get((names, selected))
        if change is None:
            changes = self._inner(names, selected)
            change = reading.renamings[names, selected] = renaming(row.rpc.request, row.request_fields, changes)
        renamed = change(body)
        return renamed if names.prefixed else body

    def _inner(self, names: Names, selected: bool) -> Dict[FieldKind, Change]:
        """How a request's fields are renamed for this runtime. A name of another runtime's is refused.

        ``selected``: whether an image without a prefix is the runtime's, because the request says whose it is.
        """

        own = names if names.prefixed else self.runtimes.primary

        def wrong(what: str, value: bytes, owner: Names) -> RpcError:
            text = f'{what} "{_text(value)}" is for a wrong runtime: it is of {_named(owner)}, and its pod of'
            return _refused(f"{text} {_named(names)}")

        def inner_id(value: bytes) -> bytes:
            owner = self.runtimes.of_id(value)
            if owner is not own and owner is not self.runtimes.primary:
                raise wrong("id", value, owner)
            return names.inner_id(value)

        def inner_own_image(value: bytes) -> bytes:
            owner = self.runtimes.of_image(value)
            if owner is not own and not is_digest(value) and not (selected and owner is self.runtimes.primary):
                raise wrong("image", value, owner)
            return names.inner_image(value)

        def inner_said_image(value: bytes) -> bytes:
            # Kubelet creates containers by digest: what the pod says is then all that tells whose image it wants.
            owner = self.runtimes.of_image(value)
            if owner is not own and owner is not self.runtimes.primary:
                raise wrong("image", value, owner)
            return names.inner_image(value)

        def inner_handler(value: bytes) -> bytes:
            owner = self.runtimes.of_handler(value)
            # Where the image's name says otherwise, the handler is one that this runtime does not have.
            return names.inner_handler(value) if owner is None or owner is names else b""

        return {
            FieldKind.ID: inner_id,
            FieldKind.IMAGE: names.inner_image,
            FieldKind.OWN_IMAGE: inner_own_image,
            FieldKind.USER_SPECIFIED_IMAGE: inner_said_image,
            FieldKind.HANDLER: inner_handler,
        }


def _target_runtime(annotations: Dict[bytes, bytes]) -> bytes:
    """What the target-runtime annotation says; nothing if there is none."""
    return annotations.get(TARGET_RUNTIME, b"")


def _named(names: Names) -> str:
    return f'runtime "{names.runtime}"' if names.runtime else "the primary runtime"


def _unreadable(row: Method, error: DecodeError) -> RpcError:
    return _refused(f"the request is not a {row.rpc.request}: {error}")


def _checked(value: bytes) -> bytes:
    if len(value) > LONGEST_ID:
        raise _refused(too_long(len(value)))
    return value


def _refused(text: str) -> RpcError:
    return RpcError(Code.INVALID_ARGUMENT, f"criproxy: {text}")


def _drained(names: Names) -> RpcError:
    """Kubelet tries again whatever the code is, every 10 seconds or so. This one says that somebody has to do something
    first; UNAVAILABLE would say that the runtime is not there."""
    again = f"criproxy undrain {names.runtime} lets it have them again"
    return RpcError(Code.FAILED_PRECONDITION, f"criproxy: {_named(names)} is drained: it gets no new pods ({again})")


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
