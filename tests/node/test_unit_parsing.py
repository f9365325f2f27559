"""What criproxy takes kubelet's command line for is what systemd starts, however odd the unit and its files are.

It is worked out twice: of the files alone, as before a ``daemon-reload``, and with systemd asked what it has loaded.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Dict, Iterator, Mapping, Optional, Sequence, Tuple

import pytest

from criproxy.node import kubelet
from criproxy.node.kubelet import NodeError
from criproxy.node.tree import Tree

from .layouts import KUBEADM
from .machine import CommandFailed
from .node import Node
from .roots import SUITES
from .workers import shared

_ADMIN = "/etc/systemd/system"
_DROP_IN = f"{_ADMIN}/kubelet.service.d/50-odd.conf"
_COMMAND = "[Service]\nExecStart=\nExecStart=/usr/bin/kubelet"
_WORDS = f"{_COMMAND} --from $A $B $C $D ${{A}} x${{B}}x ${{C}}${{D}}\n"
_VARIABLES = f"{_COMMAND} $A $B $C $D $E $F $G $H\n"
_AS_ONE = f"{_COMMAND} ${{A}} ${{B}} ${{C}} ${{D}} ${{E}} ${{F}} ${{G}} ${{H}}\n"


@dataclass(frozen=True)
class Odd:
    """What makes a node an odd one."""

    files: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    before: Sequence[str] = ()
    """A command that makes it so."""
    after: Sequence[str] = ()
    """One that takes it back."""


def _settings(*lines: str) -> Odd:
    return Odd({_DROP_IN: "\n".join(("[Service]", *lines, ""))})


def _execs(words: str) -> Odd:
    return Odd({_DROP_IN: f"{_COMMAND} {words}\n"})


def _file(text: str, command: str = _AS_ONE) -> Odd:
    return Odd({_DROP_IN: f"{command}EnvironmentFile=/etc/odd\n", "/etc/odd": text})


ODD: Dict[str, Odd] = {
    "escapes": _execs(
        r"""--a=\x2frun\057x --b="\u00e9 \U0001f600 \xc3\xa9" --c=a\ b --d=\q\xzz \s \"x\' "\t" \\ --e"""
    ),
    "escapes of nothing": _execs(r"--a=\x00 --b=\000 --c=\400 --d=\777 --e=\U00110000 --f=\1 --g=\ "),
    "quotes": _execs("""--a='b "c" d' --e="f 'g' h"i'j' "" '' --k"""),
    "white space": _execs("--a=b\u00a0c  --d\t--e\u2003f"),
    "specifiers": _execs("%n %N %p %P %i %t %S %C %L %E %T %V %h %u %U %g %G %j %J %m %b %v %% 5% '%n x' %f %-%"),
    "a semicolon": _execs(r"--a \; --b ';' --c;d e; --f"),
    "a name of its own": Odd({_DROP_IN: "[Service]\nExecStart=\nExecStart=@/usr/bin/kubelet agent --a $HOME\n"}),
    "variables as text": Odd(
        {_DROP_IN: "[Service]\nEnvironment=A=1\nExecStart=\nExecStart=:/usr/bin/kubelet $A ${A} %n $$A\n"}
    ),
    "prefixes": Odd({_DROP_IN: "[Service]\nExecStart=\nExecStart=-+/usr/bin/kubelet --a\n"}),
    "lines": Odd(
        {
            _DROP_IN: "[Service]\nExecStart=\nExecStart=/usr/bin/kubelet \\\n  --a \\\n# not this \\\n; nor this\n"
            "   # or this\n\t--b\\\n--c --d=\\\\\nEnvironment=A=1\n"
        }
    ),
    "variables in words": Odd(
        {
            _DROP_IN: "[Service]\nEnvironment=A=one 'B=two words' C=\nExecStart=\n"
            "ExecStart=/usr/bin/kubelet $A-b $ $$A ${A ${A:-x} a$A ${A}${B} '$B' \"${B}\" $B ${B} $C ${C} $A$B\n"
        }
    ),
    "values that are split": Odd(
        {
            _DROP_IN: f"{_VARIABLES}EnvironmentFile=/etc/odd\n",
            "/etc/odd": "A=--x=o'brien --y\nB=a\\\\ b c\\\\nd\nC=\"'p q' r\"\nD=\"\\\"s t\"\nE='u \\'\n"
            'F=\'"v"w x\\y\'\nG="a\\\\\\\\b"\n',
        }
    ),
    "Environment=": Odd(
        {
            _DROP_IN: f"{_AS_ONE}Environment=A=1 \"B=x y\" 'C=%E/z' D=\\x41\\u00e9 E=F=G 1H=2 F\nEnvironment=G=1 H='x\n"
            'Environment=G=2 H=\\q\nEnvironment="A=2"\n'
        }
    ),
    "Environment= taken back": Odd({_DROP_IN: f"{_AS_ONE}Environment=A=1\nEnvironment=\nEnvironment=B=1\n"}),
    "a file of variables": _file(
        'A=o\'brien "x" \n B = \' b \'"c" \'d\'e f\nexport C=1\nD="a\nb" # x\n# x\nE=a\\\nb\\ \\c\n;F=1\n'
        'F="\\x\\$\\"\\`\\\\"\n'
        "G='\\'\nH=\"\"\n"
    ),
    "a comment that ends with a backslash": _file("# a \\\nA=1\nB=2\n# \\\\\nC=3\n; \\\n\nD=4\n"),
    "a quote that is not closed": _file("A=1\nB='x\nC=2\nD=\"3\n"),
    "a double quote that is not closed": _file('A="x" "y\\\nB=2\\'),
    "a file with CRLF": _file("A=1\r\nB='2'\r\n"),
    "a file that is not UTF-8": Odd(
        {_DROP_IN: f"{_AS_ONE}EnvironmentFile=-/etc/odd\nEnvironment=B=2\n", "/etc/odd": "A=1\nB=\udcff\n"}
    ),
    "files by a pattern, and one that is missing": Odd(
        {
            _DROP_IN: f"{_AS_ONE}EnvironmentFile=%E/odd.d/*.env\nEnvironmentFile=-/etc/nowhere\n"
            'EnvironmentFile="/etc/odd.d/b"\nEnvironmentFile=-etc/odd.d/b\nEnvironment=A=lost\n',
            "/etc/odd.d/1.env": "A=1\nB=1\n",
            "/etc/odd.d/2.env": "B=2\n",
            "/etc/odd.d/.3.env": "B=3\n",
            "/etc/odd.d/b": "C=3\n",
        }
    ),
    "UnsetEnvironment=": Odd(
        {
            _DROP_IN: f'{_AS_ONE}Environment=A=1 B=2 C=3\nEnvironmentFile=/etc/odd\nUnsetEnvironment=A "B=3" C=3 D\n',
            "/etc/odd": "D=4\nE=5\n",
        }
    ),
    "PassEnvironment=": Odd({_DROP_IN: f"{_COMMAND} $container ${{NONE}} $A\nPassEnvironment=container NONE A\n"}),
    "the manager's environment": Odd(
        {_DROP_IN: f"{_AS_ONE}Environment=A=unit\n"},
        before=("systemctl", "set-environment", "A=manager", "B=x y"),
        after=("systemctl", "unset-environment", "A", "B"),
    ),
    "an alias": Odd(
        {
            "/usr/lib/systemd/system/node-agent.service": "[Service]\nExecStart=/usr/bin/kubelet $A $B $C $D\n",
            "/usr/lib/systemd/system/node-agent.service.d/a.conf": "[Service]\nEnvironment=A=agent\n",
            f"{_ADMIN}/node-.service.d/b.conf": "[Service]\nEnvironment=B=prefix\n",
            f"{_ADMIN}/kubelet.service.d/10-kubeadm.conf": "[Service]\nEnvironment=C=own\n",
            f"{_ADMIN}/other.service.d/d.conf": "[Service]\nEnvironment=D=other\n",
        },
        {
            f"{_ADMIN}/kubelet.service": "../../../usr/lib/systemd/system/node-agent.service",
            f"{_ADMIN}/other.service": "/usr/lib/systemd/system/node-agent.service",
        },
    ),
    "links that make no alias": Odd(
        {
            f"{_ADMIN}/agent@.service": "[Service]\nExecStart=/usr/bin/kubelet --template\n",
            "/run/systemd/system/kubelet.socket": "[Socket]\nListenStream=/run/kubelet.sock\n",
        },
        {
            f"{_ADMIN}/kubelet.service": f"{_ADMIN}/agent@a.service",
            "/run/systemd/system/kubelet.service": "kubelet.socket",
        },
    ),
    "an alias of the unit": Odd(
        {f"{_ADMIN}/node.service.d/60.conf": "[Service]\nEnvironment=KUBELET_KUBEADM_ARGS= KUBELET_CONFIG_ARGS=--c\n"},
        {f"{_ADMIN}/node.service": "/usr/lib/systemd/system/kubelet.service"},
    ),
    "drop-ins from everywhere": Odd(
        {
            _DROP_IN: _AS_ONE,
            "/etc/systemd/system.control/kubelet.service.d/60.conf": "[Service]\nEnvironment=A=control\n",
            "/run/systemd/system/kubelet.service.d/60.conf": "[Service]\nEnvironment=A=lost\n",
            "/run/systemd/system/kubelet.service.d/70.conf": "[Service]\nEnvironment=B=run\n",
            "/usr/local/lib/systemd/system/kubelet.service.d/80.conf": "[Service]\nEnvironment=C=local\n",
            f"{_ADMIN}/service.d/90.conf": "[Service]\nEnvironment=D=all\n",
            f"{_ADMIN}/service.d/80.conf": "[Service]\nEnvironment=C=lost\n",
            f"{_ADMIN}/kubelet.service.d/.95.conf": "[Service]\nEnvironment=E=hidden\n",
            f"{_ADMIN}/kubelet.service.d/95.conf.bak": "[Service]\nEnvironment=E=none\n",
        }
    ),
    "drop-ins that are masked": Odd(
        {_DROP_IN: _AS_ONE, "/run/systemd/system/kubelet.service.d/60.conf": "[Service]\nEnvironment=A=lost\n"},
        {f"{_ADMIN}/kubelet.service.d/60.conf": "/dev/null"},
    ),
    "a linked unit file": Odd(
        {"/opt/kubelet.service": "[Service]\nExecStart=/usr/bin/kubelet --a\n", _DROP_IN: f"{_COMMAND} %n\n"},
        {f"{_ADMIN}/kubelet.service": "/opt/kubelet.service"},
    ),
    "a linked unit file of another name": Odd(
        {
            "/opt/node.service": "[Service]\nEnvironment=KUBELET_CONFIG_ARGS=--c\nExecStart=/usr/bin/kubelet %n\n",
            f"{_ADMIN}/node.service.d/60.conf": "[Service]\nEnvironment=KUBELET_CONFIG_ARGS=--lost\n",
        },
        {f"{_ADMIN}/kubelet.service": "/opt/node.service"},
    ),
    "a drop-in that is a link": Odd(
        {"/opt/flags": _COMMAND + " --linked\n"}, {f"{_ADMIN}/kubelet.service.d/60.conf": "/opt/flags"}
    ),
    "a unit of a generator": Odd(
        {
            "/run/systemd/generator/kubelet.service": "[Service]\nExecStart=/usr/bin/kubelet --generated\n",
            "/run/systemd/system-generators/odd": "#!/bin/sh\n"
            "printf '[Service]\\nExecStart=/usr/bin/kubelet --generated\\n' > $1/kubelet.service\n",
            f"{_ADMIN}/kubelet.service.d/10-kubeadm.conf": "[Service]\nEnvironment=A=1\n",
        }
    ),
}
REFUSED: Dict[str, Odd] = {
    "a quote of a command that is not closed": _execs("--a 'b"),
    "two commands": _settings("ExecStart=/usr/bin/kubelet --a"),
    "two commands in one": _execs("--a ; /usr/bin/kubelet --b"),
    "no command": _settings("ExecStart="),
    "a specifier that there is not": _execs("--a=%z"),
    "a file that is missing": _settings("EnvironmentFile=/etc/nowhere"),
    "a file that is no text": Odd(
        {_DROP_IN: "[Service]\nEnvironmentFile=/etc/odd\n", "/etc/odd": "A=1\nB=\udcff\n"},
    ),
}


