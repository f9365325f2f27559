"""A call to one runtime: what flows through, what is no response, who says how it has ended."""

from __future__ import annotations

import gc
import gzip

import pytest
from scene import ALT, INTERNAL, PRIMARY, UNAVAILABLE, Node, message

from criproxy.cri.messages import api
from criproxy.http2.errors import ErrorCode
from criproxy.http2.events import DataReceived
from criproxy.http2.grpc import OK_TRAILERS, RESPONSE_HEADERS, Code, prefix, request_head
from criproxy.http2.headers import encode
from criproxy.relay.exchange import Exchange
from criproxy.relay.single import Single
from criproxy.report.log import STATES

STATUS = message("ContainerStatusResponse", status={"id": "c"})


def test_a_response_goes_through_as_it_is() -> None:
    node = Node()
    stream = node.call("ContainerStatus", container_id="c")
    node.send(PRIMARY, "ContainerStatus", STATUS, head=RESPONSE_HEADERS + encode(((b"head", b"1"),)))
    node.end(PRIMARY, "ContainerStatus", OK_TRAILERS + encode(((b"tail", b"2"),)))
    answer = node.answer(stream)
    assert (answer.bodies, answer.code) == ([STATUS], 0)
    assert (answer.metadata[b"head"], answer.metadata[b"tail"]) == (b"1", b"2")
    assert not node.asked(ALT, "ContainerStatus")
    assert not node.downstream.calls


def test_names_are_the_runtimes_own_there_and_kubelets_here() -> None:
    node = Node()
    stream = node.call("ContainerStatus", container_id="alt.test__c")
    node.give(ALT, "ContainerStatus", STATUS)
    assert node.answer(stream).bodies == [message("ContainerStatusResponse", status={"id": "alt.test__c"})]


MANY_MOUNTS = message("ContainerStatusResponse", status={"mounts": [{}] * 70_000})
MANY_ENVS = message("CreateContainerRequest", pod_sandbox_id="alt.test__p", config={"envs": [{}] * 70_000})


def test_a_response_of_too_many_fields_is_refused_before_it_is_parsed() -> None:
    node = Node(max_message_size=1 << 20)
    stream = node.call("ContainerStatus", container_id="alt.test__c")
    node.give(ALT, "ContainerStatus", MANY_MOUNTS)
    answer = node.answer(stream)
    assert (answer.bodies, answer.code) == ([], INTERNAL)
    assert answer.text == 'criproxy: the answer of runtime "alt.test" does not parse: it has more than 65536 fields'


def test_a_large_response_is_renamed_like_any_other() -> None:
    node = Node(max_message_size=1 << 20)
    stream = node.call("ContainerStatus", container_id="alt.test__c")
    info = {"text": "x" * 65_536}
    node.give(ALT, "ContainerStatus", message("ContainerStatusResponse", status={"id": "c"}, info=info))
    expected = message("ContainerStatusResponse", status={"id": "alt.test__c"}, info=info)
    while node.answer(stream).code is None:
        node.kubelet.say()
    assert node.answer(stream).bodies == [expected]


def test_a_request_of_too_many_fields_is_refused_before_it_is_parsed() -> None:
    node = Node(max_message_size=1 << 20)
    request = api()["CreateContainerRequest"].FromString(MANY_ENVS)
    stream = node.call("CreateContainer", **{field.name: value for field, value in request.ListFields()})
    answer = node.answer(stream)
    assert answer.code == Code.INVALID_ARGUMENT
    assert answer.text == "criproxy: the request is not a CreateContainerRequest: it has more than 65536 fields"
    assert not node.asked(ALT, "CreateContainer")


def test_so_is_one_that_names_nothing_but_is_looked_into() -> None:
    node = Node(max_message_size=1 << 20)
    stream = node.call_path("/runtime.v1.RuntimeService/Status", b"\x98\x06\x00" * 70_000)
    assert node.answer(stream).code == Code.INVALID_ARGUMENT
    assert not node.asked(PRIMARY, "Status")


