"""The events between two looks at a runtime: what they lead to, and their order."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, NamedTuple, Sequence, Tuple

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from criproxy.cri import changes
from criproxy.cri.changes import CREATED, DELETED, STARTED, STOPPED, Change, compare, events, snapshot
from criproxy.cri.messages import api
from criproxy.cri.schema import load

API: Any = api()
ENUMS = load().enums
READY, NOT_READY = (ENUMS["PodSandboxState"][f"SANDBOX_{state}"] for state in ("READY", "NOTREADY"))
MADE, RUNNING, EXITED, UNKNOWN = (
    ENUMS["ContainerState"][f"CONTAINER_{state}"] for state in ("CREATED", "RUNNING", "EXITED", "UNKNOWN")
)


class Pod(NamedTuple):
    state: int
    created_at: int
    containers: Mapping[str, Tuple[int, int]] = {}
    """Their states, and when they were created."""


def look(pods: Mapping[str, Pod], *strays: str) -> Dict[bytes, changes.Pod]:
    """What is found of these pods; ``strays`` are the ids of containers in pods that are not listed."""
    listed, containers = API["ListPodSandboxResponse"](), API["ListContainersResponse"]()
    for name, pod in pods.items():
        entry = listed.items.add(id=name, state=pod.state, created_at=pod.created_at, labels={"l": name})
        entry.metadata.uid = f"uid of {name}"
        for container, (state, created_at) in pod.containers.items():
            containers.containers.add(id=container, pod_sandbox_id=name, state=state, created_at=created_at)
    for name in strays:
        containers.containers.add(id=name, pod_sandbox_id="not listed", state=RUNNING)
    return snapshot(listed.SerializeToString(), containers.SerializeToString())


def told(before: Mapping[str, Pod], after: Mapping[str, Pod]) -> List[Tuple[str, int]]:
    """All events, in their order."""
    return [(name.decode(), what) for change in compare(look(before), look(after)) for name, what in change.events]


# What it all leads to.

STAGES = {CREATED: "made", STARTED: "runs", STOPPED: "over"}
OF_STATE = {MADE: "made", RUNNING: "runs", EXITED: "over", UNKNOWN: "over"}
CONTAINERS = st.dictionaries(st.sampled_from("cde"), st.tuples(st.sampled_from(list(OF_STATE)), st.integers(1, 4)))


def _pods(found: Mapping[str, Tuple[int, int, Mapping[str, Tuple[int, int]]]]) -> Dict[str, Pod]:
    """A container's id begins with its pod's: containers do not move."""
    return {
        name: Pod(state, created_at, {name + container: values for container, values in containers.items()})
        for name, (state, created_at, containers) in found.items()
    }


PODS = st.dictionaries(
    st.sampled_from("pqr"),
    st.tuples(st.sampled_from([READY, NOT_READY]), st.integers(1, 4), CONTAINERS),
).map(_pods)


def stages(pods: Mapping[str, Pod]) -> Dict[str, str]:
    """Where in its life each pod and container is."""
    found = {name: "runs" if pod.state == READY else "over" for name, pod in pods.items()}
    for pod in pods.values():
        found.update({name: OF_STATE[state] for name, (state, _) in pod.containers.items()})
    return found


def apply(now: Dict[str, str], name: str, what: int) -> None:
    """Lets an event happen, which must be one that can."""
    if what == DELETED:
        assert now.pop(name) != "runs"
        assert not [other for other in now if other != name and other.startswith(name)], "its containers outlive it"
        return
    assert name in now or what == CREATED
    assert name[0] in now or len(name) == 1, "it comes before its pod"
    now[name] = STAGES[what]


@given(PODS, PODS)
def test_what_is_told_leads_from_what_was_there_to_what_is_there(before: Dict[str, Pod], after: Dict[str, Pod]) -> None:
    now = stages(before)
    for name, what in told(before, after):
        apply(now, name, what)
    assert now == stages(after)


@given(PODS, PODS)
def test_whatever_has_another_state_is_told_of_and_nothing_else(before: Dict[str, Pod], after: Dict[str, Pod]) -> None:
    def states(pods: Mapping[str, Pod]) -> Dict[str, int]:
        found = {name: pod.state for name, pod in pods.items()}
        for pod in pods.values():
            found.update({name: state for name, (state, _) in pod.containers.items()})
        return found

    was, now = states(before), states(after)
    assert {name for name, _ in told(before, after)} == {
        name for name in {*was, *now} if was.get(name) != now.get(name)
    }


@given(PODS)
def test_each_change_is_of_one_pod_and_has_something_in_it(after: Dict[str, Pod]) -> None:
    found = compare({}, look(after))
    assert sorted(change.pod.decode() for change in found) == sorted(after)
    for change in found:
        assert {name[:1] for name, _ in change.events} == {change.pod}


# The order.


@pytest.mark.parametrize(
    ("state", "steps"),
    [
        (MADE, [CREATED]),
        (RUNNING, [CREATED, STARTED]),
        (EXITED, [CREATED, STARTED, STOPPED]),
        (UNKNOWN, [CREATED, STARTED, STOPPED]),
    ],
)
def test_a_new_pod_is_there_before_its_containers(state: int, steps: Sequence[int]) -> None:
    pods = {"p": Pod(READY, 1, {"pc": (state, 2)})}
    assert told({}, pods) == [("p", CREATED), ("p", STARTED), *(("pc", step) for step in steps)]


def test_a_pod_that_has_come_and_ended_meanwhile_ends_after_its_containers() -> None:
    pods = {"p": Pod(NOT_READY, 1, {"pc": (EXITED, 2)})}
    inner = [("pc", CREATED), ("pc", STARTED), ("pc", STOPPED)]
    assert told({}, pods) == [("p", CREATED), ("p", STARTED), *inner, ("p", STOPPED)]


def test_containers_end_before_their_pod_does() -> None:
    running, exited = Pod(READY, 1, {"pc": (RUNNING, 2)}), Pod(NOT_READY, 1, {"pc": (EXITED, 2)})
    assert told({"p": running}, {"p": exited}) == [("pc", STOPPED), ("p", STOPPED)]
    assert told({"p": running}, {}) == [("pc", STOPPED), ("pc", DELETED), ("p", STOPPED), ("p", DELETED)]
    assert told({"p": exited}, {}) == [("pc", DELETED), ("p", DELETED)]


def test_an_old_container_has_ended_before_the_one_that_takes_its_place_comes() -> None:
    before = {"p": Pod(READY, 1, {"pc": (RUNNING, 2)})}
    after = {"p": Pod(READY, 1, {"pd": (RUNNING, 3), "pc": (EXITED, 2)})}
    assert told(before, after) == [("pc", STOPPED), ("pd", CREATED), ("pd", STARTED)]


def test_new_containers_come_in_the_order_in_which_they_were_created() -> None:
    pod = Pod(READY, 1, {"pe": (MADE, 4), "pc": (MADE, 3), "pd": (MADE, 2)})
    assert [name for name, _ in told({}, {"p": pod})] == ["p", "p", "pd", "pc", "pe"]


def test_the_last_pod_that_is_told_of_is_the_youngest_and_what_is_gone_comes_first() -> None:
    before = {"p": Pod(NOT_READY, 9), "q": Pod(READY, 2)}
    after = {"s": Pod(READY, 4), "q": Pod(NOT_READY, 2), "r": Pod(READY, 3)}
    assert [change.pod for change in compare(look(before), look(after))] == [b"p", b"q", b"r", b"s"]


def test_a_container_whose_pod_is_not_listed_is_for_another_look() -> None:
    assert look({"p": Pod(READY, 1)}, "c")[b"p"].containers == {}


def test_lists_that_do_not_parse_are_none() -> None:
    with pytest.raises(DecodeError):
        snapshot(b"\x0a\x05", b"")


# The events themselves.


def status(**fields: Any) -> Any:
    answer = API["PodSandboxStatusResponse"](status=fields)
    return changes.pod_status(answer.SerializeToString())


def test_each_event_has_the_statuses_whole() -> None:
    pod = {"id": "p", "state": READY, "network": {"ip": "10.0.0.1"}, "metadata": {"uid": "u", "attempt": 3}}
    container = API["ContainerStatus"](id="c", exit_code=3, mounts=[{"host_path": "/h"}])
    answer = API["ContainerStatusResponse"](status=container, info={"i": "not for events"})
    found = changes.container_status(answer.SerializeToString())
    change = Change(b"p", [(b"p", CREATED), (b"c", STOPPED)])
    got = [API["ContainerEventResponse"].FromString(event) for event in events(change, 7, status(**pod), [found])]
    assert [(event.container_id, event.container_event_type, event.created_at) for event in got] == [
        ("p", CREATED, 7),
        ("c", STOPPED, 7),
    ]
    for event in got:
        assert event.pod_sandbox_status == API["PodSandboxStatus"](**pod)
        assert list(event.containers_statuses) == [container]


def test_an_answer_without_a_status_has_none() -> None:
    assert changes.pod_status(b"") is None
    assert changes.container_status(b"") is None


def test_a_pod_that_is_gone_is_as_it_was_but_not_ready() -> None:
    known = status(id="p", state=READY, network={"ip": "10.0.0.1"})
    last = API["PodSandboxStatus"].FromString(changes.last_status(known).SerializeToString())
    assert last == API["PodSandboxStatus"](id="p", state=NOT_READY, network={"ip": "10.0.0.1"})
    assert known.state == READY


def test_a_pod_of_which_nobody_knows_more_is_as_the_list_has_it() -> None:
    listed = API["ListPodSandboxResponse"]()
    fields = {
        "id": "p",
        "state": NOT_READY,
        "created_at": 5,
        "metadata": {"name": "n", "uid": "u", "namespace": "s", "attempt": 1},
        "labels": {"a": "b"},
        "annotations": {"c": "d"},
        "runtime_handler": "kata",
    }
    listed.items.add(**fields)
    (pod,) = snapshot(listed.SerializeToString(), b"").values()
    made = API["PodSandboxStatus"].FromString(changes.listed_status(pod).SerializeToString())
    assert made == API["PodSandboxStatus"](**fields)
