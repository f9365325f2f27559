"""The settings and options of systemd that we use, the version that has each first, and what older ones get instead.

Nodes have 229 (Ubuntu 16.04) and newer. systemd ignores an unknown setting with a warning, which is not
always harmless: before 239 ``SystemCallFilter=@system-service`` allows only ``@default``, and the process is killed
without a message. Taken from systemd's NEWS and from "Added in version" in its manual pages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple

OLDEST = 229
"""The oldest systemd that is served. What is as old as that has it for its version in the tables."""

_SEEN = 247
"""What gives the service a view of its own of the node's files is used from here on, the oldest that tests boot, though
it is there since 209 to 244: where it fails, as in some containers, the service does not start and kubelet is without
a runtime."""


@dataclass(frozen=True)
class Since:
    """The first version that has it, and what stands for it before; nothing if that is empty."""

    version: int = OLDEST
    before: str = ""


_ALWAYS = Since()

SETTINGS: Dict[str, Since] = {
    "Unit.After": _ALWAYS,
    "Unit.Before": _ALWAYS,
    "Unit.Description": _ALWAYS,
    "Unit.Documentation": _ALWAYS,
    "Unit.Requires": _ALWAYS,
    "Unit.StartLimitIntervalSec": Since(230, "Service.StartLimitInterval"),
    "Unit.Wants": _ALWAYS,
    "Service.CapabilityBoundingSet": _ALWAYS,
    "Service.Environment": _ALWAYS,
    "Service.ExecReload": _ALWAYS,
    "Service.ExecStart": _ALWAYS,
    "Service.IPAddressAllow": Since(235),
    "Service.IPAddressDeny": Since(235),
    "Service.LimitNOFILE": _ALWAYS,
    "Service.LockPersonality": Since(235),
    "Service.LogRateLimitIntervalSec": Since(240),
    "Service.MemoryDenyWriteExecute": Since(231),
    "Service.MemoryLimit": _ALWAYS,
    "Service.MemoryMax": Since(231, "Service.MemoryLimit"),
    "Service.NoNewPrivileges": _ALWAYS,
    "Service.NotifyAccess": _ALWAYS,
    "Service.OOMScoreAdjust": _ALWAYS,
    "Service.PrivateDevices": Since(_SEEN),
    "Service.ProtectClock": Since(245),
    "Service.ProtectControlGroups": Since(_SEEN),
    "Service.ProtectHome": Since(_SEEN),
    "Service.ProtectHostname": Since(242),
    "Service.ProtectKernelLogs": Since(_SEEN),
    "Service.ProtectKernelModules": Since(_SEEN),
    "Service.ProtectKernelTunables": Since(_SEEN),
    "Service.ProtectProc": Since(_SEEN),
    "Service.ProtectSystem": Since(_SEEN),
    "Service.ReadOnlyPaths": Since(_SEEN),
    "Service.Restart": _ALWAYS,
    "Service.RestartSec": _ALWAYS,
    "Service.RestrictAddressFamilies": _ALWAYS,
    "Service.RestrictNamespaces": Since(233),
    "Service.RestrictRealtime": Since(231),
    "Service.RestrictSUIDSGID": Since(242),
    "Service.RuntimeDirectory": _ALWAYS,
    "Service.RuntimeDirectoryMode": _ALWAYS,
    "Service.RuntimeDirectoryPreserve": Since(235),
    "Service.StartLimitInterval": _ALWAYS,
    "Service.SystemCallArchitectures": _ALWAYS,
    "Service.SystemCallErrorNumber": _ALWAYS,
    "Service.SystemCallFilter": _ALWAYS,
    "Service.TasksMax": _ALWAYS,
    "Service.TimeoutStopSec": _ALWAYS,
    "Service.Type": _ALWAYS,
    "Service.UMask": _ALWAYS,
    "Service.WatchdogSec": _ALWAYS,
    "Socket.Backlog": _ALWAYS,
    "Socket.ListenStream": _ALWAYS,
    "Socket.RemoveOnStop": _ALWAYS,
    "Socket.SocketGroup": _ALWAYS,
    "Socket.SocketMode": _ALWAYS,
    "Install.Also": _ALWAYS,
    "Install.WantedBy": _ALWAYS,
}
"""Settings by section and name. Before its time one goes, or another has its value."""

# A C library that is newer than the node asks for new calls first, and goes another way at ENOSYS alone. A list of what
# is allowed denies them, for libseccomp leaves out the names that are newer than itself: what is denied must get ENOSYS
# (systemd itself sees to that since 247). A list of what is denied does not concern them.
_DENIED = "~@clock @cpu-emulation @debug @keyring @module @mount @obsolete @raw-io"

VALUES: Dict[str, Since] = {
    "Service.SystemCallFilter=@system-service": Since(239, f"Service.SystemCallFilter={_DENIED}"),
    **{f"Service.SystemCallFilter={group}": Since(231) for group in (*_DENIED[1:].split(), "@privileged")},
}
"""Words of values that are younger than their setting. Before its time one goes, or the whole value is another."""

VERBS: Dict[str, int] = {
    "daemon-reload": OLDEST,
    "disable": OLDEST,
    "enable": OLDEST,
    "reload": OLDEST,
    "reset-failed": OLDEST,
    "restart": OLDEST,
    "show": OLDEST,
    "show-environment": OLDEST,
    "start": OLDEST,
    "stop": OLDEST,
}
"""``systemctl``'s."""

