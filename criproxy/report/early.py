"""What is said while no configuration says yet where to log."""

from __future__ import annotations

import os
import sys

from criproxy.report import journal
from criproxy.report.record import Level
from criproxy.text import escape


def say(level: Level, text: str) -> None:
    """Writes a line to standard error."""
    # The journal takes "<N>" at the beginning of a line for its priority (sd-daemon(3)).
    priority = f"<{level.priority}>" if journal.is_stderr(os.environ) else ""
    print(f"{priority}criproxy: {escape(text)}", file=sys.stderr)
