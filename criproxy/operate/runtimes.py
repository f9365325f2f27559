"""``criproxy runtime add``, ``remove`` and ``list``: the alternative runtimes of a daemon that runs."""

from __future__ import annotations

import argparse
import json
import os
from typing import Any, Dict, List, Optional, Sequence, Tuple

from criproxy.address import path_of
from criproxy.arguments import add_environment_file, add_socket
from criproxy.client import Client, ClientError
from criproxy.config import RuntimeAddress, others_of
from criproxy.control.api import control
from criproxy.control.client import ControlClient
from criproxy.operate.defaults import Defaults
from criproxy.operate.drain import no_such_runtime, refuse_retiring, runtimes_behind
from criproxy.operate.outcome import Exit, Refused, carried_out, say, say_new_warnings, say_refused, tell
from criproxy.operate.pods import SHOWN, LeftPod, plain, pods_of, several
from criproxy.output import JSON, WIDE, add_output
from criproxy.terminal import plain_table
from criproxy.text import IMAGES, PRIMARY, few

_OTHER, _HANDLER, _DRAINED, _ROUTE = "CRI_OTHER", "CRIPROXY_HANDLER", "CRIPROXY_DRAINED", "CRIPROXY_ROUTE"
_API = control().enums
_UP = _API["RuntimeState"]["RUNTIME_UP"]
_TITLES = {_API["Role"]["ROLE_PRIMARY"]: PRIMARY, _API["Role"]["ROLE_IMAGE_SERVICE"]: IMAGES}
_STATES = {number: name.partition("_")[2].lower() for name, number in _API["RuntimeState"].items()}
_COLUMNS = ("RUNTIME", "STATE", "NAME", "VERSION", "CRI", "SOCKET")
_CONDITIONS = ("RuntimeReady", "NetworkReady")


def main(argv: Sequence[str]) -> int:
    """``criproxy runtime``; gives the exit status."""
    options = _parser().parse_args(argv)
    command = f"runtime {options.action}"
    return carried_out(command, lambda: options.run(command, options))


# add


def _add(command: str, options: argparse.Namespace) -> int:
    runtime = _address(options.id, options.path)
    handlers = [_handler(text, runtime.id) for text in options.handler]
    defaults = Defaults(options.socket, options.environment_file)
    defaults.refuse_if_fixed(_OTHER)
    _check_unused(defaults, runtime, options.force)
    _probe(command, runtime.path, options.force)
    before = defaults.config().warnings
    defaults.change(_with(defaults.variables(), runtime, handlers))
    say_new_warnings(command, before, defaults.config().warnings)
    _report(command, defaults, runtime, options)
    return Exit.DONE


def _address(id: str, path: str) -> RuntimeAddress:
    """The runtime that is meant. Raises Refused if it cannot be configured so."""
    wanted = RuntimeAddress(id, os.path.abspath(path_of(path)))
    try:
        found = others_of(f"{wanted.id}:{wanted.path}")
    except ValueError as error:
        raise Refused(str(error)) from error
    if found != (wanted,):
        raise Refused(f"{id!r} and {path!r} cannot be the id and the socket of a runtime")
    return wanted


def _handler(text: str, id: str) -> str:
    """An entry of CRIPROXY_HANDLER for ``NAME`` or ``NAME=HANDLER``."""
    name, given, inner = text.partition("=")
    return f"{name}={id}:{inner}" if given else f"{name}={id}"


def _check_unused(defaults: Defaults, runtime: RuntimeAddress, force: bool) -> None:
    behind = runtimes_behind(defaults)
    if runtime.id in behind:
        raise Refused(
            f'there is a runtime "{runtime.id}" already, at {behind[runtime.id]}: choose another id, or remove that one'
            f" first (criproxy runtime remove {runtime.id})"
        )
    real = os.path.realpath(runtime.path)
    for id, path in behind.items():
        if os.path.realpath(path) == real and not force:
            whose = f'runtime "{id}"' if id else "the primary runtime"
            raise Refused(f"{path} is the socket of {whose}: kubelet would see its pods twice (--force)")


