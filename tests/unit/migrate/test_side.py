"""What a runtime tells of itself, in what a move's checks have to know."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Dict, Iterator, Sequence

import grpc
import pytest
from moving import Peer
from peers import v1

from criproxy.migrate.side import Kind, Running, kind_of, look
from criproxy.node.kubelet import NodeError

ID = "ab" * 32


class Commands:
    """Those of the node's that print something, by their second word."""

    def __init__(self, **printed: str) -> None:
        self.printed: Dict[str, str] = printed

    def __call__(self, command: Sequence[str]) -> str:
        if command[1] not in self.printed:
            raise NodeError(f"{command[0]} cannot be run")
        return self.printed[command[1]]


def peer(path: Path, name: str, version: str) -> Iterator[Peer]:
    peer = Peer(path, name, version)
    peer.runtime.start()
    yield peer
    peer.runtime.stop()


@pytest.fixture
def containerd(tmp_path: Path) -> Iterator[Peer]:
    yield from peer(tmp_path / "c", "containerd", "v2.1.0")


@pytest.fixture
def docker(tmp_path: Path) -> Iterator[Peer]:
    yield from peer(tmp_path / "d", "docker", "20.10.24")


def test_a_containerd_tells_its_configuration_its_network_and_its_containers(containerd: Peer) -> None:
    containerd.info = {"config": '{"sandboxImage": "pause:1"}', "cniconfig": '{"Networks": []}', "golang": '"go1"'}
    containerd.image_folder = "/var/lib/containerd"
    containerd.run("web", "x", ID, log="/var/log/pods/a/0.log")
    containerd.pids[ID] = 77
    seen = look(containerd.path, Commands())
    assert (seen.kind, seen.major, seen.told.name) == (Kind.CONTAINERD, 2, "containerd v2.1.0")
    assert (seen.sandbox_image, seen.handler) == ("pause:1", "runc")
    assert (dict(seen.networks), seen.image_folder) == ({"Networks": []}, "/var/lib/containerd")
    assert seen.running == [Running(ID, "/var/log/pods/a/0.log", 77)]


def test_docker_is_asked_for_what_its_cri_does_not_tell(docker: Peer) -> None:
    docker.run("web", "x", ID)
    docker.run("other", "x", "cd" * 32)
    seen = look(docker.path, Commands(info='{"CgroupDriver": "systemd"}\n', inspect="88\n"))
    assert (seen.kind, dict(seen.docker)) == (Kind.DOCKER, {"CgroupDriver": "systemd"})
    assert [container.pid for container in seen.running] == [88, 0]


def test_a_docker_that_cannot_be_asked_tells_nothing(docker: Peer) -> None:
    docker.run("web", "x", ID)
    seen = look(docker.path, Commands())
    assert (dict(seen.docker), seen.running) == ({}, [Running(ID, "", 0)])


@pytest.mark.parametrize(("id", "printed"), [("--help", "88"), (ID, "no pid"), (ID, "-1")])
def test_a_process_id_that_is_none_is_not_known(id: str, printed: str, docker: Peer) -> None:
    docker.run("web", "x", id)
    assert look(docker.path, Commands(info="{}", inspect=printed)).running == [Running(id, "", 0)]


@pytest.mark.parametrize("text", ["", "[]", "7", "{", "[" * 100_000, json.dumps({"a": "x" * 2**20})])
def test_what_is_no_object_or_too_large_tells_nothing(text: str, containerd: Peer) -> None:
    containerd.info = {"config": text}
    assert dict(look(containerd.path, Commands()).config) == {}


def test_what_a_runtime_does_not_answer_is_left_out(containerd: Peer) -> None:
    def refuse(_: object, context: grpc.ServicerContext) -> None:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "no")

    def only_brief(request: v1.StatusRequest, context: grpc.ServicerContext) -> v1.StatusResponse:
        return refuse(request, context) if request.verbose else v1.StatusResponse(status=v1.RuntimeStatus())

    containerd.run("web", "x", ID)
    containerd.logs.clear()
    containerd.runtime.answers.update({"ImageFsInfo": refuse, "Status": only_brief})
    seen = look(containerd.path, Commands())
    assert (seen.told.failure, dict(seen.config), list(seen.running), seen.image_folder) == ("", {}, [], "")
    containerd.runtime.answers["ListContainers"] = refuse
    assert look(containerd.path, Commands()).told.lacking


def test_one_that_does_not_answer_tells_why(tmp_path: Path) -> None:
    seen = look(str(tmp_path / "x"), Commands())
    assert (seen.told.failure, seen.kind) == ("No such file or directory", Kind.OTHER)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("containerd", Kind.CONTAINERD),
        ("cri-o 1.30.1", Kind.CRIO),
        ("docker", Kind.DOCKER),
        ("Docker 1", Kind.DOCKER),
        ("x", Kind.OTHER),
        ("", Kind.OTHER),
    ],
)
def test_a_runtime_is_known_by_its_name(name: str, kind: Kind) -> None:
    assert kind_of(name) is kind
