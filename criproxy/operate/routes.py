"""``criproxy route add``, ``remove`` and ``list``: the rules by which new pods go to alternative runtimes."""

from __future__ import annotations

import argparse
import json
from contextlib import suppress
from typing import Any, Dict, Iterator, List, Sequence

from criproxy.arguments import add_environment_file, add_socket
from criproxy.client import ClientError
from criproxy.control.client import ControlClient
from criproxy.cri.selector import RouteRule, parse, parse_all, parse_rule
from criproxy.operate.defaults import Defaults
from criproxy.operate.drain import no_such_runtime, runtimes_behind
from criproxy.operate.outcome import Exit, Refused, carried_out, say, say_new_warnings, say_refused, tell
from criproxy.output import JSON, WIDE, add_output
from criproxy.terminal import plain_table

_VARIABLE = "CRIPROXY_ROUTE"
_COLUMNS = ("RULE", "RUNTIME")
_NOBODY = "0%"
"""A rule by which no pod goes anywhere, and by which the runtime is one of those with the pods of rules."""


def main(argv: Sequence[str]) -> int:
    """``criproxy route`` with one of these actions; gives the exit status."""
    options = _parser().parse_args(argv)
    command = f"route {options.action}"
    return carried_out(command, lambda: options.run(command, options))


def _add(command: str, options: argparse.Namespace) -> int:
    rule = _parsed(options.rule)
    defaults = Defaults(options.socket, options.environment_file)
    defaults.refuse_if_fixed(_VARIABLE)
    sockets = runtimes_behind(defaults)
    if rule.runtime not in sockets:
        raise no_such_runtime(rule.runtime, sockets)
    there = _rules(defaults)
    twin = next((each for each in there if each.concerns(rule)), None)
    if twin is not None and twin.runtime != rule.runtime:
        again = f"criproxy route remove '{twin.text}'"
        raise Refused(f'the rule "{twin.text}" is there already, for "{twin.runtime}": {again} first')
    before = defaults.config().warnings
    if twin is None:
        there = [rule, *there] if options.first else [*there, rule]
    _change(command, defaults, there)
    say_new_warnings(command, before, defaults.config().warnings)
    text = f'rule "{rule.text}": new pods that ask for no runtime go to "{rule.runtime}"{defaults.later}'
    tell(options.output, _told(rule, defaults), [text])
    return Exit.DONE


def _remove(command: str, options: argparse.Namespace) -> int:
    defaults = Defaults(options.socket, options.environment_file)
    defaults.refuse_if_fixed(_VARIABLE)
    there = _rules(defaults)
    gone = _meant(there, options.rule)
    left = [rule for rule in there if rule is not gone]
    _change(command, defaults, left)
    lines = [f'rule "{gone.text}" of "{gone.runtime}" is removed{defaults.later}; pods that it has sent there stay']
    if gone.share and all(rule.runtime != gone.runtime for rule in left):
        again = f"criproxy route add '{_NOBODY}={gone.runtime}'"
        lines.append(f"images are looked for without that runtime then; while it has such pods rather: {again}")
    tell(options.output, _told(gone, defaults), lines)
    return Exit.DONE


def _told(rule: RouteRule, defaults: Defaults) -> Dict[str, Any]:
    return {"rule": rule.text, "runtime": rule.runtime, "inForce": defaults.status is not None}


def _list(command: str, options: argparse.Namespace) -> int:
    try:
        with ControlClient(options.socket) as client:
            status = client.call("Status")
    except ClientError as error:
        return say_refused(command, error)
    rules = [(each.rule, each.runtime) for each in status.daemon.routes]
    sockets = {runtime.id: runtime.socket for runtime in status.runtimes}
    if options.output == JSON:
        print(json.dumps([{"rule": text, "runtime": id} for text, id in rules]))
    elif options.output == WIDE:
        rows = [(text, id, sockets.get(id, "-")) for text, id in rules]
        print("\n".join(plain_table((*_COLUMNS, "SOCKET"), rows)))
    else:
        print("\n".join(plain_table(_COLUMNS, rules)))
    return Exit.DONE


def _parsed(text: str) -> RouteRule:
    """The rule that is meant. Raises Refused for what is none."""
    try:
        return parse(text)
    except ValueError as error:
        raise Refused(str(error)) from error


def _rules(defaults: Defaults) -> List[RouteRule]:
    """The rules in the file. Raises Refused if they are none."""
    try:
        return list(parse_all(defaults.variables().get(_VARIABLE, "")))
    except ValueError as error:
        raise Refused(f"{defaults.path}: {_VARIABLE}: {error}") from error


def _meant(there: Sequence[RouteRule], text: str) -> RouteRule:
    """The rule that is called so: ``RULE=ID``, or RULE alone. Raises Refused if there is none."""
    for wanted in _readings(text):
        for rule in there:
            if wanted.runtime in ("", rule.runtime) and rule.concerns(wanted._replace(runtime=rule.runtime)):
                return rule
    shown = ", ".join(f'"{rule.text}"' for rule in there)
    raise Refused(f'there is no rule "{text}" (there are: {shown or "none"})')


def _readings(text: str) -> Iterator[RouteRule]:
    """What a text may mean; ``app=web`` is the rule of a label, or the rule ``app`` of a runtime."""
    with suppress(ValueError):
        yield RouteRule(*parse_rule(text), "")
    with suppress(ValueError):
        yield parse(text)


def _change(command: str, defaults: Defaults, rules: Sequence[RouteRule]) -> None:
    """Has the daemon go by these rules, or says that it will. Raises Refused."""
    defaults.change({_VARIABLE: "; ".join(rule.entry for rule in rules)})
    if defaults.unheard:
        say(command, defaults.unheard)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="criproxy route",
        description="Change and list the rules by which new pods that ask for no runtime go to an alternative one. The"
        " first rule that fits counts; pods that are there stay where they are.",
        epilog=f"It is written as {_VARIABLE} into the environment file, so that it outlasts a restart, and the daemon"
        " reads that. Exit status: 0, it is so; without a daemon, from its next start on; 1, it is refused, and nothing"
        " has changed; 2, the daemon does not answer (list), or the words are not understood.",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    add = actions.add_parser("add", help="add a rule, behind those that there are")
    add.add_argument(
        "rule",
        metavar="RULE=ID",
        help="which new pods go to the runtime ID: 'namespace in (a, b)', labels as in a selector (app=web, tier!=db,"
        " app in (x, y), app notin (x, y), app, !app), 10%% of all pods, or several of these with commas between",
    )
    add.add_argument("--first", action="store_true", help="add it before the others")
    add.set_defaults(run=_add)

    remove = actions.add_parser("remove", help="remove a rule")
    remove.add_argument("rule", metavar="RULE[=ID]", help="the rule, as list shows it")
    remove.set_defaults(run=_remove)

    list_ = actions.add_parser("list", help="list the rules of the daemon, in the order in which they count")
    add_output(list_, wide="with the runtimes' sockets")
    list_.set_defaults(run=_list)
    for action in (add, remove):
        add_output(action)
        add_environment_file(action)
    for action in (add, remove, list_):
        add_socket(action)
    return parser
