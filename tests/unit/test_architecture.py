"""How the modules know each other: imports run one way, and each room has what belongs into it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Dict, Iterator, List, Set

import pytest

import criproxy

ROOT = Path(criproxy.__file__).parent
FILES = {
    ".".join(("criproxy", *path.relative_to(ROOT).with_suffix("").parts)).replace(".__init__", ""): path
    for path in ROOT.rglob("*.py")
}
LONGEST = 500
"""Lines of a file."""
SLOW = (
    "argparse",
    "configargparse",
    "dataclasses",
    "difflib",
    "google.protobuf",
    "grpc",
    "hpack",
    "inspect",
    "json",
    "logging",
    "opentelemetry",
    "requests",
    "threading",
    "traceback",
    "yaml",
)
"""Modules that take long to import or hold much, or bring others that do. Kubelet waits for the daemon to start."""
READS_A_FILE = "criproxy.cri.schema"
"""It has the CRI's definition from a file that is part of the package."""
IO = {"asyncio", "os", "select", "selectors", "signal", "socket", "subprocess"}
ORDER = (
    ("proxy",),
    ("account", "clients", "configured"),
    ("dispatch", "downstream", "listener"),
    ("events", "images", "lists", "single", "status"),
    ("inquiry", "inventory", "memory"),
    ("presence", "question"),
    ("scatter",),
    ("response",),
    ("exchange",),
    ("failures", "translation"),
    ("complaint", "outcome", "request"),
    ("context", "runtime"),
    ("facts", "probe", "tracing"),
    ("routing", "upstream"),
    ("answers", "transport"),
    ("known", "owners", "placement", "pods"),
    ("loop", "peer", "statistics"),
)
"""The relay's modules from top to bottom; each imports only from those below it."""


def imported(module: str) -> Iterator[str]:
    """The modules of criproxy, and the others, that a module imports anywhere in it, for type checking too."""
    for node in ast.walk(ast.parse(FILES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}: a relative import"
            source = node.module or ""
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                yield inner if inner in FILES else source


IMPORTS: Dict[str, Set[str]] = {module: set(imported(module)) for module in FILES}


def circle_from(module: str, path: List[str], done: Set[str]) -> List[str]:
    """A way from a module back to one that is on the path to it; empty if there is none."""
    if module in path:
        return path[path.index(module) :]
    if module in done:
        return []
    for other in sorted(IMPORTS.get(module, ())):
        found = circle_from(other, [*path, module], done)
        if found:
            return found
    done.add(module)
    return []


def test_no_modules_know_each_other_in_a_circle() -> None:
    done: Set[str] = set()
    assert [found for module in sorted(FILES) for found in (circle_from(module, [], done),) if found] == []


@pytest.mark.parametrize("package", ["cri", "http2"])
def test_knowledge_of_the_protocols_does_no_io_and_knows_nothing_of_what_uses_it(package: str) -> None:
    own = f"criproxy.{package}"
    for module in FILES:
        if module == own or module.startswith(f"{own}."):
            others = {name for name in IMPORTS[module] if name.startswith("criproxy") and not name.startswith(own)}
            assert not others, f"{module} knows {others}"
            assert module == READS_A_FILE or not IMPORTS[module] & IO, f"{module} does input and output"


def test_the_proxy_is_known_to_the_daemon_alone() -> None:
    assert [module for module in FILES if "criproxy.relay.proxy" in IMPORTS[module]] == ["criproxy.daemon"]


def test_the_daemons_side_of_the_control_socket_is_known_to_the_daemon_alone() -> None:
    """What a command knows of it is the messages."""
    both = {"criproxy.control", "criproxy.control.api", "criproxy.control.client"}
    looked_into = {"criproxy.control.subject"}
    served = {module for module in FILES if module.startswith("criproxy.control.")} - both - looked_into
    assert {module for module in FILES if IMPORTS[module] & served} - served == {"criproxy.daemon"}
    for module in both & FILES.keys():
        assert not [name for name in IMPORTS[module] if name.startswith(("criproxy.relay", "criproxy.daemon"))]


def test_the_metrics_are_known_to_the_daemon_alone() -> None:
    own = {module for module in FILES if module.startswith("criproxy.metrics")}
    assert {module for module in FILES if IMPORTS[module] & own} - own == {"criproxy.daemon"}


def test_the_library_of_the_metrics_is_loaded_only_where_they_are_served() -> None:
    """It takes time and memory, and need not be there."""
    using = {module for module in FILES if any(name.startswith("prometheus_client") for name in IMPORTS[module])}
    assert using == {"criproxy.metrics.pages", "criproxy.metrics.text"}
    done: Set[str] = set()
    ahead = ["criproxy.daemon"]
    while ahead:
        module = ahead.pop()
        done.add(module)
        ahead += (name for name in at_the_top(module) if name in FILES and name not in done)
    assert not done & using


def test_the_traces_are_known_to_the_daemon_alone() -> None:
    own = {module for module in FILES if module.startswith("criproxy.traces")}
    assert {module for module in FILES if IMPORTS[module] & own} - own == {"criproxy.daemon"}


def test_the_library_of_the_traces_is_loaded_only_where_there_are_any() -> None:
    using = {module for module in FILES if any(name.startswith("opentelemetry") for name in IMPORTS[module])}
    assert using == {"criproxy.traces.spans"}
    assert not [module for module in FILES if using & set(at_the_top(module))]


def at_the_top(module: str) -> Iterator[str]:
    """What is imported when the module is."""
    for node in ast.parse(FILES[module].read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_the_relays_imports_run_one_way() -> None:
    rank = {f"criproxy.relay.{name}": level for level, names in enumerate(ORDER) for name in names}
    assert set(rank) == {module for module in FILES if module.startswith("criproxy.relay.")}
    for module, level in rank.items():
        for other in IMPORTS[module]:
            assert other not in rank or rank[other] > level, f"{module} imports {other}"


def test_strategies_are_known_to_the_dispatcher_and_to_who_puts_all_together() -> None:
    strategies = {f"criproxy.relay.{name}" for name in ("events", "images", "lists", "single", "status")}
    knowing = {module for module in FILES if IMPORTS[module] & strategies}
    assert knowing == {"criproxy.relay.dispatch", "criproxy.relay.proxy"}


@pytest.mark.parametrize("module", SLOW)
def test_the_daemon_starts_without_what_takes_long_to_import(module: str) -> None:
    # What measures coverage is there before, with much of its own.
    program = "import sys; before = set(sys.modules); import criproxy.cli, criproxy.start, criproxy.daemon"
    program += f"; sys.exit({module!r} in sys.modules.keys() - before)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_no_file_is_longer_than_can_be_read_at_once() -> None:
    long = [module for module, path in FILES.items() if len(path.read_text(encoding="utf-8").splitlines()) > LONGEST]
    assert long == []
