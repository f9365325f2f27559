"""Whether kubelet can parse a message: what of an alternative runtime's has to hold before it is shared with others.

Kubelet refuses all of an answer for one entry that does not parse. Its parsers differ: gogo's code (to Kubernetes 1.34)
refuses a field that has another wire type than its own, google's refuses text that is not UTF-8. So a message holds if
at every level it consists of whole fields, the known ones have their wire types, and their text is UTF-8. Fields that
nobody knows are left to themselves, but for groups, which the CRI does not have.

`is_plain` tells at once whether a message certainly holds. Compiled, it follows the fields. In Python that takes 80 µs
for a container, so there protobuf's C reads the message and writes it again, which takes 2: what comes out as it went
in, as all does that Go writes, holds. `fault_of` looks at what does not, in steps, and says what is wrong.
"""

from __future__ import annotations

from codecs import getincrementaldecoder
from functools import cache
from typing import TYPE_CHECKING, Any, Callable, ClassVar, Dict, Final, FrozenSet, List, NamedTuple, Optional

from criproxy.cri.identity import LONGEST_NAME
from criproxy.cri.methods import METHODS, To
from criproxy.cri.schema import load
from criproxy.cri.steps import InSteps, Steps, Transform, Work, finish
from criproxy.cri.wire import FIXED64, LENGTH, VARINT, DecodeError, end_of_varint, field_at

if TYPE_CHECKING:  # compiled, these are numbers of C's, and else Python's
    from mypy_extensions import i64

LARGEST_MESSAGE: Final = 16 * 2**20
"""The largest message that kubelet's CRI client takes (maxMsgSize), bytes."""
MOST_FIELDS: Final = 65_536
"""The most fields of one entry, at all levels: a pod with the metrics of a hundred containers has fewer."""
AT_ONCE: Final = 64 * 1024
"""The most bytes of a peer's that are read unseen: of two-byte fields these are some milliseconds."""
LONGEST_ID: Final = 4096
"""bytes of an id or of a pod's uid: no runtime gives a longer one, and kubelet's uids have 36."""
_FIELDS_AT_ONCE: Final = 256
"""So many fields are looked at, in about half a millisecond, between two steps."""
_SHORT_TEXT: Final = 32
"""Up to so many bytes it is quicker to look at each than to cut them out and have them looked at."""
_BEFORE_A_NAME: Final = 16
"""So many fields are looked at for an entry's name, which is the first one as a rule."""

_ENTRY: Final = "Entry"
"""Stands for an entry of a ``map<string, string>``."""
_COMPILED: Final = not __file__.endswith((".py", ".pyc"))

Complain = Callable[[str], None]
"""Is told, of each answer of which something is left out, what and why."""


class _Field(NamedTuple):
    """What a field has to be."""

    name: str
    wire: int
    text: bool = False
    message: str = ""
    packed: bool = False
    """Whether many values may stand in one field."""


@cache
def _fields_of(message: str) -> Dict[int, _Field]:
    schema = load()
    if message == _ENTRY:
        return {1: _Field("key", LENGTH, text=True), 2: _Field("value", LENGTH, text=True)}
    fields: Dict[int, _Field] = {}
    for field in schema.messages[message].values():
        if field.map_value is not None:
            kind = _Field(field.name, LENGTH, message=_ENTRY)
        elif field.type in schema.messages:
            kind = _Field(field.name, LENGTH, message=field.type)
        elif field.type in ("string", "bytes"):
            kind = _Field(field.name, LENGTH, text=field.type == "string")
        else:
            kind = _Field(field.name, FIXED64 if field.type == "double" else VARINT, packed=field.repeated)
        fields[field.number] = kind
    return fields


def entries_of(message: str) -> Dict[int, str]:
    """The lists in a response: the message of which each repeated field consists, by the field's number."""
    types = load().messages
    return {field.number: field.type for field in types[message].values() if field.repeated and field.type in types}


def is_plain(message: str, body: bytes) -> bool:
    """Whether a response of several runtimes certainly holds. If not, `fault_of` says whether it does."""
    if len(body) > AT_ONCE:
        return False
    return holds(message, body) if _COMPILED else _is_written_so(message, body)


