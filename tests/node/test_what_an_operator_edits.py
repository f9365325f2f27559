"""What an operator edits counts, and is never lost."""

from __future__ import annotations

from pathlib import Path

from tests.containerd.service import eventually

from . import debs
from .caller import Caller
from .layouts import CONTAINERD, FULL, KUBEADM
from .node import DROP_IN, SOCKET, Node

_DEFAULTS = "/etc/default/criproxy"


def test_other_runtimes_count_at_a_reload_which_refuses_no_call(node: Node) -> None:
    node.install()
    process = node.show("criproxy.service", "MainPID")
    text = node.path(_DEFAULTS).read_text()
    with Caller(node.path(SOCKET)) as caller:
        for other in ("alt.test:/run/alt.sock", f"alt.test:{CONTAINERD}", "virtlet.cloud:/run/virtlet.sock"):
            node.write(_DEFAULTS, text.replace("virtlet.cloud:/run/virtlet.sock", other))
            node.run("systemctl", "reload", "criproxy.service")
            name = other.partition(":")[0]
            status = eventually(lambda: node.show("criproxy.service", "StatusText"), lambda text: name in text)  # noqa: B023
            assert name in status
    assert caller.refused == []
    assert node.show("criproxy.service", "MainPID") == process


def test_an_invalid_configuration_is_refused_at_a_reload(node: Node) -> None:
    node.install()
    status = node.show("criproxy.service", "StatusText")
    node.write(_DEFAULTS, "CRI_PRIMARY=/run/one.sock,/run/two.sock\n")
    node.run("systemctl", "reload", "criproxy.service")
    refusal = "there are two primary runtimes: '/run/one.sock' and '/run/two.sock'"
    assert refusal in eventually(lambda: node.journal("criproxy.service"), lambda text: refusal in text)
    assert node.show("criproxy.service", "StatusText") == status
    node.run_pod()


def test_runtimes_that_were_chosen_outlive_upgrades(node: Node, tmp_path: Path) -> None:
    node.install()
    text = node.path(_DEFAULTS).read_text().replace("virtlet.cloud:/run/virtlet.sock", "alt.test:/run/alt.sock")
    node.write(_DEFAULTS, text + "# mine\n")
    node.dpkg("--install", debs.later(debs.built(FULL), tmp_path))
    node.run("dpkg-reconfigure", FULL)
    assert node.path(_DEFAULTS).read_text() == text + "# mine\n"
    assert "alt.test" in node.show("criproxy.service", "StatusText")


def test_files_of_ours_that_were_edited_are_kept_beside_their_places(node: Node) -> None:
    before = node.files()
    node.install()
    edited = node.path(DROP_IN).read_text() + "LimitNOFILE=4096\n"
    node.write(DROP_IN, edited)
    node.dpkg("--purge", FULL)
    saved = f"{DROP_IN}.criproxy-saved"
    assert node.path(saved).read_text() == edited
    assert node.files().changes(before).keys() == {saved, str(Path(saved).parent)}
    assert node.kubelet_command == node.own_command


def test_a_switch_leaves_volumes_to_the_controller(node: Node) -> None:
    node.install()
    node.run("criproxy", "node", "apply", "--attach-detach", "keep")
    assert node.kubelet_command == (*node.own_command, *KUBEADM.added[:-1])
