"""Constants of which a test has its own: limits that it can reach."""

from __future__ import annotations

from types import ModuleType

import pytest

from criproxy.http2.compiled import COMPILED


def set_constant(monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str, value: object) -> None:
    """Gives a constant of what moves calls another value for the test, which is skipped where that is compiled: there a
    constant is part of the code that uses it."""
    if COMPILED:
        pytest.skip(f"{name} is compiled")
    monkeypatch.setattr(module, name, value)