def _is_written_so(message: str, body: bytes) -> bool:
    """Whether protobuf writes the message in the same way."""
    from criproxy.cri.messages import parse  # it brings protobuf, some megabytes: not to be had before it is needed

    try:
        parsed = parse(_strict()[message], body)
    except DecodeError:
        return False
    parsed.DiscardUnknownFields()
    return bool(parsed.SerializeToString() == body)


@cache
def _strict() -> Dict[str, Any]:
    from criproxy.cri.messages import strict

    of_all = (To.ALL, To.EVENTS, To.FIRST_HOLDER)
    shared = [row.rpc.response for row in METHODS.values() if row.to in of_all or row.digest in of_all]
    return {**strict("criproxy.verify", shared)}


def holds(message: str, body: bytes) -> bool:
    """Whether a message holds: what `fault_of` says, at once, and without the limits to its fields."""
    try:
        _shape_of(message).check(body, 0, len(body))
    except (DecodeError, UnicodeDecodeError):
        return False
    return True


class _Known:
    """A field that has to be so. ``shape``: what is in it if that is a message."""

    __slots__ = ("packed", "shape", "text", "wire")

    def __init__(self, field: _Field) -> None:
        self.wire: i64 = field.wire
        self.text = field.text
        self.packed = field.packed
        self.shape: Optional[_Shape] = _shape_of(field.message) if field.message else None


class _Shape:
    """The known fields of a message, by their numbers."""

    __slots__ = ("_fields",)

    def __init__(self, message: str) -> None:
        fields = _fields_of(message)
        self._fields: List[Optional[_Known]] = [None] * (max(fields, default=0) + 1)
        for number, field in fields.items():
            self._fields[number] = _Known(field)

    def check(self, body: bytes, at: i64, end: i64) -> None:
        """Raises DecodeError or UnicodeDecodeError if what stands between two offsets does not hold."""
        fields = self._fields
        known: i64 = len(fields)
        while at < end:
            tag: i64 = body[at]
            size: i64 = body[at + 1] if at + 1 < end else 0x80
            if tag & 0x87 == LENGTH and tag > 7 and size < 0x80 and at + 2 + size <= end:  # most fields
                number: i64 = tag >> 3
                wire: i64 = LENGTH
                begin: i64 = at + 2
                at = begin + size
            else:
                number, wire, begin, at = field_at(body, at, end)
            field = fields[number] if number < known else None
            if field is None:
                continue
            if wire != field.wire:
                if not (field.packed and wire == LENGTH):
                    raise DecodeError("wire type")
                _check_packed(body, begin, at, field.wire)
            elif field.shape is not None:
                field.shape.check(body, begin, at)
            elif field.text:
                if at - begin <= _SHORT_TEXT:
                    while begin < at and body[begin] < 0x80:
                        begin += 1
                if begin < at:
                    text = body[begin:at]
                    if not text.isascii():
                        text.decode()


@cache
def _shape_of(message: str) -> _Shape:
    return _Shape(message)


def fault_of(message: str, body: bytes, ids: FrozenSet[str] = frozenset()) -> Work[str]:
    """What kubelet cannot parse in a message, or no more than it should have to; nothing if it holds.

    ``ids``: the dotted paths of fields that may have no more than `LONGEST_ID` bytes.
    """
    left = MOST_FIELDS
    above = [("", message, 0, len(body))]
    path = ""
    try:
        while above:
            path, message, at, end = above.pop()
            fields = _fields_of(message)
            while at < end:
                left -= 1
                if not left:
                    return f"it has more than {MOST_FIELDS} fields"
                if not left % _FIELDS_AT_ONCE:
                    yield
                number, wire, begin, at = field_at(body, at, end)
                field = fields.get(number)
                if field is None:
                    continue
                if wire != field.wire:
                    if not (field.packed and wire == LENGTH):
                        return f"{path}{field.name} has wire type {wire} instead of {field.wire}"
                    _check_packed(body, begin, at, field.wire)
                elif field.message:
                    above.append((path, message, at, end))
                    path, message, at, end = f"{path}{field.name}.", field.message, begin, at
                    fields = _fields_of(message)
                elif field.text and at - begin <= LONGEST_ID:
                    body[begin:at].decode()
                elif field.text:
                    if f"{path}{field.name}" in ids:
                        return too_long(at - begin)
                    yield from _check_text(body, begin, at)
    except DecodeError as error:
        return f"{path[:-1] or message}: {error}"
    except UnicodeDecodeError:
        return f"{path}{fields[number].name} is not UTF-8"
    return ""


