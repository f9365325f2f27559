"""The programs that write and read images."""

from __future__ import annotations

import os
from pathlib import Path
from typing import List, Tuple

import pytest

from criproxy.migrate import pipes
from criproxy.migrate.pipes import Pipe, Pipes
from criproxy.migrate.side import Kind
from criproxy.node.kubelet import NodeError

READER = ("sh", "-c", "cat > /dev/null")


def commands(old: Kind, new: Kind, *names: str) -> List[str]:
    return [str(pipe) for pipe in Pipes(old, "/o", new, "/n").of(names)]


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        (
            Kind.CONTAINERD,
            Kind.CONTAINERD,
            [
                "ctr --address /o --namespace k8s.io images export - -- a:1 b:2"
                " | ctr --address /n --namespace k8s.io images import --no-unpack -"
            ],
        ),
        (
            Kind.DOCKER,
            Kind.CONTAINERD,
            ["docker save -- a:1 b:2 | ctr --address /n --namespace k8s.io images import --no-unpack -"],
        ),
        (
            Kind.CONTAINERD,
            Kind.DOCKER,
            ["ctr --address /o --namespace k8s.io images export - -- a:1 b:2 | docker load --quiet"],
        ),
        (
            Kind.CRIO,
            Kind.DOCKER,
            [
                "skopeo copy --quiet containers-storage:a:1 docker-archive:/dev/stdout:a:1 | docker load --quiet",
                "skopeo copy --quiet containers-storage:b:2 docker-archive:/dev/stdout:b:2 | docker load --quiet",
            ],
        ),
        (
            Kind.DOCKER,
            Kind.CRIO,
            [
                "docker save -- a:1 > /var/tmp/image.tar"
                " && skopeo copy --quiet docker-archive:/dev/stdin containers-storage:a:1 < /var/tmp/image.tar",
                "docker save -- b:2 > /var/tmp/image.tar"
                " && skopeo copy --quiet docker-archive:/dev/stdin containers-storage:b:2 < /var/tmp/image.tar",
            ],
        ),
        (Kind.OTHER, Kind.CONTAINERD, []),
        (Kind.CONTAINERD, Kind.OTHER, []),
    ],
)
def test_each_runtime_has_its_own(old: Kind, new: Kind, wanted: List[str]) -> None:
    assert commands(old, new, "a:1", "b:2") == wanted


@pytest.mark.parametrize(
    "name", ["", "-o", "--help", "a b", "a;b", "$(a)", "a\n", "a\0", "ä", "a'", "a" * 1025, "[a]b"]
)
def test_what_is_no_image_s_name_gets_into_no_command(name: str) -> None:
    assert commands(Kind.CONTAINERD, Kind.CONTAINERD, name) == []
    assert commands(Kind.DOCKER, Kind.CRIO, name) == []


def test_a_digest_goes_from_containerd_to_containerd_alone() -> None:
    assert len(commands(Kind.CONTAINERD, Kind.CONTAINERD, "a@sha256:7")) == 1
    assert commands(Kind.DOCKER, Kind.CONTAINERD, "a@sha256:7") == []


both_ways = pytest.mark.parametrize("spooled", [False, True])


@both_ways
def test_what_one_writes_the_other_reads(spooled: bool, tmp_path: Path) -> None:
    Pipe(("echo", "$HOME; x"), ("cp", "/dev/stdin", str(tmp_path / "read")), spooled).run()
    assert (tmp_path / "read").read_text() == "$HOME; x\n"


@pytest.mark.parametrize(
    ("writer", "reader", "text"),
    [
        (("sh", "-c", "echo why >&2; exit 3"), READER, "sh has failed (exit status 3): why; the whole: sh -c"),
        (("echo",), ("sh", "-c", "cat; echo why; exit 4"), "sh has failed (exit status 4): why; the whole: echo | sh"),
        (("yes",), ("false",), "false has failed (exit status 1): "),
        (("true",), ("false",), "false has failed (exit status 1): it says nothing"),
        (("true",), ("/no/such/program",), "/no/such/program: No such file or directory: true | "),
        (("sh", "-c", "yes no | head -n 999 >&2; exit 1"), READER, f"sh has failed (exit status 1): {'no ' * 166}no;"),
    ],
)
def test_one_that_fails_is_named_with_its_words(writer: Tuple[str, ...], reader: Tuple[str, ...], text: str) -> None:
    with pytest.raises(NodeError) as raised:
        Pipe(writer, reader).run()
    assert text in str(raised.value)


@both_ways
def test_one_that_does_not_end_is_ended(spooled: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipes, "_TIME", 0.0)
    os.mkfifo(tmp_path / "never")
    with pytest.raises(NodeError, match=r"^an image has not been copied within 0 s: cat "):
        Pipe(("cat", str(tmp_path / "never")), READER, spooled).run()


@pytest.mark.parametrize(("writer", "reader", "name"), [("false", "cat", "false"), ("true", "false", "false")])
def test_by_way_of_a_file_the_one_that_fails_is_named_too(writer: str, reader: str, name: str) -> None:
    with pytest.raises(
        NodeError, match=rf"^{name} has failed \(exit status 1\): it says nothing; the whole: {writer} >"
    ):
        Pipe((writer,), (reader,), spooled=True).run()


def test_what_is_not_installed_is_known() -> None:
    assert Pipe(("no-such-program", "x"), READER).absent() == ["no-such-program"]