def test_a_large_request_goes_to_its_runtime_like_any_other() -> None:
    node = Node(max_message_size=1 << 20)
    envs = [{"key": f"K{number}", "value": b"v" * 200} for number in range(600)]
    stream = node.call(
        "CreateContainer", pod_sandbox_id="alt.test__p", config={"image": {"image": "alt.test/i"}, "envs": envs}
    )
    node.give(ALT, "CreateContainer", message("CreateContainerResponse", container_id="c"))
    assert node.answer(stream).bodies == [message("CreateContainerResponse", container_id="alt.test__c")]


def test_a_failure_is_told_in_the_runtimes_words() -> None:
    node = Node()
    stream = node.call("StopContainer", container_id="alt.test__c")
    node.refuse(ALT, "StopContainer", 77, "no such thing", (b"own", b"x"))
    answer = node.answer(stream)
    assert (answer.heads, answer.code, answer.text, answer.metadata[b"own"]) == (0, 77, "no such thing", b"x")


def broken(node: Node, what: str) -> None:
    """Lets the primary runtime answer with what is no response."""
    stream_id, served = node.asked(PRIMARY, "ContainerStatus")[-1], node.served[PRIMARY]
    connection = served.connection
    if what == "not gRPC":
        connection.sender.headers(stream_id, encode(((b":status", b"200"), (b"content-type", b"text/html"))))
    elif what == "another HTTP status":
        connection.sender.headers(stream_id, encode(((b":status", b"502"), (b"content-type", b"text/html"))))
    else:
        connection.sender.headers(stream_id, RESPONSE_HEADERS)
    if what == "cut off":
        connection.sender.data(stream_id, prefix(10) + b"123")
    elif what == "too large":
        connection.sender.data(stream_id, prefix(10_001))
    elif what == "no trailers":
        connection.sender.data(stream_id, prefix(0), True)
    elif what == "several messages":
        connection.sender.data(stream_id, prefix(0) * 2)
    if what in ("cut off", "no message", "several messages"):
        connection.sender.headers(stream_id, OK_TRAILERS, True)
    served.say()


@pytest.mark.parametrize("shown", [False, True])
@pytest.mark.parametrize(
    ("what", "code", "text"),
    [
        ("not gRPC", Code.UNKNOWN, "content-type"),
        ("another HTTP status", UNAVAILABLE, "HTTP status 502"),
        ("cut off", INTERNAL, "ends within a message"),
        ("too large", Code.RESOURCE_EXHAUSTED, "--max-message-size"),
        ("no trailers", INTERNAL, "no trailers"),
        ("no message", INTERNAL, "no message"),
    ],
)
def test_what_is_no_response_is_told_whether_it_is_looked_into_or_not(
    what: str, code: int, text: str, shown: bool
) -> None:
    node = Node(verbosity=4 if shown else 0)
    stream = node.call("ContainerStatus", container_id="c")
    broken(node, what)
    answer = node.answer(stream)
    assert answer.code == code
    assert answer.text.startswith("criproxy: ")
    assert text in answer.text


def test_a_reset_goes_through_as_it_is() -> None:
    node = Node()
    stream = node.call("ContainerStatus", container_id="c")
    node.served[PRIMARY].connection.reset(node.asked(PRIMARY, "ContainerStatus")[0], ErrorCode.ENHANCE_YOUR_CALM)
    node.served[PRIMARY].say()
    assert node.answer(stream).reset == ErrorCode.ENHANCE_YOUR_CALM


def test_what_the_runtime_has_not_looked_at_is_sent_once_more() -> None:
    node = Node()
    stream = node.call("ContainerStatus", container_id="c")
    for count in (1, 2):
        asked = node.asked(PRIMARY, "ContainerStatus")
        assert len(asked) == count
        node.served[PRIMARY].connection.reset(asked[-1], ErrorCode.REFUSED_STREAM)
        node.served[PRIMARY].say()
    assert node.answer(stream).reset == ErrorCode.REFUSED_STREAM
    assert len(node.asked(PRIMARY, "ContainerStatus")) == 2


def test_a_runtime_that_goes_with_the_call_is_named() -> None:
    node = Node()
    stream = node.call("ContainerStatus", container_id="alt.test__c")
    node.lose(ALT)
    answer = node.answer(stream)
    assert answer.code == UNAVAILABLE
    assert answer.text.startswith('criproxy: runtime "alt.test" has gone during the call: ')


