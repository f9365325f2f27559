"""What is said of runtimes, by what they tell of themselves."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Dict, Iterator, List, Tuple

import pytest

from criproxy.config import parse
from criproxy.cri.versions import ApiVersion
from criproxy.inspection import interview
from criproxy.inspection.findings import Finding, State
from criproxy.inspection.interview import Told
from criproxy.inspection.runtimes import Driver, findings

ALT = "alt.test"
SYSTEMD = Driver("systemd", "cgroupDriver in /config, line 2")
READY = {"RuntimeReady": (True, ""), "NetworkReady": (True, "")}
RIGHT, DEGRADED, BROKEN, SKIPPED = State.RIGHT, State.DEGRADED, State.BROKEN, State.NOT_APPLICABLE


def telling(**differently: object) -> Told:
    """A runtime with which all is well."""
    values = {"name": "x 1.0", "versions": [ApiVersion.V1], "conditions": READY, "cgroup_driver": "systemd"}
    return Told(**{**values, **differently})  # type: ignore[arg-type]


@pytest.fixture
def sockets(tmp_path: Path) -> Iterator[Tuple[Path, Path]]:
    """The sockets of the two runtimes."""
    bound = []
    for name in ("p", "a"):
        bound.append(socket.socket(socket.AF_UNIX))
        bound[-1].bind(str(tmp_path / name))
        os.chmod(tmp_path / name, 0o660)
    yield tmp_path / "p", tmp_path / "a"
    for each in bound:
        each.close()


class Asked:
    """Two runtimes, and what is said of them."""

    def __init__(self, sockets: Tuple[Path, Path]) -> None:
        self.words = ["--connect", f"{sockets[0]},{ALT}:{sockets[1]}"]
        self.told: Dict[str, Told] = {"": telling(), ALT: telling()}

    def found(self, subject: str, what: str, driver: Driver = SYSTEMD) -> Finding:
        (found,) = (each for each in self.all(driver) if (each.subject, each.what) == (subject, what))
        return found

    def all(self, driver: Driver = SYSTEMD) -> List[Finding]:
        return list(findings(parse(self.words, {}), self.told, driver))


@pytest.fixture
def asked(sockets: Tuple[Path, Path]) -> Asked:
    return Asked(sockets)


def test_all_is_right_with_two_runtimes_that_are(asked: Asked) -> None:
    assert {finding.state for finding in asked.all()} == {RIGHT, SKIPPED}
    assert [finding.what for finding in asked.all() if finding.state is SKIPPED] == ["streaming", "streaming"]


@pytest.mark.parametrize(("id", "subject", "state"), [("", "(primary)", BROKEN), (ALT, ALT, DEGRADED)])
def test_one_that_does_not_answer_is_worse_if_it_is_the_primary_one(
    id: str, subject: str, state: State, asked: Asked
) -> None:
    asked.told[id] = Told(failure="Connection refused")
    found = asked.found(subject, "answer")
    assert found.state is state
    assert found.text.endswith(": Connection refused")
    assert "status" not in [each.what for each in asked.all() if each.subject == subject]


def test_a_runtime_that_is_known_is_started_by_its_unit(asked: Asked) -> None:
    asked.words = ["--connect", "/run/containerd/containerd.sock"]
    asked.told[""] = Told(failure="Connection refused")
    assert "systemctl start containerd.service" in asked.found("(primary)", "answer").remedy


def test_whoever_may_not_ask_is_told_so(asked: Asked) -> None:
    asked.told[ALT] = Told(failure="Permission denied")
    assert asked.found(ALT, "answer").remedy == "ask as root"


def test_a_version_is_to_be_answered_whole(asked: Asked) -> None:
    versions = [ApiVersion.V1, ApiVersion.V1ALPHA2]
    asked.told[ALT] = telling(versions=versions, lacking=["ImageStatus: UNIMPLEMENTED: x (in v1alpha2)"])
    found = asked.found(ALT, "versions")
    assert (found.state, found.text) == (DEGRADED, "v1, v1alpha2, but ImageStatus: UNIMPLEMENTED: x (in v1alpha2)")


@pytest.mark.parametrize(
    ("conditions", "state", "text"),
    [
        ({**READY, "NetworkReady": (False, "no cni")}, DEGRADED, "NetworkReady is false: no cni"),
        ({**READY, "RuntimeReady": (False, "")}, BROKEN, "RuntimeReady is false"),
        ({"RuntimeReady": (True, "")}, DEGRADED, "NetworkReady is false: it is not reported"),
    ],
)
def test_a_condition_that_kubelet_wants_is_to_be_true(
    conditions: Dict[str, Tuple[bool, str]], state: State, text: str, asked: Asked
) -> None:
    asked.told[""] = telling(conditions=conditions)
    found = asked.found("(primary)", "status")
    assert (found.state, found.text) == (state, text)


def test_a_condition_of_the_runtime_s_own_may_be_false(asked: Asked) -> None:
    asked.told[""] = telling(conditions={**READY, "ContainerdHasNoDeprecationWarnings": (False, "x")})
    assert asked.found("(primary)", "status").state is RIGHT


def test_a_streaming_server_that_cannot_be_reached_is_told(asked: Asked) -> None:
    asked.told[ALT] = telling(stream="192.0.2.1:1", stream_failure="Connection refused")
    found = asked.found(ALT, "streaming")
    assert (found.state, found.text) == (DEGRADED, "kubectl exec, attach: 192.0.2.1:1: Connection refused")
    asked.told[ALT] = telling(stream="127.0.0.1:1")
    assert asked.found(ALT, "streaming").state is RIGHT


@pytest.mark.parametrize(("id", "count"), [("alt.test", 0), ("alt", 1), ("my-alt.test", 1), ("my-alt", 2)])
def test_an_id_is_to_have_a_dot_and_no_dash(id: str, count: int, asked: Asked, sockets: Tuple[Path, Path]) -> None:
    asked.words = ["--connect", f"{sockets[0]},{id}:{sockets[1]}"]
    asked.told = {"": telling(), id: telling()}
    wrong = [each for each in asked.all() if (each.what, each.state) == ("id", DEGRADED)]
    assert len(wrong) == count
    assert all(each.remedy.startswith("choose an id with") for each in wrong)


def test_a_socket_for_everybody_is_told(asked: Asked, sockets: Tuple[Path, Path]) -> None:
    os.chmod(sockets[1], 0o666)
    for folder in sockets[1].parents:
        if folder.stat().st_uid == os.getuid() and not folder.stat().st_mode & 1:
            os.chmod(folder, 0o711)
    found = asked.found(ALT, "socket")
    assert (found.state, found.remedy) == (DEGRADED, f"chmod o-w {sockets[1]}, and let the runtime make it so")
    os.chmod(sockets[1].parent, 0o700)
    assert asked.found(ALT, "socket").state is RIGHT


def test_a_file_is_no_socket(asked: Asked, sockets: Tuple[Path, Path]) -> None:
    sockets[1].unlink()
    sockets[1].touch()
    assert asked.found(ALT, "socket").text == f"{sockets[1]} is no socket"


def test_what_two_runtimes_have_makes_them_one(asked: Asked) -> None:
    asked.told = {"": telling(pods=["a", "b"], containers=["c"]), ALT: telling(pods=["b", "d"])}
    found = asked.found(ALT, "lists")
    assert (found.state, found.text) == (BROKEN, "(primary) and alt.test both have b")
    asked.told[ALT] = telling(pods=["d"], containers=["e"])
    assert asked.found("all runtimes", "lists").text == "5 pods and containers, none of them twice"


@pytest.mark.parametrize("id", ["alt.test__1", "gone.test__1"])
def test_a_primary_runtime_s_id_that_looks_like_another_s_is_not_found_by_calls(id: str, asked: Asked) -> None:
    asked.told[""] = telling(pods=["1", id])
    found = asked.found("(primary)", "lists")
    assert (found.state, found.text) == (BROKEN, f"ids of its own begin as those of another runtime do: {id}")


def test_many_names_are_counted(asked: Asked) -> None:
    ids = [str(number) for number in range(9)]
    asked.told = {"": telling(pods=ids), ALT: telling(pods=ids)}
    assert asked.found(ALT, "lists").text.endswith("both have 0, 1, 2 and 6 more")


@pytest.mark.parametrize(
    ("image", "there"),
    [
        ("registry:5000/x:1", True),
        ("registry.test:5000/a/b@sha256:00", True),
        ("nginx:5000", False),
        ("registry.test/x:1", False),
        ("library/x:5000/y", False),
    ],
)
def test_a_registry_with_a_port_takes_no_prefix(image: str, there: bool, asked: Asked) -> None:
    asked.told[ALT] = telling(images=[image])
    found = asked.found(ALT, "registries")
    assert (found.state, "behind a prefix a registry has no port" in found.text) == (RIGHT, there)
    asked.words += ["--image-prefix", "required"]
    assert asked.found(ALT, "registries").state is (DEGRADED if there else RIGHT)


def test_cgroup_drivers_are_to_agree_with_kubelet_s(asked: Asked) -> None:
    asked.told[ALT] = telling(cgroup_driver="cgroupfs")
    assert asked.found("(primary)", "cgroup driver").text == f"systemd, as kubelet's ({SYSTEMD.source})"
    found = asked.found(ALT, "cgroup driver")
    assert (found.state, found.text) == (DEGRADED, f"cgroupfs, and not systemd, as kubelet's ({SYSTEMD.source})")


def test_a_kubelet_that_takes_the_runtime_s_driver_has_that_of_the_primary(asked: Asked) -> None:
    taking = Driver("cgroupfs", "kubelet's own default", from_primary=True)
    assert asked.found(ALT, "cgroup driver", taking).state is RIGHT
    asked.told[""] = telling(cgroup_driver="")
    assert asked.found("(primary)", "cgroup driver", taking).state is SKIPPED
    assert asked.found(ALT, "cgroup driver", taking).state is DEGRADED


def test_without_kubelet_the_runtimes_are_to_agree_with_the_primary(asked: Asked) -> None:
    unknown = Driver("", "there is no kubelet to ask")
    asked.told[ALT] = telling(cgroup_driver="cgroupfs")
    assert asked.found(ALT, "cgroup driver", unknown).state is DEGRADED
    asked.told[""] = telling(cgroup_driver="")
    assert asked.found(ALT, "cgroup driver", unknown).state is SKIPPED


# Streaming addresses.


def test_an_address_that_listens_is_reached_and_one_that_does_not_is_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert interview.reached(f"http://127.0.0.1:{port}/exec/x") == (f"127.0.0.1:{port}", "")
    assert interview.reached(f"http://127.0.0.1:{port}/exec/x") == (f"127.0.0.1:{port}", "Connection refused")


@pytest.mark.parametrize(
    "url", ["", "x", "//", "http://", "http://h:99999/", "http://[::1/", f"http://{'a' * 99}.test"]
)
def test_what_is_no_address_is_not_reached(url: str) -> None:
    assert interview.reached(url)[1]
