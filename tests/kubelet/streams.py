"""What comes of a stream."""

from __future__ import annotations

from typing import Dict

from tests.containerd.websocket import Stream


def all_of(stream: Stream) -> Dict[int, bytes]:
    """All that comes on each channel."""
    said: Dict[int, bytes] = {}
    for channel, data in stream:
        said[channel] = said.get(channel, b"") + data
    return said


def until(stream: Stream, channel: int, wanted: bytes) -> bytes:
    """What comes on a channel until all that is wanted has come, or the stream ends."""
    said = b""
    for number, data in stream:
        said += data if number == channel else b""
        if wanted in said:
            break
    return said
