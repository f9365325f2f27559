"""Which runtime a pod was started on."""

from __future__ import annotations

from criproxy.http2.cache import ENTRY
from criproxy.relay import pods
from criproxy.relay.pods import Pods


def test_a_pod_is_of_the_runtime_that_it_was_started_on_last() -> None:
    known = Pods()
    known.note(b"1", "alt.test")
    known.note(b"2", "")
    assert [known.owner(uid) for uid in (b"1", b"2", b"3")] == ["alt.test", "", ""]
    known.note(b"1", "")
    assert known.owner(b"1") == ""


def test_of_a_pod_that_has_not_been_started_through_us_the_lists_are_asked() -> None:
    known = Pods({b"old": "alt.test", b"moved": "alt.test"}.__getitem__)
    known.note(b"moved", "")
    assert known.owner(b"old") == "alt.test"
    assert known.owner(b"moved") == ""


def test_a_request_without_a_uid_is_of_no_pod() -> None:
    known = Pods({b"": "alt.test"}.__getitem__)
    assert known.owner(b"") == ""
    known.note(b"", "alt.test")
    assert known.owner(b"") == ""


def test_the_pods_that_were_started_last_are_remembered_and_no_more() -> None:
    known = Pods()
    uids = [b"%036d" % number for number in range(10_000)]
    for uid in uids:
        known.note(uid, "alt.test")
        known.note(uids[0], "alt.test")
    assert known.owner(uids[0]) == "alt.test"
    assert known.owner(uids[10]) == ""
    assert sum(known.owner(uid) != "" for uid in uids) == pods._MOST // (36 + ENTRY)
