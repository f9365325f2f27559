"""Lists that are narrowed by us hold what a plain reading of the request says, and hold it as it was."""

from __future__ import annotations

import random
from typing import Any, Dict, List

import pytest
from cri_reference import fill, their_class, tree_of, wire_of, with_unknown_fields
from hypothesis import given
from hypothesis import strategies as st

from criproxy.cri.filter import (
    CONTAINERS,
    LIST_KINDS,
    PODS,
    UNFILTERED,
    ListKind,
    count,
    list_kind_of,
    ready_pods,
    sandbox_of,
)
from criproxy.cri.methods import METHODS
from criproxy.cri.wire import DecodeError

LISTS = {
    "ListPodSandbox": (PODS, "items"),
    "StreamPodSandboxes": (PODS, "pod_sandboxes"),
    "ListContainers": (CONTAINERS, "containers"),
    "StreamContainers": (CONTAINERS, "containers"),
}
IDS = ["", "alt.test__a", "alt.test__ab", "alt.test__b"]
LABELS = st.dictionaries(st.sampled_from(["app", "tier", ""]), st.sampled_from(["", "web", "db"]), max_size=2)
ENTRIES = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.sampled_from(IDS),
            "pod_sandbox_id": st.sampled_from(IDS),
            "state": st.integers(0, 3),
            "labels": LABELS,
        }
    ),
    max_size=6,
)
FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "id": st.sampled_from([*IDS, "alt", "x"]),
        "pod_sandbox_id": st.sampled_from([*IDS, "alt", "x"]),
        "state": st.integers(0, 3),
        "label_selector": LABELS,
    },
)


def message(sort: ListKind, **fields: Any) -> Any:
    """A message of somebody else's; what pods do not have is left out."""
    made = their_class(sort.entry)
    known = made.DESCRIPTOR.fields_by_name
    return made(**{key: value for key, value in fields.items() if key in known})


def request_of(method: str, wanted: Dict[str, Any]) -> bytes:
    request = their_class(METHODS[method].rpc.request)()
    known = request.filter.DESCRIPTOR.fields_by_name
    request.filter.SetInParent()
    for key, value in wanted.items():
        if key == "state":
            request.filter.state.state = value
        elif key == "label_selector":
            request.filter.label_selector.update(value)
        elif key in known:
            setattr(request.filter, key, value)
    serialized: bytes = request.SerializeToString()
    return serialized


def list_of(method: str, entries: List[bytes]) -> bytes:
    answer = their_class(METHODS[method].rpc.response)()
    field = LISTS[method][1]
    for entry in entries:
        getattr(answer, field).add().MergeFromString(entry)
    serialized: bytes = answer.SerializeToString()
    return serialized


def wanted_by(method: str, request: bytes, entry: Any) -> bool:
    """The plain way, on messages of somebody else's."""
    wanted = their_class(METHODS[method].rpc.request).FromString(request).filter
    if not entry.id.startswith(wanted.id):
        return False
    if wanted.HasField("state") and wanted.state.state != entry.state:
        return False
    if method.endswith("Containers") and not entry.pod_sandbox_id.startswith(wanted.pod_sandbox_id):
        return False
    return all(key in entry.labels and entry.labels[key] == value for key, value in wanted.label_selector.items())


def test_of_all_methods_these_list_pods_or_containers() -> None:
    assert {name: list_kind_of(row) for name, row in METHODS.items() if list_kind_of(row) is not None} == {
        name: sort for name, (sort, _) in LISTS.items()
    }


@pytest.mark.parametrize("method", LISTS)
@given(listed=ENTRIES, wanted=FILTERS)
def test_a_list_holds_what_matches_all_of_its_filter(method: str, listed: List[Any], wanted: Dict[str, Any]) -> None:
    sort = LISTS[method][0]
    entries = [message(sort, **fields) for fields in listed]
    request = request_of(method, wanted)
    body = list_of(method, [entry.SerializeToString() for entry in entries])
    kept = [entry.SerializeToString() for entry in entries if wanted_by(method, request, entry)]
    assert sort.narrowed(body, request) == list_of(method, kept)


@pytest.mark.parametrize("method", LISTS)
@pytest.mark.parametrize("request_", UNFILTERED)
def test_without_a_filter_a_list_is_what_it_was_whatever_it_is(method: str, request_: bytes) -> None:
    assert LISTS[method][0].narrowed(b"\xff", request_) == b"\xff"


@pytest.mark.parametrize("request_", UNFILTERED)
@pytest.mark.parametrize("method", LISTS)
def test_the_requests_for_all_are_those_that_a_client_writes(method: str, request_: bytes) -> None:
    request = their_class(METHODS[method].rpc.request)()
    if request_:
        request.filter.SetInParent()
    assert request.SerializeToString() == request_


