"""The Status of several runtimes in one: conditions, runtime handlers, info."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import pytest

from criproxy.cri import status
from criproxy.cri.identity import RuntimeHandler, Runtimes
from criproxy.cri.messages import api
from criproxy.cri.status import LARGEST_INFO, LONGEST_TEXT, NOT_AVAILABLE, NOT_REPORTED, ReportedStatus
from criproxy.cri.wire import DecodeError

STRANGE = b"\xf2\x06\x04what"
"""A field that no version has had yet: number 110, four bytes."""
READY = [("RuntimeReady", True, "", ""), ("NetworkReady", True, "", "")]
ABSENT = ReportedStatus(None, NOT_AVAILABLE, "it has gone")


def answer(conditions: Sequence[Tuple[str, bool, str, str]] = (), **fields: Any) -> bytes:
    """A StatusResponse."""
    keys = ("type", "status", "reason", "message")
    whole: Any = api()["StatusResponse"](
        status={"conditions": [dict(zip(keys, condition)) for condition in conditions]}, **fields
    )
    return bytes(whole.SerializeToString())


def said(conditions: Sequence[Tuple[str, bool, str, str]] = (), **fields: Any) -> ReportedStatus:
    return ReportedStatus(status.read(answer(conditions, **fields)))


def merged(
    primary: ReportedStatus,
    others: Mapping[str, ReportedStatus] = {},
    own_info: str = "",
    handlers: Sequence[RuntimeHandler] = (),
) -> Any:
    """The answer for kubelet, read as kubelet does. ``others``: what the alternative runtimes have said, by id."""
    body = status.merge(Runtimes(others, handlers), primary, list(others.values()), own_info)
    return api()["StatusResponse"].FromString(body)


def conditions(answer: Any) -> List[Tuple[str, bool, str, str]]:
    return [(one.type, one.status, one.reason, one.message) for one in answer.status.conditions]


@pytest.mark.parametrize("verbose", [False, True])
def test_a_request_says_whether_it_wants_info(verbose: bool) -> None:
    assert status.wants_info(api()["StatusRequest"](verbose=verbose).SerializeToString()) is verbose


def test_a_request_that_is_none_is_refused() -> None:
    with pytest.raises(DecodeError):
        status.wants_info(b"\x08")


class TestConditions:
    def test_of_alternative_runtimes_follow_the_primarys_in_their_order(self) -> None:
        b = said([("NetworkReady", False, "N", "n"), ("RuntimeReady", True, "Fine", "very"), *READY])
        a = said([("RuntimeReady", False, "Broken", "quite")])
        assert conditions(merged(said(READY), {"b.test": b, "a.test": a})) == [
            *READY,
            ("b.test/RuntimeReady", True, "Fine", "very"),
            ("a.test/RuntimeReady", False, "Broken", "quite"),
        ]

    def test_of_a_runtime_that_is_not_there_say_why(self) -> None:
        assert conditions(merged(said(READY), {"alt.test": ABSENT})) == [
            *READY,
            ("alt.test/RuntimeReady", False, NOT_AVAILABLE, "it has gone"),
        ]

    def test_of_a_runtime_that_does_not_say_whether_it_is_ready_are_false(self) -> None:
        got = conditions(merged(said(READY), {"alt.test": said([("NetworkReady", True, "", "")])}))[-1]
        assert got[:3] == ("alt.test/RuntimeReady", False, NOT_REPORTED)
        assert got[3] == 'criproxy: runtime "alt.test" does not say whether it is ready'

    def test_of_a_primary_that_is_not_there_are_what_kubelet_wants_to_see(self) -> None:
        assert conditions(merged(ABSENT, {"alt.test": said(READY)})) == [
            ("RuntimeReady", False, NOT_AVAILABLE, "it has gone"),
            ("NetworkReady", False, NOT_AVAILABLE, "it has gone"),
            ("alt.test/RuntimeReady", True, "", ""),
        ]

    def test_that_the_primary_has_already_are_the_primarys(self) -> None:
        own = [("alt.test/RuntimeReady", False, "Inner", "")]
        assert conditions(merged(said(own), {"alt.test": said(READY)})) == own

    def test_of_an_alternative_runtime_are_bounded_and_utf_8(self) -> None:
        condition = b"\x0a\x0cRuntimeReady\x1a\x02\xff\xfe"
        inner = b"\x0a" + bytes((len(condition),)) + condition
        reply = ReportedStatus(status.read(b"\x0a" + bytes((len(inner),)) + inner))
        assert conditions(merged(said(), {"alt.test": reply})) == [("alt.test/RuntimeReady", False, "\ufffd\ufffd", "")]
        long = said([("RuntimeReady", True, "R", "x" * (LONGEST_TEXT + 1))])
        assert len(conditions(merged(said(), {"alt.test": long}))[0][3]) == LONGEST_TEXT


def test_what_the_primary_says_besides_stays_as_it_is() -> None:
    body = answer(READY, info={"b": "2", "a": "1"}, features={"supplemental_groups_policy": True})
    # The field is in the answer, in its status and, in this order, in a condition.
    condition = b"\x0a\x04Cool\x10\x01" + STRANGE
    inner = b"\x0a" + bytes((len(condition),)) + condition + STRANGE
    body += b"\x0a" + bytes((len(inner),)) + inner + STRANGE
    out = status.merge(Runtimes(["alt.test"]), ReportedStatus(status.read(body)), [said(READY)])
    whole: Any = api()["StatusResponse"].FromString(out)
    assert whole.features.supplemental_groups_policy
    assert [one.type for one in whole.status.conditions] == [
        "RuntimeReady",
        "NetworkReady",
        "Cool",
        "alt.test/RuntimeReady",
    ]
    assert out.count(STRANGE) == 3
    assert condition in out


Features = Optional[Tuple[bool, bool]]


def listing(*handlers: Tuple[str, Features]) -> ReportedStatus:
    """An answer that lists handlers: each with a name and its features."""
    names = ("recursive_read_only_mounts", "user_namespaces")
    return said(
        runtime_handlers=[
            {"name": name, "features": None if features is None else dict(zip(names, features))}
            for name, features in handlers
        ]
    )


def listed(answer: Any) -> Dict[str, Features]:
    """The handlers of an answer, which lists none twice."""
    found: Dict[str, Features] = {}
    for handler in answer.runtime_handlers:
        assert handler.name not in found
        features = handler.features
        found[handler.name] = (
            (features.recursive_read_only_mounts, features.user_namespaces) if handler.HasField("features") else None
        )
    return found


class TestRuntimeHandlers:
    def test_are_listed_by_the_names_by_which_pods_can_ask_for_them(self) -> None:
        primary = listing(("", (True, True)), ("runc", (True, False)), ("odd_name", None))
        other = listing(("", (False, True)), ("kata", (True, True)), ("fast", None))
        handlers = [RuntimeHandler("vm", "alt.test", ""), RuntimeHandler("kata-vm", "alt.test", "kata")]
        assert listed(merged(primary, {"alt.test": other}, handlers=handlers)) == {
            "": (True, True),
            "runc": (True, False),
            "odd_name": None,
            "vm": (False, True),
            "kata-vm": (True, True),
            "fast": None,
        }

    def test_of_two_names_for_one_are_both(self) -> None:
        handlers = [RuntimeHandler("vm", "alt.test", "kata"), RuntimeHandler("other-vm", "alt.test", "kata")]
        got = listed(merged(said(), {"alt.test": listing(("kata", (True, True)))}, handlers=handlers))
        assert got == {"vm": (True, True), "other-vm": (True, True)}

    def test_are_a_runtimes_id_if_it_is_a_label(self) -> None:
        handlers = [RuntimeHandler("virt", "virt", ""), RuntimeHandler("alt.test", "alt.test", "")]
        others = {"virt": listing(("", (True, False))), "alt.test": listing(("", None))}
        got = listed(merged(said(), others, handlers=handlers))
        assert got == {"virt": (True, False)}

    def test_of_the_primary_that_ask_for_another_runtime_are_that_ones(self) -> None:
        primary = listing(("vm", (True, True)), ("runc", None))
        handlers = [RuntimeHandler("vm", "alt.test", "kata")]
        got = listed(merged(primary, {"alt.test": listing(("kata", (False, True)))}, handlers=handlers))
        assert got == {"runc": None, "vm": (False, True)}

    def test_that_a_runtime_does_not_list_cannot_be_had(self) -> None:
        primary = listing(("vm", (True, True)))
        handlers = [RuntimeHandler("vm", "alt.test", "kata")]
        assert listed(merged(primary, {"alt.test": listing(("", None))}, handlers=handlers)) == {}

    @pytest.mark.parametrize("other", [said(READY), ABSENT], ids=["older", "absent"])
    def test_of_a_runtime_that_lists_none_have_no_features(self, other: ReportedStatus) -> None:
        handlers = [RuntimeHandler("vm", "alt.test", "kata")]
        assert listed(merged(listing(("", (True, True))), {"alt.test": other}, handlers=handlers)) == {
            "": (True, True),
            "vm": None,
        }

    def test_of_an_alternative_runtime_do_not_take_a_name_that_is_taken(self) -> None:
        primary, other = listing(("runc", (True, True))), listing(("runc", None), ("a", (True, True)), ("b", None))
        third = listing(("a", None), ("c", None), ("c", (True, True)), ("b.test", None), ("x" * 64, None), ("vm", None))
        handlers = [RuntimeHandler("b", "c.test", ""), RuntimeHandler("vm", "b.test", "")]
        got = listed(merged(primary, {"b.test": other, "c.test": third}, handlers=handlers))
        assert got == {"runc": (True, True), "a": (True, True), "c": None}

    def test_keep_what_is_unknown_in_them(self) -> None:
        handler = b"\x0a\x04kata\x12\x07" + STRANGE + STRANGE
        reply = ReportedStatus(status.read(b"\x1a" + bytes((len(handler),)) + handler))
        runtimes = Runtimes(
            ["alt.test"], [RuntimeHandler("vm", "alt.test", "kata"), RuntimeHandler("vm2", "alt.test", "kata")]
        )
        out = status.merge(runtimes, said(), [reply])
        assert out.count(b"\x0a\x02vm\x12\x07" + STRANGE + STRANGE) == 1
        assert out.count(b"\x0a\x03vm2\x12\x07" + STRANGE + STRANGE) == 1

    def test_are_none_if_nobody_says_anything_of_them(self) -> None:
        out = status.merge(Runtimes(["alt.test"]), said(READY), [said(READY)])
        answer: Any = api()["StatusResponse"].FromString(out)
        assert not answer.runtime_handlers


def info(answer: Any) -> Dict[str, Any]:
    return {key: json.loads(value) for key, value in answer.info.items()}


class TestInfo:
    def test_of_each_runtime_stands_under_its_id_and_the_proxys_beside_it(self) -> None:
        other = said(info={"config": '{"a": [1]}', "text": "plain", "number": "12", "none": ""})
        got = info(merged(said(info={"config": "{}"}), {"alt.test": other, "b.test": ABSENT}, '{"version": "1"}'))
        assert got == {
            "config": {},
            "criproxy": {"version": "1"},
            "alt.test": {"config": {"a": [1]}, "text": "plain", "number": 12, "none": ""},
            "b.test": {"error": "it has gone"},
        }

    def test_is_not_added_to_an_answer_that_is_not_verbose(self) -> None:
        other = said(info={"config": "{}"})
        assert info(merged(said(info={"a": "1"}), {"alt.test": other})) == {"a": 1}

    def test_is_there_without_a_primary(self) -> None:
        assert info(merged(ABSENT, {"alt.test": said(info={"a": "1"})}, "{}")) == {"criproxy": {}, "alt.test": {"a": 1}}

    def test_of_the_primary_is_not_replaced(self) -> None:
        primary = said(info={"criproxy": "1", "alt.test": "2"})
        assert info(merged(primary, {"alt.test": said(info={"a": "1"})}, "{}")) == {"criproxy": 1, "alt.test": 2}

    @pytest.mark.parametrize("value", ["NaN", '{"a": -Infinity}', "[" * 100_000, "{'a': 1}", '"', "\ud7ff\x00"])
    def test_that_is_no_json_is_a_string(self, value: str) -> None:
        assert info(merged(said(), {"alt.test": said(info={"a": value})}, "{}"))["alt.test"] == {"a": value}

    def test_has_the_numbers_that_the_runtime_has_written(self) -> None:
        value = '{"large": 1e999, "exact": 0.10, "long": 123456789012345678901234567890}'
        assert value in merged(said(), {"alt.test": said(info={"a": value})}, "{}").info["alt.test"]

    def test_may_have_quotes_in_its_keys_and_bytes_that_are_no_utf_8(self) -> None:
        entry = b'\x0a\x02"\xff\x12\x01\xfe'
        reply = ReportedStatus(status.read(b"\x12" + bytes((len(entry),)) + entry))
        assert info(merged(said(), {"alt.test": reply}, "{}"))["alt.test"] == {'"\ufffd': "\ufffd"}

    def test_of_a_key_that_stands_twice_is_the_last(self) -> None:
        twice = ReportedStatus(status.read(b"".join(answer(info={"a": value}) for value in ("1", "2"))))
        assert merged(said(), {"alt.test": twice}, "{}").info["alt.test"] == '{"a": 2}'

    def test_that_is_too_large_is_replaced_by_an_error(self) -> None:
        fits = said(info={"a": "x" * (LARGEST_INFO - 1)})
        assert info(merged(said(), {"alt.test": fits}, "{}"))["alt.test"] == {"a": "x" * (LARGEST_INFO - 1)}
        larger = said(info={"a": "x" * LARGEST_INFO})
        error = f'criproxy: the info of runtime "alt.test" has {LARGEST_INFO + 1} bytes, more than {LARGEST_INFO}'
        assert info(merged(said(), {"alt.test": larger}, "{}"))["alt.test"] == {"error": error}
