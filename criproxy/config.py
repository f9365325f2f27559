"""Options, from the command line, the environment and files, validated into one frozen object.

The command line is the one of the Go program of the same name, whose flags have one dash or two, and which takes the
word after a flag as its value whatever that word looks like. `_spelled_out` turns it into ``--name=value``; from there
on everything is configargparse's: command line before environment before file before default.

The daemon reads all of it again at SIGHUP: the same words give what the files say by then.
"""

from __future__ import annotations

import os
import re
import shlex
import textwrap
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterator, List, Mapping, NoReturn, Sequence, TextIO, Tuple

import configargparse  # type: ignore[import-untyped]

from criproxy import __version__, environment
from criproxy.cri.identity import Handler, is_label

DEFAULT_FILE = "/etc/criproxy/criproxy.conf"
"""Read if it exists and no other file is named."""

REQUIRED = "required"
"""Of ``image_prefix``."""
ALL = "all"
"""Of ``digests`` and ``status``."""

_LONGEST_PATH = 107
"""bytes: ``sun_path`` of ``struct sockaddr_un`` has 108, with the zero at the end (unix(7))."""
_LONGEST_TIMEOUT = 24 * 3600.0
_LARGEST_MESSAGE = 2**32 - 1
"""bytes: a gRPC message's length is a number of 32 bits."""
_SECONDS = {"": 1.0, "ms": 1e-3, "s": 1.0, "m": 60.0}
_BYTES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
_BOOLEANS = {
    **dict.fromkeys(("1", "t", "T", "true", "True", "TRUE"), True),
    **dict.fromkeys(("0", "f", "F", "false", "False", "FALSE"), False),
}
"""As Go's flags have them (strconv.ParseBool)."""


class ConfigError(Exception):
    """What is configured cannot be. The text is one line that names the offending value."""


@dataclass(frozen=True)
class Runtime:
    """A runtime and the unix socket it listens on."""

    id: str
    """Empty for the primary runtime."""
    path: str


@dataclass(frozen=True)
class Config:
    """Everything the daemon is told by its operator, checked."""

    runtimes: Tuple[Runtime, ...]
    """The primary first, then the others in the order in which they were given."""
    listen: str
    """The unix socket kubelet connects to."""
    handlers: Tuple[Handler, ...]
    """Runtime handlers by which pods ask for an alternative runtime, beside the runtimes' ids."""
    image_prefix: str
    """``required`` if an image is an alternative runtime's by its name alone, ``optional`` if by other marks, too."""
    digests: str
    """Whose the image of a bare digest may be: ``all`` runtimes' or ``primary``, as in the Go program."""
    status: str
    """Whose status kubelet gets: that of ``all`` runtimes or ``primary``, as in the Go program."""
    stream_url: str
    """Where the primary's streaming server is, ``scheme://host[:port]``; empty if not given."""
    stream_port: int
    """Its port on this node, if there is no `stream_url`."""
    connection_timeout: float
    """Seconds a call waits for a runtime that is not connected."""
    fan_out_timeout: float
    """Seconds a call to all runtimes waits for the slowest."""
    absence_grace: float
    """Seconds for which lists have what an alternative runtime had before it went away; 0 for not at all."""
    event_poll: float
    """Seconds between two looks at a runtime that has no events; 0: it is not looked at."""
    max_message_size: int
    """Bytes."""
    verbosity: int
    log_to_stderr: bool
    """Whether the log goes to standard error even where that is the journal."""
    warnings: Tuple[str, ...]
    """What is accepted and yet will not do what it looks like, one line each, to be logged at start."""


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> Config:
    """Reads the words after the program's name. Raises ConfigError; --help and --version print and raise SystemExit."""
    given = _given(argv, environ)
    values = {option.name: _read(option, text, given) for option, text in zip(_OPTIONS, _texts(given))}
    runtimes: Tuple[Runtime, ...] = values["connect"]
    handlers: Tuple[Handler, ...] = values["handler"]
    listen: str = values["listen"]
    refuse_a_loop(listen, runtimes)
    _refuse_strangers(handlers, runtimes)
    return Config(
        runtimes,
        listen,
        handlers,
        image_prefix=values["image-prefix"],
        digests=values["digests"],
        status=values["status"],
        stream_url=values["stream-url"],
        stream_port=values["stream-port"],
        connection_timeout=values["connection-timeout"],
        fan_out_timeout=values["fan-out-timeout"],
        absence_grace=values["absence-grace"],
        event_poll=values["event-poll"],
        max_message_size=values["max-message-size"],
        verbosity=values["verbosity"],
        log_to_stderr=values["log-to-stderr"],
        warnings=(*given.warnings, *_unknown(given.variables), *_doubts(runtimes)),
    )


