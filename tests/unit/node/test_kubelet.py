"""What is found out of a node's kubelet from its unit, drop-ins and files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List, Optional, Sequence, Tuple

import pytest
from fake_systemd import FakeSystemd
from node_lab import Lab

from criproxy.node import endpoints, kubelet, units
from criproxy.node.kubelet import DROP_IN, Kubelet, KubeletSetting, NodeError


def found(lab: Lab) -> Kubelet:
    answer = kubelet.find(lab.tree, lab.ask)
    assert answer is not None
    return answer


def test_kubeadm_of_today(kubeadm: Lab) -> None:
    one = found(kubeadm)
    assert one.version == (1, 33, 1)
    assert one.program == ("/usr/bin/kubelet",)
    assert one.flags == (
        "--kubeconfig=/etc/kubernetes/kubelet.conf",
        "--config=/var/lib/kubelet/config.yaml",
        "--container-runtime-endpoint=unix:///run/containerd/containerd.sock",
        "--pod-infra-container-image=registry.k8s.io/pause:3.9",
        "--node-ip=192.0.2.7",
        "--node-labels=a=b",
    )
    assert endpoints.endpoint(kubeadm.tree, one).value == "unix:///run/containerd/containerd.sock"


def test_a_command_over_several_lines(old: Lab) -> None:
    one = found(old)
    assert one.values(["network-plugin", "cgroup-driver", "config"]) == {
        "network-plugin": "cni",
        "cgroup-driver": "systemd",
    }
    assert endpoints.endpoint(old.tree, one).value == ""


def test_hyperkube_is_two_words(tmp_path: object) -> None:
    lab = Lab(tmp_path, "dind", "1.12.3")  # type: ignore[arg-type]
    one = found(lab)
    assert (one.program, one.flags) == (("/k8s/hyperkube", "kubelet"), ("--hairpin-mode=hairpin-veth",))


def test_a_file_of_variables_goes_before_the_unit_and_before_our_own_drop_in(kubeadm: Lab) -> None:
    kubeadm.put(DROP_IN, '[Service]\nEnvironment="KUBELET_EXTRA_ARGS=--lost"\nExecStart=\nExecStart=/bin/false\n')
    kubeadm.put("/etc/systemd/system/kubelet.service.d/20.conf", "[Service]\nEnvironment=KUBELET_EXTRA_ARGS=--also\n")
    assert found(kubeadm).flags[-2:] == ("--node-ip=192.0.2.7", "--node-labels=a=b")


def test_a_drop_in_of_the_administrators_replaces_one_of_the_same_name(kubeadm: Lab) -> None:
    kubeadm.put(
        "/etc/systemd/system/kubelet.service.d/10-kubeadm.conf", "[Service]\nExecStart=\nExecStart=/opt/kubelet --a\n"
    )
    assert (found(kubeadm).program, found(kubeadm).flags) == (("/opt/kubelet",), ("--a",))


def test_a_masked_unit_is_none(kubeadm: Lab) -> None:
    (kubeadm.root / "etc/systemd/system/kubelet.service").symlink_to("/dev/null")
    assert kubelet.find(kubeadm.tree, kubeadm.ask) is None


def test_a_masked_drop_in_does_not_count(kubeadm: Lab) -> None:
    folder = kubeadm.root / "etc/systemd/system/kubelet.service.d"
    folder.mkdir(parents=True)
    (folder / "10-kubeadm.conf").symlink_to("/dev/null")
    assert found(kubeadm).flags == ()


def test_no_unit_is_no_kubelet(tmp_path: object) -> None:
    lab = Lab(tmp_path, "", "1.30.0")  # type: ignore[arg-type]
    assert kubelet.find(lab.tree, lab.ask) is None


@pytest.mark.parametrize(
    ("flags", "files", "endpoint"),
    [
        ("--container-runtime-endpoint /a --container-runtime-endpoint=/b", {}, "/b"),
        ("--container_runtime_endpoint=/a", {}, "/a"),
        ("--config=/k.yaml", {"/k.yaml": "a: 1\ncontainerRuntimeEndpoint: unix:///c\n"}, "unix:///c"),
        ("--config /k.yaml", {"/k.yaml": "containerRuntimeEndpoint: 'unix:///c' # it\n"}, "unix:///c"),
        ("--config=/k.yaml", {"/k.yaml": 'containerRuntimeEndpoint: ""\n'}, ""),
        ("--config=/k.yaml", {"/k.yaml": "nested:\n  containerRuntimeEndpoint: no\n"}, ""),
        (
            "--config=/k.yaml --config-dir=/d",
            {
                "/k.yaml": "containerRuntimeEndpoint: /c",
                "/d/1.conf": "containerRuntimeEndpoint: /1",
                "/d/2.conf": "x: 1",
            },
            "/1",
        ),
        ("--container-runtime-endpoint=/a --config=/k.yaml", {"/k.yaml": "containerRuntimeEndpoint: /c"}, "/a"),
    ],
)
def test_the_runtime_that_kubelet_is_told_of(
    tmp_path: object, flags: str, files: dict[str, str], endpoint: str
) -> None:
    lab = Lab(tmp_path, "", "1.34.0")  # type: ignore[arg-type]
    lab.put("/lib/systemd/system/kubelet.service", f"[Service]\nExecStart=/usr/bin/kubelet {flags}\n")
    for path, text in files.items():
        lab.put(path, text)
    assert endpoints.endpoint(lab.tree, found(lab)).value == endpoint


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("/bin/sh -c 'exec kubelet'", "is not kubelet itself"),
        ("/k8s/hyperkube apiserver", "is not kubelet itself"),
        ("/usr/bin/kubelet 'a", "not understood"),
    ],
)
def test_what_cannot_be_worked_with(kubeadm: Lab, command: str, message: str) -> None:
    kubeadm.put("/etc/systemd/system/kubelet.service.d/50.conf", f"[Service]\nExecStart=\nExecStart={command}\n")
    with pytest.raises(NodeError, match=message):
        kubelet.find(kubeadm.tree, kubeadm.ask)


def test_a_kubelet_that_does_not_say_its_version(kubeadm: Lab) -> None:
    with pytest.raises(NodeError, match="does not say which version"):
        kubelet.find(kubeadm.tree, lambda command: "who knows")


def test_an_executable_may_have_prefixes(kubeadm: Lab) -> None:
    asked: List[str] = []

    def ask(command: Sequence[str]) -> str:
        asked.extend(command)
        return "Kubernetes v1.30.0"

    kubeadm.put("/etc/systemd/system/kubelet.service.d/50.conf", "[Service]\nExecStart=\nExecStart=-/usr/bin/kubelet\n")
    kubelet.find(kubeadm.tree, ask)
    assert asked == ["/usr/bin/kubelet", "--version"]


def test_a_drop_in_for_all_services_counts(kubeadm: Lab) -> None:
    kubeadm.put("/etc/systemd/system/service.d/a.conf", "[Service]\nLimitNOFILE=1\n")
    unit = units.load(kubeadm.tree, "kubelet.service")
    assert unit is not None
    assert unit.all("Service", "LimitNOFILE") == ("1",)
    assert unit.fragment == "/usr/lib/systemd/system/kubelet.service"


KUBELET = "/usr/bin/kubelet"


@pytest.fixture
def bare(tmp_path: Path) -> Lab:
    """A node without a kubelet yet."""
    return Lab(tmp_path, "", "1.34.0")


def starts(lab: Lab, command: str, *settings: str) -> None:
    lab.put("/lib/systemd/system/kubelet.service", "\n".join(("[Service]", f"ExecStart={command}", *settings, "")))


class TestWhatIsStarted:
    @pytest.mark.parametrize("name", ["kubelet", "kubelet-1.30", "kubelet-v1.30.2", "kubelet.1.9"])
    def test_kubelet_may_have_its_version_behind_its_name(self, bare: Lab, name: str) -> None:
        starts(bare, f"/opt/{name} --a")
        assert (found(bare).program, found(bare).flags) == ((f"/opt/{name}",), ("--a",))

    @pytest.mark.parametrize("command", ["/usr/local/bin/k3s agent", "/snap/bin/kubelite", "/usr/bin/kubelet-wrapper"])
    def test_what_has_kubelet_in_it_is_not_kubelet(self, bare: Lab, command: str) -> None:
        starts(bare, command)
        with pytest.raises(NodeError, match=r"kubelet.service, line 2: .* is not kubelet itself"):
            found(bare)

    def test_a_program_may_be_given_another_name(self, bare: Lab) -> None:
        starts(bare, f"@{KUBELET} agent --a")
        assert (found(bare).program, found(bare).flags) == ((KUBELET,), ("--a",))

    def test_variables_may_be_text(self, bare: Lab) -> None:
        starts(bare, f":{KUBELET} --a=$A %p", "Environment=A=1")
        assert found(bare).flags == ("--a=$A", "kubelet")

    def test_a_command_of_dind_with_comments_between_its_lines(self, bare: Lab) -> None:
        bare.put(
            "/lib/systemd/system/kubelet.service",
            "[Service]\nEnvironment=A=--a\nExecStart=\nExecStart=/k8s/hyperkube kubelet \\\n  $A \\\n"
            "# not this \\\n  --b\n",
        )
        assert found(bare).flags == ("--a", "--b")

    @pytest.mark.parametrize(
        ("command", "settings", "message"),
        [
            (f"{KUBELET} --a ; /bin/true", (), "has 2 commands"),
            (KUBELET, ("ExecStart=/bin/true",), r"has 2 commands \(.*line 2, .*line 3\)"),
            ("", (), "no ExecStart="),
            (f"{KUBELET} --a=%z", (), "line 2: --a=%z: systemd has no specifier %z"),
            (f"{KUBELET} --a -- --b", (), "has a '--'"),
            (f"{KUBELET} --a --config", (), "line 2: kubelet's last flag, --config, has no value"),
            (f"{KUBELET} -v", (), "last flag, -v, has no value"),
            (KUBELET, ("RootDirectory=/x",), "line 3: RootDirectory=/x"),
            (KUBELET, ("EnvironmentFile=/none",), "line 3: there is no /none"),
        ],
    )
    def test_what_is_not_understood_is_refused(
        self, bare: Lab, command: str, settings: Tuple[str, ...], message: str
    ) -> None:
        starts(bare, command, *settings)
        with pytest.raises(NodeError, match=message):
            found(bare)

    def test_a_masked_unit_is_said_to_be_masked(self, bare: Lab) -> None:
        assert kubelet.missing(bare.tree) == "kubelet is not installed"
        bare.put("/etc/systemd/system/kubelet.service", "")
        assert kubelet.find(bare.tree, bare.ask) is None
        assert "kubelet.service is masked" in kubelet.missing(bare.tree)


class TestTheVersion:
    @pytest.mark.parametrize("printed", ["Kubernetes v0.0.0-master+$Format:%H$", "Kubernetes v1.4.12", "who knows"])
    def test_one_that_no_release_has_is_refused_with_the_way_out(self, kubeadm: Lab, printed: str) -> None:
        with pytest.raises(NodeError, match=r"--kubelet-version X\.Y\.Z"):
            kubelet.find(kubeadm.tree, lambda command: printed)

    def test_whoever_gives_it_is_believed(self, kubeadm: Lab) -> None:
        def ask(command: object) -> str:
            raise AssertionError("kubelet is not asked then")

        one = kubelet.find(kubeadm.tree, ask, version=kubelet.version_of("v1.31.2"))
        assert one is not None
        assert one.version == kubelet.version_of("1.31.2") == (1, 31, 2)
        with pytest.raises(ValueError, match="is not a version like"):
            kubelet.version_of("1.31")


class TestFlags:
    @pytest.mark.parametrize(
        ("flags", "endpoint"),
        [
            ("--fail-swap-on --container-runtime-endpoint /a", "/a"),
            ("--node-labels x --container_runtime_endpoint=/a", "/a"),
            ("-v 2 --container-runtime-endpoint=/a", "/a"),
            ("-v=2 --container-runtime-endpoint=/a", "/a"),
            ("--config-dir --container-runtime-endpoint=/a --container-runtime-endpoint /b", "/b"),
            ("--oom-score-adj -999 --container-runtime-endpoint=/a", "/a"),
        ],
    )
    def test_are_read_as_kubelets_library_reads_them(self, bare: Lab, flags: str, endpoint: str) -> None:
        starts(bare, f"{KUBELET} {flags}")
        assert endpoints.endpoint(bare.tree, found(bare)).value == endpoint

    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            ("--node-labels --container-runtime-endpoint=/a", "--node-labels is followed by --container-runtime"),
            ("--container-runtime-endpoint=%H", "the value of %H is not known here"),
            ("--container-runtime-endpoint %H", "the value of %H is not known here"),
            ("$PASSED", "only the node's systemd knows the value of .PASSED"),
            ("--container-runtime-endpoint=", "is empty"),
        ],
    )
    def test_that_are_not_understood_are_refused(self, bare: Lab, flags: str, message: str) -> None:
        starts(bare, f"{KUBELET} {flags}", "PassEnvironment=PASSED")
        with pytest.raises(NodeError, match=message):
            endpoints.endpoint(bare.tree, found(bare))

    def test_that_do_not_matter_need_not_be_known(self, bare: Lab) -> None:
        starts(bare, f"{KUBELET} --hostname-override=%H --container-runtime-endpoint=/a")
        assert endpoints.endpoint(bare.tree, found(bare)).value == "/a"

    def test_have_their_places(self, kubeadm: Lab) -> None:
        assert endpoints.endpoint(kubeadm.tree, found(kubeadm)).source == (
            "--container-runtime-endpoint in /var/lib/kubelet/kubeadm-flags.env, line 1, KUBELET_KUBEADM_ARGS"
        )

    def test_are_known_without_some_of_them(self, bare: Lab) -> None:
        starts(bare, "/usr/bin/kubelet --config /a --v=2 --root-dir=/b --config=/c --cgroup_driver x --fail-swap-on")
        assert found(bare).without(("config", "cgroup-driver")) == ("--v=2", "--root-dir=/b", "--fail-swap-on")
        assert found(bare).without(()) == found(bare).flags


class TestTheConfiguration:
    def test_is_looked_for_from_the_working_directory(self, bare: Lab) -> None:
        starts(bare, f"{KUBELET} --config=k.yaml", "WorkingDirectory=-/srv")
        bare.put("/srv/k.yaml", "containerRuntimeEndpoint: /a\n")
        told = endpoints.endpoint(bare.tree, found(bare))
        assert (told.value, told.source) == ("/a", "containerRuntimeEndpoint in /srv/k.yaml, line 1")

    def test_of_a_folder_wins_over_the_file_and_may_take_it_back(self, bare: Lab) -> None:
        starts(bare, f"{KUBELET} --config=/k.yaml --config-dir=/d")
        bare.put("/k.yaml", "containerRuntimeEndpoint: /k\n")
        bare.put("/d/a/b.conf", '{"containerRuntimeEndpoint": "/b"}')
        assert endpoints.endpoint(bare.tree, found(bare)).value == "/b"
        bare.put("/d/c.conf", "containerRuntimeEndpoint: null\n")
        assert endpoints.endpoint(bare.tree, found(bare)).value == ""

    def test_that_is_not_there_yet_is_noted(self, bare: Lab) -> None:
        starts(bare, f"{KUBELET} --config=/k.yaml")
        told = endpoints.endpoint(bare.tree, found(bare))
        assert (told.value, told.note) == ("", "/k.yaml does not exist yet")

    def test_that_is_not_understood_is_refused_with_its_place(self, bare: Lab) -> None:
        starts(bare, f"{KUBELET} --config=/k.yaml")
        bare.put("/k.yaml", "a: 1\ncontainerRuntimeEndpoint: 5\n")
        with pytest.raises(NodeError, match=r"/k.yaml, line 2: .*\(--primary\)"):
            endpoints.endpoint(bare.tree, found(bare))

    def test_says_nothing_of_the_runtime_to_old_kubelets(self, bare: Lab) -> None:
        bare.version = "1.26.15"
        starts(bare, f"{KUBELET} --config=/k.yaml")
        bare.put("/k.yaml", "containerRuntimeEndpoint: /k\n")
        assert endpoints.endpoint(bare.tree, found(bare)).value == ""

    @pytest.mark.parametrize(
        ("version", "message"), [("1.27.9", "has no such flag"), ("1.29.3", "KUBELET_CONFIG_DROPIN_DIR_ALPHA")]
    )
    def test_of_a_folder_came_by_and_by(self, bare: Lab, version: str, message: str) -> None:
        bare.version = version
        bare.put("/d/a.conf", "containerRuntimeEndpoint: /d\n")
        starts(bare, f"{KUBELET} --config-dir=/d")
        with pytest.raises(NodeError, match=message):
            endpoints.endpoint(bare.tree, found(bare))
        bare.version = "1.29.3"
        starts(bare, f"{KUBELET} --config-dir=/d", "Environment=KUBELET_CONFIG_DROPIN_DIR_ALPHA=")
        assert endpoints.endpoint(bare.tree, found(bare)).value == "/d"

    def test_of_kubeadms_own_is_not_kubelets(self, bare: Lab) -> None:
        starts(bare, KUBELET)
        bare.put("/var/lib/kubelet/instance-config.yaml", "containerRuntimeEndpoint: unix:///run/crio/crio.sock\n")
        with pytest.raises(NodeError, match=r"line 1, names .* kubelet does not read that file"):
            endpoints.endpoint(bare.tree, found(bare))
        starts(bare, f"{KUBELET} --config=/k.yaml")
        bare.put("/k.yaml", "containerRuntimeEndpoint: /k\n")
        assert endpoints.endpoint(bare.tree, found(bare)).value == "/k"


@pytest.mark.parametrize("flags", ["", "--container-runtime=docker", "--container-runtime-endpoint=/lost"])
def test_an_old_kubelet_uses_docker_unless_it_is_told_that_the_runtime_is_remote(bare: Lab, flags: str) -> None:
    bare.version = "1.23.17"
    starts(bare, f"{KUBELET} {flags}")
    assert endpoints.endpoint(bare.tree, found(bare)).value == ""
    starts(bare, f"{KUBELET} {flags} --container-runtime=remote --container-runtime-endpoint=/a")
    assert endpoints.endpoint(bare.tree, found(bare)).value == "/a"


@pytest.mark.parametrize(
    ("flags", "path"),
    [
        ("", ""),
        ("--image-service-endpoint=unix:///run/stargz.sock", "/run/stargz.sock"),
        ("--image-service-endpoint=/var/run/containerd/containerd.sock", ""),
        ("--container-runtime-endpoint=/a --image-service-endpoint=unix:/a", ""),
        ("--config=/k.yaml", "/run/images.sock"),
        ("--config=/k.yaml --image-service-endpoint=", ""),
    ],
)
def test_an_image_service_of_kubelets_own(bare: Lab, flags: str, path: str) -> None:
    starts(bare, f"{KUBELET} {flags}")
    bare.put("/k.yaml", "imageServiceEndpoint: unix:///run/images.sock\n")
    assert endpoints.image_service(bare.tree, found(bare)).value == path


@pytest.mark.parametrize("value", ["unix:///run/a", "unix:/run/a", "/run/a"])
def test_a_socket_has_three_spellings(value: str) -> None:
    assert endpoints.socket(KubeletSetting(value)) == "/run/a"


@pytest.mark.parametrize("value", ["tcp://1.2.3.4:5", "npipe:////./pipe/x", "unix://run/a", "run/a"])
def test_what_is_no_socket_is_refused(value: str) -> None:
    with pytest.raises(NodeError, match=f"kubelet's --x in /a, line 1 is '{value}': criproxy needs a unix socket"):
        endpoints.socket(KubeletSetting(value, "--x", "/a, line 1"))


class TestTheKubeletThatRuns:
    @pytest.mark.parametrize(
        ("words", "flags"),
        [
            (["/usr/bin/kubelet", "--a", "b c"], ("--a", "b c")),
            (["/bin/sh", "/usr/bin/kubelet", "--a"], ("--a",)),
            (["/k8s/hyperkube", "kubelet", "--a"], ("--a",)),
            (["sleep", "infinity"], None),
            ([], None),
        ],
    )
    def test_has_the_flags_of_its_process(self, bare: Lab, words: List[str], flags: Optional[Tuple[str, ...]]) -> None:
        bare.put("/proc/42/cmdline", "".join(f"{word}\0" for word in words))
        manager: Any = FakeSystemd(MainPID="42")
        assert kubelet.running_flags(bare.tree, manager) == flags

    def test_may_be_called_by_another_name(self, bare: Lab) -> None:
        bare.put("/proc/42/cmdline", "agent\0--a\0")
        (bare.root / "proc/42/exe").symlink_to("/usr/bin/kubelet")
        manager: Any = FakeSystemd(MainPID="42")
        assert kubelet.running_flags(bare.tree, manager) == ("--a",)

    def test_may_not_run(self, bare: Lab) -> None:
        manager: Any = FakeSystemd(MainPID="0")
        assert kubelet.running_flags(bare.tree, manager) is None

    def test_is_held_against_its_unit(self, kubeadm: Lab) -> None:
        one = found(kubeadm)
        kubelet.check_running(one, one.flags)
        kubelet.check_running(one, (*one.flags, "--ours"), ["--ours"])
        with pytest.raises(NodeError) as error:
            kubelet.check_running(one, ("--other", "a b"))
        assert "--other 'a b'" in str(error.value)
        assert "--node-labels=a=b" in str(error.value)
        assert "systemctl restart kubelet.service" in str(error.value)