def _probe(command: str, path: str, force: bool) -> None:
    """Sees that a runtime answers there. Raises Refused if none does, unless that is to be so."""
    try:
        with Client(path) as client:
            client.call("Version")
            conditions = client.call("Status").status.conditions
    except ClientError as error:
        if not force:
            raise Refused(f"no runtime answers: {error}; start it first, or go on with --force") from error
        say(command, f"warning: no runtime answers: {error}")
        return
    for condition in conditions:
        if condition.type in _CONDITIONS and not condition.status:
            why = f"{condition.reason} {condition.message}".strip()
            say(command, f"warning: the runtime says that it is not ready: {condition.type}: {why}")


def _with(there: Dict[str, str], runtime: RuntimeAddress, handlers: Sequence[str]) -> Dict[str, str]:
    """The variables that a new runtime changes."""
    values = {_OTHER: _joined(_entries(there, _OTHER), [f"{runtime.id}:{runtime.path}"])}
    if handlers:
        values[_HANDLER] = _joined(_entries(there, _HANDLER), handlers)
    return values


def _entries(there: Dict[str, str], name: str) -> List[str]:
    return [entry for entry in there.get(name, "").split(",") if entry]


def _joined(*entries: Sequence[str]) -> str:
    return ",".join(entry for several in entries for entry in several)


def _report(command: str, defaults: Defaults, runtime: RuntimeAddress, options: argparse.Namespace) -> None:
    """Says what the daemon makes of it. What it does not find, though it has just answered, is taken back."""
    told: Dict[str, Any] = {"id": runtime.id, "socket": runtime.path, "inForce": defaults.status is not None}
    found = _of(defaults, runtime.id)
    if found is not None:
        told.update(
            state=_STATES.get(found.state),
            name=found.name,
            version=found.version,
            criVersions=list(found.cri_versions),
            handlers=_handlers(found),
        )
    text = f'runtime "{runtime.id}" ({runtime.path}) is added{defaults.later}'
    if defaults.unheard:
        say(command, defaults.unheard)
    elif found is not None and found.state == _UP:
        text += f": {found.name} {found.version}, CRI {', '.join(found.cri_versions)}"
    else:
        reason = "it does not say so" if found is None else found.reason or "it still looks for it"
        if not options.force:
            defaults.undo()
            raise Refused(f"the daemon does not reach it: {reason}; {defaults.path} is as before")
        told["reason"] = reason
        text += f", and is not there: {reason}"
    tell(options.output, told, [text])


def _of(defaults: Defaults, id: str) -> Any:
    """What the daemon says of a runtime; None if it says nothing."""
    runtimes = () if defaults.status is None else defaults.status.runtimes
    return next((runtime for runtime in runtimes if runtime.id == id), None)


# remove


def _remove(command: str, options: argparse.Namespace) -> int:
    defaults = Defaults(options.socket, options.environment_file)
    defaults.refuse_if_fixed(_OTHER)
    id, behind = options.id, runtimes_behind(defaults)
    if id in ("", "primary"):
        raise Refused("the primary runtime cannot be removed: criproxy node apply --primary chooses another")
    refuse_retiring(defaults, id)
    if id not in behind:
        raise no_such_runtime(id, behind)
    values = _without(defaults.variables(), id)
    if _OTHER not in values:
        raise Refused(f'{defaults.path} has no "{id}" by now: a reload removes it (systemctl reload criproxy)')
    pods, left = _left(behind[id])
    if left:
        if not options.force:
            raise Refused(
                f"{left}. They would run on, unseen by kubelet. Next: criproxy drain {id}, delete these pods, and"
                " do this again; or go on with --force"
            )
        say(command, f"warning: {left}")
    defaults.change(values)
    if defaults.unheard:
        say(command, defaults.unheard)
    told = {
        "id": id,
        "socket": behind[id],
        "inForce": defaults.status is not None,
        "pods": None if pods is None else plain(pods),
    }
    tell(options.output, told, [f'runtime "{id}" is removed{defaults.later}'])
    return Exit.DONE


