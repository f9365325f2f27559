"""kubelet's own files on another runtime: where the socket stands is changed, and nothing else."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Dict, List, Mapping, Sequence, Tuple

import pytest
from fake_systemd import FakeSystemd
from hypothesis import given
from hypothesis import strategies as st

from criproxy.migrate.endpoint import DROP_IN, KUBEADM_FLAGS, files_for
from criproxy.node import endpoints
from criproxy.node import kubelet as kubelets
from criproxy.node.kubelet import Kubelet, NodeError
from criproxy.node.tree import Tree
from tests.node import layouts
from tests.node.layouts import CONTAINERD, CRIO, IMAGES, Layout

NEW = "/run/new/new.sock"
ENDPOINT = f"unix://{NEW}"
UNIT = "/lib/systemd/system/kubelet.service"
KUBEADM_DROP_IN = "/etc/systemd/system/kubelet.service.d/10-kubeadm.conf"
DEFAULTS = "/etc/default/kubelet"
CONFIG = "/var/lib/kubelet/config.yaml"
INSTANCE = "/var/lib/kubelet/instance-config.yaml"
NETWORK = ("network-plugin", "cni-conf-dir", "cni-bin-dir")
ALL = ("container-runtime", "container-runtime-endpoint", "image-service-endpoint")
CHANGED = {
    "kubeadm": [KUBEADM_FLAGS],
    "kubeadm-newest": [CONFIG, INSTANCE],
    "kubeadm-newest-on-debian-14": [CONFIG, INSTANCE],
    "kubeadm-1.11": [KUBEADM_FLAGS],
    "kubeadm-1.10": [KUBEADM_DROP_IN],
    "kubeadm-dind-cluster": [KUBEADM_FLAGS],
    "kubeadm-dind-cluster-on-docker": [KUBEADM_FLAGS],
    "kind": [KUBEADM_FLAGS],
    "kubespray": ["/etc/kubernetes/kubelet.env"],
    "alias": [DROP_IN],
    "json": [CONFIG],
    "config-dir": ["/etc/kubernetes/kubelet.conf.d/30-site/10-runtime.conf"],
    "image-service": ["/etc/kubernetes/kubelet.env"],
}
"""Which files each kind of node has to have changed."""


class Place:
    """A node's files, and its kubelet."""

    def __init__(self, root: Path, files: Mapping[str, str], version: str, links: Mapping[str, str] = {}) -> None:
        for path, text in files.items():
            self.file(root, path).write_text(text)
        for path, target in links.items():
            self.file(root, path).symlink_to(target)
        self.tree = Tree(str(root))
        self.version = kubelets.version_of(version)

    @staticmethod
    def file(root: Path, path: str) -> Path:
        file = root / path[1:]
        file.parent.mkdir(parents=True, exist_ok=True)
        return file

    def kubelet(self, tree: Tree) -> Kubelet:
        found = kubelets.find(tree, lambda _: "", None, self.version)
        assert found is not None
        return found

    def moved(self, socket: str = NEW) -> Dict[str, str]:
        """The texts that put kubelet on this socket; they do so, and kubelet is as before else."""
        before = self.kubelet(self.tree)
        texts = dict(files_for(self.tree, before, socket))
        tree = self.tree.planned(texts)
        after = self.kubelet(tree)
        told = endpoints.endpoint(tree, after)
        assert endpoints.short(endpoints.socket(told) if told.value else endpoints.DEFAULT) == endpoints.short(socket)
        assert endpoints.image_service(tree, after).value == endpoints.image_service(self.tree, before).value
        assert after.without((*ALL, *NETWORK)) == before.without((*ALL, *NETWORK))
        assert not list(files_for(tree, after, socket))
        return texts


def of(layout: Layout, root: Path) -> Place:
    return Place(root, {**layout.packaged, **layout.files}, layout.version, layout.links)


def node(root: Path, command: str, version: str = "1.33.1", **files: str) -> Place:
    """A node whose kubelet has this command line, in a file of the administrator's, and these files of variables."""
    listed = {"defaults": DEFAULTS, "kubeadm": KUBEADM_FLAGS, "config": CONFIG, "instance": INSTANCE}
    variables = "".join(f"EnvironmentFile={listed[name]}\n" for name in ("kubeadm", "defaults") if name in files)
    unit = f"[Service]\n{variables}ExecStart=/usr/bin/kubelet {command}\nRestart=always\n"
    return Place(
        root,
        {"/etc/systemd/system/kubelet.service": unit, **{listed[name]: text for name, text in files.items()}},
        version,
    )


