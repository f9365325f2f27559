"""What each command comes to in each state of a node: the exit status, and a line that tells it."""

from __future__ import annotations

import re
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, ContextManager, Dict, Iterator, Tuple

import pytest

from tests.containerd.runtime import cni
from tests.containerd.service import eventually

from . import layouts
from .layouts import CONTAINERD, CRIO, VIRTLET
from .node import Node

_FOLDER = "/var/lib/containerd"
_DEFAULTS = "/etc/default/criproxy"
_FLAGS = "/var/lib/kubelet/kubeadm-flags.env"
_CONFIG = "/var/lib/kubelet/config.yaml"
_CRASH = "/run/systemd/system/criproxy.service.d/crash.conf"
_UNIT = "[Service]\nExecStart=criproxy demo-runtime --listen /run/{name}.sock --name {name}\n"

Expected = Dict[str, Tuple[int, str]]
"""By the command: the exit status, and a pattern of what is printed."""

_SHOW, _TRACE = "show", "trace --runtime no.such"
_CONFIGURED = rf"connect +{CONTAINERD},{VIRTLET}:/run/virtlet\.sock "
_WELL: Expected = {
    "status": (0, "all is well"),
    "check": (0, "all is right"),
    _SHOW: (0, rf"{VIRTLET} +/run/virtlet\.sock +virtlet 1"),
    "show runtimes virtlet*": (0, rf"{VIRTLET} +/run/virtlet\.sock +virtlet 1"),
    f"route --image {VIRTLET}/cirros": (0, rf'{VIRTLET} +/run/virtlet\.sock +image prefix "{VIRTLET}/"'),
    "config": (0, _CONFIGURED),
    _TRACE: (1, rf"unknown runtime: 'no\.such' \(there are: primary, {VIRTLET}\)"),
    "runtime list -o wide": (0, rf"{VIRTLET} +up +virtlet .* {VIRTLET}$"),
    "log-level 2": (0, "verbosity 2, as configured"),
    f"drain {VIRTLET}": (0, "gets new pods no more\nleft there: nothing$"),
    f"undrain {VIRTLET}": (0, "gets new pods$"),
    "runtime add third.test /run/third.sock": (0, r"third\.test.* is added: third 1.*, CRI v1"),
    "runtime remove third.test": (0, r'"third\.test" is removed$'),
    f"route add app={VIRTLET}": (0, rf'rule "app": new pods that ask for no runtime go to "{VIRTLET}"$'),
    "route list": (0, rf"^app +{VIRTLET}$"),
    "route remove app": (0, rf'rule "app" of "{VIRTLET}" is removed; pods'),
}
_NO_DAEMON = (2, r"/run/criproxy/control\.sock: No such file or directory \(criproxy status tells why\)$")
_LATER = "from the daemon's next start on$"
_SILENT: Expected = {
    **_WELL,
    _TRACE: _NO_DAEMON,
    "runtime list -o wide": _NO_DAEMON,
    "log-level 2": _NO_DAEMON,
    f"drain {VIRTLET}": (0, f"gets new pods no more, {_LATER}"),
    f"undrain {VIRTLET}": (0, f"gets new pods, {_LATER}"),
    "runtime add third.test /run/third.sock": (0, f"is added, {_LATER}"),
    "runtime remove third.test": (0, f"is removed, {_LATER}"),
    f"route add app={VIRTLET}": (0, f'go to "{VIRTLET}", {_LATER}'),
    "route list": _NO_DAEMON,
    "route remove app": (0, "is removed, from the daemon's next start on; pods"),
}
_REFUSAL = rf"{_DEFAULTS}, line \d+: CRI_OTHER: '/run/virtlet\.sock' has no 'ID:'"
_REFUSED = (1, _REFUSAL)
EXPECTED: Dict[str, Expected] = {
    "well": _WELL,
    "alternative away": {
        **_WELL,
        "status": (1, rf'degraded: runtime "{VIRTLET}" has been away'),
        "check": (1, rf"{VIRTLET} +answer +/run/virtlet\.sock: No such file or directory\n +next: start that runtime"),
        _SHOW: (0, rf"{VIRTLET} +/run/virtlet\.sock +not there: there is no such socket"),
        "show runtimes virtlet*": (0, rf"{VIRTLET} +/run/virtlet\.sock +not there: there is no such socket"),
        "runtime list -o wide": (0, rf"{VIRTLET} +away "),
        f"drain {VIRTLET}": (0, r"no more\nwhat is left there is not known: /run/virtlet\.sock: No such file"),
    },
    "primary away": {
        **_WELL,
        "status": (2, "down: the primary runtime has been away"),
        "check": (2, r"\(primary\) +answer +.*\n +next: systemctl start containerd\.service"),
        _SHOW: (1, rf"the primary runtime \({CONTAINERD}\) is not available: there is no such socket"),
    },
    "crash loop": {
        **_SILENT,
        "status": (2, r"criproxy\.service is restarting \(\d+ times in \d+ s\)"),
        "check": (2, r"next: journalctl -u criproxy\.service"),
        _SHOW: (1, r"/run/criproxy\.sock: .*no answer.* \(criproxy status tells why\)$"),
        "show runtimes virtlet*": (1, r"/run/criproxy\.sock: .*no answer.* \(criproxy status tells why\)$"),
    },
    "configuration refused": {
        **_WELL,
        "status": (1, f"degraded: the last reload was refused: {_REFUSAL}"),
        "check": (2, f"configuration +options +{_REFUSAL}"),
        f"route --image {VIRTLET}/cirros": (2, _REFUSAL),
        "config": (2, _REFUSAL),
        f"drain {VIRTLET}": _REFUSED,
        f"undrain {VIRTLET}": _REFUSED,
        "runtime add third.test /run/third.sock": _REFUSED,
        "runtime remove third.test": (1, rf'there is no runtime "third\.test" \(there are: {VIRTLET}\)'),
        f"route add app={VIRTLET}": _REFUSED,
        "route list": (0, "^RULE +RUNTIME$"),
        "route remove app": (1, r'there is no rule "app" \(there are: none\)'),
    },
    "kubelet drifted": {
        **_WELL,
        "status": (1, f"degraded: kubelet's own flags or configuration name the runtime {CRIO}"),
        "check": (1, rf"kubelet +node +kubelet's own flags .*{CRIO}.*\n +next: criproxy node apply"),
    },
    "not installed": {
        **_SILENT,
        "status": (2, r"This node is not turned over\. Next: criproxy node plan"),
        "check": (2, r"kubelet is not on criproxy .*\n +next: criproxy node plan, then criproxy node apply"),
        _SHOW: (1, r"/run/criproxy\.sock: No such file or directory \(criproxy status tells why\)$"),
        "show runtimes virtlet*": (1, r"/run/criproxy\.sock: No such file or directory"),
    },
}


