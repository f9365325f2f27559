"""The socket that kubelet connects to, when there is no room for another connection."""

from __future__ import annotations

import errno
import io
import os
from typing import Any, List, Tuple

from playbook import ClockLoop, FakeSocket

from criproxy.relay.listener import Listener
from criproxy.report.log import Log
from criproxy.report.ratelimit import BURST
from criproxy.report.stream import StreamOutput


class WithoutRoom(FakeSocket):
    """A listening socket to which somebody connects, in a process that has no descriptor left."""

    readable = True

    def accept(self) -> Tuple[Any, Any]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def test_that_no_connection_can_be_accepted_is_said_once_a_minute() -> None:
    loop, text = ClockLoop(), io.StringIO()
    sock: Any = WithoutRoom(loop)
    connections: List[Any] = []
    Listener(loop.real, Log(0, StreamOutput(text)), sock, connections.append).open()
    loop.advance(600)
    records = text.getvalue().splitlines()
    assert "cannot accept a connection: Too many open files; trying again" in records[0]
    assert BURST < len(records) <= BURST + 10
    assert not connections
