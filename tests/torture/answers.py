"""What the runtimes say: answers that only this runtime can have given, to this call alone."""

from __future__ import annotations

from functools import partial
from typing import Any, Callable, Dict, List, NamedTuple

from criproxy.cri.messages import api

PRIMARY = "primary"
ALTERNATIVE = "alternative"
ID = "alt.test"
"""The alternative runtime's id, as criproxy's configuration has it."""
CALL = "call"
"""The label whose value is the call's own."""
RUNTIME = "runtime"
"""The label whose value is the runtime's name."""
LISTED = 20
"""How many of everything a runtime lists."""
WRITTEN = 20_000
"""How much ExecSync writes if nothing is said: more than a frame, bytes."""


class Listing(NamedTuple):
    """Where a list has its entries, and an entry its id and labels."""

    field: str
    nested: str = ""
    """The field of an entry in which they are; empty: the entry itself has them."""

    def entries(self, answer: Any) -> List[Any]:
        """What of each entry has ``id`` and ``labels``."""
        entries = getattr(answer, self.field)
        return [getattr(entry, self.nested) for entry in entries] if self.nested else list(entries)


LISTINGS = {
    "ListContainers": Listing("containers"),
    "ListPodSandbox": Listing("items"),
    "ListContainerStats": Listing("stats", "attributes"),
    "ListPodSandboxStats": Listing("stats", "attributes"),
}
"""The lists that can be asked for by a label; each has its entries in its first field."""


def outer(owner: str, name: str) -> str:
    """A container's id as kubelet knows it."""
    return f"{ID}__{name}" if owner == ALTERNATIVE else name


def written(owner: str, call: str, size: int = WRITTEN) -> bytes:
    """What ExecSync writes to its standard output: for a command of the call's word and, if it has more, a size."""
    return f"{owner} {call} ".encode() + b"x" * size


def _version(name: str, asked: Any) -> Dict[str, Any]:
    return {"version": "0.1.0", "runtime_name": name, "runtime_version": "1", "runtime_api_version": "v1"}


def _status(name: str, asked: Any) -> Dict[str, Any]:
    return {"status": {"conditions": [{"type": kind, "status": True} for kind in ("RuntimeReady", "NetworkReady")]}}


def _container_status(name: str, asked: Any) -> Dict[str, Any]:
    return {"status": {"id": asked.container_id, "metadata": {"name": name}, "labels": {RUNTIME: name}}}


def _exec(name: str, asked: Any) -> Dict[str, Any]:
    return {"stdout": written(name, asked.cmd[0], *map(int, asked.cmd[1:]))}


def _list(name: str, asked: Any, listing: Listing) -> Dict[str, Any]:
    labels = {RUNTIME: name, **asked.filter.label_selector}
    entries = [{"id": f"{name}-{number}", "metadata": {"name": name}, "labels": labels} for number in range(LISTED)]
    return {listing.field: [{listing.nested: entry} if listing.nested else entry for entry in entries]}


_MADE: Dict[str, Callable[[str, Any], Dict[str, Any]]] = {
    "Version": _version,
    "Status": _status,
    "ContainerStatus": _container_status,
    "ExecSync": _exec,
    **{method: partial(_list, listing=listing) for method, listing in LISTINGS.items()},
}


def made(name: str, method: str, body: bytes) -> bytes:
    """The answer of the runtime of this name; empty for a method without a row."""
    make = _MADE.get(method)
    if make is None:
        return b""
    asked = api()[f"{method}Request"].FromString(body)
    found: bytes = api()[f"{method}Response"](**make(name, asked)).SerializeToString()
    return found