@dataclass(frozen=True)
class _Given:
    """What the options are made of."""

    own: List[str]
    """The command line, as ``--name=value``."""
    opts: List[str]
    """The words of CRIPROXY_OPTS, which stand before it."""
    variables: Dict[str, str]
    places: Dict[str, str]
    """Where a variable that is not the process's own is set, with its name: what is wrong there is to be found."""
    warnings: List[str]

    def place(self, option: _Option) -> str:
        """Where the option's value has been given, if the option's name is not all there is to say."""
        word = f"--{option.name}="
        if any(own.startswith(word) for own in self.own):
            return ""
        if any(opt.startswith(word) for opt in self.opts):
            return self.places[_OPTS]
        return self.places.get(_variable(option.name), "")


def _given(argv: Sequence[str], environ: Mapping[str, str]) -> _Given:
    own, warnings = _spelled_out(argv)
    path, assigned, more = _environment_file(own)
    variables, places = _variables(environ, path, assigned)
    opts, without_effect = _words_of_opts(variables.get(_OPTS, ""), places)
    return _Given(own, opts, variables, places, [*warnings, *more, *without_effect])


def _texts(given: _Given) -> List[str]:
    """The options' values as they were given, in the order of `_OPTIONS`."""
    words = [*given.opts, *given.own]
    named = any(word.startswith("--config=") for word in words) or _variable("config") in given.variables
    parser = _parser([] if named else [DEFAULT_FILE])
    try:
        found = vars(parser.parse_args(words, env_vars=given.variables))
    except OSError as error:
        raise ConfigError(f"{error.filename}: {error.strerror}") from error
    if named and not found["config"]:
        raise ConfigError("config: the file's name is empty")
    return [found[option.name] for option in _OPTIONS]


def _read(option: _Option, text: str, given: _Given) -> Any:
    try:
        return option.read(text)
    except ValueError as error:
        place = given.place(option)
        raise ConfigError(f"{place}{': ' if place else ''}{option.name}: {error}") from error


def refuse_a_loop(listen: str, runtimes: Sequence[Runtime]) -> None:
    """Raises ConfigError if a runtime's socket is the one that kubelet connects to."""
    for runtime in runtimes:
        if os.path.realpath(runtime.path) == os.path.realpath(listen):
            raise ConfigError(f"listen: {listen!r} is the socket of a runtime, too")


def _refuse_strangers(handlers: Sequence[Handler], runtimes: Sequence[Runtime]) -> None:
    """Raises ConfigError if a handler is of no runtime, or would take what another runtime's id asks for."""
    ids = {runtime.id for runtime in runtimes[1:]}
    for handler in handlers:
        if handler.runtime not in ids:
            raise ConfigError(f"handler: {handler.name!r} is for the runtime {handler.runtime!r}, which there is not")
        if handler.name in ids and handler.name != handler.runtime:
            raise ConfigError(f"handler: {handler.name!r} is the id of a runtime, and would ask for another one")


# Values.


