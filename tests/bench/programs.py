"""What is measured: programs that stand between a client and runtimes, and what of them is called."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, List, Optional, Sequence, Tuple

from criproxy.cri.messages import api
from tests.bench.runtime import ID

RUNTIME_IDS = ("", "bench.test", "bench3.test", "bench4.test")
"""The primary runtime has none."""
SEARCHED = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
"""haproxy and nghttpx stand where only root's PATH leads."""
_CONFIGURATION = shlex.quote(str(Path(__file__).with_name("haproxy.cfg")))


def tool(name: str) -> Optional[str]:
    """Where a program is installed; None if it is not."""
    return shutil.which(name, path=SEARCHED)


@dataclass(frozen=True)
class Program:
    """A command.

    In it ``{listen}`` is the socket that it is to serve, ``{connect}`` the runtimes as criproxy's option has them, and
    ``{primary}`` the socket of the first alone, for one that knows no other.
    """

    name: str
    command: str
    needs: str = ""
    """What must be installed for it."""

    @classmethod
    def of(cls, text: str) -> Program:
        """NAME=COMMAND. Raises ValueError."""
        name, _, command = text.partition("=")
        if not name or "{listen}" not in command or ("{connect}" in command) == ("{primary}" in command):
            raise ValueError(f"{text!r} is not NAME=COMMAND with {{listen}} and either {{connect}} or {{primary}}")
        return cls(name, command)

    @property
    def merges(self) -> bool:
        """Whether it serves several runtimes."""
        return "{connect}" in self.command

    @property
    def installed(self) -> bool:
        """Whether it can be started."""
        return not self.needs or tool(self.needs) is not None

    def words(self, listen: str, runtimes: Sequence[str]) -> List[str]:
        """The command before the runtimes on these sockets."""
        connect = ",".join(f"{name}:{path}" if name else path for name, path in zip(RUNTIME_IDS, runtimes))
        places = {"listen": listen, "primary": runtimes[0], "connect": connect}
        return [word.format(**places) for word in shlex.split(self.command)]


def criproxy(command: str) -> Program:
    """The proxy by this command, which takes its options behind it."""
    own = command.replace("{", "{{").replace("}", "}}")
    # By the environment: an earlier criproxy, which has no such socket, takes that for a name that it does not know.
    return Program("criproxy", f"env CRIPROXY_CONTROL={{listen}}.control {own} -connect {{connect}} -listen {{listen}}")


OWN = f"{shlex.quote(sys.executable)} -m criproxy"
"""This tree's criproxy, as source."""
OTHERS = (
    Program("socat", "socat UNIX-LISTEN:{listen},fork UNIX-CONNECT:{primary}", "socat"),
    Program(
        "haproxy",
        f"env BENCH_LISTEN={{listen}} BENCH_CONNECT={{primary}} haproxy -q -f {_CONFIGURATION}",
        "haproxy",
    ),
    Program(
        "nghttpx",
        "nghttpx --conf=/dev/null --single-thread --accesslog-file=/dev/null"
        " '--frontend=unix:{listen};no-tls' '--backend=unix:{primary};;proto=h2'",
        "nghttpx",
    ),
    Program("grpcio", f"{shlex.quote(sys.executable)} -m tests.bench.grpcio_relay {{listen}} {{primary}}"),
)
"""What criproxy is compared with in any case."""


@dataclass(frozen=True)
class Contestant:
    """Something to call."""

    name: str
    path: str
    pid: int = 0
    """The process whose time and memory are its."""
    program: Optional[Program] = None
    """None where a runtime is called by itself."""
    merged: Tuple[str, ...] = ("",)
    """The ids of the runtimes that its lists have."""
    runtime: str = ""
    """The one that is called, if a call is for one."""

    @property
    def merges(self) -> bool:
        """Whether it serves several runtimes."""
        return self.program is not None and self.program.merges

    @property
    def whole(self) -> bool:
        """Whether what concerns a program as a whole is counted for this: of several that it is, for the first."""
        return not self.runtime

    def named(self, method: str, **more: Any) -> bytes:
        """A request about the container that it knows."""
        message: Any = api()[f"{method}Request"](container_id=outer_id(self.runtime, ID), **more)
        body: bytes = message.SerializeToString()
        return body

    @property
    def request(self) -> bytes:
        """ContainerStatusRequest."""
        return self.named("ContainerStatus")


def outer_id(runtime: str, name: str) -> str:
    """An id as kubelet sees it."""
    return f"{runtime}__{name}" if runtime else name


def outer_image(runtime: str, image: str) -> str:
    """An image's name as kubelet sees it."""
    return f"{runtime}/{image}" if runtime and not image.startswith("sha256:") else image