def regions(old: str, new: str) -> Tuple[str, str]:
    """What one text has where the other differs from it."""
    same = [a == b for a, b in zip(old, new)]
    begin = same.index(False) if False in same else len(same)
    ends = [a == b for a, b in zip(old[begin:][::-1], new[begin:][::-1])]
    end = ends.index(False) if False in ends else len(ends)
    return old[begin : len(old) - end], new[begin : len(new) - end]


class TestTheNodesOfTenYears:
    @pytest.mark.parametrize("layout", [each for each in layouts.ALL if each.name in CHANGED], ids=str)
    def test_have_the_socket_changed_where_they_have_it(self, layout: Layout, tmp_path: Path) -> None:
        assert sorted(of(layout, tmp_path).moved()) == sorted(CHANGED[layout.name])

    @pytest.mark.parametrize("layout", [each for each in layouts.ALL if each.name in CHANGED], ids=str)
    def test_have_nothing_else_changed(self, layout: Layout, tmp_path: Path) -> None:
        place = of(layout, tmp_path)
        for path, text in place.moved().items():
            old = place.tree.text(path)
            if old is not None and "dind" not in layout.name:
                there, wanted = regions(old, text)
                assert there in f"unix:///var{CONTAINERD} unix://{CRIO}"
                assert wanted in f" --container-runtime=remote --container-runtime-endpoint={ENDPOINT}"

    def test_have_what_kubeadm_wrote_for_docker_taken_out(self, tmp_path: Path) -> None:
        assert of(layouts.DIND_ON_DOCKER, tmp_path).moved() == {
            KUBEADM_FLAGS: "KUBELET_KUBEADM_ARGS=--cgroup-driver=cgroupfs"
            " --pod-infra-container-image=k8s.gcr.io/pause:3.1 --container-runtime=remote"
            f" --container-runtime-endpoint={ENDPOINT}\n"
        }

    def test_are_changed_by_hand_where_the_unit_is_made_at_each_boot(self, tmp_path: Path) -> None:
        text = f"[Service]\nExecStart=/usr/bin/kubelet --container-runtime-endpoint=unix://{CRIO}\n"
        place = Place(tmp_path, {"/run/systemd/generator/kubelet.service": text}, "1.32.0")
        with pytest.raises(NodeError) as raised:
            place.moved()
        assert str(raised.value) == (
            "--container-runtime-endpoint in /run/systemd/generator/kubelet.service, line 2 is unix:///run/crio/crio.sock,"
            " in a file that is made anew at each boot: let that which makes it give kubelet"
            f" --container-runtime-endpoint={ENDPOINT}, then systemctl daemon-reload, and try again"
        )

    def test_on_the_socket_already_have_nothing_changed(self, tmp_path: Path) -> None:
        assert of(layouts.KUBEADM_NEWEST, tmp_path).moved(CONTAINERD) == {}


