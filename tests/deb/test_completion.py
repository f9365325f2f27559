"""Completion in bash and zsh: what a terminal makes of keys, with the program's own help to read from."""

from __future__ import annotations

import argparse
import os
import pty
import re
import shlex
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest

from criproxy.config.parser import make_parser
from criproxy.inspection import check, route, settings
from criproxy.migrate.command import MIGRATE
from criproxy.node import command, plan
from criproxy.show import command as show
from criproxy.show.entries import Kind

BOTH = Path(__file__).parents[2] / "debian/both"
BASH, ZSH = BOTH / "bash-completion/criproxy", BOTH / "zsh/_criproxy"
PROGRAM = Path(sys.executable).with_name("criproxy")
PROMPT = "what now? "
CONNECT = "unix:///run/c.sock,virtlet.cloud:/run/v.sock,kata.local:unix:///run/k.sock"
"""What is configured where the shells run."""
SHELLS = {
    "bash": ("bash --norc --noprofile -i", f". {shlex.quote(str(BASH))}"),
    "zsh": (
        "zsh --no-rcs --interactive",
        f"fpath=({shlex.quote(str(ZSH.parent))} $fpath); autoload -U compinit; compinit -u -D",
    ),
}
INSPECTING: Dict[str, Any] = {"check": check, "config": settings, "route": route}
"""The modules of the commands that take the daemon's options behind their own."""
_WRAPPER = """\
#!/bin/sh
for last; do :; done
[ "$last" != --help ] && [ "$*" != config ] || exec {program} "$@"
printf '%s\\n' "$@" > {record}
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with the program, which tells the help that it has, and its words instead of doing anything."""
    record = tmp_path / "words"
    os.mkfifo(record)
    wrapper = tmp_path / "criproxy"
    wrapper.write_text(_WRAPPER.format(program=shlex.quote(str(PROGRAM)), record=shlex.quote(str(record))))
    wrapper.chmod(0o755)
    (tmp_path / "a.sock").touch()
    return tmp_path


@contextmanager
def terminal(shell: str, place: Path) -> Iterator[int]:
    """A terminal with a shell in it that has said that it waits for keys."""
    start, completion = SHELLS[shell]
    ours, its = pty.openpty()
    environment = {"PATH": f"{place}:{os.environ['PATH']}", "TERM": "dumb", "HOME": str(place), "LC_ALL": "C.UTF-8"}
    environment["CRIPROXY_CONNECT"] = CONNECT
    process = subprocess.Popen(
        ["setsid", "--ctty", *shlex.split(start)], stdin=its, stdout=its, stderr=its, env=environment, cwd=place
    )
    os.close(its)
    try:
        os.write(ours, f"{completion}; PS1='what now''? '\n".encode())
        seen = ""
        while PROMPT not in seen:
            seen += os.read(ours, 4096).decode(errors="replace")
        yield ours
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def typed(shell: str, place: Path, keys: str) -> List[str]:
    """The words that the program gets when these keys and Enter are pressed."""
    with terminal(shell, place) as keyboard:
        os.write(keyboard, f"{keys}\n".encode())
        return (place / "words").read_text().splitlines()  # which waits for them


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("criproxy sh\t--wa\t", ["show", "--watch"]),
        ("criproxy no\tapp\t--pri\tcri\to\t", ["node", "apply", "--primary", "crio"]),
        ("criproxy node plan --attach-detach k\t", ["node", "plan", "--attach-detach", "keep"]),
        ("criproxy node st\t--ro\t", ["node", "status", "--root"]),
        ("criproxy node apply --primary=cont\t", ["node", "apply", "--primary=containerd"]),
        ("criproxy node mi\t--to cri-\t--ye\t", ["node", "migrate", "--to", "cri-dockerd", "--yes"]),
        ("criproxy runt\tad\tx.y a.s\t--fo\t", ["runtime", "add", "x.y", "a.sock", "--force"]),
        ("criproxy runtime remove x.y -o w\t--fo\t", ["runtime", "remove", "x.y", "-o", "wide", "--force"]),
        ("criproxy tr\t--err\t-o js\t", ["trace", "--errors", "-o", "json"]),
        ("criproxy --compat\tg\t", ["--compatibility", "go"]),
        ("criproxy --compatibility=no\t", ["--compatibility=none"]),
        ("criproxy --stream-u\thttp://x -v 3 --verb\t4", ["--stream-url", "http://x", "-v", "3", "--verbosity", "4"]),
        ("criproxy --log-to-stderr f\t", ["--log-to-stderr", "false"]),
        ("criproxy show --socket a.s\t", ["show", "--socket", "a.sock"]),
        ("criproxy show con\t-o wi\t", ["show", "containers", "-o", "wide"]),
        ("criproxy show pods a.s\t--runtime kat\t", ["show", "pods", "a.sock", "--runtime", "kata.local"]),
        ("criproxy show --runtime pri\t--fu\t", ["show", "--runtime", "primary", "--full"]),
        ("criproxy conf\t-o js\t--stream-p\t7", ["config", "-o", "json", "--stream-port", "7"]),
        ("criproxy check --opt\t--compatib\tg\t", ["check", "--options-only", "--compatibility", "go"]),
        ("criproxy rou\t--image virt\tcirros", ["route", "--image", "virtlet.cloud/cirros"]),
        ("criproxy route --id virt\t3f", ["route", "--id", "virtlet.cloud__3f"]),
        ("criproxy route -f a.s\t", ["route", "-f", "a.sock"]),
        ("criproxy route ad\tapp=x.y --fi\t", ["route", "add", "app=x.y", "--first"]),
        ("criproxy route rem\tapp --so\ta.s\t", ["route", "remove", "app", "--socket", "a.sock"]),
        ("criproxy route li\t-o js\t", ["route", "list", "-o", "json"]),
        ("criproxy demo-r\t--listen a.s\t--v\tv1a\t", ["demo-runtime", "--listen", "a.sock", "--version", "v1alpha2"]),
    ],
)
def test_keys_are_completed(shell: str, keys: str, words: List[str], place: Path) -> None:
    assert typed(shell, place, keys) == words


