"""The limit of the memory where the configuration has none: a share of what the process may have."""

from __future__ import annotations

from pathlib import Path
from typing import Dict

import pytest

from criproxy.memory_limit import LARGEST_DEFAULT, default_limit

MIB = 2**20
MACHINE = {"proc/meminfo": "MemTotal:        2097152 kB\nMemFree:         1 kB\n"}
SMALL_MACHINE = {"proc/meminfo": "MemTotal:        204800 kB\n"}
UNIT = {"proc/self/cgroup": "0::/system.slice/criproxy.service\n"}
OLD_UNIT = {"proc/self/cgroup": "9:name=systemd:/system.slice\n4:cpu,memory:/no\n3:memory:/system.slice\n"}
SLICE = "sys/fs/cgroup/system.slice"


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, LARGEST_DEFAULT),
        (MACHINE, LARGEST_DEFAULT),
        (SMALL_MACHINE, 40 * MIB),
        ({**MACHINE, **UNIT, f"{SLICE}/criproxy.service/memory.max": "max\n"}, LARGEST_DEFAULT),
        ({**MACHINE, **UNIT, f"{SLICE}/criproxy.service/memory.max": f"{100 * MIB}\n"}, 20 * MIB),
        ({**SMALL_MACHINE, **UNIT, f"{SLICE}/criproxy.service/memory.max": f"{512 * MIB}\n"}, 40 * MIB),
        ({**MACHINE, **UNIT, f"{SLICE}/memory.max": f"{50 * MIB}\n"}, 10 * MIB),
        ({**MACHINE, **OLD_UNIT, "sys/fs/cgroup/memory/system.slice/memory.limit_in_bytes": f"{50 * MIB}"}, 10 * MIB),
        ({**MACHINE, **OLD_UNIT, "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712"}, LARGEST_DEFAULT),
    ],
)
def test_the_limit_is_a_fifth_of_the_least_that_bounds_the_process(
    tmp_path: Path, files: Dict[str, str], limit: int
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert default_limit(tmp_path) == limit
