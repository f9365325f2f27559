"""Lists of several runtimes, in one message and as streams: their order, their failures, and what stands in."""

from __future__ import annotations

from typing import Any, List

import pytest
from constants import set_constant
from scene import ALT, PRIMARY, UNAVAILABLE, UNIMPLEMENTED, Node, message

from criproxy.cri.messages import api
from criproxy.cri.methods import METHODS, Merge, Method, To
from criproxy.cri.schema import load
from criproxy.http2.errors import ErrorCode
from criproxy.http2.events import DataReceived
from criproxy.http2.grpc import RESPONSE_HEADERS, prefix
from criproxy.http2.headers import encode
from criproxy.relay import lists
from criproxy.relay.complaint import QUIET

LIST, STREAM = "ListContainers", "StreamContainers"
THIRD = "third"


def containers(*ids: str) -> bytes:
    """A list, which is the same on the wire as one message and as one of a stream."""
    return message("ListContainersResponse", containers=[{"id": id} for id in ids])


def listed(node: Node, stream: int) -> List[str]:
    """The containers that kubelet has been told of."""
    return node.listed(stream, LIST, "containers")


@pytest.mark.parametrize("method", [LIST, STREAM])
class TestAList:
    def test_has_what_all_list_in_the_order_of_the_runtimes(self, method: str) -> None:
        node = Node((PRIMARY, ALT, THIRD))
        stream = node.call(method)
        for id, name in ((THIRD, "c"), (ALT, "b"), (PRIMARY, "a")):
            assert node.answer(stream).code is None
            node.give(id, method, containers(name))
        assert listed(node, stream) == ["a", "alt.test__b", "third__c"]
        assert node.answer(stream).code == 0

    def test_has_the_primarys_metadata(self, method: str) -> None:
        node = Node()
        stream = node.call(method)
        node.give(ALT, method, containers("b"))
        node.send(PRIMARY, method, containers("a"), head=RESPONSE_HEADERS + encode(((b"head", b"1"),)))
        node.end(PRIMARY, method, encode(((b"grpc-status", b"0"), (b"tail", b"2"))))
        answer = node.answer(stream)
        assert (answer.metadata[b"head"], answer.metadata[b"tail"]) == (b"1", b"2")

    def test_fails_as_the_primary_does(self, method: str) -> None:
        node = Node()
        stream = node.call(method)
        node.refuse(PRIMARY, method, 9, "not now", (b"own", b"x"))
        answer = node.answer(stream)
        assert (answer.code, answer.text, answer.metadata[b"own"]) == (9, "not now", b"x")
        assert node.resets(ALT) == node.asked(ALT, method)

    def test_is_without_an_alternative_runtime_that_fails(self, method: str) -> None:
        node = Node()
        stream = node.call(method)
        node.give(PRIMARY, method, containers("a"))
        node.refuse(ALT, method, 13, "broken")
        assert listed(node, stream) == ["a"]
        assert f'{method} is answered without runtime "alt.test": INTERNAL: broken' in node.text.getvalue()

    def test_is_without_an_alternative_runtime_that_is_late(self, method: str) -> None:
        node = Node(fan_out_timeout=2.0)
        stream = node.call(method)
        node.give(PRIMARY, method, containers("a"))
        node.loop.advance(1.9)
        assert node.answer(stream).code is None
        node.loop.advance(0.2)
        assert (listed(node, stream), node.answer(stream).code) == (["a"], 0)
        assert node.resets(ALT) == node.asked(ALT, method)

    def test_has_what_an_absent_runtime_had(self, method: str) -> None:
        node = Node(absence_grace=60.0)
        # The relay has asked by itself when it found the runtime.
        node.give(ALT, LIST, containers("b", "c"))
        node.lose(ALT)
        stream = node.call(method)
        node.give(PRIMARY, method, containers("a"))
        assert listed(node, stream) == ["a", "alt.test__b", "alt.test__c"]

    def test_waits_for_the_primary(self, method: str) -> None:
        node = Node(connection_timeout=1.0)
        node.lose(PRIMARY)
        stream = node.call(method)
        node.give(ALT, method, containers("b"))
        node.loop.advance(1.1)
        assert node.answer(stream).code == UNAVAILABLE

    def test_that_kubelet_cancels_is_cancelled_everywhere(self, method: str) -> None:
        node = Node()
        stream = node.call(method)
        node.kubelet.connection.reset(stream, ErrorCode.CANCEL)
        node.kubelet.say()
        for id in (PRIMARY, ALT):
            assert node.resets(id) == node.asked(id, method)


