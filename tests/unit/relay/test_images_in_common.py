"""Images whose names do not say whose they are, where rules put pods on several runtimes."""

from __future__ import annotations

from typing import Any, Dict, Sequence

import pytest
from scene import ALT, PRIMARY, UNAVAILABLE, Node, message, wire_of

from criproxy.cri.messages import api
from criproxy.cri.selector import parse_all
from criproxy.http2.errors import ErrorCode
from criproxy.http2.grpc import RESPONSE_HEADERS, Code
from criproxy.relay import images
from criproxy.relay.outcome import RUNTIME, Outcome
from criproxy.relay.placement import Placement
from criproxy.relay.presence import REMEMBERED, TAKEN

THIRD = "third.test"
ONE, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64
NAME = "nginx:1"
USER: Dict[str, Any] = {"image": {"image": NAME}}
"""Kubelet asks for the image's user."""
IMAGE: Dict[str, Any] = {"image": {"image": NAME, "annotations": {"kubernetes.io/config.source": "api"}}}
"""It asks whether the image has to be pulled."""
NOBODY = message("ImageStatusResponse")
GONE = "failed to do request: dial tcp: lookup registry.test: no such host"


def found(id: str) -> bytes:
    """The answer of a runtime that has an image."""
    return message("ImageStatusResponse", image={"id": id, "repo_tags": [NAME]}) if id else NOBODY


def id_in(body: bytes) -> Any:
    """The id of the image in an answer."""
    answer: Any = api()["ImageStatusResponse"].FromString(body)
    return answer.image.id


def scene(*ids: str, rules: str = "app=alt.test", **settings: Any) -> Node:
    """A node with rules."""
    node = Node(ids or (PRIMARY, ALT), **settings)
    node.context.router.placement = Placement(node.context.router.runtimes, parse_all(rules))
    return node


def status(node: Node, *ids: str) -> bytes:
    """Kubelet asks for the image, which the runtimes have with these ids; gives the answer."""
    stream = node.call("ImageStatus", **IMAGE)
    for runtime, id in zip((PRIMARY, ALT), ids):
        node.give(runtime, "ImageStatus", found(id))
    answer = node.answer(stream)
    assert answer.code == 0
    (body,) = answer.bodies
    return body


@pytest.mark.parametrize(
    ("ids", "there"),
    [
        (("", ""), False),
        ((ONE, ""), False),
        (("", ONE), False),
        ((ONE, OTHER), False),
        ((ONE, ONE), True),
        (("0123", "0123"), True),
    ],
)
def test_it_is_there_if_all_have_it_with_one_id(ids: Sequence[str], there: bool) -> None:
    assert status(scene(), *ids) == (found(ids[0]) if there else NOBODY)


def test_runtimes_that_no_rule_names_are_not_asked() -> None:
    node = scene(PRIMARY, ALT, THIRD)
    assert status(node, ONE, ONE) == found(ONE)
    assert not node.asked(THIRD, "ImageStatus")


@pytest.mark.parametrize("image", [f"{ALT}/{NAME}", f"{THIRD}/{NAME}"])
def test_an_image_with_a_prefix_is_its_runtimes_alone(image: str) -> None:
    node = scene(PRIMARY, ALT, THIRD)
    stream = node.call("ImageStatus", image={"image": image})
    owner = image.partition("/")[0]
    node.give(owner, "ImageStatus", found(ONE))
    assert node.answer(stream).code == 0
    assert not node.asked(PRIMARY, "ImageStatus")


def test_an_image_of_a_pod_that_says_whose_it_is_is_that_runtimes_alone() -> None:
    node = scene()
    stream = node.call("ImageStatus", image={"image": NAME, "annotations": {"kubernetes.io/target-runtime": ALT}})
    node.give(ALT, "ImageStatus", found(ONE))
    assert node.answer(stream).code == 0
    assert not node.asked(PRIMARY, "ImageStatus")


def test_a_digest_is_that_of_the_first_runtime_that_has_it_still() -> None:
    node = scene()
    stream = node.call("ImageStatus", image={"image": ONE})
    node.give(PRIMARY, "ImageStatus", found(ONE))
    assert node.answer(stream).bodies == [found(ONE)]


def test_a_runtime_that_is_away_does_not_count() -> None:
    node = scene()
    node.lose(ALT)
    assert status(node, ONE) == found(ONE)