def runtimes_of(text: str) -> Tuple[Runtime, ...]:
    """The runtimes of a ``connect``, the primary first. Raises ValueError with a text that names what cannot be."""
    runtimes = [_runtime(entry) for entry in text.split(",")]
    seen: Dict[str, Runtime] = {}
    for runtime in runtimes:
        other = seen.setdefault(runtime.id, runtime)
        if other is not runtime:
            what = f"two runtimes have the id {runtime.id!r}" if runtime.id else "there are two primary runtimes"
            raise ValueError(f"{what}: {other.path!r} and {runtime.path!r}")
    if "" not in seen:
        raise ValueError(f"{text!r} has no primary runtime (a path without an id)")
    for id in seen:
        if id and id + "_" in seen:
            # a___b would be both b of a_ and _b of a.
            raise ValueError(f"the runtime ids {id!r} and {id + '_'!r} cannot be told apart before a '__'")
    return (seen.pop(""), *seen.values())


def _runtime(entry: str) -> Runtime:
    """``[ID:][unix://]PATH``. A path may have a ``:`` in it: what begins with ``/`` or ``unix:`` has no id."""
    if entry.startswith(("/", "unix:")) or ":" not in entry:
        return Runtime("", _path(entry))
    id, _, address = entry.partition(":")
    path = _path(address, entry)
    if address.startswith("//"):
        raise ValueError(f"{entry!r} is no unix socket")
    if ":" in path.partition("/")[0]:
        raise ValueError(f"{entry!r}: the id of a runtime cannot have ':' in it")
    for wrong in ("/", "__"):
        if wrong in id:
            raise ValueError(f"{entry!r}: the id of a runtime cannot have {wrong!r} in it")
    if not id.isprintable() or " " in id:
        raise ValueError(f"{entry!r}: the id of a runtime cannot have white space or control characters in it")
    if not id:
        raise ValueError(f"{entry!r}: the id of the runtime is empty")
    return Runtime(id, path)


def _path(text: str, whole: str = "") -> str:
    """A unix socket's path; ``unix:PATH`` and ``unix://PATH`` are gRPC's ways to write one."""
    path = text
    for scheme in ("unix://", "unix:"):
        if path.startswith(scheme):
            path = path[len(scheme) :]
            break
    if not path:
        raise ValueError(f"{whole or text!r}: the path is empty")
    if "\0" in path:
        raise ValueError(f"{path!r} has a zero in it, a path cannot")
    size = len(os.fsencode(path))
    if size > _LONGEST_PATH:
        raise ValueError(f"{path!r} has {size} bytes, a unix socket's path can have {_LONGEST_PATH}")
    return path


def handlers_of(text: str) -> Tuple[Handler, ...]:
    """The runtime handlers of a ``handler``. Raises ValueError with a text that names what cannot be."""
    handlers: Dict[str, Handler] = {}
    for entry in filter(None, text.split(",")):
        name, _, target = entry.partition("=")
        runtime, colon, inner = target.partition(":")
        if not is_label(name):
            raise ValueError(f"{entry!r}: {name!r} is no handler of a RuntimeClass: small letters, digits and '-'")
        if not runtime or (colon and not inner) or not inner.isprintable() or " " in inner:
            raise ValueError(f"{entry!r} is not NAME=ID or NAME=ID:HANDLER")
        if name in handlers:
            raise ValueError(f"there are two handlers {name!r}")
        handlers[name] = Handler(name, runtime, inner)
    return tuple(handlers.values())


def _unknown(variables: Mapping[str, str]) -> Iterator[str]:
    known = {_variable(option.name) for option in _OPTIONS} | {_variable("config"), _OPTS}
    for name in sorted(variables):
        if name.startswith(_variable("")) and name not in known:
            yield f"the environment variable {name!r} is none of an option"


