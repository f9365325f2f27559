"""What a service finds of systemd: sockets that stand for journald's and for the one that is notified."""

from __future__ import annotations

import socket
from collections import defaultdict
from typing import Callable, Dict, List

PATIENCE = 20.0
"""How long a test waits for what must happen, seconds."""

Record = Dict[str, List[str]]
"""A record of the journal: each field's values."""


class Datagrams:
    """A datagram socket at a path, and what has come there."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.seen: List[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(path)
        self._socket.settimeout(PATIENCE)

    def receive(self) -> bytes:
        """The next one."""
        return self._socket.recv(1 << 20)

    def has_more(self) -> bool:
        """Whether there is another one by now."""
        self._socket.setblocking(False)
        try:
            return bool(self._socket.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            return False
        finally:
            self._socket.settimeout(PATIENCE)

    def close(self) -> None:
        """Nobody listens there any more."""
        self._socket.close()


class Notified(Datagrams):
    """systemd, as far as a service tells it about itself."""

    def wait_for(self, wanted: str) -> List[str]:
        """Receives until a line begins so; gives the lines that came with it."""
        while True:
            lines = self.receive().decode().splitlines()
            self.seen += lines
            if any(line.startswith(wanted) for line in lines):
                return lines


class Journald(Datagrams):
    """journald, as far as a service can tell."""

    def record(self) -> Record:
        """The next record."""
        record = parsed(self.receive())
        self.seen += record["MESSAGE"]
        return record

    def wait_for(self, wanted: Callable[[Record], bool]) -> Record:
        """Receives until a record is what is wanted."""
        while True:
            record = self.record()
            if wanted(record):
                return record

    def wait_for_message(self, text: str) -> Record:
        """Receives until a record's message has this text in it."""
        return self.wait_for(lambda record: text in record["MESSAGE"][0])


def parsed(datagram: bytes) -> Record:
    """The fields of a record in journald's native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL)."""
    record: Record = defaultdict(list)
    at = 0
    while at < len(datagram):
        end = datagram.index(b"\n", at)
        name, equals, value = datagram[at:end].partition(b"=")
        at = end + 1
        if not equals:
            size = int.from_bytes(datagram[at : at + 8], "little")
            value = datagram[at + 8 : at + 8 + size]
            assert datagram[at + 8 + size : at + 9 + size] == b"\n"
            at += 9 + size
        record[name.decode()].append(value.decode())
    return record