class _Manager:
    """The node's systemd."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.running = True
        self.version = int(node.run("systemctl", "--version").split()[1])

    def show(self, unit: str, *names: str) -> Dict[str, str]:
        lines = self._node.run("systemctl", "show", *(f"-p{name}" for name in names), unit).splitlines()
        found = dict(line.partition("=")[::2] for line in lines)
        return {name: found.get(name, "") for name in names}

    def environment(self) -> Dict[str, str]:
        lines = self._node.run("systemctl", "show-environment").splitlines()
        return {
            name: value.removeprefix("$'").rstrip("'") for name, _, value in (line.partition("=") for line in lines)
        }


@contextmanager
def _odd(node: Node, odd: Odd) -> Iterator[None]:
    """Makes the node an odd one for as long as it takes."""
    kept: Dict[Path, Optional[bytes]] = {}
    try:
        for path, text in odd.files.items():
            place = node.path(path)
            kept[place] = place.read_bytes() if place.exists() else None
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(text.encode("utf-8", "surrogateescape"))
            place.chmod(0o755 if text.startswith("#!") else 0o644)
        for path, target in odd.links.items():
            kept[node.path(path)] = None
            node.path(path).symlink_to(target)
        if odd.before:
            node.run(*odd.before)
        yield
    finally:
        for place, content in kept.items():
            if content is None:
                place.unlink()
            else:
                place.write_bytes(content)
        if odd.after:
            node.run(*odd.after)
        node.run("systemctl", "daemon-reload")


def _worked_out(node: Node, manager: Any) -> Tuple[str, ...]:
    """The words after the first, which ``ExecStart=@`` makes another than the program's path."""
    found = kubelet.find(Tree(str(node.path("/"))), lambda command: "Kubernetes v1.33.1", manager)
    assert found is not None
    return (*found.program[1:], *found.flags)


