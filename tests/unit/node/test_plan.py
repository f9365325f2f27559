"""Which files a node is to have, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict

import pytest
from node_lab import OWN_UNITS, ROOT, Lab

from criproxy.node import plan, syntax, units
from criproxy.node.kubelet import DROP_IN, NodeError
from criproxy.node.plan import DEFAULTS, GENERATED, NodePlan, Wishes

SHIM = "/etc/systemd/system/dockershim.service"
SERVICE = "/etc/systemd/system/criproxy.service"
SOCKET = "/etc/systemd/system/criproxy.socket"
OLD = ("--container-runtime=remote",)
ENDPOINTS = (
    "--container-runtime-endpoint=unix:///run/criproxy.sock",
    "--image-service-endpoint=unix:///run/criproxy.sock",
)
VIRTLET = ("--enable-controller-attach-detach=false",)


def planned(lab: Lab, **wishes: Any) -> NodePlan:
    return lab.node.plan(Wishes(**wishes))


def variables(made: NodePlan) -> Dict[str, str]:
    return syntax.variables("", made.defaults)


@pytest.mark.parametrize(
    ("version", "flags"),
    [
        ("1.9.11", OLD + ENDPOINTS),
        ("1.23.17", OLD + ENDPOINTS),
        ("1.26.15", OLD + ENDPOINTS),
        ("1.27.0", ENDPOINTS),
        ("1.37.0", ENDPOINTS),
    ],
)
def test_flags_fit_the_version(version: str, flags: tuple[str, ...]) -> None:
    major, minor, patch = map(int, version.split("."))
    assert plan.flags((major, minor, patch), False) == flags
    assert plan.flags((major, minor, patch), True) == flags + VIRTLET


def test_the_drop_in_repeats_kubelets_own_command_with_the_flags_behind_it(kubeadm: Lab) -> None:
    drop_in = planned(kubeadm, other="").drop_in
    assert drop_in.endswith(
        "[Service]\nExecStart=\nExecStart=/usr/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS"
        f" $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS {' '.join(ENDPOINTS)}\n"
    )


def test_what_kubelet_is_started_with_then_is_what_it_was_and_the_flags(lab: Lab) -> None:
    unit = units.load(lab.tree, "kubelet.service")
    made = planned(lab)
    lab.put(DROP_IN, made.drop_in)
    after = units.load(lab.tree, "kubelet.service")
    assert unit is not None
    assert after is not None
    before_words, after_words = (
        syntax.expand(one.all("Service", "ExecStart")[-1], units.environment(lab.tree, one)) for one in (unit, after)
    )
    assert made.kubelet is not None
    assert after_words == before_words + list(plan.flags(made.kubelet.version, True))


def test_the_plan_is_the_same_when_it_has_been_carried_out(lab: Lab) -> None:
    made = planned(lab)
    for path, text in (*made.files, ("/var/lib/criproxy/primary", made.primary)):
        lab.put(path, text)
    assert lab.node.plan(Wishes()) == made


def test_the_primary_is_what_kubelet_uses(lab: Lab, layout: str) -> None:
    docker = layout in ("kubeadm <= 1.10", "dind")
    made = planned(lab)
    assert made.primary == ("/var/run/dockershim.sock" if docker else "/run/containerd/containerd.sock")
    assert made.shim is docker
    assert [path for path, _ in made.units] == [SERVICE, *([SHIM] if docker else [])]
    assert variables(made) == {
        "CRI_PRIMARY": made.primary,
        "CRI_OTHER": "virtlet.cloud:/run/virtlet.sock",
        "CRIPROXY_OPTS": "-v 2",
    }


def test_dockershim_gets_the_flags_that_it_heeds_and_no_other(old: Lab) -> None:
    old.put(
        "/etc/systemd/system/kubelet.service.d/20.conf",
        '[Service]\nEnvironment="KUBELET_EXTRA_ARGS=--address 192.0.2.1 --port=10255 --image-service-endpoint=/x'
        ' --network-plugin-mtu=1400 --container-runtime=docker"\n',
    )
    text = dict(planned(old).units)[SHIM]
    (command,) = [value for section, key, value in syntax.settings(text) if key == "ExecStart"]
    assert syntax.split(command) == [
        *("/usr/bin/kubelet", "--experimental-dockershim", "--port", "11250"),
        *("--network-plugin=cni", "--cni-conf-dir=/etc/cni/net.d", "--cni-bin-dir=/opt/cni/bin"),
        *("--cgroup-driver=systemd", "--network-plugin-mtu=1400", "--address=192.0.2.1"),
    ]


def test_hyperkube_is_started_as_kubelet_for_dockershim_too(tmp_path: Path) -> None:
    text = dict(planned(Lab(tmp_path, "dind", "1.12.3")).units)[SHIM]
    assert (
        "ExecStart=/k8s/hyperkube kubelet --experimental-dockershim --port 11250 --hairpin-mode=hairpin-veth\n" in text
    )


@pytest.mark.parametrize(
    ("version", "message"),
    [("1.8.3", "upgrade it first"), ("1.19.0", "inside itself only"), ("1.23.9", "cri-dockerd"), ("1.24.0", "no more")],
)
def test_a_kubelet_that_cannot_be_a_dockershim(kubeadm: Lab, version: str, message: str) -> None:
    kubeadm.version = version
    with pytest.raises(NodeError, match=message):
        planned(kubeadm, primary="dockershim")


@pytest.mark.parametrize(("version", "shim"), [("1.8.4", True), ("1.18.20", True)])
def test_a_kubelet_that_can(old: Lab, version: str, shim: bool) -> None:
    old.version = version
    assert planned(old).shim is shim


@pytest.mark.parametrize(
    ("wish", "path", "unit"),
    [
        ("containerd", "/run/containerd/containerd.sock", "containerd.service"),
        ("crio", "/run/crio/crio.sock", "crio.service"),
        ("cri-dockerd", "/run/cri-dockerd.sock", "cri-docker.service"),
        ("unix:///var/run/crio/crio.sock", "/var/run/crio/crio.sock", "crio.service"),
        ("/opt/x.sock", "/opt/x.sock", ""),
    ],
)
def test_the_service_starts_after_the_runtimes_unit(kubeadm: Lab, wish: str, path: str, unit: str) -> None:
    made = planned(kubeadm, primary=wish)
    assert made.primary == path
    text = dict(made.units)[SERVICE]
    assert [value for _, key, value in syntax.settings(text) if key == "After"] == ([unit] if unit else [])
    assert [value for _, key, value in syntax.settings(text) if key == "Before"] == ["kubelet.service"]
    own = OWN_UNITS["/lib/systemd/system/criproxy.service"].splitlines()
    assert [line for line in text.splitlines() if line in own] == own


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"primary": "docker"}, "neither one of auto, dockershim"),
        ({"image_service": "stargz"}, "neither one of"),
        ({"primary": "tcp://1.2.3.4"}, "neither one of"),
        ({"other": "a__b:/x"}, "'__'"),
        ({"other": "/second"}, "'/second' has no 'ID:' before the path"),
        ({"other": "virtlet.cloud"}, "'virtlet.cloud' has no ':PATH'"),
        ({"other": "x:/run/x,x:/run/y"}, "two runtimes have the id"),
    ],
)
def test_what_is_refused(kubeadm: Lab, wishes: Dict[str, str], message: str) -> None:
    with pytest.raises(NodeError, match=message):
        planned(kubeadm, **wishes)


class TestTheDefaults:
    def test_the_operators_values_are_kept(self, kubeadm: Lab) -> None:
        text = "# mine\nCRI_PRIMARY=/opt/x.sock\nCRI_OTHER='a.b:/run/a'\nCRIPROXY_OPTS='-v 5'\n"
        kubeadm.put(DEFAULTS, text)
        made = planned(kubeadm)
        assert (made.primary, made.defaults, made.worked_out.primary) == ("/opt/x.sock", text, plan.CHOSEN)

    def test_whoever_asks_for_what_kubelet_uses_gets_it(self, kubeadm: Lab) -> None:
        kubeadm.put(DEFAULTS, "CRI_PRIMARY=/opt/x.sock\n")
        made = planned(kubeadm, primary="auto")
        assert made.primary == made.worked_out.primary == "/run/containerd/containerd.sock"

    def test_what_was_worked_out_is_worked_out_anew(self, kubeadm: Lab) -> None:
        kubeadm.put(DEFAULTS, "# kept\nCRI_PRIMARY=/var/run/dockershim.sock\nCRI_OTHER=\nCRIPROXY_OPTS=\n")
        kubeadm.put("/var/lib/criproxy/primary", "/var/run/dockershim.sock\n")
        assert planned(kubeadm).defaults == (
            "# kept\nCRI_PRIMARY=/run/containerd/containerd.sock\nCRI_OTHER=\nCRIPROXY_OPTS=\n"
        )

    def test_what_was_chosen_though_kubelet_used_it_anyway_stays_chosen(self, kubeadm: Lab) -> None:
        kubeadm.put(DEFAULTS, "CRI_PRIMARY=/run/containerd/containerd.sock\n")
        kubeadm.put("/var/lib/criproxy/primary", f"{plan.CHOSEN}\n")
        kubeadm.put("/etc/default/kubelet", "KUBELET_EXTRA_ARGS=--container-runtime-endpoint=unix:///run/x.sock\n")
        assert planned(kubeadm).primary == "/run/containerd/containerd.sock"

    def test_the_first_text_is_the_one_that_is_shipped_with_the_runtimes_filled_in(self, kubeadm: Lab) -> None:
        shipped = (ROOT / "etc/default/criproxy").read_text()
        filled = shipped.replace("CRI_PRIMARY=\n", "CRI_PRIMARY=/run/containerd/containerd.sock\n").replace(
            "CRI_OTHER=\n", "CRI_OTHER=virtlet.cloud:/run/virtlet.sock\n"
        )
        assert planned(kubeadm).defaults == filled != shipped

    def test_a_file_without_options_as_the_go_package_left_it_gets_the_usual_ones_once(self, kubeadm: Lab) -> None:
        text = "CRI_PRIMARY=/run/containerd/containerd.sock\nCRI_OTHER=\n"
        kubeadm.put(DEFAULTS, text)
        assert planned(kubeadm).defaults == f'{text}CRIPROXY_OPTS="-v 2"\n'
        kubeadm.node.apply(Wishes())
        kubeadm.put(DEFAULTS, text)
        assert planned(kubeadm).defaults == text

    def test_a_value_over_several_lines_is_edited_whole(self, kubeadm: Lab) -> None:
        kubeadm.put(DEFAULTS, "CRI_OTHER=x.y:/run/x,\\\nz.y:/run/z\nCRI_PRIMARY=/a\nCRIPROXY_OPTS='-v\n2'\n")
        made = planned(kubeadm, other="x.y:/run/x")
        assert made.defaults == "CRI_OTHER=x.y:/run/x\nCRI_PRIMARY=/a\nCRIPROXY_OPTS='-v\n2'\n"

    def test_a_wish_changes_its_line_alone(self, kubeadm: Lab) -> None:
        kubeadm.put(DEFAULTS, "CRI_PRIMARY=/a\n# kept\nCRIPROXY_OPTS=-v=3\n")
        made = planned(kubeadm, primary="crio", other="x.y:/run/x")
        assert made.defaults == "CRI_PRIMARY=/run/crio/crio.sock\n# kept\nCRIPROXY_OPTS=-v=3\nCRI_OTHER=x.y:/run/x\n"

    def test_a_file_that_cannot_be_read_is_not_guessed_at(self, kubeadm: Lab) -> None:
        kubeadm.put(DEFAULTS, "CRI_PRIMARY='/a\n")
        with pytest.raises(NodeError, match=f"{DEFAULTS}: line 1"):
            planned(kubeadm)

    def test_no_other_runtime_is_a_wish_too(self, kubeadm: Lab) -> None:
        assert variables(planned(kubeadm, other=""))["CRI_OTHER"] == ""


def test_virtlet_gives_up_the_controllers_attach_and_detach(kubeadm: Lab) -> None:
    made = planned(kubeadm)
    assert VIRTLET[0] in made.drop_in
    assert "volumes of CSI drivers cannot be attached" in made.notes[0]
    assert VIRTLET[0] not in planned(kubeadm, other="x.y:/run/x").drop_in
    assert VIRTLET[0] not in planned(kubeadm, attach_detach="keep").drop_in
    assert VIRTLET[0] in planned(kubeadm, other="", attach_detach="off").drop_in


@pytest.mark.parametrize(
    "left",
    ["plugins_registry/x.csi.example-reg.sock", "plugins/x.csi.example/csi.sock", "plugins/kubernetes.io/csi/pv/1"],
)
@pytest.mark.parametrize("root", ["/var/lib/kubelet", "/srv/kubelet"])
def test_virtlet_does_not_on_a_node_with_a_csi_driver(kubeadm: Lab, root: str, left: str) -> None:
    if root != "/var/lib/kubelet":
        kubeadm.put("/etc/default/kubelet", f"KUBELET_EXTRA_ARGS=--root-dir={root}\n")
    kubeadm.put(f"{root}/plugins/kubernetes.io/note", "")
    assert VIRTLET[0] in planned(kubeadm).drop_in
    kubeadm.put(f"{root}/{left}", "")
    made = planned(kubeadm)
    assert VIRTLET[0] not in made.drop_in
    assert root in made.notes[0]
    assert "--attach-detach off" in made.notes[0]
    forced = planned(kubeadm, attach_detach="off")
    assert VIRTLET[0] in forced.drop_in
    assert "cannot have volumes attached" in forced.notes[0]


class TestTheImageService:
    OWN = "KUBELET_EXTRA_ARGS=--image-service-endpoint=unix:///run/stargz.sock\n"

    def test_kubelets_own_is_kept(self, kubeadm: Lab) -> None:
        assert "CRI_IMAGE_SERVICE" not in variables(planned(kubeadm))
        kubeadm.put("/etc/default/kubelet", self.OWN)
        made = planned(kubeadm)
        assert (made.image_service, made.worked_out.image_service) == ("/run/stargz.sock",) * 2
        assert variables(made)["CRI_IMAGE_SERVICE"] == "/run/stargz.sock"
        assert "#CRI_IMAGE_SERVICE=\nCRI_IMAGE_SERVICE=/run/stargz.sock\n" in made.defaults

    def test_the_runtimes_own_socket_is_none(self, kubeadm: Lab) -> None:
        kubeadm.put("/etc/default/kubelet", self.OWN.replace("/run/stargz.sock", "/var/run/containerd/containerd.sock"))
        assert planned(kubeadm).image_service == ""

    def test_it_follows_kubelet_until_somebody_chooses(self, kubeadm: Lab) -> None:
        kubeadm.put("/etc/default/kubelet", self.OWN)
        kubeadm.node.apply(Wishes())
        kubeadm.put("/etc/default/kubelet", self.OWN.replace("stargz", "other"))
        assert planned(kubeadm).image_service == "/run/other.sock"
        assert planned(kubeadm, image_service="").image_service == ""
        kubeadm.node.apply(Wishes(image_service=""))
        assert planned(kubeadm).image_service == ""
        assert planned(kubeadm, image_service="auto").image_service == "/run/other.sock"

    def test_what_the_operator_puts_into_the_defaults_counts(self, kubeadm: Lab) -> None:
        kubeadm.put("/etc/default/kubelet", self.OWN)
        kubeadm.node.apply(Wishes())
        kubeadm.put(DEFAULTS, kubeadm.text(DEFAULTS).replace("/run/stargz.sock", "/run/mine.sock"))
        assert planned(kubeadm).image_service == "/run/mine.sock"


def test_an_older_systemd_gets_units_that_it_understands(kubeadm: Lab) -> None:
    kubeadm.manager.version = 229
    kubeadm.put("/lib/systemd/system/criproxy.service", (ROOT / "lib/systemd/system/criproxy.service").read_text())
    text = dict(planned(kubeadm).units)[SERVICE]
    assert "StartLimitIntervalSec" not in text
    assert "StartLimitInterval=0" in text
    assert "@system-service" not in text


class TestTheGroupOfTheSocket:
    def test_is_systemds_to_give(self, kubeadm: Lab) -> None:
        kubeadm.put(DEFAULTS, "CRIPROXY_SOCKET_GROUP=cri\n")
        assert dict(planned(kubeadm).units)[SOCKET].endswith(
            "\n[Socket]\nSocketGroup=cri\nListenStream=/run/criproxy.sock\n"
        )

    def test_is_roots_again_when_it_is_not_set_any_more(self, kubeadm: Lab) -> None:
        kubeadm.put(SOCKET, GENERATED + "[Socket]\nSocketGroup=cri\n")
        assert "SocketGroup" not in dict(planned(kubeadm).units)[SOCKET]

    def test_is_said_by_the_packages_own_unit_else(self, kubeadm: Lab) -> None:
        assert SOCKET not in dict(planned(kubeadm).units)

    @pytest.mark.parametrize("name", ["a b", "x\n[Socket]\nExecStartPre=/bin/x", "%n", "a:b", "-x", "\u00e9", "1" * 10])
    def test_cannot_be_anything(self, kubeadm: Lab, name: str) -> None:
        kubeadm.put(DEFAULTS, f"CRIPROXY_SOCKET_GROUP='{name}'\n")
        with pytest.raises(NodeError, match=r"CRIPROXY_SOCKET_GROUP: .* cannot be the name of a group"):
            planned(kubeadm)


def test_a_kubelet_whose_own_flags_name_criproxy_does_not_tell_the_primary(kubeadm: Lab) -> None:
    kubeadm.put(
        "/var/lib/kubelet/kubeadm-flags.env",
        "KUBELET_KUBEADM_ARGS=--container-runtime-endpoint=unix:///var/run/criproxy.sock\n",
    )
    with pytest.raises(NodeError, match="criproxy node apply --primary"):
        planned(kubeadm)
    kubeadm.put(DEFAULTS, "CRI_PRIMARY=/run/crio/crio.sock\n")
    assert planned(kubeadm).primary == "/run/crio/crio.sock"


def test_a_node_without_kubelet_has_a_plan_for_the_rest(tmp_path: Path) -> None:
    made = planned(Lab(tmp_path, "", ""))
    assert (made.kubelet, made.primary, made.drop_in) == (None, "", "")
    assert [path for path, _ in made.files] == [DEFAULTS, SERVICE]


def test_without_the_package_the_socket_is_written_too(kubeadm: Lab) -> None:
    for path in OWN_UNITS:
        (kubeadm.root / path[1:]).unlink()
    made = dict(planned(kubeadm).units)
    assert "ListenStream=/run/criproxy.sock" in made["/etc/systemd/system/criproxy.socket"]
    assert "Backlog=65535" in made["/etc/systemd/system/criproxy.socket"]
    assert "ExecStart=/usr/bin/criproxy" not in made[SERVICE]