BAD = b"\x0a\x04\x0a\x02\xff\xfe"
"""An entry whose id is not UTF-8."""
LISTS = [row for row in METHODS.values() if row.to is To.ALL]


class TestWhatKubeletCouldNotParse:
    @pytest.mark.parametrize("row", LISTS, ids=[row.name for row in LISTS])
    def test_is_left_out_of_every_list(self, row: Method) -> None:
        node = Node()
        stream = node.call(row.name)
        bad = b"\x0a\x03\x0a\x01\xff" if row.name != "ImageFsInfo" else b"\x12\x02\x0a\x00"
        name = next(iter(load().messages[row.rpc.response]))
        good = message(row.rpc.response, **{name: [{}]})
        node.give(ALT, row.name, bad + good)
        node.give(PRIMARY, row.name, good)
        answer: Any = api()[row.rpc.response].FromString(b"".join(node.answer(stream).bodies))
        assert len(getattr(answer, name)) == 2 - (row.merge is Merge.ONE_OF_A_METRIC)
        assert node.text.getvalue().count(f'{row.name}: of runtime "alt.test": entry 0 is left out: ') == 1

    def test_is_left_out_of_a_list_of_the_runtime_alone(self) -> None:
        node = Node()
        stream = node.call(LIST, filter={"id": "alt.test__b"})
        node.give(ALT, LIST, BAD + containers("b"))
        assert listed(node, stream) == ["alt.test__b"]

    def test_is_not_remembered(self) -> None:
        node = Node(absence_grace=60.0)
        node.give(ALT, LIST, containers("b") + BAD)
        node.lose(ALT)
        stream = node.call(LIST)
        node.give(PRIMARY, LIST, containers("a"))
        assert listed(node, stream) == ["a", "alt.test__b"]

    @pytest.mark.parametrize("method", [LIST, STREAM])
    def test_is_said_again_when_it_has_been_well_for_a_minute(self, method: str) -> None:
        node = Node()

        def list_all(*entries: bytes) -> int:
            node.call(method)
            node.give(ALT, method, *entries)
            node.give(PRIMARY, method, containers("a"))
            return node.text.getvalue().count("is left out")

        for _ in range(100):
            assert list_all(BAD) == 1
            assert list_all(containers("b")) == 1
            node.loop.advance(1)
        node.loop.advance(QUIET)
        assert list_all(BAD) == 2

    @pytest.mark.parametrize("whole", [b"\x0a\x05", b"\x08\x01", b"\xff"])
    def test_may_be_all_of_it_and_then_the_last_list_stands_in(self, whole: bytes) -> None:
        node = Node(absence_grace=60.0)
        node.give(ALT, LIST, containers("b"))
        stream = node.call(LIST)
        node.give(ALT, LIST, whole)
        node.give(PRIMARY, LIST, containers("a"))
        assert listed(node, stream) == ["a", "alt.test__b"]
        assert "the answer is no ListContainersResponse" in node.text.getvalue()

    @pytest.mark.parametrize("method", [LIST, STREAM, "ListImages", "StreamImages", "ListMetricDescriptors"])
    @pytest.mark.parametrize("bad", [BAD, b"\x0a\x05", b"\xff\xff"])
    def test_goes_through_where_the_primary_lists_it(self, method: str, bad: bytes) -> None:
        node = Node()
        stream = node.call(method)
        node.give(ALT, method, b"")
        node.give(PRIMARY, method, bad)
        answer = node.answer(stream)
        assert (b"".join(answer.bodies), answer.code) == (bad, 0)


