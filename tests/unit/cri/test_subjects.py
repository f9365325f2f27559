"""Which pods and containers a message is about."""

from __future__ import annotations

from typing import Any, Dict, List, Tuple

import pytest

from criproxy.cri.messages import api
from criproxy.cri.methods import METHODS, To
from criproxy.cri.subjects import CONTAINER, POD, subjects


@pytest.mark.parametrize(
    ("message", "fields", "wanted"),
    [
        ("StopContainerRequest", {"container_id": "c"}, [(CONTAINER, "c")]),
        ("StopPodSandboxRequest", {"pod_sandbox_id": "p"}, [(POD, "p")]),
        ("RunPodSandboxRequest", {"config": {"hostname": "h"}}, []),
        ("RunPodSandboxResponse", {"pod_sandbox_id": "p"}, [(POD, "p")]),
        ("CreateContainerRequest", {"pod_sandbox_id": "p", "config": {"image": {"image": "i"}}}, [(POD, "p")]),
        ("CreateContainerResponse", {"container_id": "c"}, [(CONTAINER, "c")]),
        ("ListContainersRequest", {"filter": {"id": "c", "pod_sandbox_id": "p"}}, [(CONTAINER, "c"), (POD, "p")]),
        ("ListContainersRequest", {}, []),
        ("ListContainersResponse", {"containers": [{"id": "c", "pod_sandbox_id": "p"}]}, []),
        ("ListPodSandboxRequest", {"filter": {"id": "p"}}, [(POD, "p")]),
        ("ListPodSandboxStatsRequest", {"filter": {"id": "p"}}, [(POD, "p")]),
        ("StreamContainerStatsRequest", {"filter": {"id": "c"}}, [(CONTAINER, "c")]),
        (
            "ContainerEventResponse",
            {"container_id": "c", "pod_sandbox_status": {"id": "p"}},
            [(CONTAINER, "c"), (POD, "p")],
        ),
        ("ListImagesRequest", {"filter": {"image": {"image": "i"}}}, []),
        ("VersionRequest", {"version": "v"}, []),
    ],
)
def test_a_message_is_about_what_it_names(message: str, fields: Dict[str, Any], wanted: List[Tuple[str, str]]) -> None:
    assert sorted(subjects(message, api()[message](**fields).SerializeToString())) == sorted(wanted)


def test_every_call_for_the_owner_of_something_is_about_that() -> None:
    for row in METHODS.values():
        if row.to is To.OWNER:
            body = api()[row.rpc.request](**{row.owner_field: "x"}).SerializeToString()
            assert [name for _, name in subjects(row.rpc.request, body)] == ["x"], row.name


@pytest.mark.parametrize(("message", "body"), [("StopContainerRequest", b"\xff"), ("Unheard", b"")])
def test_what_cannot_be_read_is_about_nothing(message: str, body: bytes) -> None:
    assert list(subjects(message, body)) == []


def test_an_id_need_not_be_utf8() -> None:
    assert list(subjects("StopContainerRequest", b"\x0a\x01\xff")) == [(CONTAINER, "\ufffd")]
