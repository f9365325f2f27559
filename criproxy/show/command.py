"""The command line of ``criproxy show``."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from typing import Sequence, Tuple

from criproxy.address import path_of
from criproxy.output import JSON, WIDE, add_output
from criproxy.show import tables
from criproxy.show.choice import PRIMARY_WORDS, SHORTEST_ID, Choice
from criproxy.show.entries import Kind, Seen
from criproxy.show.look import ALL, look
from criproxy.show.plain import plain
from criproxy.terminal import watch
from criproxy.text import PRIMARY, escape

_COMMAND = "criproxy show"
_SOCKET = "/run/criproxy.sock"
_INTERVAL = 2.0
"""Between two looks of ``--watch``, seconds."""
_IN_NAMESPACES = (Kind.PODS, Kind.CONTAINERS)


@dataclass(frozen=True)
class _Question:
    """What is asked for, and how it is to be shown."""

    socket: str
    kinds: Tuple[Kind, ...]
    choice: Choice
    output: str

    def ask(self) -> Tuple[str, str]:
        """What there is to see, and what is wrong with it: each may be empty."""
        seen = look(self.socket, self.kinds)
        chosen = self.choice.of(seen)
        if seen.problem:
            silent = self.socket == _SOCKET and not seen.who and not seen.runtimes
            return self._shown(chosen), _line(f"{seen.problem} (criproxy status tells why)" if silent else seen.problem)
        nothing = self._nothing(seen, chosen)
        if not nothing:
            return self._shown(chosen), ""
        # Programs get their lists, and people no tables without rows.
        return self._shown(chosen) if self.output == JSON else "", _line(f"{self.socket}: {nothing}")

    def _shown(self, chosen: Seen) -> str:
        if self.output != JSON:
            return tables.text(chosen, self.kinds, self.output == WIDE)
        lists = plain(chosen, self.kinds)
        return json.dumps(lists, indent=2) if lists else ""

    def _nothing(self, seen: Seen, chosen: Seen) -> str:
        """Why there is nothing of what is asked for by name; empty if there is something, or need not be."""
        if self.kinds == (Kind.RUNTIMES,) and not seen.runtimes:
            return "it is not criproxy, and tells of no runtimes"
        ids = {runtime.id for runtime in seen.runtimes or ()}
        if ids and self.choice.runtime is not None and self.choice.runtime not in ids:
            there = ", ".join(runtime or PRIMARY for runtime in sorted(ids))
            return f'there is no runtime "{self.choice.runtime}" (there are: {there})'
        if self.choice.name is not None and not any(chosen.of(kind) for kind in self.kinds):
            return self._unknown()
        return ""

    def _unknown(self) -> str:
        (kind,) = self.kinds  # the word in front of a name
        choice = self.choice
        namespace = "" if choice.namespace is None else f' in the namespace "{choice.namespace}"'
        runtime = "" if choice.runtime is None else f" of the runtime {choice.runtime or PRIMARY}"
        return f'none of the {kind.value}{runtime}{namespace} has the name, or an id that begins with, "{choice.name}"'


def _line(problem: str) -> str:
    return escape(f"{_COMMAND}: {problem}")


def main(argv: Sequence[str]) -> int:
    """``criproxy show``; gives the exit status: 1 if not all of it can be shown, or nothing has the name."""
    parser = _parser()
    # A kind and a name may have options between them.
    options = parser.parse_intermixed_args(argv)
    question = _Question(
        options.socket,
        _kinds(parser, options),
        Choice(options.name, options.namespace, options.runtime),
        options.output,
    )
    if options.watch:
        return watch(lambda _: _look(question), _INTERVAL)
    text, error = question.ask()
    if text:
        print(text)
    if error:
        print(error, file=sys.stderr)
    return 1 if error else 0


def _kinds(parser: argparse.ArgumentParser, options: argparse.Namespace) -> Tuple[Kind, ...]:
    kind = None if options.kind is None else Kind(options.kind)
    if options.namespace is None:
        return ALL if kind is None else (kind,)
    if kind is None:
        return _IN_NAMESPACES
    if kind not in _IN_NAMESPACES:
        parser.error(f"argument -n/--namespace: {kind.value} are in no namespace")
    return (kind,)


def _look(question: _Question) -> str:
    text, error = question.ask()
    if question.output == JSON and error:
        # Whoever reads objects can do nothing with another line.
        print(error, file=sys.stderr, flush=True)
        return text
    return "\n\n".join(filter(None, (text, error)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_COMMAND,
        usage="%(prog)s [{runtimes,pods,containers,images} [NAME]] [-n NS] [--runtime ID] [-o {table,wide,json}]\n"
        "                     [--full] [--once | --watch] [--socket PATH]",
        description="Show the pods, containers and images that kubelet sees on a CRI socket, and whose they are.",
        epilog="Kubelet knows the pods and containers of an alternative runtime as RUNTIME__ID, its images as"
        " RUNTIME/NAME. What is marked as remembered is of a runtime that is away: criproxy keeps it in kubelet's lists"
        " for a while. Exit status: 0; 1 if not all of it can be shown, or nothing has the NAME; 2 if the options are"
        " refused.",
    )
    parser.add_argument(
        "kind", nargs="?", choices=[kind.value for kind in Kind], help="these alone (default: all of them)"
    )
    parser.add_argument(
        "name",
        nargs="?",
        type=_text,
        metavar="NAME",
        help=f"those with this name, which may have *, ? and [...], or with an id that begins so ({SHORTEST_ID}"
        " characters or more); with the runtime's prefix or without it",
    )
    parser.add_argument(
        "-n", "--namespace", type=_text, metavar="NS", help="the pods of this namespace, and their containers"
    )
    parser.add_argument(
        "--runtime", type=_runtime, metavar="ID", help="what this runtime has; the primary one is called primary"
    )
    how = parser.add_mutually_exclusive_group()
    add_output(how, wide="names and ids whole, as kubelet has them")
    how.add_argument(
        "--full",
        action="store_const",
        const=WIDE,
        default=argparse.SUPPRESS,
        dest="output",
        help="the same as -o wide",
    )
    when = parser.add_mutually_exclusive_group()
    when.add_argument("--once", action="store_true", help="show it once (the default)")
    when.add_argument("--watch", action="store_true", help=f"show it every {_INTERVAL:g} seconds, until Ctrl-C")
    parser.add_argument(
        "--socket", default=_SOCKET, type=path_of, metavar="PATH", help="whom to ask (default: %(default)s)"
    )
    return parser


def _text(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("it is empty")
    return text


def _runtime(text: str) -> str:
    return "" if text in PRIMARY_WORDS else _text(text)