class TestALongList:
    @pytest.mark.parametrize("method", [LIST, STREAM])
    def test_that_is_nearly_the_last_one_takes_no_turn_of_its_own(self, method: str) -> None:
        node = Node(max_message_size=1 << 20)
        ids = [f"{number:064}" for number in range(400)]
        for last in ("a", "b", "b"):
            stream = node.call(method)
            node.give(PRIMARY, method, b"")
            node.give(ALT, method, containers(*ids, last))
            assert len(listed(node, stream)) == 401
            node.loop.crowded = True

    def test_that_is_new_lets_others_have_their_turns(self) -> None:
        node = Node(max_message_size=1 << 20)
        stream = node.call(LIST)
        node.give(PRIMARY, LIST, b"")
        node.loop.crowded = True
        node.give(ALT, LIST, b"\x0a\x00" * 5000)
        assert node.answer(stream).code is None
        other = node.call("ContainerStatus", container_id="c")
        node.give(PRIMARY, "ContainerStatus", b"")
        assert node.answer(other).code == 0
        node.loop.crowded = False
        node.loop.settle()
        assert len(listed(node, stream)) == 5000


class TestAListInOneMessage:
    def test_is_without_a_runtime_that_lacks_the_method(self) -> None:
        node = Node()
        stream = node.call(LIST)
        node.refuse(ALT, LIST, UNIMPLEMENTED)
        node.give(PRIMARY, LIST, containers("a"))
        assert (listed(node, stream), node.answer(stream).code) == (["a"], 0)

    def test_has_the_primarys_part_whatever_the_others_list(self) -> None:
        node = Node((PRIMARY, ALT, THIRD), max_message_size=1000)
        stream = node.call(LIST)
        node.give(ALT, LIST, containers(*"abcdefg" * 10))
        node.give(THIRD, LIST, containers(*"xyz" * 10))
        node.give(PRIMARY, LIST, containers("p" * 500, "q"))
        mine = [id for id in listed(node, stream) if "__" not in id]
        theirs = [id for id in listed(node, stream) if id.startswith(ALT)]
        others = [id for id in listed(node, stream) if id.startswith(THIRD)]
        assert mine == ["p" * 500, "q"]
        assert theirs == [f"alt.test__{id}" for id in ("abcdefg" * 10)[: len(theirs)]]
        assert (len(theirs), len(others)) == (16, 20)
        assert (
            'bytes that runtime "alt.test" lists are left out: all runtimes together may list 1000, and 511 are the'
            " primary runtime's; remove there what nobody needs" in node.text.getvalue()
        )

    @pytest.mark.parametrize("method", [LIST, "ListImages"])
    def test_is_the_primarys_if_that_is_cut_off(self, method: str) -> None:
        node = Node()
        stream = node.call(method)
        node.give(ALT, method, message("ListContainersResponse", containers=[{"id": "b"}]))
        node.give(PRIMARY, method, b"\x0a\x05a")
        assert (node.answer(stream).bodies, node.answer(stream).code) == ([b"\x0a\x05a"], 0)

    def test_is_the_primarys_if_that_is_all_that_fits(self, monkeypatch: pytest.MonkeyPatch) -> None:
        set_constant(monkeypatch, lists, "LARGEST_MESSAGE", 100)
        node = Node()
        stream = node.call(LIST)
        node.give(ALT, LIST, containers("b"))
        node.give(PRIMARY, LIST, containers("p" * 500))
        assert listed(node, stream) == ["p" * 500]

    def test_says_again_that_it_has_been_too_large_if_it_has_fit(self) -> None:
        node = Node(max_message_size=100)

        def list_all(*ids: str, **fields: Any) -> int:
            node.call(LIST, **fields)
            node.give(ALT, LIST, containers(*ids))
            node.give(PRIMARY, LIST, containers("p"))
            return node.text.getvalue().count("are left out")

        assert [list_all(*"abcdefg"), list_all(*"abcdefg")] == [1, 1]
        assert [list_all("a", filter={"state": {"state": 1}}), list_all(*"abcdefg")] == [1, 1]
        assert [list_all("a"), list_all(*"abcdefg")] == [1, 2]

    def test_has_as_much_of_what_an_absent_runtime_had(self) -> None:
        node = Node(absence_grace=60.0, max_message_size=100)
        node.give(ALT, LIST, containers(*"abcdefg"))
        node.lose(ALT)
        stream = node.call(LIST)
        node.give(PRIMARY, LIST, containers("p" * 50))
        assert listed(node, stream) == ["p" * 50, "alt.test__a", "alt.test__b", "alt.test__c"]

    def test_is_without_a_runtime_whose_answer_is_none(self) -> None:
        node = Node()
        stream = node.call(LIST)
        node.give(PRIMARY, LIST, containers("a"))
        node.give(ALT, LIST)
        assert listed(node, stream) == ["a"]
        assert "INTERNAL: criproxy: the runtime's answer has no message" in node.text.getvalue()


