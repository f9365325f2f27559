"""The runtimes and the runtime handlers of a configuration, as their options write them."""

from __future__ import annotations

import os
from typing import Dict, List, NamedTuple, NoReturn, Sequence, Tuple

from criproxy.address import path_of
from criproxy.cri.identity import RuntimeHandler, is_label

_LONGEST_PATH = 107
"""bytes: ``sun_path`` of ``struct sockaddr_un`` has 108, with the zero at the end (unix(7))."""


class RuntimeAddress(NamedTuple):
    """Which runtime listens on which unix socket."""

    id: str
    """Empty for the primary runtime."""
    path: str


def runtimes_of(text: str) -> Tuple[RuntimeAddress, ...]:
    """The runtimes of a ``connect``, the primary first. Raises ValueError; its text names the wrong part."""
    seen: Dict[str, RuntimeAddress] = {}
    for runtime in map(_runtime, _entries(text)):
        other = seen.setdefault(runtime.id, runtime)
        if other is not runtime:
            _refuse_pair(other, runtime)
    if "" not in seen:
        raise ValueError(f"{text!r} has no primary runtime (a path without an id)")
    for id in seen:
        if id and id + "_" in seen:
            raise ValueError(f"runtime ids {id!r} and {id + '_'!r} are ambiguous: '{id}___x' could be of either")
    return (seen.pop(""), *seen.values())


def others_of(text: str) -> Tuple[RuntimeAddress, ...]:
    """The runtimes of a CRI_OTHER, each with an id. Raises ValueError; its text names the wrong part."""
    for entry in _entries(text):
        if entry.startswith(("/", "unix:")):
            raise ValueError(f"{entry!r} has no 'ID:' before the path")
        if ":" not in entry:
            raise ValueError(f"{entry!r} has no ':PATH'")
    return tuple(map(_runtime, _entries(text)))


def socket_path(text: str, whole: str = "") -> str:
    """The path of a unix socket, also of gRPC's ``unix:PATH`` and ``unix://PATH``.

    Raises ValueError; its text quotes ``whole``, of which ``text`` is a part.
    """
    path = path_of(text)
    if not path:
        raise ValueError(f"{whole or text!r}: the path is empty")
    if "\0" in path:
        raise ValueError(f"{path!r}: a path cannot contain a zero byte")
    size = len(os.fsencode(path))
    if size > _LONGEST_PATH:
        raise ValueError(f"{path!r} has {size} bytes; the path of a unix socket has at most {_LONGEST_PATH}")
    return path


def handlers_of(text: str) -> Tuple[RuntimeHandler, ...]:
    """The runtime handlers of a ``handler``. Raises ValueError; its text names the wrong part."""
    handlers: Dict[str, RuntimeHandler] = {}
    for entry in filter(None, text.split(",")):
        name, _, target = entry.partition("=")
        runtime, colon, inner = target.partition(":")
        if not is_label(name):
            raise ValueError(
                f"{entry!r}: {name!r} cannot be the handler of a RuntimeClass (lower-case letters, digits, '-')"
            )
        if not runtime or (colon and not inner) or not inner.isprintable() or " " in inner:
            raise ValueError(f"{entry!r} is not NAME=ID or NAME=ID:HANDLER")
        if name in handlers:
            raise ValueError(f"{name!r} is given twice")
        handlers[name] = RuntimeHandler(name, runtime, inner)
    return tuple(handlers.values())


def ids_of(text: str) -> Tuple[str, ...]:
    """The ids of alternative runtimes, each once. Raises ValueError; its text names the wrong part."""
    ids = tuple(dict.fromkeys(filter(None, text.split(","))))
    for id in ids:
        if not id.isprintable() or set(id) & set(" :/"):
            raise ValueError(f"{id!r} cannot be the id of a runtime")
    return ids


def handlers_by_id(
    runtimes: Sequence[RuntimeAddress], handlers: Sequence[RuntimeHandler]
) -> Tuple[RuntimeHandler, ...]:
    """A handler for each alternative runtime that has the runtime's id for a name, unless one has that name already."""
    taken = {handler.name for handler in handlers}
    return tuple(RuntimeHandler(runtime.id, runtime.id, "") for runtime in runtimes[1:] if runtime.id not in taken)


def refuse_unknown_runtimes(handlers: Sequence[RuntimeHandler], runtimes: Sequence[RuntimeAddress]) -> None:
    """Raises ValueError if a handler names no alternative runtime, or takes the id of another one."""
    ids = {runtime.id: None for runtime in runtimes[1:]}  # a set in their order
    for handler in handlers:
        if handler.runtime not in ids:
            configured = ", ".join(ids) or "none"
            raise ValueError(
                f"{handler.name!r} names runtime {handler.runtime!r}, which is not configured"
                f" (configured: {configured})"
            )
        if handler.name in ids and handler.name != handler.runtime:
            raise ValueError(f"{handler.name!r} is the id of a runtime; it cannot ask for runtime {handler.runtime!r}")


def _refuse_pair(one: RuntimeAddress, other: RuntimeAddress) -> NoReturn:
    if not one.id:
        for runtime in (one, other):
            if "/" not in runtime.path:  # an id rather than a path
                raise ValueError(f"{runtime.path!r} has no ':PATH'")
    what = f"two runtimes have the id {one.id!r}" if one.id else "there are two primary runtimes"
    raise ValueError(f"{what}: {one.path!r} and {other.path!r}")


def _entries(text: str) -> List[str]:
    entries = text.split(",")
    if len(entries) > 1 and "" in entries:
        raise ValueError(f"{text!r} has an extra ','")
    return entries


def _runtime(entry: str) -> RuntimeAddress:
    """``[ID:][unix://]PATH``. A path may contain a ``:``, so what begins with ``/`` or ``unix:`` has no id."""
    if entry.startswith(("/", "unix:")) or ":" not in entry:
        return RuntimeAddress("", socket_path(entry))
    id, _, address = entry.partition(":")
    path = socket_path(address, entry)
    if address.startswith("//"):
        raise ValueError(f"{entry!r} is not a unix socket")
    if ":" in path.partition("/")[0]:
        raise ValueError(f"{entry!r}: the id of a runtime cannot contain ':'")
    for wrong in ("/", "__"):
        if wrong in id:
            raise ValueError(f"{entry!r}: the id of a runtime cannot contain {wrong!r}")
    if not id.isprintable() or " " in id:
        raise ValueError(f"{entry!r}: the id of a runtime cannot contain white space or control characters")
    if not id:
        raise ValueError(f"{entry!r}: the id of the runtime is empty")
    return RuntimeAddress(id, path)