def _doubts(runtimes: Sequence[Runtime]) -> Iterator[str]:
    seen: Dict[str, Runtime] = {}
    for runtime in runtimes:
        other = seen.setdefault(os.path.realpath(runtime.path), runtime)
        if other is not runtime:
            yield f"two runtimes have the socket {runtime.path!r}: kubelet will see all that is on it twice"
    for runtime in runtimes[1:]:
        if "." not in runtime.id:
            yield (
                f"the runtime id {runtime.id!r} has no dot: kubelet puts docker.io/ before the names of its images,"
                " which are then the primary runtime's"
            )
        if "-" in runtime.id:
            yield (
                f"the runtime id {runtime.id!r} has a '-': kubelet, which takes what follows the last '-' in a log"
                " link's name for the container's id, will not clean up its log links properly"
            )


def _whole(text: str, least: int, most: int) -> int:
    if not re.fullmatch("[0-9]{1,12}", text) or not least <= int(text) <= most:
        raise ValueError(f"{text!r} is not a number from {least} to {most}")
    return int(text)


def _port(text: str) -> int:
    return _whole(text, 1, 65535)


def _level(text: str) -> int:
    return _whole(text, 0, 2**31 - 1)


def _time(text: str) -> float:
    match = re.fullmatch(rf"([0-9]{{1,12}}(?:\.[0-9]{{1,9}})?)({'|'.join(_SECONDS)})", text)
    seconds = float(match[1]) * _SECONDS[match[2]] if match else _LONGEST_TIMEOUT + 1
    if seconds > _LONGEST_TIMEOUT:
        raise ValueError(f"{text!r} is not a time of at most {_LONGEST_TIMEOUT:.0f} seconds")
    return seconds


def _timeout(text: str) -> float:
    seconds = _time(text)
    if not seconds:
        raise ValueError(f"{text!r} is not a time of more than no seconds")
    return seconds


def _size(text: str) -> int:
    match = re.fullmatch(f"([0-9]{{1,12}})({'|'.join(_BYTES)})", text)
    size = int(match[1]) * _BYTES[match[2]] if match else 0
    if not 0 < size <= _LARGEST_MESSAGE:
        raise ValueError(f"{text!r} is not a size from 1 to {_LARGEST_MESSAGE} bytes (suffixes: k, M, G, Ki, Mi, Gi)")
    return size


def _boolean(text: str) -> bool:
    if text not in _BOOLEANS:
        raise ValueError(f"{text!r} is neither true nor false")
    return _BOOLEANS[text]