def test_the_primary_runtime_is_waited_for() -> None:
    node = Node()
    node.lose(PRIMARY)
    stream = node.call("ContainerStatus", container_id="c")
    assert node.answer(stream).code is None
    node.find(PRIMARY)
    node.give(PRIMARY, "ContainerStatus", STATUS)
    assert node.answer(stream).bodies == [STATUS]


def test_the_primary_runtime_is_waited_for_no_longer_than_the_connection_timeout() -> None:
    node = Node(connection_timeout=3.0)
    node.lose(PRIMARY)
    stream = node.call("ContainerStatus", container_id="c")
    node.loop.advance(2.9)
    assert node.answer(stream).code is None
    node.loop.advance(0.2)
    assert node.answer(stream).code == UNAVAILABLE


def test_an_alternative_runtime_is_not_waited_for() -> None:
    node = Node()
    node.lose(ALT)
    assert node.answer(node.call("ContainerStatus", container_id="alt.test__c")).code == UNAVAILABLE
    # A runtime that is not there has no images.
    answer = node.answer(node.call("ImageStatus", image={"image": "alt.test/i"}))
    assert (answer.bodies, answer.code) == ([b""], 0)


def test_what_kubelet_cancels_is_cancelled_at_the_runtime() -> None:
    node = Node()
    stream = node.call("ContainerStatus", container_id="c")
    node.kubelet.connection.reset(stream, ErrorCode.CANCEL)
    node.kubelet.say()
    assert node.resets(PRIMARY) == node.asked(PRIMARY, "ContainerStatus")
    assert not node.downstream.calls


def test_a_call_of_a_method_that_nobody_knows_flows_in_both_directions() -> None:
    node = Node()
    stream = node.call_path("/runtime.v1.RuntimeService/New", b"one", False)
    assert len(node.asked(PRIMARY, "New")) == 1
    node.send(PRIMARY, "New", b"1")
    node.kubelet.connection.sender.data(stream, prefix(3) + b"two", True)
    node.kubelet.say()
    node.send(PRIMARY, "New", b"2", head=b"")
    node.end(PRIMARY, "New")
    answer = node.answer(stream)
    assert (answer.bodies, answer.code) == ([b"1", b"2"], 0)


def test_empty_data_is_passed_on_in_neither_direction_since_many_end_a_connection() -> None:
    node = Node()
    stream = node.call_path("/runtime.v1.RuntimeService/New", b"one", False)
    node.kubelet.connection.sender.data(stream, b"")
    node.kubelet.say()
    node.send(PRIMARY, "New")
    for _ in range(3):
        node.served[PRIMARY].connection.sender.data(node.asked(PRIMARY, "New")[0], b"")
    node.send(PRIMARY, "New", b"1", head=b"")
    node.end(PRIMARY, "New")
    for peer in (node.kubelet, node.served[PRIMARY]):
        assert all(event.data for event in peer.heard(DataReceived))
    assert node.answer(stream).code == 0


def test_the_rest_of_a_request_is_not_wanted_when_the_response_is_whole() -> None:
    node = Node()
    stream = node.call_path("/runtime.v1.RuntimeService/New", b"one", False)
    node.refuse(PRIMARY, "New", Code.UNIMPLEMENTED)
    answer = node.answer(stream)
    assert (answer.code, answer.reset) == (Code.UNIMPLEMENTED, ErrorCode.NO_ERROR)


def test_a_sender_gets_back_what_the_receiver_has_taken() -> None:
    node = Node(max_message_size=1 << 30)
    body = b"x" * (3 << 20)
    stream = node.call_path("/runtime.v1.RuntimeService/New", b"")
    node.send(PRIMARY, "New", body)
    assert node.served[PRIMARY].connection.has_queued(node.asked(PRIMARY, "New")[0])
    for _ in range(200):
        data = [event for event in node.kubelet.events if isinstance(event, DataReceived)]
        for event in data:
            node.kubelet.connection.consumed(stream, event.size)
        node.kubelet.events = [event for event in node.kubelet.events if not isinstance(event, DataReceived)]
        node.kubelet.say()
        if not data:
            break
    assert not node.served[PRIMARY].connection.has_queued(node.asked(PRIMARY, "New")[0])