class TestASocketThatIsNamed:
    @pytest.mark.parametrize("flag", [f"--container-runtime-endpoint={CRIO}", f"--container-runtime-endpoint {CRIO}"])
    def test_is_replaced_in_the_unit(self, flag: str, tmp_path: Path) -> None:
        place = node(tmp_path, f"--v=2 {flag} \\\n  --node-ip=::1")
        ((path, text),) = place.moved().items()
        assert text == (place.tree.text(path) or "").replace(CRIO, ENDPOINT)

    def test_is_replaced_where_it_counts_if_it_is_there_twice(self, tmp_path: Path) -> None:
        place = node(
            tmp_path,
            f"--container-runtime-endpoint={CRIO} $KUBELET_EXTRA_ARGS",
            defaults=f"KUBELET_EXTRA_ARGS=--container-runtime-endpoint={CRIO}\n",
        )
        assert place.moved() == {DEFAULTS: f"KUBELET_EXTRA_ARGS=--container-runtime-endpoint={ENDPOINT}\n"}

    def test_is_replaced_in_a_variable_that_has_nothing_but_it(self, tmp_path: Path) -> None:
        place = node(tmp_path, "--container-runtime-endpoint=${RUNTIME}", defaults=f"RUNTIME='unix://{CRIO}'\nA=1\n")
        assert place.moved() == {DEFAULTS: f"RUNTIME='{ENDPOINT}'\nA=1\n"}

    def test_is_not_taken_for_a_longer_one(self, tmp_path: Path) -> None:
        place = node(tmp_path, f"--log-file={CRIO}.log --container-runtime-endpoint={CRIO} --x=/var{CRIO}")
        ((_, text),) = place.moved().items()
        assert f"--log-file={CRIO}.log --container-runtime-endpoint={ENDPOINT} --x=/var{CRIO}\n" in text

    def test_is_outdone_by_a_drop_in_where_it_is_in_a_packages_file(self, tmp_path: Path) -> None:
        unit = f"[Service]\nExecStart=/usr/bin/kubelet --container-runtime-endpoint=unix://{CRIO} $A\n"
        assert Place(tmp_path, {UNIT: unit}, "1.33.1").moved() == {
            DROP_IN: '# Written by "criproxy node migrate --finish": kubelet\'s own command line, with another'
            " runtime.\n"
            f"[Service]\nExecStart=\nExecStart=/usr/bin/kubelet --container-runtime-endpoint=unix://{CRIO} $A"
            f" --container-runtime-endpoint={ENDPOINT}\n"
        }

    def test_is_not_taken_for_what_systemd_needs_to_start_kubelet(self, tmp_path: Path) -> None:
        unit = f"[Service]\nExecStart=/usr/bin/kubelet --container-runtime-endpoint={CRIO}\nEnvironmentFile={CRIO}\n"
        path = "/etc/systemd/system/kubelet.service"
        place = Place(tmp_path, {path: unit, CRIO: "A=1\n"}, "1.33.1")
        assert place.moved() == {path: unit.replace(f"endpoint={CRIO}", f"endpoint={ENDPOINT}")}

    def test_is_outdone_where_the_managers_environment_has_it(self, tmp_path: Path) -> None:
        place = node(tmp_path, "$RUNTIME --v=2")
        systemd = FakeSystemd(variables={"RUNTIME": f"--container-runtime-endpoint={CRIO}"}, LoadState="not-found")
        kubelet = kubelets.find(place.tree, lambda _: "", systemd, place.version)  # type: ignore[arg-type]
        assert kubelet is not None
        ((_, text),) = files_for(place.tree, kubelet, NEW, systemd)  # type: ignore[arg-type]
        assert f"ExecStart=/usr/bin/kubelet $RUNTIME --v=2 --container-runtime-endpoint={ENDPOINT}\n" in text

    def test_is_replaced_in_a_file_behind_a_link(self, tmp_path: Path) -> None:
        place = node(tmp_path, "--config=/etc/k", config="")
        Place.file(tmp_path, "/etc/k").symlink_to("../var/lib/kubelet/config.yaml")
        (tmp_path / CONFIG[1:]).write_text(f"containerRuntimeEndpoint: unix://{CRIO}\n")
        assert place.moved() == {"/etc/k": f"containerRuntimeEndpoint: {ENDPOINT}\n"}

    def test_that_is_tied_to_other_fields_is_changed_by_hand(self, tmp_path: Path) -> None:
        config = f"x: &a unix://{CRIO}\ncontainerRuntimeEndpoint: *a\n"
        with pytest.raises(
            NodeError, match=r"config.yaml, line 2: .* let it be unix:///run/new/new.sock, and try again"
        ):
            node(tmp_path, f"--config={CONFIG}", config=config).moved()

    def test_that_kubeadm_alone_knows_is_changed_with_the_one_that_counts(self, tmp_path: Path) -> None:
        place = node(
            tmp_path,
            f"--container-runtime-endpoint={CRIO}",
            instance=f"kind: KubeletConfiguration\ncontainerRuntimeEndpoint: unix://{CRIO}\n",
        )
        assert place.moved()[INSTANCE] == f"kind: KubeletConfiguration\ncontainerRuntimeEndpoint: {ENDPOINT}\n"

    def test_of_kubeadms_that_cannot_be_read_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(NodeError, match=r"instance-config.yaml, line 1: .*; mend it, and try again"):
            node(tmp_path, f"--container-runtime-endpoint={CRIO}", instance="a: [}\n").moved()


