"""What is read by hand means what protobuf reads, however the bytes are written.

The bytes have fields twice and in pieces, in any order, of the wrong type, unknown ones, keys of
maps twice, and numbers that are longer than they need be. The judge is each message whole, as protobuf reads it.
"""

from __future__ import annotations

from functools import cache
from random import Random
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Set, Tuple

import pytest
from cri_reference import BYTES, FIXED32, FIXED64, VARINT, is_map, is_repeated, paths_to, varint
from google.protobuf.message import DecodeError as NotDecoded
from hypothesis import given, settings
from hypothesis import strategies as st

from criproxy.cri import messages
from criproxy.cri.filter import _VIEWS as filter_views
from criproxy.cri.filter import CONTAINERS, PODS, ListKind, count, ready_pods, sandbox_of
from criproxy.cri.identity import TARGET_RUNTIME
from criproxy.cri.incremental import Incremental, entry_ends
from criproxy.cri.messages import api
from criproxy.cri.methods import METHODS, FieldKind, Method
from criproxy.cri.rewrite import EVEN_UNSET, VIEWS, renaming
from criproxy.cri.schema import Schema, SchemaField, load
from criproxy.cri.status import wants_info
from criproxy.cri.steps import finish
from criproxy.cri.subjects import subjects
from criproxy.cri.verify import fault_of
from criproxy.cri.versions import ApiVersion, conversion
from criproxy.cri.views import View, Views
from criproxy.cri.wire import DecodeError, field_at, text_in

TEXTS = (b"", b"a", b"ab", TARGET_RUNTIME, b"alt.test__a", b"alt.test/a")
NUMBERS = (0, 1, 2, 3, 2**31 - 1, 2**32, 2**32 + 1, 2**32 + 2, 2**64 - 1)


def tagged(number: int, kind: int, payload: bytes) -> bytes:
    return varint(number << 3 | kind) + payload


def lengthened(payload: bytes, by: int = 0) -> bytes:
    """A payload after its length, which is written with this many bytes more than it needs."""
    size = varint(len(payload))
    if by:
        size = size[:-1] + bytes((size[-1] | 0x80,)) + b"\x80" * (by - 1) + b"\x00"
    return size + payload


UNKNOWN_FIELDS = (
    tagged(900, VARINT, varint(2**64 - 1)),
    tagged(900, FIXED32, b"\x0a\x02ab"),
    tagged(5_000, FIXED64, b"\x0a\x02ab\x0a\x02ab"),
    tagged(900, BYTES, b"\x04\x0a\x02ab"),
)
"""Fields that no message of the CRI has."""


def wire_of(message: str, rng: Random, times: Sequence[int]) -> bytes:
    """A message in which each field stands one of these numbers of times."""
    parts = [rng.choice(UNKNOWN_FIELDS) for _ in range(rng.choice((0, 0, 1)))]
    for field in load().messages[message].values():
        if field.name in _read_by_hand().get(message, ()):
            parts += [_field(field, rng, times) for _ in range(rng.choice(times))]
    rng.shuffle(parts)
    return b"".join(parts)


def _field(field: SchemaField, rng: Random, times: Sequence[int]) -> bytes:
    if rng.random() < 0.05:
        # Of the wrong type it is one that nobody knows.
        return tagged(field.number, FIXED32, bytes(4))
    if field.map_value is not None:
        parts = [tagged(rng.choice((1, 1, 2)), BYTES, lengthened(rng.choice(TEXTS))) for _ in range(rng.randrange(4))]
        payload = b"".join(parts)
    elif field.type in load().messages:
        payload = wire_of(field.type, rng, times)
    elif field.type == "string":
        payload = rng.choice(TEXTS)
    else:
        return tagged(field.number, VARINT, varint(rng.choice(NUMBERS)))
    return tagged(field.number, BYTES, lengthened(payload, rng.choice((0, 0, 0, 1, 3))))


@cache
def _read_by_hand() -> Dict[str, Set[str]]:
    """Of each message the fields that somebody reads, and those that lead there."""
    fields = {"NamespaceOption": {"network", "pid", "ipc"}, "FilesystemUsage": {"fs_id", "timestamp"}}
    for made in (VIEWS, filter_views):
        for message in made.messages:
            fields.setdefault(message, set()).update(made[message].fields)
    for message, all_fields in load().messages.items():
        for path, last in paths_to(message, lambda _, field: field.type in ("NamespaceOption", "FilesystemUsage")):
            for owner, step in path:
                fields.setdefault(owner, set()).add(step.name)
            fields.setdefault(path[-1][1].type if path else message, set()).add(last.name)
        assert fields.get(message, set()) <= set(all_fields)
    return fields


