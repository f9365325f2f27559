"""How a call has ended at a runtime, and who says so."""

from __future__ import annotations

from enum import Enum
from typing import Final, Optional

from criproxy.http2.grpc import Code, RpcError, text_of
from criproxy.http2.headers import Block
from criproxy.report.log import code_name


class Source(Enum):
    """Whose words an outcome's status and text are."""

    RUNTIME = "the runtime"
    PROXY = "the proxy"


# An enumeration's members are slow to get in the middle of a call.
RUNTIME: Final = Source.RUNTIME
PROXY: Final = Source.PROXY


class Outcome:
    """How an exchange has ended.

    ``code``: gRPC's status. ``trailers``: what the runtime has said at the end, all of it where no headers have come;
    None if it has said nothing. ``reset``: the error code (RFC 9113, section 7) with which it has reset the stream.
    """

    __slots__ = ("code", "reset", "source", "text", "trailers")

    def __init__(
        self, source: Source, code: int, trailers: Optional[Block] = None, text: str = "", reset: Optional[int] = None
    ) -> None:
        self.source = source
        self.code = code
        self.trailers = trailers
        self.text = text
        self.reset = reset

    @property
    def ok(self) -> bool:
        """Whether the call has succeeded."""
        return not self.code

    @property
    def message(self) -> str:
        """What is said of the status (``grpc-message``)."""
        return self.text if self.trailers is None else text_of(self.trailers)

    @property
    def error(self) -> RpcError:
        """An outcome that is no success as an error."""
        return RpcError(Code.of(self.code), self.message)

    def __str__(self) -> str:
        return f"{code_name(self.code)}: {self.message}"


def failure(error: RpcError) -> Outcome:
    """The outcome that the proxy itself finds."""
    return Outcome(PROXY, error.code, None, str(error))
