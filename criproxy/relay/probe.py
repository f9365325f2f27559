"""The first call on a connection: whether the peer has a service of the CRI, and in which versions.

The call is cheap and changes nothing. A version is spoken if the answer to the call in it is OK, and not spoken if it
is UNIMPLEMENTED. After any other answer the runtime is not ready yet.
"""

from __future__ import annotations

from typing import Callable, Dict, Final, FrozenSet, NamedTuple, Optional

from criproxy.cri.versions import ApiVersion, path_of
from criproxy.cri.views import Views, encode
from criproxy.cri.wire import DecodeError
from criproxy.http2.grpc import Code, Reader, RpcError, error_of, plain, prefix, request_head, status_of
from criproxy.http2.headers import Block
from criproxy.relay.upstream import StreamSink, Upstream

_LIMIT: Final = 64 * 1024
"""The largest answer to a probe that is read, bytes. An answer to Version has about a hundred."""
_LONGEST_FAILURE: Final = 200
"""characters of a runtime's own text in the reason why it is not available: the reason is one line of the log."""
_SUPPORTED: Final[Dict[int, bool]] = {Code.OK: True, Code.UNIMPLEMENTED: False}
_VERSION: Final = Views({"VersionResponse": ("runtime_name", "runtime_version")})["VersionResponse"]


class Service(NamedTuple):
    """One of the CRI's two services, as it is looked for on a socket."""

    name: str
    title: str
    """What the primary runtime's is called in a list of runtimes."""
    method: str
    """What is called to find out whether it is there."""
    request: bytes
    who: Callable[[bytes], str]
    """Makes the name of who is there of the answer; empty where that has none. Raises DecodeError."""
    refusal: str
    """What is wrong with who has it in no version."""


def _runtime_in(body: bytes) -> str:
    answer = _VERSION.read(body)
    name: bytes = b" ".join((answer.runtime_name, answer.runtime_version))
    return name.decode("utf-8", "replace").strip()


RUNTIME_SERVICE: Final = Service(
    "RuntimeService",
    "primary",
    "Version",
    b"",
    _runtime_in,
    "it speaks no known version of the CRI",
)
IMAGE_SERVICE: Final = Service(
    "ImageService",
    "image service",
    # Whoever has only images has no Version. To look one image up by its name is what every image service does at once,
    # and kubelet, too, needs an empty answer for one that is not there. ImageFsInfo walks through all images' files in
    # CRI-O, and containerd lists all images whatever the filter of ListImages says. A host in .invalid has none
    # (RFC 2606), and nobody asks a registry for a status.
    "ImageStatus",
    encode("ImageStatusRequest", {"image": {"image": b"criproxy.invalid/is-this-version-spoken"}}),
    lambda body: "",
    "it has no ImageService in a known version of the CRI",
)


class Found(NamedTuple):
    """What has been found out on a connection."""

    versions: FrozenSet[ApiVersion]
    """The versions in which the service is there."""
    name: str
    """Who is there, in its own words; may be empty."""
    refused: bool
    """Whether the service is there in no version; if it is not, and ``versions`` is empty, that is not known yet."""
    failure: str
    """How a question has failed that leaves this open: the gRPC status and its text; empty if there is none."""


class Probe:
    """Asks over one connection for a service, in every version at once. ``done`` is told, once, what has been found.

    If the connection closes meanwhile it is told nothing: the connection's owner hears of that.
    """

    def __init__(self, service: Service, done: Callable[[Found], None]) -> None:
        self._service = service
        self._done = done
        self._answered: Dict[ApiVersion, _Question] = {}

    def start(self, upstream: Upstream) -> None:
        """Asks."""
        for version in ApiVersion:
            _Question(self._service, version, self._on_answer).start(upstream)

    def _on_answer(self, answered: _Question) -> None:
        self._answered[answered.version] = answered
        if len(self._answered) < len(ApiVersion):
            return
        questions = [self._answered[version] for version in ApiVersion]
        versions = frozenset(question.version for question in questions if question.supported)
        name = next((question.name for question in questions if question.supported), "")
        failure = next((question.failure for question in questions if question.failure), "")
        self._done(Found(versions, name, all(question.supported is False for question in questions), failure))


class _Question(StreamSink):
    """The question for one version: ``supported`` is None as long as it is not known whether the service is there."""

    __deletable__ = ("_done",)

    def __init__(self, service: Service, version: ApiVersion, done: Callable[[_Question], None]) -> None:
        self.stream_id = 0
        self.version = version
        self.name = ""
        self.supported: Optional[bool] = None
        self.failure = ""
        self._service = service
        self._done = done
        self._reader = Reader(_LIMIT)

    def start(self, upstream: Upstream) -> None:
        """Asks."""
        head = request_head(path_of(self.version, self._service.name, self._service.method))
        request = self._service.request
        upstream.open(self, head.wire, prefix(len(request)) + request)

    def on_opened(self) -> None:
        """Nothing more to send."""

    def on_headers(self, block: Block, end: bool) -> None:
        """The trailers say whether this version is known."""
        if end:
            self.supported = _SUPPORTED.get(status_of(block.head))
            error = error_of(block)
            if self.supported is None and error is not None:
                self.failure = ": ".join(filter(None, (error.code.name, str(error))))[:_LONGEST_FAILURE]
            self._finish()

    def on_data(self, data: bytes, size: int, end: bool) -> None:
        """The answer may tell who is there."""
        try:
            for body in self._reader.feed(data):
                self.name = self._service.who(plain(body))
        except (RpcError, DecodeError):
            self.name = "a runtime without a name"
        if end:
            self._finish()

    def on_request_sent(self, size: int) -> None:
        """Nothing waits for it."""

    def on_reset(self, code: int) -> None:
        """No answer."""
        self._finish()

    def on_lost(self, reason: str) -> None:
        """No answer; the owner of the connection has heard of it."""

    def _finish(self) -> None:
        done = self._done
        # They know each other: without this both, and the connection, would be there until the collector finds them.
        del self._done
        done(self)