def too_long(size: int) -> str:
    """What is wrong with an id of so many bytes."""
    return f"an id of {size} bytes; no runtime gives one of more than {LONGEST_ID}"


def _check_text(body: bytes, at: int, end: int) -> Work[None]:
    """Raises UnicodeDecodeError for a long text that is not UTF-8."""
    decoder = getincrementaldecoder("utf-8")()
    for begin in range(at, end, AT_ONCE):
        stop = min(begin + AT_ONCE, end)
        decoder.decode(body[begin:stop], stop == end)
        yield


def check(message: str, body: bytes, unseen: int = AT_ONCE, ids: FrozenSet[str] = frozenset()) -> Work[None]:
    """Looks at a message of more than ``unseen`` bytes before it is parsed. Raises DecodeError if it does not hold.

    ``ids``: see `fault_of`.
    """
    if len(body) > unseen and not is_plain(message, body):
        fault = yield from fault_of(message, body, ids)
        if fault:
            raise DecodeError(fault)


class Checked(InSteps):
    """Makes the answer to a call for one runtime what kubelet may see of it, if it holds.

    ``message`` is its name; ``change`` renames what holds (None: nothing has to be); ``unseen``: up to so many bytes it
    is not looked at, since it is nobody else's.
    """

    __slots__ = ("_change", "_message", "_unseen")
    long: ClassVar[int] = AT_ONCE

    def __init__(self, message: str, change: Optional[Transform], unseen: int = AT_ONCE) -> None:
        self._message = message
        self._change = change
        self._unseen = unseen

    def __call__(self, body: bytes) -> bytes:
        """The changed message, at once. Raises DecodeError if it does not hold."""
        if len(body) > self._unseen:
            return finish(self.steps(body))
        return body if self._change is None else self._change(body)

    def steps(self, body: bytes) -> Steps:
        """The changed message, in steps. Raises DecodeError if it does not hold."""
        yield from check(self._message, body, self._unseen)
        return body if self._change is None else self._change(body)


class Verified(InSteps):
    """Makes messages that are no lists what kubelet may see of them: nothing of one that does not hold.

    ``message`` is their name; ``change`` renames what holds (None: nothing has to be).
    """

    __slots__ = ("_change", "_complain", "_message")
    long: ClassVar[int] = 1024

    def __init__(self, message: str, change: Optional[Transform], complain: Complain) -> None:
        self._message = message
        self._change = change
        self._complain = complain

    def __call__(self, body: bytes) -> bytes:
        """The changed message, at once."""
        return finish(self.steps(body))

    def steps(self, body: bytes) -> Steps:
        """The changed message, in steps."""
        fault = ""
        if len(body) > LARGEST_MESSAGE:
            fault = f"it has {len(body)} bytes, and kubelet takes {LARGEST_MESSAGE}"
        elif not is_plain(self._message, body):
            fault = yield from fault_of(self._message, body)
        if not fault:
            try:
                return body if self._change is None else self._change(body)
            except DecodeError as error:
                fault = str(error)
        self._complain(f"a {self._message} is left out: {fault}")
        return b""


def name_of(message: str, body: bytes) -> str:
    """The name of an entry: its id, or what stands for that. Nothing if it cannot be read."""
    at, end = 0, len(body)
    try:
        for _ in range(_BEFORE_A_NAME):
            number, wire, begin, at = field_at(body, at, end)
            field = _fields_of(message).get(number)
            if number != 1 or field is None or wire != LENGTH:
                continue
            if not field.message:
                return body[begin:at].decode() if at - begin <= LONGEST_NAME else ""
            message, at, end = field.message, begin, at
    except (DecodeError, UnicodeDecodeError):
        pass
    return ""


def whole_fields(body: bytes) -> Work[bytes]:
    """As much of a message that has been cut off as consists of whole fields, in steps."""
    at = number = 0
    while True:
        number += 1
        if not number % _FIELDS_AT_ONCE:
            yield
        try:
            at = field_at(body, at, len(body))[3]
        except DecodeError:
            return body[:at]


def _check_packed(body: bytes, at: int, end: int, wire: int) -> None:
    """Raises DecodeError if this is no row of values."""
    if wire == FIXED64:
        if (end - at) % 8:
            raise DecodeError("it is cut off")
        return
    while at < end:
        at = end_of_varint(body, at, end)