def wires(message: str, times: Sequence[int] = (0, 1, 1, 2, 3)) -> st.SearchStrategy[bytes]:
    """A message as `wire_of` writes it."""
    return st.integers(0, 2**32).map(lambda seed: wire_of(message, Random(seed), times))


def whole(message: str, wire: bytes) -> Any:
    return api()[message].FromString(wire)


def known(message: Any) -> Any:
    """The message without what nobody knows."""
    message.DiscardUnknownFields()
    return message


@pytest.mark.parametrize(("message", "field"), [(m, f) for m, fields in load().messages.items() for f in fields])
@settings(max_examples=5)
@given(number=st.integers(0, 2**64 - 1) | st.sampled_from(NUMBERS))
def test_a_number_is_the_one_that_protobuf_reads(message: str, field: str, number: int) -> None:
    kind = load().messages[message][field]
    if kind.repeated or kind.type in ("string", "bytes", "double") or "<" in kind.type or kind.type in load().messages:
        return
    wire = tagged(kind.number, VARINT, varint(number))
    read = Views({message: [field]})[message].read(wire)
    assert getattr(read, field) == getattr(whole(message, wire), field)


def as_read(view: View, message: Any) -> Dict[str, Any]:
    """What a view reads of a message, by protobuf's own reading."""
    found: Dict[str, Any] = {}
    for name, inner in view.fields.items():
        field, value = message.DESCRIPTOR.fields_by_name[name], getattr(message, name)
        if is_map(field):
            found[name] = {key.encode(): text.encode() for key, text in value.items()}
        elif inner is not None and is_repeated(field):
            found[name] = [as_read(inner, each) for each in value]
        elif inner is not None:
            found[name] = (message.HasField(name), as_read(inner, value))
        elif is_repeated(field):
            found[name] = [each.encode() for each in value]
        else:
            found[name] = value.encode() if isinstance(value, str) else value
    return found


def as_told(view: View, read: Any) -> Dict[str, Any]:
    """The same of what the view has read."""
    found: Dict[str, Any] = {}
    for name, inner in view.fields.items():
        value = getattr(read, name)
        if isinstance(value, (list, tuple)):
            found[name] = list(value) if inner is None else [as_told(inner, each) for each in value]
        else:
            found[name] = value if inner is None else (value.is_set, as_told(inner, value))
    return found


READ = [("row", message, VIEWS[message]) for message in VIEWS.messages]
READ += [("filter", message, filter_views[message]) for message in filter_views.messages]


@pytest.mark.parametrize(("_", "message", "view"), READ, ids=[f"{name} {message}" for name, message, _ in READ])
@settings(max_examples=10)
@given(data=st.data())
def test_a_view_reads_what_protobuf_reads(_: str, message: str, view: View, data: st.DataObject) -> None:
    wire = data.draw(wires(message))
    read = view.read(wire)
    assert as_told(view, read) == as_read(view, whole(message, wire))
    assert read.raw == wire


@given(wires("StopContainerRequest"))
def test_a_text_is_the_one_that_protobuf_reads(wire: bytes) -> None:
    assert text_in(wire, 1).decode() == whole("StopContainerRequest", wire).container_id


MESSAGES = [(row, side) for row in METHODS.values() for side in ("request", "response")]
NAMED = [(row, side) for row, side in MESSAGES if getattr(row, f"{side}_fields")]


def changed(message: Any, path: str, even_unset: bool) -> None:
    """Changes the field at a path of a whole message, in every element."""
    first, _, rest = path.partition(".")
    field = message.DESCRIPTOR.fields_by_name[first]
    value = getattr(message, first)
    if not rest:
        if is_repeated(field):
            value[:] = [f"changed {each}" for each in value]
        elif value or even_unset:
            setattr(message, first, f"changed {value}")
    elif is_repeated(field):
        for element in value:
            changed(element, rest, even_unset)
    elif message.HasField(first):
        changed(value, rest, even_unset)


@pytest.mark.parametrize(("row", "side"), NAMED, ids=[f"{row.name} {side}" for row, side in NAMED])
@settings(max_examples=15)
@given(data=st.data())
def test_names_are_changed_where_protobuf_reads_them(row: Method, side: str, data: st.DataObject) -> None:
    message, fields = getattr(row.rpc, side), getattr(row, f"{side}_fields")
    wire = data.draw(wires(message))
    change = renaming(message, fields, dict.fromkeys(FieldKind, lambda value: b"changed " + value))
    expected = whole(message, wire)
    for field in fields:
        changed(expected, field.path, field.kind in EVEN_UNSET)
    assert known(whole(message, change(wire))) == known(expected)


