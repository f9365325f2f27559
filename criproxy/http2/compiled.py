"""Whether what moves calls is compiled. What is quick there, single bytes and loops over numbers, is slow in Python."""

from __future__ import annotations

from typing import Final

COMPILED: Final = not __file__.endswith((".py", ".pyc"))
"""Where a choice by it shows in what a call takes, there are two ways to the same result."""
