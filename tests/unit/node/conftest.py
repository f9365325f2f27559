"""Fixtures: nodes of each layout."""

from __future__ import annotations

from pathlib import Path

import pytest
from node_lab import VERSIONS, Lab


@pytest.fixture(params=["kubeadm", "kubeadm <= 1.10", "dind", "kind"])
def layout(request: pytest.FixtureRequest) -> str:
    """Each of the layouts."""
    return str(request.param)


@pytest.fixture
def lab(tmp_path: Path, layout: str) -> Lab:
    """A node of each layout, with a kubelet of its time that runs."""
    return Lab(tmp_path, layout, VERSIONS[layout])


@pytest.fixture
def kubeadm(tmp_path: Path) -> Lab:
    """A node as kubeadm makes it today."""
    return Lab(tmp_path, "kubeadm", "1.33.1")


@pytest.fixture
def old(tmp_path: Path) -> Lab:
    """A node as kubeadm made it up to 1.10, on Docker."""
    return Lab(tmp_path, "kubeadm <= 1.10", "1.10.13")
