"""Options and runtimes: what the command line, the environment and the configuration file say, as one frozen object.

The command line is that of the Go program of the same name, whose flags take one dash or two, plus a spelled-out form
of each. Everything that is wrong with it is a `ConfigError` of one line.
"""

from __future__ import annotations

import math
import os
import re
from argparse import SUPPRESS, RawDescriptionHelpFormatter
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, NoReturn, Optional, Sequence, Tuple
from urllib.parse import urlsplit

from configargparse import ArgParser

from criproxy import __version__

CONFIG_FILE = "/etc/criproxy/criproxy.conf"
PRIMARY = "/var/run/dockershim.sock"
LONGEST_PATH = 107
"""sun_path of a unix socket's address has 108 bytes, the last of them a zero."""

_DESCRIPTION = """\
Serves several container runtimes (CRI implementations) to one kubelet on one unix socket.

A RUNTIME is [ID:][unix://]PATH. The one without an id is the primary runtime and gets every call that names no other;
a pod asks for another one by the annotation kubernetes.io/target-runtime: ID, and its images are called ID/IMAGE."""

_EPILOG = """\
Each option may stand on the command line, in the environment or in the configuration file (KEY = VALUE, the key being
the option's long name without the dashes); the first of these that has it counts. CRI_PRIMARY and CRI_OTHER
(comma-separated) in the environment are the parts of --connect, as in /etc/default/criproxy.

Verbosity: 0 start-up, runtimes that come and go, serious errors; 2 also failed calls; 3 also requests and answers
that change something; 4 also calls for a status; 5 also lists.

Other commands (each has a --help of its own):
  criproxy show            what kubelet sees on a CRI socket: pods, containers and images
  criproxy demo            a proxy before two runtimes in memory, to try it
  criproxy demo-runtime    one such runtime

Exit status: 0 after SIGTERM or SIGINT, 1 if the socket cannot be had, 2 if the configuration is not valid."""


class ConfigError(Exception):
    """The configuration is not valid. The text is one line and names the offending value."""


@dataclass(frozen=True)
class Runtime:
    """A runtime: its id (empty for the primary one) and the path of its socket."""

    id: str
    path: str


@dataclass(frozen=True)
class Config:
    """Everything that can be configured."""

    runtimes: Tuple[Runtime, ...]
    """The primary runtime first."""
    listen: str
    """The path of the socket for kubelet."""
    stream_url: str
    """Put before a streaming URL that is a path alone; empty: this node's address and ``stream_port``."""
    stream_port: int
    connection_timeout: float
    """How long calls wait for the primary runtime, seconds."""
    fan_out_timeout: float
    """How long a list waits for an alternative runtime, seconds."""
    max_message_size: int
    """Bytes."""
    verbosity: int
    warnings: Tuple[str, ...] = ()
    """What is to be said at the start."""


def _listen_path(text: str) -> str:
    return _path(text, text)


def _stream_url(text: str) -> str:
    url = urlsplit(text)
    if text and not (url.scheme and url.netloc):
        raise ConfigError(f"stream URL {text!r}: wanted is something like http://HOST:PORT")
    return text


def _port(text: str) -> int:
    if not (text.isdigit() and 0 < int(text) < 65_536):
        raise ConfigError(f"stream port {text!r}: wanted is a number from 1 to 65535")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text[:-1] if text.endswith("s") else text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= 3600:  # which nan is not, either
        raise ConfigError(f"timeout {text!r}: wanted is a number of seconds, at most 3600")
    return seconds


_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
_LARGEST_MESSAGE = 2**32 - 1  # gRPC has four bytes for a message's length


def _size(text: str) -> int:
    match = re.fullmatch(r"(\d{1,12})(\w*?)B?", text)
    size = int(match[1]) * _UNITS.get(match[2], 0) if match else 0
    if not 0 < size <= _LARGEST_MESSAGE:
        raise ConfigError(
            f"message size {text!r}: wanted is a number of bytes from 1 to 4Gi, or one with k, M, Ki or Mi"
        )
    return size


def _verbosity(text: str) -> int:
    if not (text.isdigit() and len(text) < 4):
        raise ConfigError(f"verbosity {text!r}: wanted is a number, 0 or more")
    return int(text)


@dataclass(frozen=True)
class _Option:
    """One option. ``go``: its name in the Go program."""

    name: str
    go: str
    metavar: str
    default: str
    read: Callable[[str], Any]
    help: str

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return "CRIPROXY_" + self.name.upper().replace("-", "_")