def _await_status(node: Node, pattern: str) -> None:
    """Waits until ``criproxy status`` says that, on however many lines."""
    said = eventually(lambda: _words(node.attempt("criproxy", "status").stdout), lambda said: re.search(pattern, said))
    assert re.search(pattern, said), said


def _words(text: str) -> str:
    return " ".join(text.split())


@contextmanager
def _well(_: Node) -> Iterator[None]:
    yield


@contextmanager
def _without(node: Node, unit: str) -> Iterator[None]:
    node.run("systemctl", "stop", unit)
    _await_status(node, "has been away")
    yield
    node.run("systemctl", "start", unit)


@contextmanager
def _crashing(node: Node) -> Iterator[None]:
    node.write(_CRASH, "[Service]\nExecStartPre=false\n")
    node.run("systemctl", "daemon-reload")
    assert node.attempt("systemctl", "restart", "criproxy.service").returncode
    node.await_restarts("criproxy.service", 2)
    yield
    node.path(_CRASH).unlink()
    node.run("systemctl", "daemon-reload")
    node.run("systemctl", "restart", "criproxy.service")


@contextmanager
def _refused(node: Node) -> Iterator[None]:
    before = node.path(_DEFAULTS).read_text()
    node.write(_DEFAULTS, f"{before}CRI_OTHER=/run/virtlet.sock\n")
    # A reload by systemctl is refused before the service hears of it.
    node.run("systemctl", "kill", "--signal=HUP", "criproxy.service")
    _await_status(node, "the last reload was refused")
    yield
    node.write(_DEFAULTS, before)
    node.run("systemctl", "reload", "criproxy.service")


@contextmanager
def _drifted(node: Node) -> Iterator[None]:
    flags = node.path(_FLAGS).read_text()
    node.write(_FLAGS, flags.replace(CONTAINERD, CRIO))
    yield
    node.write(_FLAGS, flags)


@contextmanager
def _reverted(node: Node) -> Iterator[None]:
    node.run("criproxy", "node", "revert")
    yield
    node.run("criproxy", "node", "apply")


STATES: Dict[str, Callable[[Node], ContextManager[None]]] = {
    "well": _well,
    "alternative away": lambda node: _without(node, "virtlet.service"),
    "primary away": lambda node: _without(node, "containerd.service"),
    "crash loop": _crashing,
    "configuration refused": _refused,
    "kubelet drifted": _drifted,
    "not installed": _reverted,
}


@pytest.fixture(scope="class")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node on which all is well: with a network, and an alternative runtime; and with one that is to be added."""
    with Node(layouts.KUBEADM, tmp_path_factory.mktemp("states")) as node:
        node.write(f"{_FOLDER}/cni/net.conflist", cni(Path(_FOLDER), "192.0.2.0/24"))
        node.run("systemctl", "restart", "containerd.service")
        # As kubeadm says it; the runtimes that are played say the same.
        node.write(_CONFIG, f"{node.path(_CONFIG).read_text()}cgroupDriver: systemd\n")
        node.install()
        for name in ("virtlet", "third"):
            node.write(f"/run/systemd/system/{name}.service", _UNIT.format(name=name))
        node.run("systemctl", "daemon-reload")
        node.run("systemctl", "start", "virtlet.service", "third.service")
        assert eventually(node.path("/run/third.sock").exists, bool)
        yield node


@pytest.fixture(scope="class", params=STATES)
def state(node: Node, request: pytest.FixtureRequest) -> Iterator[str]:
    """The state that the node is in, and is in no more afterwards."""
    _await_status(node, "all is well")
    with STATES[request.param](node):
        yield request.param


class TestEachCommandInEachState:
    @pytest.mark.parametrize("command", _WELL)
    def test_it_tells_how_it_is(self, node: Node, state: str, command: str) -> None:
        status, pattern = EXPECTED[state][command]
        done = node.attempt("criproxy", *command.split())
        said = done.stdout if command != "status" else _words(done.stdout)
        assert re.search(pattern, said, flags=re.M), said
        assert done.returncode == status, said
