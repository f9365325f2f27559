"""The option that all commands have for what they print."""

from __future__ import annotations

import argparse

TABLE, WIDE, JSON = "table", "wide", "json"
OUTPUT_WORDS = {"-o": True, "--output": True}
"""How the option of `add_output` is written; it takes a value."""


def add_output(parser: argparse._ActionsContainer, wide: str = "the same", json: str = "for programs") -> None:
    """Adds ``-o``. ``wide`` and ``json``: what a command has in its formats of that name."""
    parser.add_argument(
        "-o",
        "--output",
        choices=(TABLE, WIDE, JSON),
        default=TABLE,
        help=f"table: for a screen; wide: {wide}; json: {json} (default: %(default)s)",
    )