def offered(*words: str) -> List[str]:
    """All that bash has to offer for the last word."""
    script = '. "$1"; shift; COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); _criproxy "$1" "${*: -1}" "${*: -2:1}"; '
    script += 'printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(
        ["bash", "-c", script, "bash", str(BASH), str(PROGRAM), *words],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "CRIPROXY_CONNECT": CONNECT},
    )
    return done.stdout.split()


def options(parser: argparse.ArgumentParser) -> List[str]:
    shown = (action for action in parser._actions if action.help != argparse.SUPPRESS)
    return [name for action in shown for name in action.option_strings if name.startswith("--")]


def actions() -> Dict[str, argparse.ArgumentParser]:
    parser = command.parser({"migrate": MIGRATE})
    (subparsers,) = (each for each in parser._actions if isinstance(each, argparse._SubParsersAction))
    return dict(subparsers.choices)


def test_every_command_is_offered() -> None:
    shown = subprocess.run([str(PROGRAM), "--help"], check=True, stdout=subprocess.PIPE, text=True).stdout
    assert offered("") == re.findall(r"^  criproxy ([\w-]+)", shown, flags=re.M)
    assert offered("node", "") == list(actions())
    assert offered("runtime", "") == ["add", "remove", "list"]
    assert offered("route", "") == ["add", "remove", "list"]
    assert sorted(offered("route", "add", "--")) == ["--environment-file", "--first", "--help", "--output", "--socket"]


@pytest.mark.parametrize("action", actions())
def test_every_option_of_an_action_is_offered(action: str) -> None:
    assert sorted(offered("node", action, "--")) == sorted(options(actions()[action]))


def test_every_option_of_the_daemon_is_offered() -> None:
    assert sorted(offered("--")) == sorted(options(make_parser()))


@pytest.mark.parametrize("name", INSPECTING)
def test_every_option_of_a_command_about_the_daemon_is_offered_with_the_daemon_s(name: str) -> None:
    own = [*options(INSPECTING[name]._parser()), *options(make_parser())]
    assert offered(name, "--") == sorted(set(own))


def test_every_option_of_show_is_offered_and_every_kind() -> None:
    assert sorted(offered("show", "--")) == sorted(options(show._parser()))
    assert offered("show", "") == [kind.value for kind in Kind]
    assert offered("show", "pods", "") == []


def test_the_runtimes_that_are_configured_are_offered_to_route_and_to_show() -> None:
    assert offered("show", "--runtime", "") == ["primary", "virtlet.cloud", "kata.local"]
    assert offered("route", "--id", "") == ["virtlet.cloud__", "kata.local__"]
    assert offered("route", "--image", "") == ["virtlet.cloud/", "kata.local/"]
    assert offered("demo-runtime", "--name", "") == []


def test_every_name_of_a_primary_runtime_is_offered() -> None:
    assert offered("node", "apply", "--primary", "") == [plan.AUTO, *plan.RUNTIMES]


def test_a_dockershim_is_not_offered_to_move_to() -> None:
    assert offered("node", "migrate", "--to", "") == [name for name in plan.RUNTIMES if name != "dockershim"]
