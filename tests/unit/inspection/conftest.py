"""Fixtures: a node as a directory, and a machine on which nothing else is configured."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from criproxy.config import settings, sources


@pytest.fixture(autouse=True)
def default_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What stands for /etc/criproxy/criproxy.conf."""
    for name in [name for name in os.environ if name.startswith(("CRI_", "CRIPROXY_"))]:
        monkeypatch.delenv(name)
    file = tmp_path / "criproxy.conf"
    for module in (settings, sources):
        monkeypatch.setattr(module, "DEFAULT_FILE", str(file))
    return file


@pytest.fixture
def defaults(tmp_path: Path) -> Path:
    """What stands for /etc/default/criproxy."""
    return tmp_path / "default"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The node's root, with nothing in it; no systemd runs there."""
    from criproxy.inspection import subject
    from criproxy.node.tree import Tree

    found = tmp_path / "root"
    found.mkdir()
    monkeypatch.setattr(subject, "Tree", lambda _: Tree(str(found)))
    return found


@pytest.fixture
def service(root: Path, defaults: Path) -> Path:
    """The unit of the service on that node, with ``defaults`` for its environment file."""
    unit = root / "lib/systemd/system/criproxy.service"
    unit.parent.mkdir(parents=True)
    unit.write_text(
        "[Service]\nEnvironment=CRIPROXY_STREAM_PORT=7\n"
        f"ExecStart=/usr/bin/criproxy --listen /run/criproxy.sock --environment-file {defaults}\n"
    )
    return unit