class TestNoSocketThatIsNamed:
    def test_means_a_flag_at_kubeadms(self, tmp_path: Path) -> None:
        place = node(
            tmp_path,
            "$KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS",
            kubeadm='KUBELET_KUBEADM_ARGS="--node-ip=::1"\n',
            defaults="KUBELET_EXTRA_ARGS=\n",
        )
        wanted = f'KUBELET_KUBEADM_ARGS="--node-ip=::1 --container-runtime-endpoint={ENDPOINT}"\n'
        assert place.moved() == {KUBEADM_FLAGS: wanted}

    def test_means_a_flag_at_the_operators_where_kubeadm_has_none(self, tmp_path: Path) -> None:
        place = node(tmp_path, "$A --v=2 $KUBELET_EXTRA_ARGS", defaults="A=--x=1\nKUBELET_EXTRA_ARGS=\n")
        wanted = f"A=--x=1\nKUBELET_EXTRA_ARGS=--container-runtime-endpoint={ENDPOINT}\n"
        assert place.moved() == {DEFAULTS: wanted}

    def test_means_a_flag_behind_the_command_line_where_there_are_no_variables(self, tmp_path: Path) -> None:
        ((_, text),) = node(tmp_path, "--v=2 \\\n  --node-ip=::1 \\\n  --x=\\\\").moved().items()
        assert f"--v=2 \\\n  --node-ip=::1 \\\n  --x=\\\\ --container-runtime-endpoint={ENDPOINT}\nRestart" in text

    def test_means_nothing_if_kubelets_default_is_meant(self, tmp_path: Path) -> None:
        assert node(tmp_path, "--v=2").moved(f"/var{CONTAINERD}") == {}

    def test_means_docker_to_an_old_kubelet(self, tmp_path: Path) -> None:
        place = node(
            tmp_path,
            "$KUBELET_KUBEADM_ARGS --network-plugin=cni",
            "1.20.2",
            kubeadm='KUBELET_KUBEADM_ARGS="--network-plugin cni --cni-conf-dir=/x --pod-infra-container-image=pause"\n',
        )
        assert place.moved() == {
            KUBEADM_FLAGS: 'KUBELET_KUBEADM_ARGS="--pod-infra-container-image=pause --container-runtime=remote'
            f' --container-runtime-endpoint={ENDPOINT}"\n'
        }

    def test_that_counts_yet_is_replaced_with_the_kind_of_runtime(self, tmp_path: Path) -> None:
        place = node(
            tmp_path, f"--container-runtime=docker --container-runtime-endpoint={CRIO} --docker=docker", "1.20.2"
        )
        ((_, text),) = place.moved().items()
        assert f"kubelet --container-runtime=remote --container-runtime-endpoint={ENDPOINT} --docker=docker\n" in text

    def test_is_an_error_where_no_file_would_give_it_to_kubelet(self, tmp_path: Path) -> None:
        unit = "[Service]\nExecStart=/usr/bin/kubelet --v=2\n"
        later = "[Service]\nExecStart=\nExecStart=/usr/bin/kubelet --v=3\n"
        place = Place(tmp_path, {UNIT: unit, f"{UNIT}.d/99-zzz.conf": later}, "1.33.1")
        with pytest.raises(
            NodeError, match=r"^kubelet gets --container-runtime-endpoint=unix:///run/new/new.sock in none"
        ):
            place.moved()


