"""``criproxy config``: what each of the daemon's options is set to, and by what."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any, Dict, Sequence, Tuple

from criproxy.config import ConfigError
from criproxy.config.settings import Setting, settings
from criproxy.config.sources import Source
from criproxy.config.words import apart
from criproxy.inspection import subject
from criproxy.inspection.subject import Subject
from criproxy.node.kubelet import NodeError
from criproxy.output import JSON, OUTPUT_WORDS, WIDE, add_output
from criproxy.terminal import plain_table
from criproxy.text import escape

_COMMAND = "criproxy config"
_OWN_WORDS = {**OUTPUT_WORDS, "-h": False, "--help": False}
_COLUMNS = ("OPTION", "VALUE", "FROM")
_WIDE_COLUMNS = ("OPTION", "VALUE", "DEFAULT", "FROM")
_TELLING = (Source.ENVIRONMENT_FILE, Source.FILE)
"""Sources of which the place says by itself what it is."""


def main(argv: Sequence[str]) -> int:
    """``criproxy config``; gives the exit status."""
    own, words = apart(argv, _OWN_WORDS)
    options = _parser().parse_args(own)
    try:
        daemon = subject.here(words)
        config, found = settings(daemon.words, daemon.environ)
    except (ConfigError, NodeError) as error:
        return subject.refuse(_COMMAND, error)
    found = tuple(_placed(setting, daemon) for setting in found)
    if options.output == JSON:
        print(json.dumps(_plain(daemon, found, config.warnings), indent=2))
        return 0
    if options.output == WIDE:
        print("\n".join(plain_table(_WIDE_COLUMNS, [_wide_row(setting) for setting in found])))
    else:
        print("\n".join(plain_table(_COLUMNS, [_row(setting) for setting in found])))
    for warning in config.warnings:
        print(f"{_COMMAND}: warning: {escape(warning)}", file=sys.stderr)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_COMMAND,
        usage="%(prog)s [-o {table,wide,json}] [OPTION ...]",
        description="Show what each of the daemon's options is set to, and by what.",
        epilog="OPTION: the daemon's, as in criproxy --help; then it is about a daemon with these, in this environment."
        " Without any it is about the service that is installed here, with what its unit, its environment file and its"
        " configuration file say now; the daemon that runs has read these when it was started or reloaded. Exit status:"
        " 0, or 2 if the daemon would refuse the options; one line says why.",
    )
    add_output(parser, wide="also the defaults")
    return parser


def _placed(setting: Setting, daemon: Subject) -> Setting:
    """The same with the place in the service's unit, where that has it."""
    if daemon.service is None:
        return setting
    where = setting.where
    if setting.source is Source.COMMAND_LINE:
        where = f"{daemon.service.where}: {where}"
    elif setting.source is Source.ENVIRONMENT:
        names = (name for name in where.split(" and ") if name in daemon.service.variables)
        where = " and ".join(f"{daemon.service.variables[name].where}: {name}" for name in names) or where
    return Setting(setting.name, setting.value, setting.default, setting.source, where, setting.note)


def _row(setting: Setting) -> Tuple[str, str, str]:
    origin = (
        setting.where if setting.source in _TELLING else ": ".join(filter(None, (setting.source.value, setting.where)))
    )
    return setting.name, setting.value or "-", " ".join(filter(None, (origin, setting.note and f"({setting.note})")))


def _wide_row(setting: Setting) -> Tuple[str, str, str, str]:
    name, value, origin = _row(setting)
    return name, value, setting.default or "-", origin


def _plain(daemon: Subject, found: Sequence[Setting], warnings: Sequence[str]) -> Dict[str, Any]:
    return {
        "service": daemon.service.where if daemon.service else None,
        "options": [
            {
                "name": setting.name,
                "value": setting.value,
                "default": setting.default,
                "source": setting.source.value,
                "where": setting.where,
                "note": setting.note,
            }
            for setting in found
        ],
        "warnings": list(warnings),
    }
