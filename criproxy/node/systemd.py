"""What has to be asked of the systemd that runs on the node, if one does."""

from __future__ import annotations

import shutil
import subprocess
from typing import List, Protocol, Sequence

from criproxy.node.kubelet import NodeError
from criproxy.node.tree import Tree

_TIMEOUT = 150.0
"""Longer than any unit of ours takes to start or stop (TimeoutStartSec=90s), seconds."""
_RUNNING = ("active", "activating", "reloading", "deactivating")
"""States in which a unit that is to run does, or is about to be started again."""


class Manager(Protocol):
    """The system's manager of services."""

    running: bool
    """Whether there is one: no services are started while an image is built."""

    def do(self, *words: str) -> None:
        """``systemctl`` with these words. Raises NodeError with what it says."""

    def is_running(self, unit: str) -> bool:
        """Whether the unit is to run, though it may just now be between two attempts."""

    def commands(self, unit: str) -> str:
        """What is in force as the unit's ``ExecStart=``."""


class Systemd:
    """systemd, by ``systemctl``."""

    def __init__(self, tree: Tree) -> None:
        self._root = tree.root
        self.running = not tree.root and tree.is_folder("/run/systemd/system")

    def do(self, *words: str) -> None:
        """Runs ``systemctl``; while no manager runs, only what is done to files alone."""
        if not self.running and shutil.which("systemctl") is None:
            return  # an image without systemd: nobody could enable anything
        done = self._run(*words)
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").partition("\n")[0] or f"exit status {done.returncode}"
            raise NodeError(f"systemctl {' '.join(words)}: {said}{self._last_words(words)}")

    def is_running(self, unit: str) -> bool:
        """As systemd says."""
        return self._show(unit, "ActiveState") in _RUNNING

    def commands(self, unit: str) -> str:
        """As systemd says."""
        return self._show(unit, "ExecStart")

    def _show(self, unit: str, name: str) -> str:
        if not self.running:
            return ""
        return self._run("show", "--property", name, "--value", unit).stdout.decode("utf-8", "replace").strip()

    def _last_words(self, words: Sequence[str]) -> str:
        """What a unit has logged last that would not start: systemctl itself says only that it would not."""
        if words[0] not in ("start", "restart"):
            return ""
        command = ["journalctl", "--quiet", "--no-pager", "--output=cat", "--lines=3", f"_SYSTEMD_UNIT={words[-1]}"]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return ""  # the error is the unit's, with or without its log
        text = "; ".join(done.stdout.decode("utf-8", "replace").split("\n")).strip("; ")
        return f" Its log ends: {text}" if text else ""

    def _run(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        command: List[str] = ["systemctl", *([f"--root={self._root}"] if self._root else []), *words]
        try:
            return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NodeError(f"{' '.join(command)}: {error}") from error
