"""Which runtime a pod was started on."""

from __future__ import annotations

from criproxy.http2.cache import ENTRY
from criproxy.relay import pods
from criproxy.relay.pods import Pods


def test_a_pod_is_of_the_runtime_that_it_was_started_on_last() -> None:
    known = Pods()
    known.note(b"1", 0, "alt.test")
    known.note(b"2", 0, "")
    assert [known.owner(uid, 0) for uid in (b"1", b"2", b"3")] == ["alt.test", "", ""]
    known.note(b"1", 0, "")
    assert known.owner(b"1", 0) == ""


def test_each_sandbox_of_a_pod_is_of_the_runtime_that_it_was_started_on() -> None:
    known = Pods(lambda uid, attempt: "listed.test" if (uid, attempt) == (b"1", 0) else "")
    known.note(b"1", 1, "alt.test")
    known.note(b"1", 2, "")
    assert [known.owner(b"1", attempt) for attempt in range(4)] == ["listed.test", "alt.test", "", ""]


def test_of_a_pod_that_has_not_been_started_through_us_the_lists_are_asked() -> None:
    listed = {b"old": "alt.test", b"moved": "alt.test"}
    known = Pods(lambda uid, attempt: listed[uid])
    known.note(b"moved", 0, "")
    assert known.owner(b"old", 0) == "alt.test"
    assert known.owner(b"moved", 0) == ""


def test_a_request_without_a_uid_is_of_no_pod() -> None:
    known = Pods(lambda uid, attempt: "alt.test")
    assert known.owner(b"", 0) == ""
    known.note(b"", 0, "alt.test")
    assert known.owner(b"", 0) == ""


def test_the_pods_that_were_started_last_are_remembered_and_no_more() -> None:
    known = Pods()
    uids = [b"%036d" % number for number in range(10_000)]
    for uid in uids:
        known.note(uid, 0, "alt.test")
        known.note(uids[0], 0, "alt.test")
    assert known.owner(uids[0], 0) == "alt.test"
    assert known.owner(uids[10], 0) == ""
    assert sum(known.owner(uid, 0) != "" for uid in uids) == pods._MOST // (36 + ENTRY)


def test_pods_of_runtimes_that_have_other_ids_now_are_known_by_these() -> None:
    known = Pods()
    for uid, runtime in ((b"1", ""), (b"2", "retiring"), (b"3", "alt.test")):
        known.note(uid, 0, runtime)
    known.rename({"": "retiring", "retiring": ""})
    assert [known.owner(uid, 0) for uid in (b"1", b"2", b"3")] == ["retiring", "", "alt.test"]
