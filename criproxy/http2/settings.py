"""SETTINGS (RFC 9113, section 6.5): what each end tells the other of itself."""

from __future__ import annotations

from typing import Callable, Dict, Final, List, Tuple

from criproxy.http2 import frames
from criproxy.http2.errors import ConnectionFault, ErrorCode
from criproxy.http2.headers import MAX_LIST_SIZE


def ours(client: bool, stream_window: int, max_streams: int) -> bytes:
    """The frame that we begin with. ``stream_window``: bytes."""
    values = [
        (frames.SETTINGS_HEADER_TABLE_SIZE, 0),
        (frames.SETTINGS_INITIAL_WINDOW_SIZE, stream_window),
        (frames.SETTINGS_MAX_HEADER_LIST_SIZE, MAX_LIST_SIZE),
    ]
    if client:
        values.append((frames.SETTINGS_ENABLE_PUSH, 0))
    else:
        values.append((frames.SETTINGS_MAX_CONCURRENT_STREAMS, max_streams))
    return frames.settings(values)


def parse(payload: bytes, client: bool) -> List[Tuple[int, int]]:
    """The peer's settings, in their order; ``client``: whether we are the client.

    Raises ConnectionFault for a value that is not allowed (section 6.5.2).
    """
    if len(payload) % 6:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS whose length is not a multiple of 6 bytes")
    pairs = list(frames.SETTING.iter_unpack(payload))
    for setting, value in pairs:
        check = _CHECKS.get(setting)
        if check is not None:
            check(value, client)
    return pairs


def _check_window(value: int, client: bool) -> None:
    del client
    if value > frames.MAX_WINDOW:
        raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, f"SETTINGS_INITIAL_WINDOW_SIZE {value}")


def _check_frame_size(value: int, client: bool) -> None:
    del client
    if not frames.DEFAULT_FRAME_SIZE <= value <= frames.MAX_FRAME_SIZE:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"SETTINGS_MAX_FRAME_SIZE {value}")


def _check_push(value: int, client: bool) -> None:
    if value > 1 or (value and client):
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"SETTINGS_ENABLE_PUSH {value}")


_CHECKS: Final[Dict[int, Callable[[int, bool], None]]] = {
    frames.SETTINGS_INITIAL_WINDOW_SIZE: _check_window,
    frames.SETTINGS_MAX_FRAME_SIZE: _check_frame_size,
    frames.SETTINGS_ENABLE_PUSH: _check_push,
}