def test_a_runtime_that_hangs_or_fails_does_not_count_and_is_warned_of() -> None:
    node = scene(PRIMARY, ALT, THIRD, rules="a=alt.test;b=third.test", fan_out_timeout=1.0)
    stream = node.call("ImageStatus", **IMAGE)
    node.give(PRIMARY, "ImageStatus", found(ONE))
    node.send(ALT, "ImageStatus", found(OTHER))
    node.end(ALT, "ImageStatus", wire_of(13, "broken"))
    node.loop.advance(1)
    assert (node.answer(stream).bodies, node.answer(stream).code) == ([found(ONE)], 0)
    for id in (ALT, THIRD):
        assert f'ImageStatus is answered without runtime "{id}"' in node.text.getvalue()


def test_a_runtime_that_says_not_found_does_not_have_it() -> None:
    node = scene()
    stream = node.call("ImageStatus", **IMAGE)
    node.give(PRIMARY, "ImageStatus", found(ONE))
    node.refuse(ALT, "ImageStatus", Code.NOT_FOUND)
    assert (node.answer(stream).bodies, node.answer(stream).code) == ([NOBODY], 0)


def test_the_failure_of_the_primary_is_the_calls() -> None:
    node = scene()
    stream = node.call("ImageStatus", **IMAGE)
    node.refuse(PRIMARY, "ImageStatus", 13, "broken", (b"own", b"x"))
    answer = node.answer(stream)
    assert (answer.code, answer.text, answer.metadata[b"own"]) == (13, "broken", b"x")
    assert node.resets(ALT) == node.asked(ALT, "ImageStatus")


def test_without_rules_a_name_without_a_prefix_is_the_primarys() -> None:
    node = scene(rules="")
    stream = node.call("ImageStatus", **IMAGE)
    node.give(PRIMARY, "ImageStatus", found(ONE))
    assert node.answer(stream).bodies == [found(ONE)]
    assert not node.asked(ALT, "ImageStatus")


# The second question, for the user of the image.


def user(node: Node, *ids: str) -> bytes:
    """Kubelet asks, without annotations, for the user of the image that the runtimes have; gives the answer."""
    stream = node.call("ImageStatus", **USER)
    for runtime, id in zip((PRIMARY, ALT), ids):
        node.give(runtime, "ImageStatus", found(id))
    answer = node.answer(stream)
    assert answer.code == 0
    (body,) = answer.bodies
    return body


@pytest.mark.parametrize(("ids", "holder"), [((ONE, ""), ONE), (("", ONE), ONE), ((ONE, OTHER), ONE), (("", ""), "")])
def test_the_second_question_finds_what_one_runtime_has(ids: Sequence[str], holder: str) -> None:
    node = scene()
    node.loop.advance(2 * TAKEN)
    status(node, *ids)
    node.loop.advance(3600)
    assert id_in(user(node, *ids)) == holder


def test_it_finds_what_has_been_pulled_last() -> None:
    node = scene()
    status(node, ONE, OTHER)
    for owner, id in ((ALT, OTHER), (PRIMARY, ONE)):
        node.context.router._pods.note(b"1", 0, owner)
        stream = pull(node)
        node.give(owner, "PullImage", message("PullImageResponse", image_ref=id))
        assert pulled(node, stream) == id
        assert id_in(user(node, ONE, OTHER)) == id


def test_a_kubelet_that_has_never_had_annotations_asks_both_questions_alike() -> None:
    node = scene()
    node.loop.advance(1)
    assert user(node, ONE, "") == found(ONE)  # It may have asked the first one before we were there.
    node.loop.advance(TAKEN)
    assert user(node, ONE, "") == NOBODY
    stream = pull(node)
    node.give(PRIMARY, "PullImage", message("PullImageResponse", image_ref=ONE))
    assert pulled(node, stream) == ONE
    node.loop.advance(TAKEN - 1)
    assert user(node, ONE, "") == found(ONE)
    node.loop.advance(1)
    assert user(node, ONE, "") == NOBODY


def test_what_it_has_been_told_to_be_there_stays_so_for_a_while() -> None:
    node = scene()
    user(node, ONE, ONE)
    node.loop.advance(2 * TAKEN)
    assert user(node, ONE, ONE) == found(ONE)
    node.loop.advance(TAKEN - 1)
    assert user(node, ONE, "") == found(ONE)
    node.loop.advance(1)
    assert user(node, ONE, "") == NOBODY


def test_what_it_has_got_for_want_of_a_registry_stays_there_for_a_while_too() -> None:
    node = scene()
    user(node, ONE, "")
    node.loop.advance(2 * TAKEN)
    user(node, ONE, "")
    stream = pull(node)
    node.refuse(PRIMARY, "PullImage", 2, GONE)
    node.give(PRIMARY, "ImageStatus", found(ONE))
    assert pulled(node, stream) == ONE
    assert user(node, ONE, "") == found(ONE)


