"""What can go wrong on a connection, each with the error code that the wire needs."""

from __future__ import annotations

from enum import IntEnum


class ErrorCode(IntEnum):
    """RFC 9113, section 7."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD

    @classmethod
    def name_of(cls, code: int) -> str:
        """The name of a code on the wire; of one that nobody knows its number."""
        return cls(code).name if code in cls.__members__.values() else str(code)


class Http2Error(Exception):
    """An error that has a code of section 7. The text names what offended."""

    def __init__(self, code: ErrorCode, text: str) -> None:
        super().__init__(text)
        self.code = code


class ConnectionFault(Http2Error):
    """A connection error (section 5.4.1): the connection ends with GOAWAY."""


class StreamFault(Http2Error):
    """A stream error (section 5.4.2): the stream ends with RST_STREAM, the connection goes on."""

    def __init__(self, stream_id: int, code: ErrorCode, text: str) -> None:
        super().__init__(code, text)
        self.stream_id = stream_id