# Lists.

KINDS = pytest.mark.parametrize("kind", [PODS, CONTAINERS], ids=["pods", "containers"])


def listed(kind: ListKind, body: bytes) -> List[Any]:
    answer = whole(METHODS[kind.method].rpc.response, body)
    return list(answer.items if kind is PODS else answer.containers)


def let_through(kind: ListKind, entry: Any, wanted: Any) -> bool:
    """What a filter says, by protobuf's own reading."""
    if wanted.HasField("state") and wanted.state.state != entry.state:
        return False
    fields = ("id",) if kind is PODS else ("id", "pod_sandbox_id")
    if not all(getattr(entry, name).startswith(getattr(wanted, name)) for name in fields):
        return False
    return dict(wanted.label_selector).items() <= dict(entry.labels).items()


@KINDS
@given(data=st.data())
def test_a_list_is_narrowed_to_what_the_filter_says(kind: ListKind, data: st.DataObject) -> None:
    rpc = METHODS[kind.method].rpc
    # A filter of everything at once lets nothing through.
    request = data.draw(wires(rpc.request, (0, 0, 1, 2)))
    body, sent = data.draw(wires(rpc.response, (1, 1, 2, 3))), data.draw(wires(rpc.response, (0, 0, 1)))
    wanted = whole(rpc.request, request).filter
    gone = {entry.id for entry in listed(kind, sent)}
    expected = [entry for entry in listed(kind, body) if entry.id not in gone and let_through(kind, entry, wanted)]
    got = listed(kind, kind.narrowed(body, request, sent))
    assert [known(entry) for entry in got] == [known(entry) for entry in expected]
    assert count(body) == len(listed(kind, body))


@given(wires("ListPodSandboxResponse"))
def test_pods_are_told_from_a_list_as_protobuf_reads_it(body: bytes) -> None:
    pods = listed(PODS, body)
    known = {(pod.metadata.uid, pod.metadata.attempt): pod.id for pod in reversed(pods)}
    for uid, attempt in (("", 0), ("a", 0), ("a", 1), ("ab", 0), ("ab", 2**32 - 1), *known):
        id = known.get((uid, attempt)) if uid else None
        assert sandbox_of(body, uid.encode(), attempt) == (None if id is None else id.encode())
    ready = {f"{pod.metadata.namespace}/{pod.metadata.name}" for pod in pods if pod.state == 0}
    assert ready_pods(body) == sorted(ready)


ENTRIES = st.lists(
    st.one_of(
        st.builds(lambda data, by: tagged(1, BYTES, lengthened(data, by)), st.binary(max_size=9), st.integers(0, 11)),
        st.sampled_from((127, 128, 300, 2**14 - 1, 2**14)).map(lambda size: tagged(1, BYTES, lengthened(bytes(size)))),
        st.sampled_from(UNKNOWN_FIELDS),
        st.binary(max_size=6),
    ),
    max_size=6,
).map(b"".join)


LIST: Any = messages.whole(Schema({"List": {"entry": SchemaField("entry", 1, "bytes", True)}}, {}, {}), "test")["List"]


def listed_by_protobuf(body: bytes) -> Optional[List[bytes]]:
    try:
        return list(LIST.FromString(body).entry)
    except NotDecoded:
        return None


@given(ENTRIES)
def test_entries_end_where_protobuf_ends_them(body: bytes) -> None:
    read = listed_by_protobuf(body)
    try:
        found = entry_ends(body)
    except DecodeError:
        return
    if read is None:
        return
    assert len(found) == len(read)
    for end, entry in zip(found, read):
        assert body[:end].endswith(entry)


@given(st.lists(st.integers(0, 300) | st.sampled_from((2**14 - 1, 2**14, 2**21)), max_size=5))
def test_a_row_of_entries_is_taken_for_one(sizes: List[int]) -> None:
    found = [tagged(1, BYTES, lengthened(bytes(size))) for size in sizes]
    assert entry_ends(b"".join(found)) == [sum(map(len, found[: count + 1])) for count in range(len(found))]


