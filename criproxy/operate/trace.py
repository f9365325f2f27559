"""``criproxy trace``: calls as they end, a line each."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from typing import Any, Iterator, Sequence

from criproxy.arguments import add_socket, time_of
from criproxy.client import ClientError
from criproxy.control.client import ControlClient
from criproxy.operate.outcome import Exit, say, say_refused
from criproxy.output import JSON, WIDE, add_output
from criproxy.terminal import Mark, Terminal, terminal_of
from criproxy.text import escape

_NAME = "trace"
_OK = "OK"
_ROW = "{:<12}  {:>7}  {:<20}  {:<32}  {:<14}  {:>9}  {:>6}  {}"
_WIDE_ROW = "{:<12}  {:>7}  {:<20}  {:<32}  {:<14}  {:>9}  {:>6}  {:<64}  {}"
_TITLES = ("TIME", "CALL", "METHOD", "OF", "RUNTIME", "MS", "OWN")


def main(argv: Sequence[str]) -> int:
    """``criproxy trace``; gives the exit status."""
    options = _parser().parse_args(argv)
    terminal = terminal_of(sys.stdout, os.environ)
    try:
        with ControlClient(options.socket) as client:
            calls = client.stream(
                "Trace",
                runtime=options.runtime,
                method=options.method,
                pod=options.pod,
                slow=options.slow,
                errors=options.errors,
                bodies=options.bodies,
            )
            _show(calls, options.output, terminal)
    except ClientError as error:
        return say_refused(_NAME, error)
    except KeyboardInterrupt:
        return Exit.DONE
    except BrokenPipeError:
        # Nobody reads it any more, and the interpreter would complain of that when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.DONE
    say(_NAME, "the daemon has ended it")
    return Exit.NO_DAEMON


def _show(calls: Iterator[Any], output: str, terminal: Terminal) -> None:
    wide = output == WIDE
    if output != JSON:
        print(terminal.paint(_row(_TITLES, "ID", "STATUS", wide), Mark.FAINT), flush=True)
    for call in calls:
        if output == JSON:
            print(json.dumps(_fields(call)), flush=True)
        else:
            print("\n".join(_lines(call, terminal, wide)), flush=True)


def _row(texts: Sequence[str], id: str, status: str, wide: bool) -> str:
    return _WIDE_ROW.format(*texts, id, status) if wide else _ROW.format(*texts, status)


def _lines(call: Any, terminal: Terminal, wide: bool) -> Iterator[str]:
    if call.lost:
        yield terminal.paint(f"({call.lost} more: they came faster than they were read)", Mark.DOUBTFUL)
    moment = time.strftime("%H:%M:%S", time.localtime(call.at)) + f".{int(call.at % 1 * 1000):03d}"
    status = f"{call.code}: {call.text}" if call.text else call.code
    texts = (
        moment,
        call.number,
        escape(call.method),
        escape(_subject(call)) or "-",
        escape(",".join(call.runtimes)) or "-",
        f"{call.duration * 1e3:.1f}",
        f"{call.own_time * 1e3:.1f}",
    )
    line = _row(texts, escape(call.id) or "-", escape(status), wide)
    yield terminal.paint(line, Mark.PLAIN if call.code == _OK else Mark.BAD)
    if call.request:
        yield from _body("request", call.request)
    for answer in call.answers:
        yield from _body("answer", answer)
    if call.answers_left:
        yield f"  # answers that are not shown: {call.answers_left}"


def _subject(call: Any) -> str:
    parts = [part for part in (call.pod_namespace, call.pod_name, call.container_name) if part]
    return "/".join(parts) or str(call.id)


def _body(title: str, yaml: str) -> Iterator[str]:
    yield f"  {title}:"
    for line in yaml.splitlines():
        yield f"    {escape(line)}"


def _fields(call: Any) -> Any:
    """A call for programs: every field, whether it has a value or not."""
    return {
        "at": call.at,
        "number": call.number,
        "method": call.method,
        "podNamespace": call.pod_namespace,
        "podName": call.pod_name,
        "containerName": call.container_name,
        "id": call.id,
        "runtimes": list(call.runtimes),
        "duration": call.duration,
        "ownTime": call.own_time,
        "code": call.code,
        "text": call.text,
        "request": call.request,
        "answers": list(call.answers),
        "answersLeft": call.answers_left,
        "lost": call.lost,
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"criproxy {_NAME}",
        description="Show kubelet's calls as they end, until Ctrl-C: when that was, the number of the call, its method,"
        " the pod and the container it is about, the runtimes asked, what it took and what of this criproxy itself did"
        " (milliseconds), and its status. Several conditions all have to hold.",
        epilog="A pattern has *, ? and [abc], as a shell's. Kubelet waits for nobody who watches: for one who reads too"
        " slowly calls are left out, and counted. Exit status: 0, it was interrupted; 1, the daemon refuses it; 2, the"
        " daemon does not answer, or has ended.",
    )
    parser.add_argument("--runtime", default="", metavar="ID", help="calls that ask this runtime; primary: the primary")
    parser.add_argument("--method", default="", metavar="PATTERN", help="calls of methods like this, as 'Create*'")
    parser.add_argument(
        "--pod",
        default="",
        metavar="PATTERN",
        help="calls about pods like this: of NAMESPACE/NAME, or of the name alone if there is no slash in it",
    )
    parser.add_argument("--slow", default=0.0, type=time_of, metavar="TIME", help="calls that take so long or longer")
    parser.add_argument("--errors", action="store_true", help="calls that do not end with OK")
    parser.add_argument(
        "--bodies",
        action="store_true",
        help="with the request and the answer of each call that begins from now on, as YAML without secrets; 64 KiB of"
        " each at most",
    )
    add_output(parser, wide="also the whole id of the pod, the container or the image", json="an object a line")
    add_socket(parser)
    return parser
