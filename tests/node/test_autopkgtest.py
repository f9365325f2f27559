"""What Debian would run for the package (debian/tests), on a node of ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import debs
from .conftest import Boot
from .layouts import FULL, KUBEADM, NODEPS

LIFE = Path(__file__).parents[2] / "debian/tests/life"


@pytest.mark.parametrize("package", [FULL, NODEPS])
def test_the_life_of_a_package(package: str, boot: Boot) -> None:
    node = boot(KUBEADM, kubelet=False)
    node.write("/run/life", LIFE.read_text(), 0o755)
    said = node.run("/run/life", node.bring(debs.built(package)))
    assert "kubelet" in said