def top_level(body: bytes) -> Optional[List[bytes]]:
    """The fields of a list; None if it has a group, or entries of another wire type."""
    found, at = [], 0
    while at < len(body):
        begin = at
        try:
            number, wire, _, at = field_at(body, begin, len(body))
        except DecodeError:
            return None
        if number == 1 and wire != BYTES:
            return None
        found.append(body[begin:at])
    return found


@given(st.lists(wires("ListContainersResponse"), min_size=2, max_size=4))
def test_a_list_that_is_changed_in_parts_is_what_holds_of_it_changed_whole(bodies: List[bytes]) -> None:
    row = METHODS["ListContainers"]
    change = renaming(row.rpc.response, row.response_fields, {FieldKind.ID: lambda value: b"changed " + value})
    incremental = Incremental(row.rpc.response, change, lambda _: None)
    for body in (*bodies, b"".join(bodies)):
        fields = top_level(body)
        if fields is None:
            with pytest.raises(DecodeError):
                incremental(body)
            continue
        good = b"".join(field for field in fields if not finish(fault_of(row.rpc.response, field)))
        assert whole(row.rpc.response, incremental(body)) == whole(row.rpc.response, change(good))


@given(wires("ListContainersResponse"))
def test_what_holds_can_be_read_by_protobuf_and_has_no_field_of_the_wrong_type(body: bytes) -> None:
    if finish(fault_of("ListContainersResponse", body)):
        return
    unknown = known(whole("ListContainersResponse", body)).SerializeToString()
    assert whole("ListContainersResponse", unknown) == known(whole("ListContainersResponse", body))


# Versions, statuses, subjects.


def option_messages(message: Any) -> Iterator[Tuple[str, Any]]:
    """The messages within one that the versions have otherwise."""
    for field in message.DESCRIPTOR.fields:
        if field.message_type is None or is_map(field):
            continue
        value = getattr(message, field.name)
        inner = list(value) if is_repeated(field) else [value] if message.HasField(field.name) else []
        for each in inner:
            if field.message_type.name in ("NamespaceOption", "FilesystemUsage"):
                yield field.message_type.name, each
            yield from option_messages(each)


def to_v1alpha1(mode: int) -> int:
    return int(mode == 2)


CONVERTED = sorted(
    {message for row, side in MESSAGES for message in [getattr(row.rpc, side)]}
    & {message for message in load().messages if conversion(message, ApiVersion.V1, ApiVersion.V1ALPHA1) is not None}
)


@pytest.mark.parametrize("message", CONVERTED)
@settings(max_examples=25)
@given(data=st.data())
def test_a_conversion_is_of_what_protobuf_reads(message: str, data: st.DataObject) -> None:
    wire = data.draw(wires(message))
    convert: Optional[Callable[[bytes], bytes]] = conversion(message, ApiVersion.V1, ApiVersion.V1ALPHA1)
    assert convert is not None
    expected = whole(message, wire)
    for name, each in option_messages(expected):
        if name == "FilesystemUsage":
            each.ClearField("fs_id")
        else:
            each.network, each.pid, each.ipc = map(to_v1alpha1, (each.network, each.pid, each.ipc))
    assert known(whole(message, convert(wire))) == known(expected)


@pytest.mark.parametrize("number", [0, 1, 2, 2**32, 2**64 - 1])
def test_a_host_s_namespace_is_one_where_protobuf_reads_true(number: int) -> None:
    convert = conversion("RunPodSandboxRequest", ApiVersion.V1ALPHA1, ApiVersion.V1)
    assert convert is not None
    wire = tagged(1, VARINT, varint(number))
    for field in (1, 2, 8, 1):
        wire = tagged(field, BYTES, lengthened(wire, 0))
    truth = whole("StatusRequest", tagged(1, VARINT, varint(number))).verbose
    options = whole("RunPodSandboxRequest", convert(wire)).config.linux.security_context.namespace_options
    assert options.network == (2 if truth else 0)


@given(st.sampled_from(NUMBERS), st.sampled_from(NUMBERS))
def test_info_is_wanted_if_protobuf_reads_so(first: int, second: int) -> None:
    wire = tagged(1, VARINT, varint(first)) + tagged(1, VARINT, varint(second))
    assert wants_info(wire) == whole("StatusRequest", wire).verbose


@given(wires("ListContainersRequest"))
def test_a_message_is_about_what_protobuf_reads(wire: bytes) -> None:
    wanted = whole("ListContainersRequest", wire).filter
    expected = [("container", wanted.id), ("pod", wanted.pod_sandbox_id)]
    assert sorted(subjects("ListContainersRequest", wire)) == [each for each in expected if each[1]]
