"""What people call pods and containers, in requests and in lists."""

from __future__ import annotations

from typing import Any, Dict, List, Optional

import pytest

from criproxy.cri.identity import LONGEST_NAME
from criproxy.cri.messages import api
from criproxy.cri.methods import METHODS
from criproxy.cri.names import (
    LARGEST_REQUEST,
    MOST_ENTRIES,
    ContainerName,
    Listed,
    PodName,
    find_container,
    find_pod,
    named_in,
)
from criproxy.cri.schema import load
from criproxy.cri.verify import LONGEST_ID

WEB = PodName("default", "web")
METADATA = {"namespace": "default", "name": "web"}


def message(name: str, **fields: Any) -> bytes:
    serialized: bytes = api()[name](**fields).SerializeToString()
    return serialized


def pods(*found: Dict[str, Any]) -> bytes:
    return message("ListPodSandboxResponse", items=found)


def containers(*found: Dict[str, Any]) -> bytes:
    return message("ListContainersResponse", containers=found)


@pytest.mark.parametrize(
    ("request_", "fields", "pod", "container"),
    [
        ("RunPodSandboxRequest", {"config": {"metadata": METADATA}}, WEB, None),
        ("RestorePodRequest", {"config": {"metadata": METADATA}}, WEB, None),
        ("PullImageRequest", {"sandbox_config": {"metadata": METADATA}}, WEB, None),
        ("PullImageRequest", {"image": {"image": "i"}}, None, None),
        (
            "CreateContainerRequest",
            {"sandbox_config": {"metadata": METADATA}, "config": {"metadata": {"name": "nginx"}}},
            WEB,
            ContainerName(WEB, "nginx"),
        ),
        ("CreateContainerRequest", {"config": {"metadata": {"name": "nginx"}}}, None, ContainerName(None, "nginx")),
        ("CreateContainerRequest", {"sandbox_config": {"metadata": METADATA}}, WEB, None),
        ("RunPodSandboxRequest", {"config": {"metadata": {"namespace": "default"}}}, None, None),
        ("StopContainerRequest", {"container_id": "c"}, None, None),
    ],
)
def test_a_request_names_what_it_starts(
    request_: str, fields: Dict[str, Any], pod: Optional[PodName], container: Optional[ContainerName]
) -> None:
    assert named_in(request_, message(request_, **fields)) == (pod, container)


def test_every_request_with_the_configuration_of_one_pod_is_read_for_its_name() -> None:
    for row in METHODS.values():
        for field in load().messages[row.rpc.request].values():
            if field.type == "PodSandboxConfig" and not field.repeated:
                body = message(row.rpc.request, **{field.name: {"metadata": METADATA}})
                assert named_in(row.rpc.request, body)[0] == WEB, row.name


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (WEB, "default/web"),
        (PodName("", "web"), "web"),
        (ContainerName(WEB, "nginx"), "default/web/nginx"),
        (ContainerName(None, "nginx"), "nginx"),
    ],
)
def test_a_name_is_shown_with_all_that_is_known(name: object, shown: str) -> None:
    assert str(name) == shown


def test_a_list_tells_the_name_of_an_id() -> None:
    parts = [pods({"id": "p1", "metadata": {"name": "one"}}), pods({"id": "alt.test__p2", "metadata": METADATA})]
    assert find_pod(parts, b"alt.test__p2") == WEB
    assert find_pod(parts, b"p1") == PodName("", "one")
    assert find_pod(parts, b"p2") is None
    assert find_pod([], b"p1") is None


def test_a_list_tells_a_containers_name_and_whose_it_is() -> None:
    parts = [containers({"id": "c1", "pod_sandbox_id": "p1", "metadata": {"name": "nginx"}})]
    assert find_container(parts, b"c1") == Listed("nginx", b"p1")
    assert find_container(parts, b"p1") is None


@pytest.mark.parametrize("field", ["labels", "annotations"])
def test_an_id_in_another_field_is_no_id(field: str) -> None:
    parts = [pods({"id": "p1", "metadata": METADATA, field: {"p2": "p3"}})]
    assert find_pod(parts, b"p2") is None
    assert find_pod(parts, b"p3") is None


def test_the_author_of_a_pod_cannot_give_another_one_a_name() -> None:
    forged = message("PodSandbox", id="p1", metadata={"name": "forged"}).decode()
    entry = pods({"id": "p1", "metadata": {"name": "forged"}}).decode()
    listed = {"id": "p2", "annotations": {"a": f"{forged}{entry}"}, "labels": {forged: entry}}
    assert find_pod([pods(listed)], b"p1") is None
    assert find_pod([pods(listed, {"id": "p1", "metadata": METADATA}, listed)], b"p1") == WEB


@pytest.mark.parametrize("size", [1, 127, 128, 300, LONGEST_ID])
@pytest.mark.parametrize("rest", [0, 100, 20_000])
def test_an_id_and_its_entry_may_be_long(size: int, rest: int) -> None:
    others = [{"id": f"{number}", "annotations": {"a": "x" * rest}} for number in range(3)]
    listed = {"id": "p" * size, "metadata": METADATA, "annotations": {"a": "x" * rest}}
    assert find_pod([pods(*others, listed, *others)], b"p" * size) == WEB


def test_an_id_that_is_none_names_nothing() -> None:
    for id in (b"", b"p" * (LONGEST_ID + 1)):
        assert find_pod([pods({"id": id.decode(), "metadata": METADATA})], id) is None


def test_in_a_list_of_more_entries_than_a_node_has_not_all_are_looked_at() -> None:
    listed = {"id": "p1", "metadata": METADATA}
    assert find_pod([b"\x0a\x00" * (MOST_ENTRIES - 1) + pods(listed)], b"p1") == WEB
    assert find_pod([b"\x0a\x00" * MOST_ENTRIES + pods(listed)], b"p1") is None


@pytest.mark.parametrize(
    "body",
    [
        b"\xff",
        b"\x0a\x7f\x0a\x02p1",
        b"\x0a\x05\x0a\x02p1\xff",
        b"\x12\x00\x0a\x04\x0a\x02p1",
        b"\x0a\x04\x0a\x02p1\x0a",
    ],
)
def test_what_cannot_be_read_names_nothing(body: bytes) -> None:
    found: List[Optional[PodName]] = [find_pod([body], b"p1"), find_pod([body, pods({"id": "p1"})], b"p1")]
    assert found == [None, None]
    assert named_in("RunPodSandboxRequest", b"\xff") == (None, None)


def test_a_long_name_is_cut_and_one_need_not_be_utf8() -> None:
    long = "x" * (LONGEST_NAME + 1)
    body = message("RunPodSandboxRequest", config={"metadata": {"namespace": long, "name": long}})
    assert named_in("RunPodSandboxRequest", body)[0] == PodName(long[:-1], long[:-1])
    body = message("RunPodSandboxRequest", config={"metadata": {"name": "caf-"}}).replace(b"caf-", b"caf\xe9")
    assert named_in("RunPodSandboxRequest", body)[0] == PodName("", "caf\ufffd")


def test_a_request_of_megabytes_is_not_read_for_a_name() -> None:
    config = {"metadata": METADATA, "labels": {"a": "x" * LARGEST_REQUEST}}
    assert named_in("RunPodSandboxRequest", message("RunPodSandboxRequest", config=config)) == (None, None)
