"""What commands print: each has the same formats."""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import Callable, Iterator, Tuple

import pytest

from criproxy import cli
from criproxy.output import JSON, TABLE, WIDE

WITHOUT = {"node", "demo", "demo-runtime"}
"""Commands that have one way of their own."""


class Made(Exception):
    """A parser is about to read words."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__()
        self.parser = parser


def parser_of(name: str, monkeypatch: pytest.MonkeyPatch) -> argparse.ArgumentParser:
    """What reads a command's words."""

    def parse(parser: argparse.ArgumentParser, *_: object) -> None:
        raise Made(parser)

    for method in ("parse_args", "parse_intermixed_args"):
        monkeypatch.setattr(argparse.ArgumentParser, method, parse)
    monkeypatch.delenv("MAINPID", raising=False)
    module, _, function = cli._COMMANDS[name].partition(":")
    main: Callable[[Tuple[str, ...]], int] = getattr(import_module(module), function)
    with pytest.raises(Made) as made:
        main(())
    return made.value.parser


def leaves(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser, or those of its actions."""
    actions = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
    if not actions:
        yield parser
    for action in actions:
        yield from action.choices.values()


@pytest.mark.parametrize("name", sorted(cli._COMMANDS.keys() - WITHOUT))
def test_a_command_has_three_formats(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for parser in leaves(parser_of(name, monkeypatch)):
        (option,) = (each for each in parser._actions if "--output" in each.option_strings)
        assert (option.option_strings, option.choices) == (["-o", "--output"], (TABLE, WIDE, JSON))
        assert option.default == TABLE
