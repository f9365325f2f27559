"""The option that all commands have for what they print."""

from __future__ import annotations

import argparse

TABLE, WIDE, JSON = "table", "wide", "json"
OUTPUT_WORDS = {"-o": True, "--output": True}
"""How the option of `add_output` is written; it takes a value."""


def add_output(parser: argparse._ActionsContainer, wide: str = "") -> None:
    """Adds ``-o``. ``wide``: what a command has in its format of that name; nothing if it has no such format."""
    formats = (TABLE, WIDE, JSON) if wide else (TABLE, JSON)
    told = f"table: for a screen; wide: {wide}; json: for programs" if wide else "how it is printed"
    parser.add_argument("-o", "--output", choices=formats, default=TABLE, help=f"{told} (default: %(default)s)")