OPTIONS: Dict[str, Dict[str, int]] = {
    "systemctl": {"--property": OLDEST, "--root": OLDEST, "--version": OLDEST},
    "journalctl": {
        "--boot": OLDEST,
        "--lines": OLDEST,
        "--no-pager": OLDEST,
        "--output": OLDEST,
        "--quiet": OLDEST,
        "--unit": OLDEST,
    },
}
"""By command. ``systemctl show --value`` is none of them, for it came with 230: lines of ``NAME=VALUE`` are read."""

PROPERTIES: Dict[str, int] = {
    "ActiveState": OLDEST,
    "After": OLDEST,
    "DropInPaths": OLDEST,
    "ExecMainPID": OLDEST,
    "ExecMainStartTimestampMonotonic": OLDEST,
    "ExecStart": OLDEST,
    "FragmentPath": OLDEST,
    "LoadState": OLDEST,
    "MainPID": OLDEST,
    "NRestarts": 235,
    "Names": OLDEST,
    "NeedDaemonReload": OLDEST,
    "Result": OLDEST,
    "SubState": OLDEST,
    "UnitFileState": OLDEST,
}
"""What is asked for with ``systemctl show``. One that is not known is not in the answer."""


class _Setting(NamedTuple):
    section: str
    name: str
    value: str

    @property
    def key(self) -> str:
        return f"{self.section}.{self.name}"

    @property
    def line(self) -> str:
        return f"{self.name}={self.value}"


def adapt(text: str, version: int) -> str:
    """A unit's text with what this version of systemd understands: comments go and move with the setting below them.

    Version 0 means unknown: the text stays unchanged. A setting that is in none of the tables stays, too.
    """
    if not version:
        return text
    sections: List[Tuple[str, List[str]]] = [("", [])]
    moved: List[Tuple[_Setting, List[str]]] = []
    for comments, line in _lines(text):
        section, lines = sections[-1]
        if line.startswith("["):
            sections.append((line.strip("[]"), [*comments, line]))
            continue
        setting = _parsed(section, line)
        known = setting and _known(setting, version)
        if known == setting:
            lines += [*comments, line]
        elif known and known.section == section:
            lines += [*comments, known.line]
        elif known:
            moved.append((known, comments))
    for setting, comments in moved:
        _lines_of(setting.section, sections)[1:1] = [*comments, setting.line]
    return "\n".join(line for _, lines in sections for line in lines)


def _lines_of(name: str, sections: List[Tuple[str, List[str]]]) -> List[str]:
    for section, lines in sections:
        if section == name:
            return lines
    sections.append((name, [f"[{name}]"]))
    return sections[-1][1]


def _parsed(section: str, line: str) -> Optional[_Setting]:
    name, assigned, value = line.partition("=")
    return _Setting(section, name.strip(), value.strip()) if assigned else None


def _lines(text: str) -> Iterator[Tuple[List[str], str]]:
    """Settings, heads and empty lines, each with the comments directly above it."""
    comments: List[str] = []
    whole: List[str] = []
    for line in text.split("\n"):
        is_comment = line.startswith(("#", ";"))
        (comments if is_comment and not whole else whole).append(line)
        if not is_comment and not line.endswith("\\"):
            yield comments, "\n".join(whole)
            comments, whole = [], []
    if comments or whole:
        yield comments, "\n".join(whole)


def _known(setting: _Setting, version: int) -> Optional[_Setting]:
    """What the version knows of a setting, or what stands for it; None if nothing does."""
    since = SETTINGS.get(setting.key, _ALWAYS)
    if version < since.version:
        if not since.before:
            return None
        section, _, name = since.before.partition(".")
        return _known(_Setting(section, name, setting.value), version)
    denies = "~" if setting.value.startswith("~") else ""
    words = setting.value[len(denies) :].split()
    ages = {word: VALUES.get(f"{setting.key}={word}", _ALWAYS) for word in words}
    late = [word for word in words if version < ages[word].version]
    if not late:
        return setting
    stand_in = next((ages[word].before for word in late if ages[word].before), "")
    if stand_in:
        return _known(setting._replace(value=stand_in.partition("=")[2]), version)
    left = [word for word in words if word not in late]
    return setting._replace(value=denies + " ".join(left)) if left else None
