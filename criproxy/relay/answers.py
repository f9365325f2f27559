"""What makes a runtime's answer kubelet's: another version of the CRI, other names, and what is noted of it.

The functions are compiled when a method is first called for a runtime.
"""

from __future__ import annotations

from functools import partial
from typing import Callable, Dict, Final, List, Optional, Sequence, Tuple, Union

from criproxy.cri.filter import list_kind_of
from criproxy.cri.identity import Names, Runtimes
from criproxy.cri.incremental import Incremental
from criproxy.cri.learned import Learned
from criproxy.cri.methods import FieldKind, Method, To
from criproxy.cri.rewrite import Change, renaming
from criproxy.cri.steps import Transform
from criproxy.cri.verify import Checked, Complain, Verified
from criproxy.cri.versions import ApiVersion, conversion
from criproxy.relay.known import STARTS
from criproxy.relay.owners import Owners

# An enumeration's members are slow to get in the middle of a call.
_STATUS: Final = To.STATUS


class Answers:
    """Makes answers for a set of runtimes. ``stream_url`` gives the URL to put before a bare path; ``owners`` is told
    whose the ids are that have no prefix."""

    def __init__(self, runtimes: Runtimes, owners: Owners, stream_url: Callable[[], str]) -> None:
        self._runtimes = runtimes
        self._owners = owners
        self._stream_url = stream_url
        self._made: Dict[Tuple[str, str, ApiVersion, ApiVersion], Optional[Transform]] = {}
        self.kept: List[Union[Incremental, Learned]] = []
        """Those of the transforms that keep the last list."""

    def transform(
        self, row: Method, names: Names, asked: ApiVersion, spoken: ApiVersion, complain: Complain
    ) -> Optional[Transform]:
        """What makes a runtime's answer into kubelet's; None if it goes through as it is.

        ``complain`` is told what is left out of an alternative runtime's part of an answer of all.
        """
        key = (row.name, names.runtime, asked, spoken)
        if key not in self._made:
            self._made[key] = self._make_answer(row, names, asked, spoken, complain)
        return self._made[key]

    def _make_answer(
        self, row: Method, names: Names, asked: ApiVersion, spoken: ApiVersion, complain: Complain
    ) -> Optional[Transform]:
        steps = [
            conversion(row.rpc.response, spoken, asked),
            self._renaming(row, names, asked),
            self._learning(row, names),
        ]
        change = _in_turn([step for step in steps if step is not None])
        if names.retiring and row.to is not _STATUS and row.digest is not To.FIRST_HOLDER:
            return change
        if names.runtime and row.to is To.ALL:
            made = Incremental(row.rpc.response, change, complain)
            self.kept.append(made)
            return made
        if names.runtime and row.to is To.EVENTS:
            return Verified(row.rpc.response, change, complain)
        if names.runtime and row.digest is To.FIRST_HOLDER:
            return Checked(row.rpc.response, change, 0)
        if names.runtime and (change is not None or row.to is _STATUS):
            return Checked(row.rpc.response, change)
        return change

    def _renaming(self, row: Method, names: Names, asked: ApiVersion) -> Optional[Transform]:
        changes: Dict[FieldKind, Change] = {FieldKind.URL: self._absolute}
        if names.prefixed:
            changes[FieldKind.ID] = names.outer_id
            changes[FieldKind.IMAGE] = names.outer_image
        if names.has_outer_handlers:
            changes[FieldKind.HANDLER] = names.outer_handler
            changes[FieldKind.POD_HANDLER] = names.outer_handler
        changes[FieldKind.API_VERSION] = lambda _: asked.spoken.encode()
        if not any(field.kind in changes for field in row.response_fields):
            return None
        return renaming(row.rpc.response, row.response_fields, changes)

    def _learning(self, row: Method, names: Names) -> Optional[Learned]:
        """What notes whose the ids in an answer are, where that is not said by a prefix."""
        made = row.name in STARTS
        if self._runtimes.retiring is None or names.prefixed or not (made or (names.retiring and list_kind_of(row))):
            return None
        fields = tuple(field for field in row.response_fields if field.kind is FieldKind.ID)
        learned = Learned(row.rpc.response, fields, partial(self._owners.note, names))
        if not made:
            self.kept.append(learned)
        return learned

    def _absolute(self, url: bytes) -> bytes:
        """A streaming URL that is a path alone lacks the runtime's address; ``//host/path`` has one."""
        if url.startswith(b"/") and not url.startswith(b"//"):
            return self._stream_url().encode() + url
        return url


def _in_turn(steps: Sequence[Transform]) -> Optional[Transform]:
    if len(steps) < 2:
        return steps[0] if steps else None

    def apply(body: bytes) -> bytes:
        for step in steps:
            body = step(body)
        return body

    return apply
