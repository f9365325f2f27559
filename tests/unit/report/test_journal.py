"""The journal: what a record is there, and a journald that is slow, gone or back."""

from __future__ import annotations

import os
import tempfile
from typing import Callable, Iterator

import pytest
from systemd_peers import Journald

from criproxy.cri.messages import api
from criproxy.report import journal
from criproxy.report.journal import Journal
from criproxy.report.log import Log
from criproxy.report.record import INFO, LIMIT
from criproxy.report.stream import StreamOutput

PATH = "/runtime.v1.RuntimeService/StopContainer"


@pytest.fixture
def journald() -> Iterator[Journald]:
    with tempfile.TemporaryDirectory(prefix="criproxy-") as folder:
        made = Journald(f"{folder}/socket")
        yield made
        made.close()


@pytest.fixture
def log(journald: Journald) -> Log:
    return Log(5, Journal(journald.path))


@pytest.mark.parametrize(("say", "priority"), [(Log.info, "6"), (Log.warning, "4"), (Log.error, "3")])
def test_a_record_has_its_priority_and_our_name(
    say: Callable[..., None], priority: str, log: Log, journald: Journald
) -> None:
    say(log, "the text", lambda: [("CRI_RUNTIME", "a.b"), ("CRI_RUNTIME", "primary")])
    assert journald.record() == {
        "MESSAGE": ["the text"],
        "PRIORITY": [priority],
        "SYSLOG_IDENTIFIER": ["criproxy"],
        "CRI_RUNTIME": ["a.b", "primary"],
    }


@pytest.mark.parametrize(
    ("code", "priority"),
    [(1, "4"), (2, "3"), (3, "4"), (4, "3"), (5, "4"), (6, "4"), (12, "4"), (13, "3"), (14, "3"), (77, "4")],
)
def test_a_failed_call_is_an_error_if_it_is_not_the_callers_own(
    code: int, priority: str, log: Log, journald: Journald
) -> None:
    log.fail(PATH, code, "why")
    assert journald.record()["PRIORITY"] == [priority]


def test_a_message_is_one_record_of_several_lines(log: Log, journald: Journald) -> None:
    body = api()["StopContainerRequest"](container_id="c1", timeout=30).SerializeToString()
    log.enter(PATH, "StopContainerRequest", body)
    assert journald.record()["MESSAGE"] == [f'ENTER: {PATH}():\ncontainer_id: "c1"\ntimeout: 30']


def test_a_field_cannot_forge_another_or_a_record(log: Log, journald: Journald) -> None:
    forged = "c\nPRIORITY=0\n\nMESSAGE=all is well"
    log.info("the text", lambda: [("CRI_CONTAINER", forged), ("CRI_POD", "\ud800" + "x" * 10_000)])
    record = journald.record()
    assert record["CRI_CONTAINER"] == [forged]
    assert record["CRI_POD"] == ["?" + "x" * 4095]
    assert record["PRIORITY"] == ["6"]
    assert record["MESSAGE"] == ["the text"]


def test_a_record_that_is_too_long_says_so(log: Log, journald: Journald) -> None:
    log.info("x" * 2 * LIMIT)
    (message,) = journald.record()["MESSAGE"]
    assert len(message) <= LIMIT
    assert message.endswith(" bytes left out)")


def test_a_journald_that_takes_nothing_makes_nobody_wait_and_hears_how_much_is_lost(
    log: Log, journald: Journald
) -> None:
    sent = 0
    while log.output.write(INFO, "fills the queue", ()):
        sent += 1
    log.info("lost")
    log.info("lost, too")
    for _ in range(sent):
        journald.receive()
    log.info("heard")
    note = journald.record()
    assert note["MESSAGE"] == ["2 records are lost: the journal did not take them"]
    assert note["PRIORITY"] == ["4"]
    assert journald.record()["MESSAGE"] == ["heard"]


def test_a_journald_that_is_gone_is_no_error_and_one_that_comes_hears_of_it(log: Log, journald: Journald) -> None:
    journald.close()
    log.info("nobody takes this")
    os.unlink(journald.path)
    log.info("nor this")
    again = Journald(journald.path)
    log.info("heard")
    assert again.record()["MESSAGE"] == ["2 records are lost: the journal did not take them"]
    assert again.record()["MESSAGE"] == ["heard"]
    again.close()


def test_facts_are_not_asked_for_where_nobody_takes_them() -> None:
    read, write = os.pipe()
    with os.fdopen(write, "w") as stream, os.fdopen(read):
        Log(5, StreamOutput(stream)).info("text", lambda: pytest.fail("asked"))


def test_standard_error_is_the_journal_if_systemd_says_so_of_this_very_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = os.fstat(2)
    assert journal.is_stderr({"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"})
    assert not journal.is_stderr({"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino + 1}"})
    assert not journal.is_stderr({"JOURNAL_STREAM": "nonsense"})
    assert not journal.is_stderr({})

    def closed(fd: int) -> None:
        raise OSError

    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", closed)
        assert not journal.is_stderr({"JOURNAL_STREAM": "1:2"})
