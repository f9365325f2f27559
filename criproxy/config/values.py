"""The values of options: each function makes a value of a text, or raises ValueError with a text that quotes it."""

from __future__ import annotations

import grp
import re
import sys
from importlib.util import find_spec
from typing import Callable

from criproxy.address import host_and_port
from criproxy.config.runtimes import socket_path

_LONGEST_DURATION = 24 * 3600.0
"""seconds: no timeout or grace is useful for longer than a day; more is a mistake in the unit."""
_LARGEST_MESSAGE = 2**32 - 1
"""bytes: the length of a gRPC message is a number of 32 bits."""
_HOW_TO_INSTALL = "apt install python3-prometheus-client, or pip install criproxy[metrics]"
_HOW_TO_INSTALL_TRACES = "pip install criproxy[traces]"
AUTO = "auto"
"""Of ``memory_limit``."""
_FOR_TRACES = {
    "opentelemetry-sdk": "opentelemetry.sdk.trace",
    "opentelemetry-exporter-otlp-proto-http": "opentelemetry.exporter.otlp.proto.http",
}
"""Packages, and a module of each that is found without much being loaded."""
_GROUP = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,254}\$?|[0-9]{1,9}")
_SECONDS = {"": 1.0, "ms": 1e-3, "s": 1.0, "m": 60.0}
_BYTES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
_BOOLEANS = {
    **dict.fromkeys(("1", "t", "T", "true", "True", "TRUE"), True),
    **dict.fromkeys(("0", "f", "F", "false", "False", "FALSE"), False),
}
"""As Go's flags have them (strconv.ParseBool)."""


def path_if_any(text: str) -> str:
    """The path of a unix socket, or nothing."""
    return socket_path(text) if text else ""


def group_name(text: str) -> str:
    """The name or the number of a group, or nothing. It goes into a unit."""
    if text and not _GROUP.fullmatch(text):
        raise ValueError(f"{text!r} cannot be the name of a group")
    return text


def group(text: str) -> str:
    """The name or the number of a group that this node has, or nothing."""
    gid_of(group_name(text))
    return text


def gid_of(name: str) -> int:
    """The number of a group; -1, which changes nothing (chown(2)), of an empty name."""
    if not name:
        return -1
    if name.isdecimal():
        return int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise ValueError(
            f"there is no group {name!r} on this node; create it (groupadd --system {name}), or name another"
        ) from None


def metrics_address(text: str) -> str:
    """``unix:PATH``, or HOST:PORT with a literal address, or nothing."""
    if not text:
        return ""
    address = f"unix:{socket_path(text)}" if text.startswith("unix:") else text
    if address is text:
        host_and_port(text)
    if find_spec("prometheus_client") is None:
        raise ValueError(f"{text!r}: metrics need prometheus_client, which is not installed: {_HOW_TO_INSTALL}")
    return address


def collector(text: str) -> str:
    """The address of a collector of traces, http://HOST:PORT with a literal address, or nothing."""
    if not text:
        return ""
    scheme, _, address = text.rstrip("/").partition("://")
    try:
        host_and_port(address)
    except ValueError:
        scheme = ""
    if scheme != "http":
        raise ValueError(f"{text!r} is not a literal address like http://127.0.0.1:4318 or http://[::1]:4318")
    missing = [name for name, module in _FOR_TRACES.items() if not _is_there(module)]
    if missing:
        raise ValueError(
            f"{text!r}: traces need {' and '.join(missing)}, not installed for {sys.executable}: "
            f"{_HOW_TO_INSTALL_TRACES}"
        )
    return f"http://{address}"


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # A package that it would be in is missing.
        return False


def port(text: str) -> int:
    """A TCP port."""
    return _integer(text, 1, 65535)


def level(text: str) -> int:
    """A verbosity."""
    return _integer(text, 0, 2**31 - 1)


def duration(text: str) -> float:
    """A TIME in seconds."""
    match = re.fullmatch(rf"([0-9]{{1,12}}(?:\.[0-9]{{1,9}})?)({'|'.join(_SECONDS)})", text)
    seconds = float(match[1]) * _SECONDS[match[2]] if match else _LONGEST_DURATION + 1
    if seconds > _LONGEST_DURATION:
        raise ValueError(f"{text!r} is not a duration of at most {_LONGEST_DURATION:.0f}s, such as 500ms, 5s or 2m")
    return seconds


def timeout(text: str) -> float:
    """A TIME in seconds, more than 0."""
    seconds = duration(text)
    if not seconds:
        raise ValueError(f"{text!r} must be a positive duration")
    return seconds


def size(text: str) -> int:
    """A number of bytes, as large as a message can be."""
    match = re.fullmatch(f"([0-9]{{1,12}})({'|'.join(_BYTES)})", text)
    found = int(match[1]) * _BYTES[match[2]] if match else 0
    if not 0 < found <= _LARGEST_MESSAGE:
        raise ValueError(f"{text!r} is not a size from 1 to {_LARGEST_MESSAGE} bytes (suffixes: k, M, G, Ki, Mi, Gi)")
    return found


def size_or_auto(text: str) -> int:
    """A number of bytes; 0 for ``auto``."""
    return 0 if text == AUTO else size(text)


def boolean(text: str) -> bool:
    """True or false."""
    if text not in _BOOLEANS:
        raise ValueError(f"{text!r} is neither true nor false")
    return _BOOLEANS[text]


def one_of(*choices: str) -> Callable[[str], str]:
    """A function that takes one of these words."""

    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(f"{text!r} is neither {' nor '.join(choices)}")
        return text

    return read


def url(text: str) -> str:
    """An HTTP address, or nothing. It goes into answers: what is not printable is refused."""
    if text and not (text.isprintable() and re.fullmatch(r"https?://[^/\s]+(/\S*)?", text)):
        raise ValueError(f"{text!r} is not an address like http://HOST:PORT")
    return text


def _integer(text: str, least: int, most: int) -> int:
    if not re.fullmatch("[0-9]{1,12}", text) or not least <= int(text) <= most:
        raise ValueError(f"{text!r} is not a number from {least} to {most}")
    return int(text)