class TestAStreamedList:
    @pytest.mark.parametrize("old", [PRIMARY, ALT])
    def test_is_unimplemented_as_soon_as_one_runtime_says_so(self, old: str) -> None:
        node = Node()
        stream = node.call(STREAM)
        node.refuse(old, STREAM, UNIMPLEMENTED, "old", (b"own", b"x"))
        answer = node.answer(stream)
        assert (answer.code, answer.text, answer.metadata[b"own"]) == (UNIMPLEMENTED, "old", b"x")

    def test_has_a_runtimes_messages_as_they_come_when_it_is_its_turn(self) -> None:
        node = Node()
        stream = node.call(STREAM)
        node.send(ALT, STREAM, containers("b"))
        node.send(PRIMARY, STREAM, containers("a1"))
        assert listed(node, stream) == ["a1"]
        node.send(PRIMARY, STREAM, containers("a2"), head=b"")
        assert listed(node, stream) == ["a1", "a2"]
        node.end(PRIMARY, STREAM)
        assert listed(node, stream) == ["a1", "a2", "alt.test__b"]
        node.end(ALT, STREAM)
        assert node.answer(stream).code == 0

    def test_is_without_the_rest_of_a_runtime_that_trickles(self) -> None:
        node = Node(fan_out_timeout=5.0, absence_grace=60.0)
        node.give(ALT, LIST, containers("x", "0", "1"))
        stream = node.call(STREAM)
        node.give(PRIMARY, STREAM, containers("a"))
        node.send(ALT, STREAM)
        for number in range(10):
            assert (node.answer(stream).code is None) == (number < 6)
            if node.answer(stream).code is None:
                node.send(ALT, STREAM, containers(str(number)), head=b"")
            node.loop.advance(0.9)
        assert listed(node, stream) == ["a", *(f"alt.test__{number}" for number in range(6)), "alt.test__x"]
        assert node.asked(ALT, STREAM)[0] in node.resets(ALT)

    def test_gives_a_runtime_time_that_has_much_to_list(self) -> None:
        node = Node(fan_out_timeout=5.0, max_message_size=1 << 30)
        stream = node.call(STREAM)
        node.give(PRIMARY, STREAM, containers("a"))
        large = message("ListContainersResponse", containers=[{"id": "b", "image_ref": "x" * (600 << 10)}])
        node.send(ALT, STREAM)
        for _ in range(6):
            node.send(ALT, STREAM, large, head=b"")
            while data := node.kubelet.heard(DataReceived):
                node.kubelet.events = [event for event in node.kubelet.events if event not in data]
                node.kubelet.connection.consumed(stream, sum(event.size for event in data))
                node.kubelet.say()
            node.loop.advance(2)
        node.end(ALT, STREAM)
        assert node.answer(stream).code == 0
        assert node.resets(ALT) == []

    def test_gives_a_runtime_time_that_waits_for_kubelet(self) -> None:
        node = Node(fan_out_timeout=5.0, max_message_size=1 << 30)
        stream = node.call(STREAM)
        node.give(PRIMARY, STREAM, containers("a"))
        large = message("ListContainersResponse", containers=[{"id": "b", "image_ref": "x" * (2 << 20)}])
        node.send(ALT, STREAM, large)
        node.loop.advance(9)
        assert node.answer(stream).code is None
        node.loop.advance(2)
        assert node.resets(ALT) == []

    @pytest.mark.parametrize("body", [containers("b"), b""])
    def test_is_without_what_a_runtime_sends_without_end(self, body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
        set_constant(monkeypatch, lists, "MOST_STREAMED", 10)
        node = Node()
        stream = node.call(STREAM)
        node.send(ALT, STREAM, *[body] * 20)
        node.give(PRIMARY, STREAM, *[containers("a")] * 20)
        assert node.answer(stream).code == 0
        assert len(node.answer(stream).bodies) == len(listed(node, stream)) == 20 + (10 if body else 0)
        assert "a runtime may list 10 entries" in node.text.getvalue()

    def test_gives_a_runtime_time_that_waits_for_its_turn(self) -> None:
        node = Node(fan_out_timeout=1.0)
        stream = node.call(STREAM)
        node.send(ALT, STREAM, containers("b"))
        node.loop.advance(5)
        node.give(PRIMARY, STREAM, containers("a"))
        node.end(ALT, STREAM)
        assert listed(node, stream) == ["a", "alt.test__b"]

    def test_has_the_rest_of_what_a_runtime_had_that_goes_away(self) -> None:
        node = Node(absence_grace=60.0)
        node.give(ALT, LIST, containers("b", "c"))
        stream = node.call(STREAM)
        node.send(ALT, STREAM, containers("b"))
        node.give(PRIMARY, STREAM, containers("a"))
        node.lose(ALT)
        assert listed(node, stream) == ["a", "alt.test__b", "alt.test__c"]
        assert node.answer(stream).code == 0

    def test_lets_nobody_send_more_than_kubelet_takes(self) -> None:
        node = Node(max_message_size=1 << 30)
        stream = node.call(STREAM)
        entry = message("ListContainersResponse", containers=[{"id": "b", "image_ref": "x" * (3 << 20)}])
        node.send(ALT, STREAM, entry)
        assert node.served[ALT].connection.has_queued(node.asked(ALT, STREAM)[0])
        node.give(PRIMARY, STREAM)
        assert not node.served[ALT].connection.has_queued(node.asked(ALT, STREAM)[0])
        node.end(ALT, STREAM)
        assert stream in node.downstream.calls or node.downstream.connection.has_queued(stream)

    def test_is_without_what_a_runtime_sends_after_a_message_that_is_none(self) -> None:
        node = Node()
        stream = node.call(STREAM)
        node.send(ALT, STREAM, containers("b"))
        alt = node.served[ALT]
        alt.connection.sender.data(node.asked(ALT, STREAM)[0], prefix(3) + b"\xff\xff\xff")
        alt.say()
        node.give(PRIMARY, STREAM, containers("a"))
        assert listed(node, stream) == ["a", "alt.test__b"]
        assert node.answer(stream).code == 0


def test_a_list_of_one_runtime_asks_it_alone() -> None:
    node = Node()
    stream = node.call(LIST, filter={"id": "alt.test__b"})
    node.give(ALT, LIST, containers("b"))
    assert listed(node, stream) == ["alt.test__b"]
    assert not node.asked(PRIMARY, LIST)


def test_a_list_that_two_runtimes_would_have_to_have_is_empty() -> None:
    node = Node()
    answer = node.answer(node.call(LIST, filter={"id": "alt.test__b", "pod_sandbox_id": "p"}))
    assert (answer.bodies, answer.code) == ([b""], 0)


def images(*ids: str) -> bytes:
    """A list of images."""
    return message("ListImagesResponse", images=[{"id": id, "repo_tags": [f"{id[-1]}:tag"]} for id in ids])


@pytest.mark.parametrize("method", ["ListImages", "StreamImages"])
def test_an_image_that_several_runtimes_have_is_one_entry(method: str) -> None:
    node = Node()
    stream = node.call(method)
    shared, own = "sha256:" + "a" * 64, "sha256:" + "b" * 64
    node.give(ALT, method, images(shared, own))
    node.give(PRIMARY, method, images(shared))
    assert node.listed(stream, method, "images") == [shared, own]


@pytest.mark.parametrize("method", ["ListImages", "StreamImages"])
class TestALongListOfImages:
    IDS = tuple(f"sha256:{number:064x}" for number in range(300))

    def node(self) -> Node:
        """Others are always ready, and what has been listed is to be merged."""
        node = Node(max_message_size=1 << 20)
        node.kubelet.connection.consumed(0, 1 << 20)
        return node

    def test_is_merged_between_the_turns_of_others(self, method: str) -> None:
        node = self.node()
        stream = node.call(method)
        node.give(PRIMARY, method, images(*self.IDS))
        node.send(ALT, method, images(*self.IDS))
        node.loop.crowded = True
        node.end(ALT, method)
        assert node.answer(stream).code is None
        node.loop.crowded = False
        node.loop.settle()
        assert node.listed(stream, method, "images") == list(self.IDS)

    def test_is_merged_no_more_when_kubelet_gives_it_up(self, method: str) -> None:
        node = self.node()
        stream = node.call(method)
        node.give(PRIMARY, method, images(*self.IDS))
        node.send(ALT, method, images(*self.IDS))
        node.loop.crowded = True
        node.end(ALT, method)
        node.kubelet.connection.reset(stream, ErrorCode.CANCEL)
        node.kubelet.say()
        node.loop.crowded = False
        node.loop.settle()
        assert node.answer(stream).bodies == []


def test_images_as_a_stream_are_the_primarys_if_kubelet_would_not_take_what_they_become() -> None:
    node = Node(max_message_size=200)
    stream = node.call("StreamImages")
    id = "sha256:" + "a" * 64
    names = [message("StreamImagesResponse", images=[{"id": id, "repo_tags": [name * 80]}]) for name in "bc"]
    node.give(ALT, "StreamImages", names[1])
    node.give(PRIMARY, "StreamImages", names[0])
    assert node.answer(stream).bodies == names[:1]
    assert 'StreamImages is answered without runtime "alt.test"' in node.text.getvalue()


@pytest.mark.parametrize("count", [1, 4])
def test_images_as_a_stream_are_no_more_than_a_runtime_may_list(count: int) -> None:
    node = Node(max_message_size=300)
    stream = node.call("StreamImages")
    node.give(PRIMARY, "StreamImages", images("a"))
    node.give(ALT, "StreamImages", *[images("b" * 60)] * count, b"")
    assert len(node.listed(stream, "StreamImages", "images")) == (2 if count == 1 else 1)


def test_a_stream_of_images_is_unimplemented_if_one_runtime_says_so() -> None:
    node = Node()
    stream = node.call("StreamImages")
    node.refuse(ALT, "StreamImages", UNIMPLEMENTED, "old")
    assert (node.answer(stream).code, node.answer(stream).text) == (UNIMPLEMENTED, "old")