def test_after_other_rules_have_come_into_force_nothing_is_known_of_its_questions() -> None:
    node = scene()
    user(node, ONE, "")
    node.loop.advance(2 * TAKEN)
    assert user(node, ONE, "") == NOBODY
    node.context.router.placement = Placement(node.context.router.runtimes, parse_all("100%=alt.test"))
    assert user(node, ONE, "") == found(ONE)


def test_an_image_that_nobody_has_is_not_there_for_either_question() -> None:
    node = scene()
    assert user(node, "", "") == NOBODY
    assert status(node, "", "") == NOBODY
    assert user(node, "", "") == NOBODY


# Pulls that fail.


def pull(node: Node) -> int:
    """Kubelet pulls the image for a pod of the primary's; gives the stream."""
    return node.call("PullImage", **IMAGE, sandbox_config={"metadata": {"uid": "1"}})


def pulled(node: Node, stream: int) -> Any:
    """The image_ref that kubelet has got."""
    answer = node.answer(stream)
    assert answer.code == 0
    told: Any = api()["PullImageResponse"].FromString(b"".join(answer.bodies))
    return told.image_ref


def test_a_pull_is_answered_as_the_runtime_answers_it() -> None:
    node = scene()
    status(node, ONE, "")
    stream = pull(node)
    node.loop.advance(3600)
    node.give(PRIMARY, "PullImage", message("PullImageResponse", image_ref=OTHER))
    assert pulled(node, stream) == OTHER
    assert len(node.asked(PRIMARY, "ImageStatus")) == 1


def test_a_pull_that_fails_is_answered_with_the_image_that_only_another_runtime_lacks() -> None:
    node = scene()
    status(node, ONE, "")
    stream = pull(node)
    node.refuse(PRIMARY, "PullImage", 2, GONE)
    assert node.answer(stream).code is None
    node.give(PRIMARY, "ImageStatus", found(ONE))
    assert pulled(node, stream) == ONE
    assert f'could not pull "{NAME}", and the one that it has is used: UNKNOWN: {GONE}' in node.text.getvalue()


def test_that_is_so_of_an_image_that_they_have_with_two_ids() -> None:
    node = scene()
    status(node, ONE, OTHER)
    stream = pull(node)
    node.refuse(PRIMARY, "PullImage", 2, GONE)
    node.give(PRIMARY, "ImageStatus", found(ONE))
    assert pulled(node, stream) == ONE


def test_that_is_so_of_an_alternative_runtime_whose_ids_are_no_digests() -> None:
    node = scene()
    status(node, "", "0123")
    node.context.router._pods.note(b"1", 0, ALT)
    stream = pull(node)
    node.refuse(ALT, "PullImage", 14, "RegistryUnavailable: no route to host")
    node.give(ALT, "ImageStatus", found("0123"))
    assert pulled(node, stream) == f"{ALT}/0123"


@pytest.mark.parametrize("answer", [NOBODY, b"\xff", None])
def test_a_pull_fails_where_the_runtime_itself_lacks_the_image(answer: Any) -> None:
    node = scene()
    status(node, "", ONE)
    stream = pull(node)
    node.refuse(PRIMARY, "PullImage", 2, GONE, (b"own", b"x"))
    if answer is None:
        node.refuse(PRIMARY, "ImageStatus", 13)
    else:
        node.give(PRIMARY, "ImageStatus", answer)
    failed = node.answer(stream)
    assert (failed.code, failed.text, failed.metadata[b"own"], failed.bodies) == (2, GONE, b"x", [])


@pytest.mark.parametrize("ids", [(ONE, ONE), ("", "")])
def test_a_pull_fails_that_nobody_has_been_told_to_make_for_another_runtimes_sake(ids: Sequence[str]) -> None:
    node = scene()
    status(node, ONE, "")
    status(node, *ids)
    stream = pull(node)
    asked = len(node.asked(PRIMARY, "ImageStatus"))
    node.refuse(PRIMARY, "PullImage", 2, GONE)
    assert (node.answer(stream).code, node.answer(stream).text) == (2, GONE)
    assert len(node.asked(PRIMARY, "ImageStatus")) == asked


