"""Images by their digests, and calls for their effect on all runtimes."""

from __future__ import annotations

from typing import Any, Dict

import pytest
from scene import ALT, PRIMARY, UNAVAILABLE, Node, message

from criproxy.http2.grpc import Code
from criproxy.relay.upstream import LIVENESS_TIMEOUT

DIGEST = "sha256:" + "a" * 64
IMAGE: Dict[str, Any] = {"image": {"image": DIGEST}}
FOUND = message("ImageStatusResponse", image={"id": DIGEST})


def test_an_image_is_that_of_the_first_runtime_that_has_it() -> None:
    node = Node()
    stream = node.call("ImageStatus", **IMAGE)
    node.give(ALT, "ImageStatus", FOUND)
    assert node.answer(stream).code is None
    node.give(PRIMARY, "ImageStatus", b"")
    assert (node.answer(stream).bodies, node.answer(stream).code) == ([FOUND], 0)


def test_who_comes_after_the_first_that_has_an_image_is_not_waited_for() -> None:
    node = Node()
    stream = node.call("ImageStatus", **IMAGE)
    node.give(PRIMARY, "ImageStatus", FOUND)
    assert node.answer(stream).code == 0
    assert node.resets(ALT) == node.asked(ALT, "ImageStatus")


class TestTheUserOfAnImageWithoutAPrefix:
    """Kubelet asks a second time for the image of a container, without a word of its pod, and runs it as root if the
    image is not there."""

    @pytest.mark.parametrize("asked", [{}, {"kubernetes.io/target-runtime": ALT}], ids=["a-pod", "a-pod-of-another"])
    def test_is_found_on_whichever_runtime_has_it(self, asked: Dict[str, str]) -> None:
        node = Node()
        annotations = {"kubernetes.io/config.source": "api", **asked}
        node.call("ImageStatus", image={"image": "nginx", "annotations": annotations})
        stream = node.call("ImageStatus", image={"image": "nginx"})
        node.give(PRIMARY, "ImageStatus", b"")
        has_it = message("ImageStatusResponse", image={"id": DIGEST, "username": "web"})
        node.give(ALT, "ImageStatus", has_it)
        assert node.answer(stream).bodies == [has_it]

    def test_is_the_primarys_if_that_has_it(self) -> None:
        node = Node()
        node.call("ImageStatus", image={"image": "nginx", "annotations": {"kubernetes.io/config.source": "api"}})
        stream = node.call("ImageStatus", image={"image": "nginx"})
        has_it = message("ImageStatusResponse", image={"id": DIGEST, "username": "web"})
        node.give(PRIMARY, "ImageStatus", has_it)
        assert node.answer(stream).bodies == [has_it]

    def test_is_the_primarys_as_long_as_that_may_be_the_first_question(self) -> None:
        """Of an older kubelet: the pod's image might never be pulled."""
        node = Node()
        node.call("ImageStatus", image={"image": "nginx"})
        assert not node.asked(ALT, "ImageStatus")


def test_an_image_that_nobody_has_is_not_there_as_the_primary_says() -> None:
    node = Node()
    stream = node.call("ImageStatus", **IMAGE)
    node.give(PRIMARY, "ImageStatus", b"")
    node.refuse(ALT, "ImageStatus", 13)
    assert (node.answer(stream).bodies, node.answer(stream).code) == ([b""], 0)


def test_an_image_that_kubelet_could_not_parse_is_not_there() -> None:
    node = Node(("", "bad", "good"))
    stream = node.call("ImageStatus", **IMAGE)
    node.give(PRIMARY, "ImageStatus", b"")
    node.give("bad", "ImageStatus", message("ImageStatusResponse", image={"username": "u"}).replace(b"u", b"\xff"))
    node.give("good", "ImageStatus", FOUND)
    assert (node.answer(stream).bodies, node.answer(stream).code) == ([FOUND], 0)
    assert "image.username is not UTF-8" in node.text.getvalue()


def test_the_failure_of_the_primary_is_the_calls() -> None:
    node = Node()
    stream = node.call("ImageStatus", **IMAGE)
    node.refuse(PRIMARY, "ImageStatus", 13, "broken", (b"own", b"x"))
    answer = node.answer(stream)
    assert (answer.code, answer.text, answer.metadata[b"own"]) == (13, "broken", b"x")


@pytest.mark.parametrize(
    ("primary", "alternative", "code", "text"),
    [
        (0, 0, 0, ""),
        (0, 5, 0, ""),
        (5, 0, 0, ""),
        (5, 5, 5, "of the primary"),
        (5, 13, 13, "of the other"),
        (13, 5, 13, "of the primary"),
        (9, 13, 9, "of the primary"),
        (0, 13, 13, "of the other"),
    ],
)
def test_a_removal_ends_as_the_first_runtime_that_could_not_do_it(
    primary: int, alternative: int, code: int, text: str
) -> None:
    node = Node()
    stream = node.call("RemoveImage", **IMAGE)
    for id, status, words in ((ALT, alternative, "of the other"), (PRIMARY, primary, "of the primary")):
        if status:
            node.refuse(id, "RemoveImage", status, words, (b"own", id.encode() or b"primary"))
        else:
            node.give(id, "RemoveImage", b"")
    answer = node.answer(stream)
    assert (answer.code, answer.text) == (code, text)
    if code:
        assert answer.metadata[b"own"] == (b"primary" if "primary" in text else ALT.encode())


def test_a_removal_that_takes_long_is_waited_for_while_the_runtime_lives() -> None:
    node = Node(fan_out_timeout=1.0)
    stream = node.call("RemoveImage", **IMAGE)
    node.give(PRIMARY, "RemoveImage", b"")
    node.loop.advance(10)
    assert node.answer(stream).code is None
    node.served[ALT].sock.deaf = True
    node.loop.advance(2 + LIVENESS_TIMEOUT)
    answer = node.answer(stream)
    assert answer.code == Code.DEADLINE_EXCEEDED
    assert answer.text.startswith("criproxy: ")


@pytest.mark.parametrize("failing", [PRIMARY, ALT])
def test_a_call_for_its_effect_ends_as_the_runtime_that_fails(failing: str) -> None:
    node = Node()
    stream = node.call("UpdateRuntimeConfig")
    for id in (ALT, PRIMARY):
        if id == failing:
            node.refuse(id, "UpdateRuntimeConfig", 8, "busy", (b"own", b"x"))
        else:
            node.give(id, "UpdateRuntimeConfig", b"")
    answer = node.answer(stream)
    assert (answer.code, answer.text, answer.metadata[b"own"]) == (8, "busy", b"x")


def test_a_call_for_its_effect_does_without_an_alternative_runtime_that_is_not_there() -> None:
    node = Node()
    node.lose(ALT)
    stream = node.call("UpdateRuntimeConfig")
    node.give(PRIMARY, "UpdateRuntimeConfig", b"")
    assert node.answer(stream).code == 0


def test_a_runtime_that_goes_during_a_call_for_its_effect_has_failed_it() -> None:
    node = Node()
    stream = node.call("UpdateRuntimeConfig")
    node.lose(ALT)
    node.give(PRIMARY, "UpdateRuntimeConfig", b"")
    assert node.answer(stream).code == UNAVAILABLE
    assert node.answer(stream).text.startswith('criproxy: runtime "alt.test" has gone')