@pytest.mark.parametrize("sort", LIST_KINDS)
def test_an_entry_comes_out_byte_for_byte_with_what_nobody_knows(sort: ListKind) -> None:
    rng = random.Random(1)
    entries = []
    for index in range(4):
        entry = their_class(sort.entry)()
        fill(entry, rng, lambda name: f"{name} of somebody")
        entry.id, entry.state = f"x{index}", index % 2
        # Fields in an order in which no class would write them.
        tree = with_unknown_fields(tree_of(entry.SerializeToString(), sort.entry))
        rng.shuffle(tree)
        entries.append(wire_of(tree))
    body = wire_of([(1, 2, entry) for entry in entries] + [(9, 0, 7)])
    request = request_of(sort.method, {"state": 1})
    assert sort.narrowed(body, request) == wire_of([(1, 2, entries[1]), (1, 2, entries[3])])


@pytest.mark.parametrize("sort", LIST_KINDS)
def test_fields_of_a_filter_that_nobody_knows_narrow_nothing(sort: ListKind) -> None:
    entry = message(sort, id="a")
    body = list_of(sort.method, [entry.SerializeToString()])
    request = wire_of([(1, 2, [(1, 2, b"a"), (77, 2, b"x"), (78, 0, 1)]), (9, 0, 7)])
    assert sort.narrowed(body, request) == body


@pytest.mark.parametrize("sort", LIST_KINDS)
def test_what_has_been_sent_is_known_by_its_id(sort: ListKind) -> None:
    entries = [message(sort, id=name, state=0).SerializeToString() for name in "abc"]
    changed = message(sort, id="b", state=1).SerializeToString()
    rest = sort.narrowed(list_of(sort.method, entries), b"", list_of(sort.method, [changed]))
    assert rest == list_of(sort.method, [entries[0], entries[2]])


@pytest.mark.parametrize("sort", LIST_KINDS)
def test_what_is_no_message_is_told_from_one(sort: ListKind) -> None:
    entry = message(sort, id="a").SerializeToString()
    request = request_of(sort.method, {"id": "a"})
    for body, asked in ((b"\x0a\x02a", request), (wire_of([(1, 2, b"a\xff")]), request), (entry, b"\x0a\x01\xff")):
        with pytest.raises(DecodeError):
            sort.narrowed(body, asked)


@pytest.mark.parametrize("sort", LIST_KINDS)
def test_only_entries_that_have_what_is_asked_for_are_parsed(sort: ListKind) -> None:
    entry = message(sort, id="a", labels={"uid": "u1"}).SerializeToString()
    # No message, which shows that it is not looked at.
    body = wire_of([(1, 2, b"\xff"), (1, 2, entry), (1, 2, b"\xff")])
    asked = request_of(sort.method, {"label_selector": {"uid": "u1"}})
    assert sort.narrowed(body, asked) == wire_of([(1, 2, entry)])
    assert sort.narrowed(body, request_of(sort.method, {"label_selector": {"uid": "u2"}})) == b""


def test_entries_are_counted() -> None:
    assert count(b"") == 0
    assert count(list_of("ListPodSandbox", [b""] * 3)) == 3


def test_a_pod_is_found_by_its_uid_alone() -> None:
    pod = their_class("PodSandbox")(id="an-id", labels={"uid": "a-label"})
    pod.metadata.uid = "a-uid"
    body = list_of("ListPodSandbox", [b"", pod.SerializeToString()])
    assert sandbox_of(body, b"a-uid", 0) == b"an-id"
    for other in (b"", b"a-ui", b"an-id", b"a-label", b"uid", b"nowhere"):
        assert sandbox_of(body, other, 0) is None
    assert sandbox_of(b"", b"a-uid", 0) is None


def test_another_sandbox_of_a_pod_is_another() -> None:
    made = their_class("PodSandbox")
    pods = [made(id=f"{attempt}", metadata={"uid": "a", "attempt": attempt}) for attempt in (0, 2**32 - 1)]
    body = list_of("ListPodSandbox", [pod.SerializeToString() for pod in pods])
    assert [sandbox_of(body, b"a", attempt) for attempt in (0, 1, 2**32 - 1)] == [b"0", None, b"4294967295"]


def test_the_pods_of_a_list_that_are_ready_are_named_once_each() -> None:
    entries = []
    for namespace, name, state in [("ns", "b", 0), ("ns", "a", 0), ("ns", "dead", 1), ("", "", 0), ("ns", "b", 0)]:
        pod = their_class("PodSandbox")(state=state)
        pod.metadata.namespace, pod.metadata.name = namespace, name
        entries.append(pod.SerializeToString())
    assert ready_pods(list_of("ListPodSandbox", entries)) == ["/", "ns/a", "ns/b"]
    assert ready_pods(b"") == []
    with pytest.raises(DecodeError):
        ready_pods(b"\xff")