_OPTIONS = (
    _Option("connect", "connect", "RUNTIME,…", PRIMARY, str, "the runtimes"),
    _Option("listen", "listen", "PATH", "/run/criproxy.sock", _listen_path, "the socket for kubelet"),
    _Option(
        "stream-url",
        "streamUrl",
        "URL",
        "",
        _stream_url,
        "put before a streaming URL (exec, attach, port-forward) that is a path alone"
        " (default: http://, the node's address and the stream port)",
    ),
    _Option("stream-port", "streamPort", "PORT", "11250", _port, "the port in that URL"),
    _Option(
        "connection-timeout",
        "",
        "SECONDS",
        "5",
        _seconds,
        "how long a call waits for a primary runtime that is not there, and never beyond the caller's deadline",
    ),
    _Option(
        "fan-out-timeout",
        "",
        "SECONDS",
        "5",
        _seconds,
        "how long a list waits for an alternative runtime, and never more than half of the caller's deadline",
    ),
    _Option("max-message-size", "", "BYTES", "64Mi", _size, "the largest message, in either direction"),
    _Option("verbosity", "v", "LEVEL", "0", _verbosity, "how much is logged"),
)

_SPELLED: Dict[str, str] = {
    **{name: name for name in ("config", "version", "help")},
    **{name: option.name for option in _OPTIONS for name in (option.name, option.go) if name},
}
"""The spelled-out name of whatever may stand behind one dash or two."""
_IGNORED = {
    # The Go program's, of which there is no use any more, and those of its logging library. True: takes a value.
    "apiserver": True,
    "logtostderr": False,
    "alsologtostderr": False,
    "stderrthreshold": True,
    "log_dir": True,
    "log_backtrace_at": True,
    "vmodule": True,
}


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> Config:
    """Reads the configuration. Raises ConfigError; SystemExit(0) after ``--help`` and ``--version``."""
    arguments, warnings = _modern(argv)
    parser = _parser()
    variables = _variables(environ)
    if variables.get("CRIPROXY_CONFIG"):
        arguments = ["--config", variables["CRIPROXY_CONFIG"], *arguments]
    values, unknown = parser.parse_known_args(arguments, env_vars=variables)
    if unknown:
        raise ConfigError(f"unknown option {unknown[0]!r}; see criproxy --help")
    read = {option.name: option.read(getattr(values, option.name.replace("-", "_"))) for option in _OPTIONS}
    runtimes = _runtimes(read["connect"])
    if read["listen"] in [runtime.path for runtime in runtimes]:
        raise ConfigError(f"{read['listen']!r} is a runtime's socket and the one to listen on")
    return Config(
        runtimes=runtimes,
        listen=read["listen"],
        stream_url=read["stream-url"],
        stream_port=read["stream-port"],
        connection_timeout=read["connection-timeout"],
        fan_out_timeout=read["fan-out-timeout"],
        max_message_size=read["max-message-size"],
        verbosity=read["verbosity"],
        warnings=(*warnings, *_warnings(runtimes)),
    )


def _modern(argv: Sequence[str]) -> Tuple[List[str], List[str]]:
    """The arguments in the spelled-out form, and a warning for each that has no effect any more."""
    arguments: List[str] = []
    warnings: List[str] = []
    rest = list(argv)
    while rest:
        argument = rest.pop(0)
        name, equals, value = argument.lstrip("-").partition("=")
        if not argument.startswith("-") or argument.startswith("---"):
            arguments.append(argument)
        elif name in _IGNORED:
            warnings.append(f"option {argument.partition('=')[0]} has no effect any more")
            if _IGNORED[name] and not equals and rest:
                rest.pop(0)
        else:
            known = _SPELLED.get(name)
            arguments.append(f"--{known}{equals}{value}" if known else argument)
    return arguments, warnings


def _variables(environ: Mapping[str, str]) -> Dict[str, str]:
    """The environment without empty variables, and with CRI_PRIMARY and CRI_OTHER as what they are parts of."""
    variables = {name: value for name, value in environ.items() if value}
    if "CRI_PRIMARY" in variables or "CRI_OTHER" in variables:
        parts = [variables.get("CRI_PRIMARY", PRIMARY)]
        if "CRI_OTHER" in variables:
            parts.append(variables["CRI_OTHER"])
        variables.setdefault("CRIPROXY_CONNECT", ",".join(parts))
    return variables


