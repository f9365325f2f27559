"""The frames that carry no part of a call: what each changes of the connection or of a stream (RFC 9113, section 6)."""

from __future__ import annotations

from typing import Callable, Dict, Final, List

from criproxy.http2 import frames, settings
from criproxy.http2.errors import ConnectionFault, ErrorCode, StreamFault
from criproxy.http2.events import Event, GoAwayReceived, PingAcknowledged, SettingsReceived, StreamReset
from criproxy.http2.frames import ACK, Buffer
from criproxy.http2.headers import BlockDecoder
from criproxy.http2.limits import TINY_INCREMENT, Limits
from criproxy.http2.sending import Sender
from criproxy.http2.streams import Shutdown, Streams


class ControlFrames:
    """A method for each type of frame: it takes the flags, the stream, the payload and the list that events go to."""

    def __init__(
        self,
        client: bool,
        table: Streams,
        sender: Sender,
        decoder: BlockDecoder,
        limits: Limits,
        out: List[Buffer],
    ) -> None:
        self._client = client
        self._table = table
        self._sender = sender
        self._decoder = decoder
        self._limits = limits
        self._out = out

    def take(self, kind: int, flags: int, stream_id: int, payload: bytes, events: List[Event]) -> None:
        """Takes a frame. Raises ConnectionFault or StreamFault.

        gRPC's libraries send PING and WINDOW_UPDATE with each call: compiled, a call by name takes less than a table's.
        """
        if kind == frames.PING:
            self._on_ping(flags, stream_id, payload, events)
        elif kind == frames.WINDOW_UPDATE:
            self._on_window_update(flags, stream_id, payload, events)
        elif kind in _HANDLERS:
            _HANDLERS[kind](self, flags, stream_id, payload, events)
        else:  # of an unknown type, to be ignored (section 4.1)
            self._limits.count_control_frame()

    def _on_priority(self, flags: int, stream_id: int, payload: bytes, events: List[Event]) -> None:
        self._limits.count_control_frame()
        if not stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PRIORITY on stream 0")
        if len(payload) != frames.PRIORITY_SIZE:
            raise StreamFault(stream_id, ErrorCode.FRAME_SIZE_ERROR, "PRIORITY that is not 5 bytes long")

    def _on_rst_stream(self, flags: int, stream_id: int, payload: bytes, events: List[Event]) -> None:
        if len(payload) != 4:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "RST_STREAM that is not 4 bytes long")
        if not stream_id or self._table.is_idle(stream_id):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"RST_STREAM on the idle stream {stream_id}")
        self._limits.count_reset()
        if self._table.open.pop(stream_id, None) is not None:
            self._sender.forget(stream_id)
            events.append(StreamReset(stream_id, frames.word_at(payload, 0)))

    def _on_settings(self, flags: int, stream_id: int, payload: bytes, events: List[Event]) -> None:
        self._limits.count_control_bytes(len(payload))
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "SETTINGS on a stream")
        if flags & ACK:
            if payload:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "an acknowledgement of SETTINGS with content")
            self._decoder.settle()
            return
        for setting, value in settings.parse(payload, self._client):
            if setting == frames.SETTINGS_INITIAL_WINDOW_SIZE:
                self._limits.count_control_frame(self._sender.set_initial_window(value))
            elif setting == frames.SETTINGS_MAX_FRAME_SIZE:
                self._sender.max_frame = value
            elif setting == frames.SETTINGS_MAX_CONCURRENT_STREAMS:
                self._table.peer_max_streams = value
        self._out.append(frames.frame(frames.SETTINGS, ACK, 0))
        events.append(SettingsReceived())

    def _on_push_promise(self, flags: int, stream_id: int, payload: bytes, events: List[Event]) -> None:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE, but push is disabled")

    def _on_ping(self, flags: int, stream_id: int, payload: bytes, events: List[Event]) -> None:
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PING on a stream")
        if len(payload) != 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "PING that is not 8 bytes long")
        self._limits.count_control_frame()
        if flags & ACK:
            events.append(PingAcknowledged(payload))
            return
        self._out.append(frames.frame(frames.PING, ACK, 0, payload))

    def _on_goaway(self, flags: int, stream_id: int, payload: bytes, events: List[Event]) -> None:
        self._limits.count_control_frame()
        if stream_id:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "GOAWAY on a stream")
        if len(payload) < 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY that is too short")
        last, code = frames.TWO_WORDS.unpack_from(payload)
        last &= frames.MAX_STREAM_ID
        self._table.end(Shutdown.PEER)
        events.append(GoAwayReceived(last, code, payload[8:]))
        if self._client:
            for unseen in [opened for opened in self._table.open if opened > last]:
                del self._table.open[unseen]
                self._sender.forget(unseen)
                events.append(StreamReset(unseen, ErrorCode.REFUSED_STREAM))

    def _on_window_update(self, flags: int, stream_id: int, payload: bytes, events: List[Event]) -> None:
        if len(payload) != 4:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "WINDOW_UPDATE that is not 4 bytes long")
        increment = frames.word_at(payload, 0) & frames.MAX_WINDOW
        if stream_id and self._table.is_idle(stream_id):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"WINDOW_UPDATE on the idle stream {stream_id}")
        stream = self._table.open.get(stream_id)
        if not stream_id:
            useful = self._sender.open_connection(increment)
        else:
            useful = stream is not None and self._sender.open_stream(stream_id, stream, increment)
        if not useful or increment < TINY_INCREMENT:
            self._limits.count_control_frame()


# Methods bound to an object of it would be references in a circle, and keep it after its end.
_HANDLERS: Final[Dict[int, Callable[[ControlFrames, int, int, bytes, List[Event]], None]]] = {
    frames.PRIORITY: ControlFrames._on_priority,
    frames.RST_STREAM: ControlFrames._on_rst_stream,
    frames.SETTINGS: ControlFrames._on_settings,
    frames.PUSH_PROMISE: ControlFrames._on_push_promise,
    frames.GOAWAY: ControlFrames._on_goaway,
}
"""The method for a frame that seldom comes, by the frame's type."""