@pytest.fixture(scope="module", params=SUITES, ids=shared)
def odd_node(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """One node of each Debian, which is put right after each test."""
    with Node(replace(KUBEADM, suite=request.param), tmp_path_factory.mktemp("node")) as node:
        yield node


@pytest.mark.parametrize("name", ODD)
def test_the_command_line_is_the_one_that_systemd_starts(odd_node: Node, name: str) -> None:
    manager = _Manager(odd_node)
    with _odd(odd_node, ODD[name]):
        of_files = _worked_out(odd_node, manager)
        odd_node.run("systemctl", "daemon-reload")
        asked = _worked_out(odd_node, manager)
        odd_node.run("systemctl", "restart", "kubelet")
        started = odd_node.kubelet_command[1:]
        assert (of_files, asked) == (started, started)


@pytest.mark.parametrize("name", REFUSED)
def test_what_systemd_does_not_start_is_refused(odd_node: Node, name: str) -> None:
    with _odd(odd_node, REFUSED[name]):
        odd_node.run("systemctl", "daemon-reload")
        with pytest.raises(CommandFailed):
            odd_node.run("systemctl", "restart", "kubelet")
        with pytest.raises(NodeError):
            _worked_out(odd_node, _Manager(odd_node))


def test_a_unit_of_systemd_run_is_read_as_it_was_given(odd_node: Node) -> None:
    unit = odd_node.path("/usr/lib/systemd/system/kubelet.service")
    drop_in = odd_node.path("/usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf")
    texts = {path: path.read_text() for path in (unit, drop_in)}
    odd_node.run("systemctl", "stop", "kubelet")
    try:
        for path in texts:
            path.unlink()
        odd_node.run("systemctl", "daemon-reload")
        words = ("--a", "b c", "--d=e,f", "é")
        odd_node.run("systemd-run", "--unit=kubelet", "/usr/bin/kubelet", *words)
        assert _worked_out(odd_node, _Manager(odd_node)) == odd_node.kubelet_command[1:]
    finally:
        for path, text in texts.items():
            path.write_text(text)
        odd_node.run("systemctl", "stop", "kubelet")
        odd_node.run("systemctl", "daemon-reload")
