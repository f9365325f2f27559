"""What has to be asked of the systemd that runs on the node, if one does.

It may be as old as 229: only words that `compat` has in its table are said to ``systemctl`` and ``journalctl``.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cached_property
from typing import Dict, List, Tuple

from criproxy.node.kubelet import NodeError
from criproxy.node.manager import UnitState
from criproxy.node.tree import Tree
from criproxy.text import decoded

_TIMEOUT = 150.0
"""Longer than any unit of ours takes to start or stop (TimeoutStartSec=90s), seconds."""
_STARTING = ("start", "restart", "reload")
"""Verbs after which it is the unit's log that says why they have failed."""
_RESTARTED = "5eb03494b6584870a536b337290809b3"
"""The MESSAGE_ID by which systemd, since 235, logs that a unit is started again (sd-messages.h)."""
_FAILED = "98e322203f7a4ed290d09fe03c09fe15"
"""The MESSAGE_ID by which systemd, since 240, logs that a unit's process has exited, if that is a failure."""
_VERSION = re.compile(r"systemd (\d+)")
_MONOTONIC = re.compile(r"\[ *(\d+\.\d+)\]")
_ASSIGNED = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)")
_ESCAPED = re.compile(rb"\\([0-7]{3}|.)", re.DOTALL)
_ESCAPES = {b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}


class Systemd:
    """systemd, by ``systemctl``."""

    def __init__(self, tree: Tree) -> None:
        self._root = tree.root
        self.running = not tree.root and tree.is_folder("/run/systemd/system")

    @cached_property
    def version(self) -> int:
        """What its ``systemctl`` says; in a root elsewhere it is that one's which is asked."""
        enter = ["chroot", self._root] if self._root else []
        try:
            printed = _output([*enter, "systemctl", "--version"])
        except NodeError:
            return 0
        found = _VERSION.match(printed)
        return int(found[1]) if found else 0

    def do(self, *words: str) -> None:
        """Runs ``systemctl``; while no manager runs, only what is done to files alone."""
        if not self.running and shutil.which("systemctl") is None:
            return  # an image without systemd: nobody could enable anything
        done = _run(["systemctl", *([f"--root={self._root}"] if self._root else []), *words])
        if done.returncode:
            said = decoded(done.stderr).partition("\n")[0] or f"exit status {done.returncode}"
            # Of a unit that would not start systemctl itself says only that it would not.
            ends = self.last_words(words[-1]) if words[0] in _STARTING else ""
            raise NodeError(f"systemctl {' '.join(words)}: {said}{f' Its log ends: {ends}' if ends else ''}")

    def show(self, unit: str, *names: str) -> Dict[str, str]:
        """As ``systemctl show`` says."""
        found: Dict[str, List[str]] = {name: [] for name in names}
        if self.running:
            for line in _output(["systemctl", "show", *(f"--property={name}" for name in names), unit]).split("\n"):
                name, assigned, value = line.partition("=")
                if assigned and name in found:
                    found[name].append(value)
        return {name: "\n".join(values) for name, values in found.items()}

    def state(self, unit: str) -> UnitState:
        """As ``systemctl show`` says."""
        names = ("LoadState", "ActiveState", "SubState", "MainPID", "NRestarts", "Result")
        load, active, sub, pid, restarts, result = self.show(unit, *names).values()
        return UnitState(
            load, active, sub, int(pid) if pid else 0, int(restarts) if restarts.isdecimal() else None, result
        )

    def last_words(self, unit: str, lines: int = 3) -> str:
        """As the journal has it: the words of the main process, or if it has ended without any systemd's about it."""
        if not self.running:
            return ""
        try:
            pid = self.show(unit, "ExecMainPID")["ExecMainPID"]
            own = [f"_SYSTEMD_UNIT={unit}", *([f"_PID={pid}"] if pid else [])]
            return _logged(lines, *own) or _logged(lines, f"--unit={unit}")
        except NodeError:
            return ""  # what is wrong with the unit counts, with or without its log

    def restarts(self, unit: str, most: int) -> List[float]:
        """As the journal has them."""
        return self._times(_RESTARTED, unit, most)

    def failures(self, unit: str, most: int) -> List[float]:
        """As the journal has them."""
        return self._times(_FAILED, unit, most)

    def _times(self, message: str, unit: str, most: int) -> List[float]:
        if not self.running:
            return []
        try:
            lines = _journal("short-monotonic", most, f"MESSAGE_ID={message}", f"UNIT={unit}")
        except NodeError:
            return []  # how the unit is is known, with or without the log
        return [float(found[1]) for found in map(_MONOTONIC.match, lines) if found]

    def environment(self) -> Dict[str, str]:
        """As ``systemctl show-environment`` says."""
        return _assignments(_output(["systemctl", "show-environment"])) if self.running else {}


def _logged(lines: int, *matches: str) -> str:
    return "; ".join(filter(None, map(str.strip, _journal("cat", lines, *matches))))


def _journal(output: str, lines: int, *matches: str) -> List[str]:
    command = ["journalctl", "--quiet", "--no-pager", "--boot", f"--output={output}", f"--lines={lines}", *matches]
    return decoded(_run(command).stdout).split("\n")


def _assignments(printed: str) -> Dict[str, str]:
    """What ``show-environment`` prints. Older ones quote nothing: a line without a name goes on with the last value."""
    found: List[Tuple[str, List[str]]] = []
    for line in printed.removesuffix("\n").split("\n"):
        assigned = _ASSIGNED.fullmatch(line)
        if assigned:
            found.append((assigned[1], [_unquoted(assigned[2])]))
        elif found:
            found[-1][1].append(line)
    return {name: "\n".join(lines) for name, lines in found}


def _unquoted(value: str) -> str:
    """A value that has needed quotes stands as ``$'…'``."""
    if not (value.startswith("$'") and value.endswith("'") and len(value) > 2):
        return value
    return decoded(_ESCAPED.sub(_unescaped, value[2:-1].encode("utf-8", "surrogateescape")))


def _unescaped(found: re.Match[bytes]) -> bytes:
    escaped = found[1]
    return bytes([int(escaped, 8) & 0xFF]) if len(escaped) == 3 else _ESCAPES.get(escaped, escaped)


def _output(command: List[str]) -> str:
    """What a command that must not fail prints. Some fail for a unit that there is not, and print its properties."""
    done = _run(command)
    if done.returncode and not done.stdout:
        said = decoded(done.stderr).partition("\n")[0] or f"exit status {done.returncode}"
        raise NodeError(f"{' '.join(command)}: {said}")
    return decoded(done.stdout)


def _run(command: List[str]) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NodeError(f"{' '.join(command)}: {error}") from error
