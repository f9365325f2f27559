"""What an administrator writes: the configuration, and unit files."""

from __future__ import annotations

import atexit
import io
import os
import shutil
import tempfile
from contextlib import redirect_stdout, suppress
from functools import lru_cache
from typing import Dict, List, Tuple

from criproxy.config import Config, ConfigError, parse
from criproxy.config.reload import changes
from criproxy.node import syntax, units
from criproxy.node.syntax import SyntaxProblem
from criproxy.node.tree import Tree
from tests.fuzz.target import Target, options_of

_PART = "\x1e"
"""Parts the parts of an input (in ASCII the record separator)."""


@lru_cache(maxsize=1)
def _folder() -> str:
    """A folder of this process's own."""
    folder = tempfile.mkdtemp(prefix="criproxy-fuzz-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _write(path: str, text: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(text.encode("utf-8", "surrogateescape"))


def _parts(data: bytes, count: int) -> List[str]:
    """A text in so many parts, the last of which may have the separator in it."""
    parts = data.decode("utf-8", "surrogateescape").split(_PART, count - 1)
    return parts + [""] * (count - len(parts))


# Configuration.


def _configured(data: bytes) -> Tuple[List[str], Dict[str, str]]:
    """The command line and the environment of an input, with its two files written."""
    options, rest = options_of(data)
    words, variables, configuration, file = _parts(rest, 4)
    argv = words.split("\n") if words else []
    environ = dict(syntax.assigned(line) for line in variables.split("\n"))
    for name, text, option in (("c", configuration, "config"), ("e", file, "environment-file")):
        path = f"{_folder()}/{name}"
        _write(path, text)
        argv.insert(0, f"--{option}={path}")
    if options & 1:
        del argv[:1]
    return argv, environ


def _names_a_file(data: bytes) -> bool:
    """Whether an input might have another file of this machine read."""
    given = data[1:].split(_PART.encode(), 3)
    return any(word in part for part in given for word in (b"config", b"CONFIG", b"environment-file"))


def _written(config: Config) -> List[str]:
    """The command line that says all of a configuration."""
    runtimes = ",".join(
        f"{each.id}:unix://{each.path}" if each.id else f"unix://{each.path}" for each in config.runtimes
    )
    handlers = ",".join(
        f"{each.name}={each.runtime}{each.inner and ':'}{each.inner}"
        for each in config.handlers
        if (each.name, each.inner) != (each.runtime, "")
    )
    values = {
        "connect": runtimes,
        "listen": f"unix://{config.listen}",
        "image-service": config.image_service and f"unix://{config.image_service}",
        "retiring": config.retiring and f"unix://{config.retiring}",
        "handler": handlers,
        "route": ";".join(rule.entry for rule in config.route),
        "image-prefix": config.image_prefix,
        "digests": config.digests,
        "status": config.status,
        "stream-url": config.stream_url,
        "stream-port": config.stream_port,
        "connection-timeout": f"{config.connection_timeout:.9f}s",
        "fan-out-timeout": f"{config.fan_out_timeout:.9f}s",
        "absence-grace": f"{config.absence_grace:.9f}s",
        "max-message-size": config.max_message_size,
        "verbosity": config.verbosity,
        "log-to-stderr": str(config.log_to_stderr).lower(),
    }
    return [f"--{name}={value}" for name, value in values.items()]


def _read_configuration(data: bytes) -> None:
    if _names_a_file(data):
        return
    try:
        with redirect_stdout(io.StringIO()):
            config = parse(*_configured(data))
    except ConfigError as error:
        assert str(error), "a refusal without a text"
        assert "\n" not in str(error), "a refusal of several lines"
        return
    except SystemExit:
        return
    assert changes(config, config) == ""
    assert all("\n" not in warning for warning in config.warnings)
    again = parse(_written(config), {})
    assert _plain(again) == _plain(config)


def _plain(config: Config) -> Config:
    """A configuration without what depends on how it was given."""
    given = tuple(each for each in config.handlers if (each.name, each.inner) != (each.runtime, ""))
    numbers = {
        name: round(getattr(config, name), 9) for name in ("connection_timeout", "fan_out_timeout", "absence_grace")
    }
    return config._replace(warnings=(), handlers=given, environment_file="", fixed={}, **numbers)


def _work_configuration(data: bytes) -> None:
    if not _names_a_file(data):
        with suppress(ConfigError, SystemExit), redirect_stdout(io.StringIO()):
            parse(*_configured(data))


CONFIGURATION = Target(_read_configuration, _work_configuration)

# Unit files.

_UNIT = "kubelet.service"


def _tree(data: bytes) -> Tree:
    """A node with a unit, a drop-in, a manager's configuration and two files of variables."""
    unit, drop_in, manager, one, other = _parts(options_of(data)[1], 5)
    root = f"{_folder()}/node"
    _write(f"{root}{units.ADMIN}/{_UNIT}", unit)
    _write(f"{root}{units.ADMIN}/{_UNIT}.d/10.conf", drop_in)
    _write(f"{root}/etc/systemd/system.conf", manager)
    _write(f"{root}/etc/default/one", one)
    _write(f"{root}/etc/default/other", other)
    return Tree(root)


def _read_unit(data: bytes) -> None:
    text = options_of(data)[1].decode("utf-8", "surrogateescape")
    for setting in syntax.read(text):
        # A blank behind a backslash keeps the line from going on.
        again = f"[{setting.section}]\n{setting.key}={setting.value} \n"
        assert list(syntax.settings(again)) == [setting[:3]], "a setting does not mean itself"
        with suppress(SyntaxProblem):
            commands = syntax.commands(setting.value)
            words = [word for command in commands for word in command]
            assert all(commands)
            line = " ".join(map(syntax.quote, words))
            assert "\0" in line or syntax.expand(line, {}) == words, "a quoted word does not mean itself"
        syntax.assignments(setting.value)
    tree = _tree(data)
    with suppress(SyntaxProblem, OSError):
        unit = units.load(tree, _UNIT)
        if unit is not None:
            for name, value in units.environment(tree, unit).items():
                assert name
                assert isinstance(value, str)


def _work_unit(data: bytes) -> None:
    with suppress(SyntaxProblem, OSError):
        tree = _tree(data)
        unit = units.load(tree, _UNIT)
        if unit is not None:
            for value in unit.all("Service", "ExecStart"):
                with suppress(SyntaxProblem):
                    syntax.commands(value)
            units.environment(tree, unit)


UNITS = Target(_read_unit, _work_unit)