class _Parser(ArgParser):  # type: ignore[misc]  # it has no types
    def error(self, message: str) -> NoReturn:
        raise ConfigError(" ".join(message.split()))


def _parser() -> _Parser:
    parser = _Parser(
        prog="criproxy",
        usage="criproxy [OPTION]…",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=False,
        add_config_file_help=False,
        add_env_var_help=False,
        default_config_files=[CONFIG_FILE],
    )
    for option in _OPTIONS:
        spelled = (f"-{option.go}", f"--{option.name}") if len(option.go) == 1 else (f"--{option.name}",)
        default = f" (default: {option.default})" if option.default else ""
        parser.add_argument(
            *spelled,
            metavar=option.metavar,
            default=option.default,
            env_var=option.variable,
            help=f"{option.help}{default} [{option.variable}]".replace("%", "%%"),
        )
    parser.add_argument(
        "--config",
        metavar="FILE",
        is_config_file=True,
        default=SUPPRESS,
        help=f"the configuration file (default: {CONFIG_FILE} if there is one) [CRIPROXY_CONFIG]",
    )
    parser.add_argument("--version", action="version", version=f"criproxy {__version__}", help="show the version")
    parser.add_argument("-h", "--help", action="help", help="show this")
    return parser


def _runtimes(connect: str) -> Tuple[Runtime, ...]:
    runtimes = [parse_runtime(entry.strip()) for entry in connect.split(",")]
    seen: Dict[str, Runtime] = {}
    for runtime in runtimes:
        if runtime.id not in seen:
            seen[runtime.id] = runtime
        elif runtime.id:
            raise ConfigError(f"runtime id {runtime.id!r} is there twice: {seen[runtime.id].path!r}, {runtime.path!r}")
        else:
            raise ConfigError(f"two primary runtimes (without an id): {seen[''].path!r} and {runtime.path!r}")
    if "" not in seen:
        raise ConfigError(f"no primary runtime (one without an id) in {connect!r}")
    return (seen.pop(""), *seen.values())


def parse_runtime(entry: str) -> Runtime:
    """Reads ``[ID:][unix://]PATH``. Raises ConfigError."""
    start = _start_of_path(entry)
    path = _path(re.sub(r"^unix:(//)?", "", entry[start:]), entry)
    if not start:
        return Runtime("", path)
    name = entry[: start - 1]
    offence = _offence(name)
    if offence:
        raise ConfigError(f"runtime {entry!r}: id {name!r} {offence}")
    return Runtime(name, path)


def _start_of_path(entry: str) -> int:
    """Where the path begins: at ``unix:`` or ``/`` behind a colon or at the start, else behind the last colon."""
    match = re.search(r"(?:^|:)(?=unix:|/)", entry)
    return match.end() if match else entry.rfind(":") + 1


def _path(path: str, entry: str) -> str:
    if not path:
        raise ConfigError(f"{entry!r}: the path of the socket is empty")
    size = len(os.fsencode(path))
    if size > LONGEST_PATH:
        raise ConfigError(f"{path!r}: a path of {size} bytes, and a unix socket's may have {LONGEST_PATH}")
    if "\0" in path:
        raise ConfigError(f"{path!r}: a zero byte in the path")
    return path


_OFFENCES: Tuple[Tuple[Callable[[str], bool], str], ...] = (
    (lambda name: not name, "is empty"),
    (
        lambda name: any(character.isspace() or not character.isprintable() for character in name),
        "has white space in it",
    ),
    (lambda name: "/" in name, "has a '/' in it, by which image names are split"),
    (lambda name: "__" in name, "has a '__' in it, by which ids are split"),
    (lambda name: ":" in name, "has a ':' in it"),
)


def _offence(name: str) -> Optional[str]:
    return next((offence for offends, offence in _OFFENCES if offends(name)), None)


def _warnings(runtimes: Sequence[Runtime]) -> List[str]:
    warnings: List[str] = []
    for runtime in runtimes[1:]:
        if "." not in runtime.id:
            warnings.append(
                f'runtime id "{runtime.id}" has no dot: kubelet takes "{runtime.id}/IMAGE" for an image of docker.io'
                f' and asks for "docker.io/{runtime.id}/IMAGE", which goes to the primary runtime; use an id with a dot'
            )
        if "-" in runtime.id:
            warnings.append(
                f'runtime id "{runtime.id}" has a "-": kubelet takes what follows the last "-" in the name of a log'
                f" link for the container's id; it will not clean up the links of this runtime's containers"
            )
    return warnings