def _one_of(*choices: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(f"{text!r} is neither {' nor '.join(choices)}")
        return text

    return read


def _url(text: str) -> str:
    if text and not re.fullmatch(r"https?://[^/\s]+(/\S*)?", text):
        raise ValueError(f"{text!r} is not an address like http://HOST:PORT")
    return text


# Options.


@dataclass(frozen=True)
class _Option:
    """``--name``, the key ``name`` and the variable ``CRIPROXY_NAME``."""

    name: str
    read: Callable[[str], Any]
    """Makes a value of the text. Raises ValueError with a text that names it."""
    default: str
    metavar: str
    help: str
    go: str = ""
    """How the Go program calls it, if otherwise."""
    alone: str = ""
    """The value that it has on a command line without one; empty if it takes the next word."""
    several: bool = False
    """Whether one given several times on a command line has all its values, joined with commas."""


_OPTIONS = (
    _Option(
        "connect",
        runtimes_of,
        "/var/run/dockershim.sock",
        "[ID:]PATH,...",
        "the runtimes' sockets: one without an id, which is the primary, and any number with one; unix:// may stand"
        " before a path. CRI_PRIMARY and CRI_OTHER in the environment are its two parts; CRIPROXY_CONNECT goes before"
        " them, and they before the file",
    ),
    _Option("listen", _path, "/run/criproxy.sock", "PATH", "the socket for kubelet"),
    _Option(
        "handler",
        handlers_of,
        "",
        "NAME=ID[:HANDLER],...",
        "runtime handlers (of a RuntimeClass) that ask for the alternative runtime ID, which sees HANDLER, or none; a"
        " runtime's id is one without being named here. May be given several times",
        several=True,
    ),
    _Option(
        "image-prefix",
        _one_of("optional", REQUIRED),
        "optional",
        "optional|required",
        "whether an image of an alternative runtime needs the runtime's id in front even where the request says"
        " otherwise whose it is: by its runtime handler, an annotation, or its pod",
    ),
    _Option(
        "digests",
        _one_of(ALL, "primary"),
        ALL,
        "all|primary",
        "whether a bare digest stands for the image on all runtimes, and what several have is listed once, or for the"
        " primary's alone",
    ),
    _Option(
        "status",
        _one_of(ALL, "primary"),
        ALL,
        "all|primary",
        "whether the status is that of all runtimes, or the primary's alone",
    ),
    _Option(
        "stream-port",
        _port,
        "11250",
        "PORT",
        "the port of the primary's streaming server on this node, for a primary that answers Exec with a path alone",
        go="streamPort",
    ),
    _Option(
        "stream-url",
        _url,
        "",
        "URL",
        "the same as a whole address, http://HOST:PORT; the port is then not looked at",
        go="streamUrl",
    ),
    _Option("connection-timeout", _timeout, "5s", "TIME", "how long a call waits for a runtime that is not connected"),
    _Option("fan-out-timeout", _timeout, "5s", "TIME", "how long a call to all runtimes waits for the slowest"),
    _Option(
        "absence-grace",
        _time,
        "60s",
        "TIME",
        "for how long lists have the pods and containers that an alternative runtime had before it went away; 0: not at"
        " all",
    ),
    _Option(
        "event-poll",
        _time,
        "1s",
        "TIME",
        "how long after one look an alternative runtime that has no container events is looked at again, for kubelet's"
        " GetContainerEvents; 0: it is not looked at",
    ),
    _Option("max-message-size", _size, "64Mi", "BYTES", "the largest message passed on"),
    _Option(
        "verbosity",
        _level,
        "0",
        "N",
        "what is logged of calls; 2: those that fail, 3: also those that change something, 4: also status, 5: also"
        " lists",
        go="v",
    ),
    _Option(
        "log-to-stderr",
        _boolean,
        "false",
        "BOOL",
        "whether to write to standard error, one line a record, even where that is the journal; true where no =BOOL"
        " follows",
        go="logtostderr",
        alone="true",
    ),
)

_OPTS = "CRIPROXY_OPTS"
_NOT_IN_OPTS = ("help", "version", "environment-file")
"""They mean something to whoever types the command line, and would make the daemon print and end at a reload."""

_WITHOUT_EFFECT = {
    "alsologtostderr": False,
    "stderrthreshold": True,
    "log_dir": True,
    "log_backtrace_at": True,
    "vmodule": True,
    "apiserver": True,
    "apiVersion": True,
}
"""Flags of the Go program that are accepted and do nothing (glog's, and its own of various releases); whether each
takes a value, which a flag that takes none can have after a ``=`` all the same."""

_EPILOG = f"""\
Each option NAME can also be given by the environment variable CRIPROXY_NAME, in capitals and with _ for -, and as a
line NAME = VALUE in the configuration file. The command line goes before the environment, and that before the file.
An empty variable counts as not set. CRIPROXY_OPTS holds words that stand before the command line's own. One dash does
for two. TIME: seconds, or with ms, s or m. BYTES: a number, or with k, M, G, Ki, Mi or Gi.

SIGHUP makes the daemon read all of it again, files and all.

Accepted without effect, for the Go program's command lines:
{textwrap.fill(", ".join("-" + name for name in _WITHOUT_EFFECT), 118, break_on_hyphens=False)}

commands:
  criproxy show          what the runtimes on this node have to say (criproxy show --help)
  criproxy node          put criproxy between this node's kubelet and its runtimes, or take it away again
  criproxy demo          a proxy with two made-up runtimes, to see it work
  criproxy demo-runtime  one made-up runtime on a socket

exit status:
  0  stopped when asked to
  1  could not go on; the last lines of the log say why
  2  the options are refused; one line says which
"""


def _variable(option: str) -> str:
    return "CRIPROXY_" + option.upper().replace("-", "_")


def _environment_file(words: Sequence[str]) -> Tuple[str, Dict[str, environment.Assignment], List[str]]:
    """The environment file that the words name, its variables, and a warning for each line that means nothing.

    One that is not there is empty, like systemd's ``EnvironmentFile=-``: a node may do without.
    """
    named = [word.partition("=")[2] for word in words if word.startswith("--environment-file=")]
    if not named:
        return "", {}, []
    path = named[-1]
    try:
        with open(path, encoding="utf-8") as file:
            assigned, skipped = environment.read(file.read())
    except FileNotFoundError:
        if not path:
            raise ConfigError("environment-file: the file's name is empty") from None
        return path, {}, []
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except ValueError as error:  # not UTF-8, or not what such a file can have
        raise ConfigError(f"{path}: {error}") from error
    warnings = [f"{path}, line {line}: no NAME=value; it is skipped" for line in skipped]
    for name, (_, line) in assigned.items():
        if not name.startswith(("CRIPROXY_", "CRI_")):
            warnings.append(f"{path}, line {line}: {name!r} means nothing to criproxy")
    return path, assigned, warnings


def _variables(
    environ: Mapping[str, str], path: str, assigned: Mapping[str, environment.Assignment]
) -> Tuple[Dict[str, str], Dict[str, str]]:
    """The variables that are not empty, with CRI_PRIMARY and CRI_OTHER put together, and the places of some.

    Those two are what /etc/default/criproxy has always held. CRI_OTHER alone is refused like any ``connect`` without a
    primary: to fall back on dockershim's socket would leave a node of today without a runtime.
    """
    variables = {name: value for name, value in environ.items() if value}
    places = {_OPTS: _OPTS}
    for name, (value, line) in assigned.items():
        if value and name not in variables:
            variables[name] = value
            places[name] = f"{path}, line {line}: {name}"
    parts = [name for name in ("CRI_PRIMARY", "CRI_OTHER") if name in variables]
    connect = _variable("connect")
    if parts and connect not in variables:
        variables[connect] = ",".join(variables[name] for name in parts)
        places[connect] = " and ".join(places[name] for name in parts if name in places)
    return variables, places


def _words_of_opts(opts: str, places: Mapping[str, str]) -> Tuple[List[str], List[str]]:
    """The words of CRIPROXY_OPTS as `_spelled_out` gives them."""
    try:
        words, warnings = _spelled_out(shlex.split(opts))
    except (ConfigError, ValueError) as error:
        raise ConfigError(f"{places[_OPTS]}: {error}") from error
    for word in words:
        name = word[2:].partition("=")[0]
        if name in _NOT_IN_OPTS:
            raise ConfigError(f"{places[_OPTS]}: --{name} can only stand on the command line")
    return words, warnings


def _spelled_out(argv: Sequence[str]) -> Tuple[List[str], List[str]]:
    """Go's command line as ``--name=value`` words, and a warning for each flag without effect."""
    names = {"h": "help", **{option.go: option.name for option in _OPTIONS if option.go}}
    takes_value = {"help": False, "version": False, "config": True, "environment-file": True, **_WITHOUT_EFFECT}
    takes_value.update({option.name: not option.alone for option in _OPTIONS})
    alone = {option.name: option.alone for option in _OPTIONS if option.alone}
    words: List[str] = []
    warnings: Dict[str, None] = {}
    rest = iter(argv)
    for word in rest:
        match = re.fullmatch("--?([^-=][^=]*)(=.*)?", word, re.DOTALL)
        if not match:
            raise ConfigError(f"unexpected argument: {word!r}")
        name, value = names.get(match[1], match[1]), match[2]
        if name not in takes_value:
            raise ConfigError(f"unknown option: {word!r}")
        if takes_value[name] and value is None:
            try:
                value = "=" + next(rest)
            except StopIteration:
                raise ConfigError(f"{word!r} needs a value") from None
        if name in _WITHOUT_EFFECT:
            warnings[f"the option -{name} has no effect"] = None
        elif name in alone:
            words.append(f"--{name}{value or '=' + alone[name]}")
        elif value and not takes_value[name]:
            raise ConfigError(f"{word!r}: --{name} takes no value")
        else:
            words.append(f"--{name}{value or ''}")
    return _joined(words), list(warnings)


def _joined(words: Sequence[str]) -> List[str]:
    """The words, with one for all of an option that may be given several times."""
    several = {f"--{option.name}" for option in _OPTIONS if option.several}
    values: Dict[str, List[str]] = {}
    for word in words:
        name, _, value = word.partition("=")
        if name in several:
            values.setdefault(name, []).append(value)
    rest = [word for word in words if word.partition("=")[0] not in several]
    return [*rest, *(f"{name}={','.join(given)}" for name, given in values.items())]


class _File(configargparse.ConfigFileParser):  # type: ignore[misc]
    """``name = value`` (or ``name: value``) lines and ``#`` comments; no sections, and nothing unknown."""

    _LINE = re.compile(r"(?P<name>[^\s:=]+)\s*[:=]\s*(?P<quote>[\"']?)(?P<value>.*?)(?P=quote)(?:\s+#.*)?")

    def parse(self, stream: TextIO) -> Dict[str, str]:
        names = {option.name for option in _OPTIONS}
        items: Dict[str, str] = {}
        try:
            lines = [line.strip() for line in stream]
        except UnicodeDecodeError as error:
            raise ConfigError(f"{stream.name}: {error}") from error
        for number, line in enumerate(lines, 1):
            if not line or line.startswith("#"):
                continue
            match = self._LINE.fullmatch(line)
            if not match:
                raise ConfigError(f"{stream.name}, line {number}: not understood: {line!r}")
            if match["name"] not in names:
                raise ConfigError(f"{stream.name}, line {number}: unknown key: {match['name']!r}")
            items[match["name"]] = match["value"]
        return items


class _Parser(configargparse.ArgumentParser):  # type: ignore[misc]
    def error(self, message: str) -> NoReturn:
        raise ConfigError(message.replace("\n", "\\n"))


def _parser(default_files: List[str]) -> _Parser:
    parser = _Parser(
        prog="criproxy",
        usage="criproxy [OPTION ...]\n       criproxy COMMAND [ARGUMENT ...]",
        description="Stands between kubelet and several container runtimes on one CRI socket.",
        epilog=_EPILOG,
        formatter_class=configargparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_config_file_help=False,
        add_env_var_help=False,
        config_file_parser_class=_File,
        default_config_files=default_files,
    )
    for option in _OPTIONS:
        parser.add_argument(
            *([f"-{option.go}"] if option.go else []),
            f"--{option.name}",
            dest=option.name,
            metavar=option.metavar,
            default=option.default,
            env_var=_variable(option.name),
            help=f"{option.help} (default: {option.default or 'none'})",
        )
    parser.add_argument(
        "--config",
        metavar="FILE",
        is_config_file=True,
        env_var=_variable("config"),
        help=f"the configuration file (default: {DEFAULT_FILE}, if it exists)",
    )
    parser.add_argument(
        "--environment-file",
        metavar="FILE",
        help="a file of variables that count like those of the environment, which goes before it, as systemd reads"
        " them; one that does not exist is empty (default: none)",
    )
    parser.add_argument("--version", action="version", version=f"criproxy {__version__}")
    return parser