def test_a_change_is_noted_however_its_call_ends() -> None:
    node = Node(absence_grace=60.0)
    before = node.memories.stamp()
    node.call("StopContainer", container_id="alt.test__c")
    node.refuse(ALT, "StopContainer", 2)
    stream = node.call("StopContainer", container_id="alt.test__c")
    node.kubelet.connection.reset(stream, ErrorCode.CANCEL)
    node.kubelet.say()
    assert node.memories.stamp() == before + 2


def test_each_change_of_an_exchanges_state_is_logged_at_the_highest_verbosity() -> None:
    node = Node(verbosity=STATES)
    node.call("ContainerStatus", container_id="c")
    node.give(PRIMARY, "ContainerStatus", STATUS)
    lines = [line for line in node.text.getvalue().splitlines() if "ContainerStatus to the primary runtime" in line]
    assert [line.rpartition(": ")[2] for line in lines] == [
        "WAITING -> OPEN",
        "OPEN -> HEADERS",
        "HEADERS -> ENDED",
    ]


def test_an_error_of_the_proxys_own_has_its_name() -> None:
    node = Node()
    config = {"annotations": {"kubernetes.io/target-runtime": "none"}}
    assert node.answer(node.call("RunPodSandbox", config=config)).text.startswith("criproxy: unknown runtime")


def test_nothing_is_left_of_a_call_for_the_collector() -> None:
    node = Node()
    gc.collect()
    gc.disable()
    try:
        node.call("ContainerStatus", container_id="c")
        assert count_of(Single) == count_of(Exchange) == 1
        node.give(PRIMARY, "ContainerStatus", STATUS)
        assert count_of(Single) == count_of(Exchange) == 0
    finally:
        gc.enable()


def count_of(kind: type) -> int:
    """How many objects of a class there are."""
    return sum(type(each) is kind for each in gc.get_objects())


@pytest.mark.parametrize("size", [1, 4, 7])
def test_a_request_may_come_in_pieces(size: int) -> None:
    node = Node()
    body = message("ContainerStatusRequest", container_id="alt.test__c")
    framed = prefix(len(body)) + body
    stream = node.open("ContainerStatus")
    for at in range(0, len(framed), size):
        node.kubelet.connection.sender.data(stream, framed[at : at + size], at + size >= len(framed))
        node.kubelet.say()
    node.give(ALT, "ContainerStatus", STATUS)
    assert node.answer(stream).code == 0


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (prefix(0) * 2, "takes one message, not several"),
        (b"", "takes one message; the request has none"),
        (prefix(3) + b"12", "takes one message; the request has none"),
        (prefix(10_001), "--max-message-size"),
    ],
)
def test_what_is_no_request_is_refused(data: bytes, text: str) -> None:
    node = Node()
    stream = node.open("ContainerStatus")
    node.kubelet.connection.sender.data(stream, data, True)
    node.kubelet.say()
    answer = node.answer(stream)
    assert answer.text.startswith("criproxy: ")
    assert text in answer.text
    assert not node.downstream.calls


