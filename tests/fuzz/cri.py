"""Messages of the CRI that are changed: names there and back, lists in parts, lists of several runtimes."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Dict, List, Optional, Sequence, Tuple

from cri_reference import is_repeated, their_class
from google.protobuf.message import DecodeError as NotDecoded

from criproxy.cri.identity import Runtimes, is_digest
from criproxy.cri.merge import merge_of
from criproxy.cri.messages import api
from criproxy.cri.methods import METHODS, FieldKind, Merge, Method, NamedFields, To
from criproxy.cri.rewrite import renaming
from criproxy.cri.steps import finish
from criproxy.cri.versions import ApiVersion
from criproxy.cri.wire import DecodeError
from criproxy.http2.grpc import RpcError
from criproxy.relay.pods import Pods
from criproxy.relay.routing import Router, Rules
from tests.fuzz.target import Target, options_of

_ID = "alt.test"
_PARTS = b"\xff\xfe"
"""Parts the parts of an input: neither byte begins a field that the CRI has."""
_MOST = 64
"""Parts of a list, and lists of an input."""
_IMAGES = frozenset((FieldKind.IMAGE, FieldKind.OWN_IMAGE, FieldKind.USER_SPECIFIED_IMAGE))
_RENAMED = _IMAGES | {FieldKind.ID}


def _router() -> Router:
    return Router(Runtimes([_ID]), lambda: "http://node:1", Pods(), Rules())


_ROUTER = _router()
(_ALT,) = _ROUTER.runtimes.alternatives


def _named(fields: NamedFields) -> NamedFields:
    """The fields that have a prefix for kubelet."""
    return tuple(field for field in fields if field.kind in _RENAMED)


_SIDES: List[Tuple[Method, str, NamedFields]] = [
    (row, message, _named(fields))
    for row in METHODS.values()
    for message, fields in ((row.rpc.request, row.request_fields), (row.rpc.response, row.response_fields))
    if _named(fields)
]
"""All messages with names in them: the method, the message, and the fields."""
_FIELDS: Dict[str, NamedFields] = {message: fields for _, message, fields in _SIDES}


def _plain(message: str, body: bytes) -> bytes:
    """A message whose lengths have as few bytes as can be, wherever something has a name."""
    return _with(message, _FIELDS[message], body, _again, _again)


def _again(value: bytes) -> bytes:
    """The same value, but another object: what is the same object is left as it stands."""
    return bytes(bytearray(value))


def _with(message: str, fields: NamedFields, body: bytes, id: Any, image: Any) -> bytes:
    return renaming(message, fields, {FieldKind.ID: id, **dict.fromkeys(_IMAGES, image)})(body)


def _parsed(kind: Any, body: bytes) -> Any:
    """The message by a whole schema, without what that does not know; None if it is none."""
    try:
        message = kind.FromString(body)
    except NotDecoded:
        return None
    message.DiscardUnknownFields()
    return message


def _rename(message: Any, path: str, image: bool) -> None:
    """Gives a field of a whole message its outer name, in every element."""
    first, _, rest = path.partition(".")
    field = message.DESCRIPTOR.fields_by_name.get(first)
    if field is None:  # newer than their schema
        return
    value = getattr(message, first)
    if rest:
        for element in value if is_repeated(field) else [value] if message.HasField(first) else []:
            _rename(element, rest, image)
    elif is_repeated(field):
        value[:] = [_outer(each, image) for each in value]
    elif value:
        setattr(message, first, _outer(value, image))


def _outer(name: str, image: bool) -> str:
    if not image:
        return f"{_ID}__{name}"
    return name if is_digest(name.encode()) else f"{_ID}/{name}"


def _renaming(data: bytes) -> None:
    options, body = options_of(data)
    row, message, fields = _SIDES[options % len(_SIDES)]
    try:
        before = _plain(message, body)
    except DecodeError:
        return
    outer = _with(message, fields, body, _ALT.outer_id, _ALT.outer_image)
    assert _plain(message, _with(message, fields, outer, _ALT.inner_id, _ALT.inner_image)) == before
    for kind in {their_class(message), api()[message]}:
        expected, got = _parsed(kind, body), _parsed(kind, outer)
        if expected is not None:
            for field in fields:
                _rename(expected, field.path, field.kind in _IMAGES)
            assert got == expected
    if message == row.rpc.request:
        _check_request(row, message, before, outer)


def _check_request(row: Method, message: str, before: bytes, outer: bytes) -> None:
    """A request with outer names reaches its runtime with inner ones."""
    try:
        route = _ROUTER.route(row, outer)
    except RpcError as error:
        assert str(error).startswith("criproxy: ")
        return
    if list(route.targets) == [_ALT]:
        assert _plain(message, route.body) == before


def _work_renaming(data: bytes) -> None:
    options, body = options_of(data)
    row, message, _ = _SIDES[options % len(_SIDES)]
    with suppress(DecodeError, RpcError):
        if message == row.rpc.request:
            _ROUTER.route(row, body)
        else:
            answer = _router().answers.transform(row, _ALT, ApiVersion.V1, ApiVersion.V1, lambda _: None)
            assert answer is not None
            answer(body)


RENAMING = Target(_renaming, _work_renaming)

# Lists that are changed in parts.

_LISTS = [row for row in METHODS.values() if row.to is To.ALL and _named(row.response_fields)]


def _bodies(data: bytes) -> List[bytes]:
    """Lists with parts in common: the first part says which of the others make each."""
    script, *parts = data.split(_PARTS)
    bodies: List[bytes] = [b""]
    for byte in script[:_MOST]:
        if byte == 0xFF:
            bodies.append(b"")
        elif parts:
            bodies[-1] += parts[byte % len(parts)]
    return bodies


def _changed(row: Method, bodies: Sequence[bytes]) -> List[Optional[bytes]]:
    """What kubelet gets of each list when they come one after the other; None for one that is not readable."""
    answer = _router().answers.transform(row, _ALT, ApiVersion.V1, ApiVersion.V1, lambda _: None)
    assert answer is not None
    found: List[Optional[bytes]] = []
    for body in bodies:
        try:
            found.append(_plain(row.rpc.response, answer(body)))
        except DecodeError:
            found.append(None)
    return found


def _in_parts(data: bytes) -> None:
    options, rest = options_of(data)
    row = _LISTS[options % len(_LISTS)]
    bodies = _bodies(rest)
    alone = {body: _changed(row, [body])[0] for body in bodies}
    assert _changed(row, bodies) == [alone[body] for body in bodies]


def _work_lists(data: bytes) -> None:
    """The list, then one that differs in its middle."""
    options, body = options_of(data)
    half = len(body) // 2
    _changed(_LISTS[options % len(_LISTS)], [body, body[:half] + body[half + 1 :], body])


LISTS = Target(_in_parts, _work_lists)

# Lists of several runtimes.

_MERGED = [row for row in METHODS.values() if row.merge is not Merge.CONCATENATED]


def _merged_plainly(row: Method, lists: List[Any]) -> List[Any]:
    """The entries of the lists, as whole messages, in the merged one."""
    merged: List[List[Any]] = []
    known: Dict[Tuple[str, str], Tuple[int, Any]] = {}
    for index, each in enumerate(lists):
        kept: List[Any] = []
        for entry in each.descriptors if row.merge is Merge.ONE_OF_A_METRIC else each.images:
            if row.merge is Merge.ONE_OF_A_METRIC:
                first, holder = known.setdefault((entry.name, ""), (index, entry))
                if first == index:
                    kept.append(entry)
                continue
            first, holder = known.setdefault((entry.id, entry.spec.runtime_handler), (index, entry))
            if first == index or not entry.id:
                kept.append(entry)
                continue
            for names, more in ((holder.repo_tags, entry.repo_tags), (holder.repo_digests, entry.repo_digests)):
                names.extend([name for name in more if name not in list(names)])
            holder.size = min(holder.size + entry.size, 2**64 - 1)
            holder.pinned = holder.pinned or entry.pinned
        merged.append(kept)
    return [entry for kept in merged for entry in kept]


def _merging(data: bytes) -> None:
    options, rest = options_of(data)
    row = _MERGED[options % len(_MERGED)]
    how, kind = merge_of(row), api()[row.rpc.response]
    assert how is not None
    bodies = rest.split(_PARTS)[:_MOST]
    try:
        merged = b"".join(finish(how.merge([how.read(body) for body in bodies])))
    except DecodeError:
        return
    lists = [_parsed(kind, body) for body in bodies]
    # What has a group stays as it is, which no message of the CRI has and protobuf reads.
    if None in lists or not all(how.read(body).answer.is_set for body in bodies):
        return
    expected = _merged_plainly(row, lists)
    got: Any = _parsed(kind, merged)
    assert got is not None
    assert list(got.descriptors if row.merge is Merge.ONE_OF_A_METRIC else got.images) == expected


def _work_merging(data: bytes) -> None:
    options, rest = options_of(data)
    how = merge_of(_MERGED[options % len(_MERGED)])
    assert how is not None
    with suppress(DecodeError):
        how.merge([how.read(body) for body in (rest, rest)])


MERGING = Target(_merging, _work_merging)