def _without(there: Dict[str, str], id: str) -> Dict[str, str]:
    """The variables that change when a runtime goes: its handlers and rules go, too."""
    kept = {
        _OTHER: [entry for entry in _entries(there, _OTHER) if entry.partition(":")[0] != id],
        _HANDLER: [entry for entry in _entries(there, _HANDLER) if entry.partition("=")[2].partition(":")[0] != id],
        _DRAINED: [entry for entry in _entries(there, _DRAINED) if entry != id],
    }
    values = {name: ",".join(entries) for name, entries in kept.items() if entries != _entries(there, name)}
    rules = [entry for entry in there.get(_ROUTE, "").split(";") if entry.strip()]
    left = [entry for entry in rules if entry.rpartition("=")[2].strip() != id]
    return values if left == rules else {**values, _ROUTE: ";".join(left)}


def _left(socket: str) -> Tuple[Optional[List[LeftPod]], str]:
    """The pods that the runtime has, None if that is not known, and the same in words; nothing if it has none."""
    try:
        pods = pods_of(socket)
    except ClientError as error:
        return None, f"what pods it has is not known: {error}"
    if not pods:
        return pods, ""
    return pods, f"it has {several(len(pods))}: {few(list(map(str, pods)), SHOWN)}"


# list


def _list(command: str, options: argparse.Namespace) -> int:
    try:
        with ControlClient(options.socket) as client:
            runtimes = client.call("Status").runtimes
    except ClientError as error:
        return say_refused(command, error)
    if options.output == JSON:
        print(json.dumps([_fields(runtime) for runtime in runtimes]))
    elif options.output == WIDE:
        rows = [(*_row(runtime), _handlers_text(runtime)) for runtime in runtimes]
        print("\n".join(plain_table((*_COLUMNS, "HANDLERS"), rows)))
    else:
        print("\n".join(plain_table(_COLUMNS, [_row(runtime) for runtime in runtimes])))
    return Exit.DONE


_Row = Tuple[str, str, str, str, str, str]


def _row(runtime: Any) -> _Row:
    state = _STATES.get(runtime.state, "?")
    return (
        _TITLES.get(runtime.role) or runtime.id,
        f"{state}, drained" if runtime.drained else state,
        runtime.name or "-",
        runtime.version or "-",
        ", ".join(runtime.cri_versions) or "-",
        runtime.socket,
    )


def _fields(runtime: Any) -> Dict[str, Any]:
    names = ("runtime", "state", "name", "version", "cri", "socket")
    return {**dict(zip(names, _row(runtime))), "handlers": _handlers(runtime)}


def _handlers(runtime: Any) -> List[Dict[str, str]]:
    return [{"name": handler.name, "handler": handler.inner} for handler in runtime.handlers]


def _handlers_text(runtime: Any) -> str:
    """The handlers of a runtime as ``--handler`` has them."""
    texts = (f"{each.name}={each.inner}" if each.inner else each.name for each in runtime.handlers)
    return ", ".join(texts) or "-"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="criproxy runtime",
        description="Add and remove the alternative runtimes of a daemon that runs, and list them.",
        epilog="What is changed is the environment file that the daemon reads, and it reads that again; if it does not"
        " take it, the file is put back. Exit status: 0, it is so; without a daemon, from its next start on; 1, it"
        " is refused, and nothing has changed; 2, the daemon does not answer (list), or the words are not understood.",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    add = actions.add_parser("add", help="probe a runtime's socket, and add the runtime")
    add.add_argument("id", metavar="ID", help="its id: with a dot, without '-'")
    add.add_argument("path", metavar="PATH", help="its socket")
    add.add_argument(
        "--handler",
        action="append",
        default=[],
        metavar="NAME[=HANDLER]",
        help="a handler by which a RuntimeClass asks for it, and what it gets for that; may be given several times",
    )
    add.add_argument("--force", action="store_true", help="add it though nobody answers, or another has that socket")
    add.set_defaults(run=_add)

    remove = actions.add_parser("remove", help="remove a runtime that has no pods")
    remove.add_argument("id", metavar="ID", help="its id")
    remove.add_argument("--force", action="store_true", help="remove it though it has pods, or nobody knows")
    remove.set_defaults(run=_remove)

    list_ = actions.add_parser("list", help="list the runtimes of the daemon")
    list_.set_defaults(run=_list)
    add_output(list_, wide="also the runtime handlers by which pods ask for each")
    for action in (add, remove):
        add_output(action)
        add_environment_file(action)
    for action in (add, remove, list_):
        add_socket(action)
    return parser
