"""What a process takes, its children included: time of a processor, and memory."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import List

_TICK = 1 / os.sysconf("SC_CLK_TCK")
"""seconds"""
_ENDED = (FileNotFoundError, ProcessLookupError)
PATIENCE = 20.0
"""How long a process may take to serve or to stop, seconds."""


def threads(pid: int) -> List[int]:
    """All threads of a process and of its children."""
    return [thread for process in family(pid) for thread in _threads(process)]


def family(pid: int) -> List[int]:
    """A process and its children, and theirs."""
    return [pid, *(found for thread in _threads(pid) for child in _children(pid, thread) for found in family(child))]


def _threads(pid: int) -> List[int]:
    with suppress(*_ENDED):
        return [int(name) for name in os.listdir(f"/proc/{pid}/task")]
    return []


def _children(pid: int, thread: int) -> List[int]:
    with suppress(*_ENDED):
        return [int(word) for word in Path(f"/proc/{pid}/task/{thread}/children").read_text().split()]
    return []


def used(pid: int) -> float:
    """The time of a processor that they have taken so far, seconds; that of children that have ended counts, too."""
    total = 0.0
    for process in family(pid):
        with suppress(*_ENDED):
            total += _used(process)
    return total


def _used(pid: int) -> float:
    """To the nanosecond where there is one thread, which is all that schedstat tells of; else by the clock's ticks."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own, childrens = int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])
    exact = Path(f"/proc/{pid}/schedstat")
    if fields[17] == "1" and exact.exists():
        return int(exact.read_text().split()[0]) / 1e9 + childrens * _TICK
    return (own + childrens) * _TICK


def resident(pid: int) -> float:
    """Their resident memory, MB."""
    total = 0
    for process in family(pid):
        with suppress(*_ENDED):
            status = Path(f"/proc/{process}/status").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
    return total * 1024 / 1e6


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends a process."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