class TestAnImageService:
    def test_that_is_the_runtimes_own_goes_with_it(self, tmp_path: Path) -> None:
        place = node(tmp_path, f"--image-service-endpoint=unix://{CRIO} --container-runtime-endpoint=unix:///var{CRIO}")
        ((_, text),) = place.moved().items()
        assert f"--image-service-endpoint={ENDPOINT} --container-runtime-endpoint={ENDPOINT}\n" in text

    def test_that_is_configured_goes_with_it_too(self, tmp_path: Path) -> None:
        config = f"imageServiceEndpoint: unix://{CRIO}\ncontainerRuntimeEndpoint: unix://{CRIO}\n"
        place = node(tmp_path, f"--config={CONFIG}", config=config)
        assert place.moved() == {CONFIG: f"imageServiceEndpoint: {ENDPOINT}\ncontainerRuntimeEndpoint: {ENDPOINT}\n"}

    def test_that_is_the_same_variables_goes_with_it_too(self, tmp_path: Path) -> None:
        command = "--container-runtime-endpoint=${SOCKET} --image-service-endpoint=${SOCKET}"
        place = node(tmp_path, command, defaults=f"SOCKET=unix://{CRIO}\n")
        assert place.moved() == {DEFAULTS: f"SOCKET={ENDPOINT}\n"}

    def test_goes_with_it_in_a_drop_in_too(self, tmp_path: Path) -> None:
        flags = f"--image-service-endpoint={CRIO} --container-runtime-endpoint={CRIO}"
        text = Place(tmp_path, {UNIT: f"[Service]\nExecStart=/usr/bin/kubelet {flags}\n"}, "1.33.1").moved()[DROP_IN]
        assert text.endswith(
            f"kubelet {flags} --container-runtime-endpoint={ENDPOINT} --image-service-endpoint={ENDPOINT}\n"
        )

    def test_of_its_own_stays(self, tmp_path: Path) -> None:
        place = node(tmp_path, f"--image-service-endpoint=unix://{IMAGES} --container-runtime-endpoint={CRIO}")
        ((_, text),) = place.moved().items()
        assert f"--image-service-endpoint=unix://{IMAGES} --container-runtime-endpoint={ENDPOINT}\n" in text

    def test_that_would_be_the_new_runtimes_own_is_named(self, tmp_path: Path) -> None:
        place = node(tmp_path, f"--image-service-endpoint=unix://{NEW} --container-runtime-endpoint={CRIO}")
        with pytest.raises(NodeError, match="change its files by hand"):
            place.moved()


@pytest.mark.parametrize("path", ["/run/a b.sock", "/run/$x.sock", "relative", "/run/%n", '/run/"', "/run/x\ny"])
def test_a_path_that_would_have_to_be_quoted_is_refused(path: str, tmp_path: Path) -> None:
    with pytest.raises(NodeError, match="give the socket another one"):
        node(tmp_path, "--v=2").moved(path)


FLAGS = (
    "--v=2",
    "--node-labels=a=b",
    "--fail-swap-on=false",
    "--fail-swap-on",
    f"--y={CRIO}.log",
    "--hairpin-mode hairpin-veth",
)


@given(
    st.lists(st.sampled_from(FLAGS), max_size=4),
    st.lists(st.sampled_from(FLAGS), max_size=4),
    st.sampled_from([f"unix://{CRIO}", CRIO, f"unix:///var{CONTAINERD}", ""]),
    st.sampled_from(["=", " "]),
    st.sampled_from(['"', "'", ""]),
    st.sampled_from([" ", " \\\n"]),
    st.sampled_from(["unit", "variable", "operator", "kubeadm"]),
    st.sampled_from(["1.20.2", "1.25.0", "1.33.1"]),
    st.from_regex(r"(/[\w.@+-]{1,6}){1,3}", fullmatch=True),
)
def test_wherever_the_flags_stand_kubelet_gets_the_socket_and_nothing_else_changes(
    before: Sequence[str],
    after: Sequence[str],
    old: str,
    sign: str,
    quote: str,
    space: str,
    where: str,
    version: str,
    new: str,
) -> None:
    kind = ["--container-runtime=remote"] if version == "1.20.2" else []
    flags: List[str] = [*before, *kind, *([f"--container-runtime-endpoint{sign}{old}"] if old else []), *after]
    joined = space.join(flags)
    files = {
        "unit": {},
        "variable": {},
        "operator": {"defaults": f"# KUBELET_EXTRA_ARGS=x\nKUBELET_EXTRA_ARGS={quote}{joined}{quote}\n"},
        "kubeadm": {
            "kubeadm": f"KUBELET_KUBEADM_ARGS={quote}{joined}{quote}\nA=1\n",
            "defaults": "KUBELET_EXTRA_ARGS=\n",
        },
    }[where]
    command = "$KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS" if files else joined
    if where == "variable":
        command = '$A --w=1\nEnvironment="A=' + " ".join(flags) + '"'
    with tempfile.TemporaryDirectory() as folder:
        place = node(Path(folder), command, version, **files)
        for path, text in place.moved(new).items():
            there, wanted = regions(place.tree.text(path) or "", text)
            assert there in old
            assert wanted in f" --container-runtime-endpoint=unix://{new}"
