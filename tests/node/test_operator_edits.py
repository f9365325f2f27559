"""What an operator edits counts, and is never lost."""

from __future__ import annotations

import re
from pathlib import Path

from tests.containerd.service import eventually

from . import debs
from .caller import Caller
from .layouts import CONTAINERD, CRIO, FULL, KUBEADM
from .node import DROP_IN, SOCKET, Node

_DEFAULTS = "/etc/default/criproxy"
_UNIT = "/etc/systemd/system/criproxy.service"


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
    status, process = node.show("criproxy.service", "StatusText"), node.show("criproxy.service", "MainPID")
    node.write(_DEFAULTS, "CRI_PRIMARY=/run/one.sock,/run/two.sock\n")
    assert node.attempt("systemctl", "reload", "criproxy.service").returncode
    journal = eventually(lambda: node.journal("criproxy.service"), lambda text: "/run/two.sock" in text)
    assert "/run/one.sock" in journal
    assert "/run/two.sock" in journal
    assert node.state("criproxy.service") == "active"
    assert node.show("criproxy.service", "StatusText") == status
    assert node.show("criproxy.service", "MainPID") == process
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


def test_an_edited_unit_stays_in_force_over_an_upgrade_and_that_is_said(node: Node, tmp_path: Path) -> None:
    before = node.files()
    node.install()
    edited = node.path(_UNIT).read_text().replace("[Service]\n", "[Service]\nLimitNOFILE=4096\n", 1)
    assert "LimitNOFILE=4096" in edited
    edited = re.sub(r"^LimitNOFILE=(?!4096$).*\n", "", edited, flags=re.M)
    node.write(_UNIT, edited)
    text = node.dpkg("--install", debs.with_another_unit(debs.built(FULL), tmp_path))
    ours = f"{_UNIT}.criproxy-dist"
    assert node.path(_UNIT).read_text() == edited
    assert "LimitNPROC=4096" in node.path(ours).read_text()
    assert _UNIT in text
    assert ours in text
    assert node.show("criproxy.service", "LimitNOFILE") == "4096"
    assert node.state("criproxy.service") == "active"
    node.dpkg("--purge", FULL)
    assert node.files().changes(before).keys() <= {f"{_UNIT}.criproxy-saved"}, node.files().changes(before)


def test_defaults_that_are_a_link_stay_one(node: Node) -> None:
    node.write("/etc/site/criproxy", "# mine\nCRI_OTHER=alt.test:/run/alt.sock\n")
    node.path(_DEFAULTS).symlink_to("../site/criproxy")
    node.install()
    assert node.path(_DEFAULTS).is_symlink()
    text = node.path("/etc/site/criproxy").read_text()
    assert text.startswith("# mine\nCRI_OTHER=alt.test:/run/alt.sock\n")
    assert f"CRI_PRIMARY={CONTAINERD}\n" in text
    node.run("criproxy", "node", "apply", "--other", "other.test:/run/other.sock")
    assert node.path(_DEFAULTS).is_symlink()
    assert "CRI_OTHER=other.test:/run/other.sock\n" in node.path("/etc/site/criproxy").read_text()
    node.dpkg("--remove", FULL)
    assert node.path(_DEFAULTS).is_symlink()


def test_another_primary_runtime_that_is_not_there_is_refused(node: Node) -> None:
    node.install()
    files, kubelet = node.files(), node.kubelet
    done = node.attempt("criproxy", "node", "apply", "--primary", "crio")
    assert done.returncode == 1
    assert CRIO in done.stdout
    assert node.files().changes(files) == {}
    assert node.kubelet == kubelet
    with node.client() as client:
        assert client.Version().runtime_name == "containerd"
    node.run_pod()
