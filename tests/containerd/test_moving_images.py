"""A move from one real containerd to another: what is found before it, and images that it takes along."""

from __future__ import annotations

import shutil
from typing import Iterator, List

import pytest

from criproxy.inspection.findings import State
from criproxy.migrate import images
from criproxy.migrate.checks import examine
from criproxy.node.kubelet import NodeError
from criproxy.node.tree import Tree

from .client import Client
from .images import Image, Registry
from .kubelet import IMAGE, Pod, Runtime, remove_pod, run_pod
from .node import Node
from .runtime import PAUSE, Containerd


@pytest.fixture
def new(node: Node) -> Iterator[Runtime]:
    """A containerd without any image."""
    containerd = Containerd(node, "new", "203.0.113.0/24")
    containerd.start()
    with Client(containerd.socket) as direct:
        yield Runtime("", containerd, direct)
    containerd.stop()
    shutil.rmtree(containerd.folder)


@pytest.fixture
def pod(node: Node, primary: Runtime) -> Iterator[Pod]:
    """One that runs on the old containerd."""
    found = run_pod(primary.direct, node, primary)
    yield found
    remove_pod(primary.direct, found)


def lacking(old: Runtime, new: Runtime) -> List[images.Image]:
    return images.lacking(str(old.containerd.socket), str(new.containerd.socket))


def copied(old: Runtime, new: Runtime) -> List[str]:
    """Copies all that is lacking; gives what has been told."""
    told: List[str] = []
    images.copy(lacking(old, new), str(old.containerd.socket), str(new.containerd.socket), told.append)
    return told


def test_what_running_pods_use_is_copied_and_starts_there(
    node: Node, primary: Runtime, new: Runtime, pod: Pod, image: Image
) -> None:
    wanted = lacking(primary, new)
    assert [(each.id, each.names) for each in wanted] == [(image.config, (IMAGE,)), ("", (PAUSE,))]
    told = copied(primary, new)
    assert told[0].startswith(f"image 1 of 2: {IMAGE} (")
    assert lacking(primary, new) == []
    assert new.direct.ImageStatus(image={"image": IMAGE}).image.id == image.config
    remove_pod(new.direct, run_pod(new.direct, node, new))


def test_another_image_of_that_name_gives_way(
    node: Node, primary: Runtime, new: Runtime, pod: Pod, image: Image, pause: Image
) -> None:
    new.containerd.load(pause, [IMAGE, PAUSE])
    assert [each.names for each in lacking(primary, new)] == [(IMAGE,)]
    copied(primary, new)
    assert new.direct.ImageStatus(image={"image": IMAGE}).image.id == image.config


def test_an_image_keeps_its_digest_and_needs_no_registry_any_more(
    node: Node, primary: Runtime, new: Runtime, registry: Registry
) -> None:
    pulled = registry.images["busybox:test"]
    name = f"{registry.host}/busybox:test"
    digest = f"{registry.host}/busybox@{pulled.manifest}"
    primary.direct.PullImage(image={"image": name})
    pod = run_pod(primary.direct, node, primary, image=digest)
    assert [each.names for each in lacking(primary, new)] == [(digest,), (PAUSE,)]
    copied(primary, new)
    for each in (name, digest):
        assert new.direct.ImageStatus(image={"image": each}).image.id == pulled.config
    remove_pod(primary.direct, pod)
    primary.direct.RemoveImage(image={"image": pulled.config})


def test_what_is_found_of_two_containerds_is_what_they_have(
    node: Node, primary: Runtime, new: Runtime, pod: Pod
) -> None:
    found = {
        (each.subject, each.what): each
        for each in examine(
            str(primary.containerd.socket), str(new.containerd.socket), Tree(node.root), None, no_command
        )
    }
    states = {what: each.state for what, each in found.items()}
    assert states == {
        ("old runtime", "answer"): State.RIGHT,
        ("old runtime", "status"): State.RIGHT,
        ("new runtime", "answer"): State.RIGHT,
        ("new runtime", "status"): State.RIGHT,
        ("new runtime", "lists"): State.RIGHT,
        ("new runtime", "cgroup driver"): State.RIGHT,
        ("kubelet", "cgroup root"): State.NOT_APPLICABLE,
        ("new runtime", "network"): State.NOT_APPLICABLE,
        ("new runtime", "images"): State.NOT_APPLICABLE,
        ("new runtime", "sandbox image"): State.NOT_APPLICABLE,
        ("new runtime", "disk"): State.RIGHT,
        ("old runtime", "logs"): State.NOT_APPLICABLE,
        ("kubelet", "statistics"): State.NOT_APPLICABLE,
        ("kubelet", "events"): State.NOT_APPLICABLE,
    }
    driver = found["new runtime", "cgroup driver"].text
    assert driver == f"cgroupfs, as that of the running container {pod.container[:13]} and the old runtime's"
    network = found["new runtime", "network"].text
    assert "203.0.113.0/24 by" in network
    assert "192.0.2.0/24 by" in network


def no_command(_: object) -> str:
    raise NodeError("nothing is run")


def test_a_containerd_that_makes_its_cgroups_by_systemd_is_refused(node: Node, primary: Runtime, pod: Pod) -> None:
    other = Containerd(node, "systemd", "203.0.113.0/24")
    file = other.folder / "config.toml"
    file.write_text(file.read_text().replace("SystemdCgroup = false", "SystemdCgroup = true"))
    other.start()
    findings = examine(str(primary.containerd.socket), str(other.socket), Tree(node.root), None, no_command)
    other.stop()
    shutil.rmtree(other.folder)
    (driver,) = (each for each in findings if each.what == "cgroup driver")
    assert driver.state is State.BROKEN
    assert driver.remedy.startswith(
        'SystemdCgroup = false below [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]'
    )


def test_two_that_give_away_the_same_addresses_are_refused(node: Node, primary: Runtime) -> None:
    other = Containerd(node, "twin", primary.containerd.network)
    other.start()
    findings = examine(str(primary.containerd.socket), str(other.socket), Tree(node.root), None, no_command)
    other.stop()
    shutil.rmtree(other.folder)
    (network,) = (each for each in findings if each.what == "network")
    assert network.state is State.BROKEN
    assert f"the old one by {primary.containerd.folder}/leases/net" in network.text
