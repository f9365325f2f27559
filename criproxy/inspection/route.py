"""``criproxy route``: to which runtime something would go, and by which rule."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any, Dict, List, Sequence, Tuple

from criproxy.config import Config, ConfigError, parse
from criproxy.config.words import apart
from criproxy.cri.identity import RETIRING
from criproxy.inspection import manifest, subject
from criproxy.inspection.manifest import ManifestError
from criproxy.inspection.questions import Answer, Questions, Rule
from criproxy.node.kubelet import NodeError
from criproxy.output import JSON, OUTPUT_WORDS, WIDE, add_output
from criproxy.terminal import plain_table
from criproxy.text import PRIMARY, escape

_COMMAND = "criproxy route"
_OWN_WORDS = {
    **OUTPUT_WORDS,
    **dict.fromkeys(("--image", "--id", "-f", "--filename"), True),
    **dict.fromkeys(("-h", "--help"), False),
}
_COLUMNS = ("WHAT", "RUNTIME", "SOCKET", "WHY")
_WIDE_COLUMNS = ("WHAT", "RUNTIME", "AS", "SOCKET", "WHY")


def main(argv: Sequence[str]) -> int:
    """``criproxy route``; gives the exit status: 1 if some of it would be refused."""
    own, words = apart(argv, _OWN_WORDS)
    options = _parser().parse_args(own)
    try:
        daemon = subject.here(words)
        config = parse(daemon.words, daemon.environ)
        answers = _answers(options, Questions(config))
    except (ConfigError, NodeError, ManifestError) as error:
        return subject.refuse(_COMMAND, error)
    if options.output == JSON:
        print(json.dumps([_plain(answer, config) for answer in answers], indent=2))
    else:
        print("\n".join(_table(answers, config, options.output == WIDE)))
        for note in dict.fromkeys(answer.note for answer in answers if answer.note):
            print(f"{_COMMAND}: {escape(note)}", file=sys.stderr)
    return 1 if any(answer.rule is Rule.REFUSED for answer in answers) else 0


def _answers(options: argparse.Namespace, questions: Questions) -> List[Answer]:
    if options.image is not None:
        return [questions.of_image(options.image)]
    if options.id is not None:
        return [questions.of_id(options.id)]
    found = manifest.read(options.filename)
    return [answer for pod in found.pods for answer in questions.of_pod(pod, found.handlers)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_COMMAND,
        usage="%(prog)s (--image NAME | --id ID | -f FILE) [-o {table,wide,json}] [OPTION ...]\n"
        "       %(prog)s add|remove|list ...",
        description="Show to which runtime an image, the calls of a pod or a container, or the pods of a manifest would"
        " go, and by which rule. No runtime is asked, and criproxy need not run.",
        epilog="OPTION: the daemon's, as in criproxy --help; without any it is the configuration of the service that is"
        " installed here. The images of a pod are those that kubelet pulls for it. A RuntimeClass that is not in the"
        " manifest is taken to have a handler of its own name. Exit status: 0; 1 if something would be refused, with"
        " the error that kubelet would get; 2 if the options or the manifest are. add, remove and list are about rules"
        " for new pods: criproxy route add --help.",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--image", type=_name, metavar="NAME", help="an image, by what kubelet calls it")
    what.add_argument("--id", type=_name, metavar="ID", help="a pod or a container, by what kubelet calls it")
    what.add_argument(
        "-f",
        "--filename",
        metavar="FILE",
        help="pods, and what makes pods (Deployment, CronJob, ...), in YAML or JSON; - is standard input",
    )
    add_output(parser, wide="also what the runtime sees it as: an image, an id, a runtime handler")
    return parser


def _name(text: str) -> str:
    """A name in a request: UTF-8, and not nothing."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not UTF-8") from error
    if not text:
        raise argparse.ArgumentTypeError("the name is empty")
    return text


def _socket(answer: Answer, runtime: str, config: Config) -> str:
    """The socket that the call goes to: that of the primary's image service may be another."""
    if answer.what == "image" and not runtime and config.image_service:
        return config.image_service
    if runtime == RETIRING and config.retiring:
        return config.retiring
    return next(each.path for each in config.runtimes if each.id == runtime)


def _table(answers: Sequence[Answer], config: Config, wide: bool) -> List[str]:
    rows = [_row(answer, config) for answer in answers]
    if not wide:
        return plain_table(_COLUMNS, rows)
    wider = [(*row[:2], answer.inner or "-", *row[2:]) for row, answer in zip(rows, answers)]
    return plain_table(_WIDE_COLUMNS, wider)


def _row(answer: Answer, config: Config) -> Tuple[str, ...]:
    of = f" ({answer.of})" if answer.of else ""
    what = f"{answer.what} {answer.name}{of}"
    if answer.rule is Rule.REFUSED:
        return what, "refused", "-", answer.why
    sockets = ",".join(_socket(answer, runtime, config) for runtime in answer.runtimes)
    runtimes = ",".join(runtime or PRIMARY for runtime in answer.runtimes)
    return what, runtimes, sockets, answer.why


def _plain(answer: Answer, config: Config) -> Dict[str, Any]:
    return {
        "what": answer.what,
        "name": answer.name,
        "of": answer.of,
        "runtimes": [{"id": each, "socket": _socket(answer, each, config)} for each in answer.runtimes],
        "rule": answer.rule.value,
        "why": answer.why,
        "inner": answer.inner,
        "note": answer.note,
    }
