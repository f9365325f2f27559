"""A node to install packages on: a Debian of the tests' own with systemd, booted in a second and thrown away."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Callable, List, Mapping, Optional, TypeVar

from tests.containerd.cgroup import Cgroup
from tests.containerd.node import Made, in_network
from tests.containerd.service import ENVIRONMENT, PATIENCE, eventually

Self = TypeVar("Self", bound="Machine")

_BOOT = Path(__file__).with_name("boot")
_TIME = 240.0
"""How long a command may take on a busy machine, seconds."""
# Whoever waits for the end of its input ends when we do, however we end: nothing of a node outlives the tests. The init
# is killed and not its parent, which then reaps it.
_KEEPER = """
unshare --mount --uts --ipc --net --pid --fork --kill-child --propagation private "$@" < /dev/null & echo $!
cat > /dev/null
kill -KILL $(cat /proc/$!/task/$!/children) || kill -KILL $!
wait
"""
# Joins the node's cgroups, too, so that nothing of the node is counted elsewhere.
_ENTER = """
for place in $1; do echo $$ > $place/cgroup.procs; done
shift
exec nsenter "$@"
"""


class CommandFailed(Exception):
    """A command on a node has failed. The text is what it printed."""


class Machine:
    """A booted node: an overlay of a Debian root in namespaces and cgroups of its own.

    ``unified``: with cgroups of version 2 alone, on whatever machine.
    """

    def __init__(self, root: Path, unified: bool = False) -> None:
        self.environment = {"CRIPROXY_NODE_WATCH": "1s"}
        """What commands find in theirs. `criproxy node` watches kubelet for longer than most tests have a use for."""
        self._folder = Path(tempfile.mkdtemp(prefix="criproxy-node-"))
        self.name = self._folder.name
        """What its cgroups and its folder on this machine are called."""
        self._cgroup = Cgroup(self.name, unified)
        self._places = self._cgroup.make()
        self._keeper = subprocess.Popen(
            ["sh", "-c", _KEEPER, "sh", str(_BOOT), str(root), str(self._folder), *map(str, self._places)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT,
            cwd="/",
            start_new_session=True,
        )
        try:
            self._init = self._boot()
        except BaseException:
            self.stop()
            raise

    def _boot(self) -> int:
        assert self._keeper.stdout is not None
        parent = self._keeper.stdout.readline().decode().strip()
        children = Path(f"/proc/{parent}/task/{parent}/children")
        self._init = int(eventually(children.read_text, lambda text: text.strip()))
        state = eventually(self._state, lambda state: state in ("running", "degraded"))
        if state != "running":
            raise RuntimeError(f"the node is {state!r}:\n{self.attempt('systemctl', '--failed').stdout}")
        return self._init

    def _state(self) -> str:
        """What systemd says when it has finished booting, or why it says nothing yet."""
        return self.attempt("systemctl", "is-system-running", "--wait").stdout.strip()

    def path(self, path: str) -> Path:
        """Where a file of the node's is for us. No link on the way to it may be an absolute one."""
        return Path(f"/proc/{self._init}/root{path}")

    def dial(self, address: str, port: int) -> socket.socket:
        """A connection to a port in the node's network."""
        return self.in_network(lambda: socket.create_connection((address, port), PATIENCE))

    def in_network(self, make: Callable[[], Made]) -> Made:
        """Calls ``make`` on a thread in the node's network. The sockets that it makes stay there."""
        return in_network(Path(f"/proc/{self._init}/ns/net"), make)

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Writes a file, and the directories that it takes."""
        file = self.path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def attempt(
        self, *command: str, stdin: str = "", environment: Optional[Mapping[str, str]] = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command and gives what came of it, its errors among its output."""
        return subprocess.run(
            self.enter(*command),
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={
                **ENVIRONMENT,
                "HOME": "/root",
                "DEBIAN_FRONTEND": "noninteractive",
                **self.environment,
                **(environment or {}),
            },
            timeout=_TIME,
            text=True,
        )

    def run(self, *command: str, stdin: str = "", environment: Optional[Mapping[str, str]] = None) -> str:
        """Runs a command that must not fail and gives its output."""
        done = self.attempt(*command, stdin=stdin, environment=environment)
        if done.returncode:
            raise CommandFailed(f"{' '.join(command)!r} gave {done.returncode}:\n{done.stdout}")
        return done.stdout

    def enter(self, *command: str) -> List[str]:
        """The command line that runs a command on the node."""
        leaves = [place / "init.scope" for place in self._places]
        places = [leaf if leaf.exists() else leaf.parent for leaf in leaves]
        flags = ["--mount", "--uts", "--ipc", "--net", "--cgroup", "--pid", "--root", "--wd"]
        return ["sh", "-c", _ENTER, "sh", " ".join(map(str, places)), f"--target={self._init}", *flags, "--", *command]

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends all that is on the node, and leaves nothing of it."""
        self._keeper.communicate(timeout=PATIENCE)  # which closes its input
        self._cgroup.remove()
        shutil.rmtree(self._folder)
