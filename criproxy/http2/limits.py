"""What a peer may cost us: so much a second, then the connection ends with ENHANCE_YOUR_CALM (RFC 9113, section 10.5).

No call of kubelet's comes near these numbers. They only keep one peer from taking the thread that all others need.
"""

from __future__ import annotations

from typing import Callable, Final

from criproxy.http2.errors import ConnectionFault, ErrorCode

MAX_CONTROL_FRAMES: Final = 50_000
"""Frames a second that cost us work and move no call: SETTINGS, PING, PRIORITY, DATA and WINDOW_UPDATE of next to
nothing, frames of unknown types and on streams that are over. Against floods of them: CVE-2019-9512 (PING),
CVE-2019-9513 (PRIORITY), CVE-2019-9515 (SETTINGS), CVE-2019-9518 (empty frames). One costs about 2 µs here, so a flood
takes a tenth of the thread before it ends."""

CONTROL_FRAMES_OF_A_CALL: Final = 4
"""So many are free with each head of a call: libraries give windows back with each answer, on the stream and on the
connection (HAProxy), and send a PING for each piece of data at most (gRPC's measure of bandwidth)."""

TINY_DATA: Final = 5
"""DATA with fewer bytes than this, not counting its padding, is a control frame, unless it ends its stream. No message
of gRPC's is as short."""

TINY_INCREMENT: Final = 256
"""So is a WINDOW_UPDATE that opens fewer bytes, though something waits for them: it has us send a frame for each few.
Libraries give back a quarter of a window or more."""

MAX_RESETS: Final = 2_500
"""Streams a second that end before their end: by the peer's RST_STREAM (rapid reset, CVE-2023-44487) or because the
peer has us send one (made you reset, CVE-2025-8671). Such a stream counts no longer among those that are open, so
SETTINGS_MAX_CONCURRENT_STREAMS does not bound them. A client that cancels all of its 1,000 calls, twice, is still
welcome."""

LARGE_BLOCK: Final = 4_096
"""Field blocks larger than this are counted, and read in steps, bytes. Reading a smaller one costs less than the call
it belongs to."""

MAX_BLOCK_BYTES: Final = 16 * 2**20
"""Bytes of large field blocks that a connection may bring at once: one block of the size that is announced.
To read a Huffman-coded byte takes 0.2 µs."""

BLOCK_BYTES_A_SECOND: Final = 2**20
"""As many more may come each second; reading them takes at most a fifth of the thread."""

_BYTES_OF_A_FRAME: Final = 64
"""What has to be read counts as one control frame, and one more for so many bytes."""
_CODE_OF_A_FRAME: Final = 8
"""bytes of Huffman code that take as long to read as one control frame."""


class Limits:
    """Counts what one peer has cost. ``clock`` gives seconds."""

    __slots__ = ("_block_bytes", "_block_time", "_clock", "_control_frames", "_resets", "_second")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._second = 0.0
        self._control_frames = 0
        self._resets = 0
        self._block_bytes = float(MAX_BLOCK_BYTES)
        self._block_time = 0.0

    def count_control_frame(self, weight: int = 1) -> None:
        """A frame that moves no call. Raises ConnectionFault if it is one too many."""
        self._tick()
        self._control_frames += weight
        if self._control_frames > MAX_CONTROL_FRAMES:
            text = f"more than {MAX_CONTROL_FRAMES} control frames a second"
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, text)

    def count_call(self) -> None:
        """The head of a request, or of a response."""
        if self._control_frames:
            self._control_frames = max(0, self._control_frames - CONTROL_FRAMES_OF_A_CALL)

    def count_control_bytes(self, size: int) -> None:
        """So many bytes that are read and move no call. Raises ConnectionFault if they are too many."""
        self.count_control_frame(1 + size // _BYTES_OF_A_FRAME)

    def count_block(self, size: int) -> None:
        """A field block of so many bytes that moves no call. Raises ConnectionFault if it is one too many."""
        self.count_control_frame(1 + size // _CODE_OF_A_FRAME)

    def count_reset(self) -> None:
        """A stream that ends before its end. Raises ConnectionFault if it is one too many."""
        self._tick()
        self._resets += 1
        if self._resets > MAX_RESETS:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, f"more than {MAX_RESETS} resets a second")

    def allows_block(self, size: int, skippable: bool) -> bool:
        """Whether a large field block, of ``size`` bytes, may be read; if so, it is counted.

        Raises ConnectionFault if it may not, and cannot be skipped.
        """
        now = self._clock()
        refilled = self._block_bytes + (now - self._block_time) * BLOCK_BYTES_A_SECOND
        self._block_bytes = min(float(MAX_BLOCK_BYTES), refilled)
        self._block_time = now
        if size > self._block_bytes:
            if not skippable:
                raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many large field blocks")
            return False
        self._block_bytes -= size
        return True

    def _tick(self) -> None:
        now = self._clock()
        if now - self._second >= 1:
            self._second = now
            self._control_frames = self._resets = 0
