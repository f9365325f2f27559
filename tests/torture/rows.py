"""All attacks and faults, as rows of one table."""

from __future__ import annotations

import subprocess
import time
from contextlib import closing, suppress
from typing import Callable, NamedTuple, Tuple

from tests.torture import client, faults, runtime
from tests.torture.answers import ALTERNATIVE
from tests.torture.scene import Peer, Scene


class Row(NamedTuple):
    """An attack or a fault."""

    side: str
    name: str
    what: str
    suffers: Tuple[str, ...]
    """Whose calls may fail or be slow: a runtime's, or all (`faults.PROXY`)."""
    disturb: Callable[[Scene, float], int]
    """Lets it go on for so many seconds; gives how often it has taken place."""
    timed: bool = True
    """Whether calls to others must be as quick as ever."""
    busy: Tuple[str, ...] = ()
    """Whose calls may be slow, but may not fail: it is these runtimes themselves that have much to do."""

    @property
    def title(self) -> str:
        """Its name among all rows."""
        return f"{self.side}: {self.name}"


def _last(scene: Scene, until: float) -> bool:
    """Waits for a time, or for criproxy's end; says which: whether it has not ended."""
    with suppress(subprocess.TimeoutExpired):
        scene.process.wait(max(0.0, until - time.monotonic()))
        return False
    return True


def _by_client(name: str) -> Callable[[Scene, float], int]:
    def disturb(scene: Scene, seconds: float) -> int:
        peer = Peer("client", scene.path, name)
        try:
            peer.wait_until_ready()
            _last(scene, time.monotonic() + seconds)
        finally:
            peer.kill()
        return peer.count

    return disturb


def _by_runtime(name: str, beside: str) -> Callable[[Scene, float], int]:
    def disturb(scene: Scene, seconds: float) -> int:
        peer = scene.start_runtime(ALTERNATIVE, name)
        other = Peer("client", scene.path, beside) if beside else None
        try:
            _last(scene, time.monotonic() + seconds)
        finally:
            if other is not None:
                other.kill()
            scene.start_runtime(ALTERNATIVE)
        return peer.count

    return disturb


def _by_fault(fault: faults.Fault) -> Callable[[Scene, float], int]:
    def disturb(scene: Scene, seconds: float) -> int:
        until = time.monotonic() + seconds
        times = 0
        # A generator is closed at its `yield`: what the fault has to put right comes after that.
        with closing(fault.happen(scene)) as happen:
            for _ in happen:
                times += 1
                if not _last(scene, min(until, time.monotonic() + fault.every)) or time.monotonic() >= until:
                    break
        return times

    return disturb


ROWS: Tuple[Row, ...] = (
    *(
        Row("client", name, attack.what, (), _by_client(name), busy=attack.busy)
        for name, attack in client.ATTACKS.items()
    ),
    *(
        Row("runtime", name, attack.what, (ALTERNATIVE,), _by_runtime(name, attack.beside))
        for name, attack in runtime.ATTACKS.items()
    ),
    *(
        Row("fault", name, fault.what, fault.suffers, _by_fault(fault), fault.timed)
        for name, fault in faults.FAULTS.items()
    ),
)