@pytest.mark.parametrize(("later", "code"), [(REMEMBERED - 1, 0), (REMEMBERED, 2)])
def test_what_has_been_said_of_an_image_counts_for_a_while(later: float, code: int) -> None:
    node = scene()
    status(node, ONE, "")
    node.loop.advance(later)
    stream = pull(node)
    node.refuse(PRIMARY, "PullImage", 2, GONE)
    if not code:
        node.give(PRIMARY, "ImageStatus", found(ONE))
    assert node.answer(stream).code == code


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (16, "no"),
        (7, "no"),
        (2, "pull access denied, repository does not exist or may require authorization"),
        (2, "unexpected status from HEAD request: 401 Unauthorized"),
        (2, "403 Forbidden"),
        (2, "StatusCode: 403"),
        (2, 'Head "https://1.ecr.test/v2/x": no basic auth credentials'),
        (2, "unable to retrieve auth token: invalid username/password"),
        (2, "access to the requested resource is not authorized"),
        (2, "server message: insufficient_scope: authorization failed"),
        (2, "SignatureValidationFailed: no key"),
    ],
)
def test_who_is_denied_an_image_does_not_get_it_so(code: int, text: str) -> None:
    node = scene()
    status(node, ONE, "")
    stream = pull(node)
    node.refuse(PRIMARY, "PullImage", code, text)
    assert (node.answer(stream).code, node.answer(stream).text) == (code, text)


@pytest.mark.parametrize(
    "text",
    [
        "failed to authorize: failed to fetch anonymous token: dial tcp 192.0.2.1:443: i/o timeout",
        "toomanyrequests: You have reached your pull rate limit",
        "manifest unknown",
    ],
)
def test_any_other_failure_is_none_that_denies(text: str) -> None:
    assert not images._is_denial(Outcome(RUNTIME, 2, None, text))


def test_an_error_that_is_too_long_to_be_read_counts_as_that() -> None:
    assert [images._is_denial(Outcome(RUNTIME, 2, None, "x" * size)) for size in (2**16, 2**16 + 1)] == [False, True]


def test_a_pull_at_a_runtime_that_goes_fails() -> None:
    node = scene()
    node.context.router._pods.note(b"1", 0, ALT)
    status(node, "", ONE)
    stream = pull(node)
    node.lose(ALT)
    assert node.answer(stream).code == UNAVAILABLE


def test_a_pull_that_the_runtime_resets_is_reset() -> None:
    node = scene()
    status(node, "", "")
    stream = pull(node)
    node.served[PRIMARY].connection.reset(node.asked(PRIMARY, "PullImage")[-1], ErrorCode.INTERNAL_ERROR)
    node.served[PRIMARY].say()
    assert node.answer(stream).reset == ErrorCode.INTERNAL_ERROR


def test_a_pull_that_fails_behind_its_message_has_none() -> None:
    node = scene()
    status(node, "", "")
    stream = pull(node)
    node.send(PRIMARY, "PullImage", message("PullImageResponse", image_ref=ONE))
    node.end(PRIMARY, "PullImage", wire_of(2, GONE))
    assert (node.answer(stream).bodies, node.answer(stream).code) == ([], 2)


@pytest.mark.parametrize("asks", [False, True])
def test_a_pull_that_is_not_wanted_any_more_is_cancelled_at_the_runtime(asks: bool) -> None:
    node = scene()
    status(node, ONE, "")
    stream = pull(node)
    if asks:
        node.refuse(PRIMARY, "PullImage", 2, GONE)
    node.kubelet.connection.reset(stream, ErrorCode.CANCEL)
    node.kubelet.say()
    method = "ImageStatus" if asks else "PullImage"
    assert node.resets(PRIMARY) == [node.asked(PRIMARY, method)[-1]]
    assert not node.downstream.calls


def test_a_pull_by_a_prefix_or_without_rules_is_passed_on_alone() -> None:
    for node, image in ((scene(), f"{ALT}/{NAME}"), (scene(rules=""), NAME)):
        stream = node.call("PullImage", image={"image": image})
        owner = ALT if "/" in image else PRIMARY
        node.send(owner, "PullImage", head=RESPONSE_HEADERS)
        assert node.answer(stream).heads == 1
        node.end(owner, "PullImage", wire_of(2, GONE))
        assert node.answer(stream).code == 2


def test_a_removal_by_a_name_that_a_prefix_would_tell_is_the_primarys_alone() -> None:
    node = scene()
    stream = node.call("RemoveImage", **IMAGE)
    node.give(PRIMARY, "RemoveImage", b"")
    assert node.answer(stream).code == 0
    assert not node.asked(ALT, "RemoveImage")