def test_a_call_that_is_no_grpc_is_refused() -> None:
    node = Node()
    connection = node.kubelet.connection
    stream = connection.open_stream()
    fields = ((b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/x"), (b":authority", b"localhost"))
    connection.sender.headers(stream, encode(fields), True)
    node.kubelet.say()
    assert node.answer(stream).code == Code.UNIMPLEMENTED


def test_a_call_that_is_shown_shows_its_request_and_its_response() -> None:
    node = Node(verbosity=4)
    stream = node.call("ContainerStatus", container_id="alt.test__c")
    node.give(ALT, "ContainerStatus", STATUS)
    node.answer(stream)
    shown = node.text.getvalue()
    assert "ENTER: /runtime.v1.RuntimeService/ContainerStatus()" in shown
    assert "LEAVE: /runtime.v1.RuntimeService/ContainerStatus()" in shown


# What takes long.


class Compressing(Node):
    """A node whose alternative runtime compresses what it says."""

    def __init__(self) -> None:
        super().__init__()
        self.stream = self.call("ContainerStatus", container_id="alt.test__c")
        connection, stream_id = self.served[ALT].connection, self.asked(ALT, "ContainerStatus")[-1]
        connection.sender.headers(stream_id, RESPONSE_HEADERS + encode(((b"grpc-encoding", b"gzip"),)))
        packed = gzip.compress(STATUS)
        self.message = b"\1" + prefix(len(packed))[1:] + packed
        connection.sender.data(stream_id, self.message)
        self.loop.crowded = True
        self.served[ALT].say()


def test_a_compressed_response_is_kubelets_when_there_was_time_for_it() -> None:
    node = Compressing()
    node.end(ALT, "ContainerStatus")
    assert node.answer(node.stream).code is None, "the trailers wait behind the message"
    node.loop.crowded = False
    node.loop.settle()
    answer = node.answer(node.stream)
    assert answer.bodies == [message("ContainerStatusResponse", status={"id": "alt.test__c"})]
    assert answer.code == 0
    assert not node.downstream.calls


def test_several_compressed_messages_are_no_unary_response() -> None:
    node = Compressing()
    node.served[ALT].connection.sender.data(node.asked(ALT, "ContainerStatus")[-1], node.message)
    node.end(ALT, "ContainerStatus")
    node.loop.crowded = False
    node.loop.settle()
    answer = node.answer(node.stream)
    assert (answer.code, answer.text) == (INTERNAL, "criproxy: the runtime's answer has several messages, not one")


@pytest.mark.parametrize("what", ["lost", "reset"])
def test_a_runtime_that_goes_meanwhile_has_gone_after_its_message(what: str) -> None:
    node = Compressing()
    if what == "lost":
        node.lose(ALT)
    else:
        node.served[ALT].connection.reset(node.asked(ALT, "ContainerStatus")[-1], ErrorCode.INTERNAL_ERROR)
        node.served[ALT].say()
    node.loop.crowded = False
    node.loop.settle()
    answer = node.answer(node.stream)
    assert len(answer.bodies) == 1
    assert (answer.code, answer.reset) == ((UNAVAILABLE, None) if what == "lost" else (None, ErrorCode.INTERNAL_ERROR))
    assert not node.downstream.calls


def test_a_call_that_kubelet_gives_up_meanwhile_is_worked_on_no_more() -> None:
    node = Compressing()
    node.kubelet.connection.reset(node.stream, ErrorCode.CANCEL)
    node.kubelet.say()
    node.loop.crowded = False
    node.loop.settle()
    assert node.answer(node.stream).bodies == []
    assert node.resets(ALT) == node.asked(ALT, "ContainerStatus")


def test_a_compressed_message_that_is_none_ends_the_call() -> None:
    node = Node()
    stream = node.call("ContainerStatus", container_id="alt.test__c")
    node.send(ALT, "ContainerStatus", head=RESPONSE_HEADERS + encode(((b"grpc-encoding", b"gzip"),)))
    node.served[ALT].connection.sender.data(node.asked(ALT, "ContainerStatus")[-1], b"\1\0\0\0\3abc")
    node.served[ALT].say()
    answer = node.answer(stream)
    assert answer.code == INTERNAL
    assert "compressed message" in answer.text


def compressed_request(node: Node) -> int:
    """Kubelet compresses what it says."""
    packed = gzip.compress(message("ContainerStatusRequest", container_id="alt.test__c"))
    connection = node.kubelet.connection
    stream_id = connection.open_stream()
    head = request_head("/runtime.v1.RuntimeService/ContainerStatus").wire
    connection.sender.headers(stream_id, head + encode(((b"grpc-encoding", b"gzip"),)))
    connection.sender.data(stream_id, b"\1" + prefix(len(packed))[1:] + packed, True)
    node.kubelet.say()
    return stream_id


def test_a_compressed_request_goes_on_when_there_was_time_for_it() -> None:
    node = Node()
    node.loop.crowded = True
    stream = compressed_request(node)
    assert not node.asked(ALT, "ContainerStatus")
    node.loop.crowded = False
    node.loop.settle()
    node.give(ALT, "ContainerStatus", STATUS)
    assert node.answer(stream).code == 0


def test_a_compressed_request_that_kubelet_gives_up_meanwhile_goes_nowhere() -> None:
    node = Node()
    node.loop.crowded = True
    stream = compressed_request(node)
    node.kubelet.connection.reset(stream, ErrorCode.CANCEL)
    node.kubelet.say()
    node.loop.crowded = False
    node.loop.settle()
    assert not node.asked(ALT, "ContainerStatus")
