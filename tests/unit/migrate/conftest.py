"""Fixtures: the old and the new runtime of a move, and kubelet between them."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator

import pytest
from two_runtimes import FakeKubelet, served


@pytest.fixture
def kubelet(tmp_path: Path) -> Iterator[FakeKubelet]:
    """What makes a pod anew on the new runtime."""
    with served(tmp_path) as found:
        yield found
