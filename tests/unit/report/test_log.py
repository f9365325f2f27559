"""The log: the shape of its lines, what they can hold, and standard errors that nobody reads."""

from __future__ import annotations

import io
import os
import re
import socket
import sys
import time
from contextlib import suppress
from typing import Any, Callable, Iterator, List, TextIO, Tuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from criproxy.cri.messages import api
from criproxy.report import log as log_module
from criproxy.report.log import Log, is_urgent
from criproxy.report.record import LIMIT
from criproxy.report.stream import StreamOutput

PATH = "/runtime.v1.RuntimeService/StopContainer"
HEADER = re.compile(r"([IWE])\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ criproxy\] ")
LOST = "2 records are lost: standard error did not take them"


def logged(say: Callable[[Log], None], verbosity: int = 5) -> str:
    stream = io.StringIO()
    say(Log(verbosity, StreamOutput(stream)))
    return stream.getvalue()


Pipe = Tuple[int, TextIO]
PAGE = os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """A pipe: the end to read from, which does not wait, and a stream for the other."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    with os.fdopen(write, "w") as stream:
        yield read, stream
    os.close(read)


def drained(fd: int) -> str:
    """All that is in a pipe."""
    found = b""
    while True:
        try:
            found += os.read(fd, 1 << 20)
        except BlockingIOError:
            return found.decode()


def test_a_line_has_glogs_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "XXX-5:30")
    time.tzset()
    try:
        monkeypatch.setattr(time, "time", lambda: 1511481081.123456)
        monkeypatch.setattr(os, "getpid", lambda: 123)
        assert logged(lambda log: log.info("Starting")) == "I1124 05:21:21.123456     123 criproxy] Starting\n"
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()


@pytest.mark.parametrize("letter", ["I", "W", "E"])
def test_informations_warnings_and_errors_are_logged_at_any_verbosity(letter: str) -> None:
    say = {"I": Log.info, "W": Log.warning, "E": Log.error}[letter]
    record = logged(lambda log: say(log, "the text"), verbosity=0)
    match = HEADER.match(record)
    assert match
    assert match[1] == letter
    assert record[match.end() :] == "the text\n"


@pytest.mark.parametrize(
    ("verbosity", "levels"), [(0, []), (2, [2]), (3, [2, 3]), (5, [2, 3, 4, 5]), (9, [2, 3, 4, 5])]
)
def test_a_verbosity_enables_the_levels_up_to_it(verbosity: int, levels: List[int]) -> None:
    log = Log(verbosity, StreamOutput(io.StringIO()))
    assert [level for level in (2, 3, 4, 5) if log.enabled(level)] == levels


@pytest.mark.parametrize(("say", "word"), [(Log.enter, "ENTER"), (Log.leave, "LEAVE")])
def test_a_call_is_logged_with_its_message_below(say: Callable[..., None], word: str) -> None:
    body = api()["StopContainerRequest"](container_id="alt.test__c1", timeout=30).SerializeToString()
    record = logged(lambda log: say(log, PATH, "StopContainerRequest", body))
    assert HEADER.sub("", record) == f'{word}: {PATH}():\ncontainer_id: "alt.test__c1"\ntimeout: 30\n'


def test_what_must_not_be_in_a_journal_is_not() -> None:
    body = api()["PullImageRequest"](auth=api()["AuthConfig"](password="s3cret")).SerializeToString()
    assert "s3cret" not in logged(lambda log: log.enter("/x", "PullImageRequest", body))


@pytest.mark.parametrize(
    ("code", "name"), [(1, "CANCELLED"), (5, "NOT_FOUND"), (14, "UNAVAILABLE"), (16, "UNAUTHENTICATED"), (77, "77")]
)
def test_a_failed_call_is_an_error_with_the_codes_name(code: int, name: str) -> None:
    record = logged(lambda log: log.fail(PATH, code, "no such container"), verbosity=2)
    assert HEADER.sub(r"\1 ", record) == f"E FAIL: {PATH}(): {name}: no such container\n"


@pytest.mark.parametrize(
    ("verbosity", "subject", "own", "wanted"),
    [
        (2, "default/web/nginx", False, f"FAIL: {PATH}(): default/web/nginx: INTERNAL: why"),
        (2, "default/web/nginx", True, f"FAIL: {PATH}(): default/web/nginx: INTERNAL: why"),
        (1, "default/web/nginx", False, "StopContainer default/web/nginx: INTERNAL: why"),
        (1, "default/web/nginx", True, "StopContainer default/web/nginx: why"),
        (0, "", False, "StopContainer: INTERNAL: why"),
    ],
)
def test_a_failed_call_is_told_in_a_sentence_unless_the_go_programs_form_is_asked_for(
    verbosity: int, subject: str, own: bool, wanted: str
) -> None:
    record = logged(lambda log: log.fail(PATH, 13, "why", subject=subject, own=own), verbosity)
    assert HEADER.sub("", record) == f"{wanted}\n"


@pytest.mark.parametrize("code", range(17))
def test_what_does_not_work_on_the_node_is_urgent_and_what_a_caller_does_wrong_is_not(code: int) -> None:
    of_the_node = log_module.code_name(code) in (
        "UNKNOWN", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS",
    )  # fmt: skip
    assert is_urgent(code, own=False) == of_the_node
    assert is_urgent(code, own=True) == (of_the_node or log_module.code_name(code) == "INVALID_ARGUMENT")


def test_the_codes_are_grpcs() -> None:
    grpc = pytest.importorskip("grpc")
    assert dict(enumerate(log_module._CODES)) == {code.value[0]: code.name for code in grpc.StatusCode}


@pytest.mark.parametrize("say", [Log.info, Log.warning, Log.error])
@settings(deadline=None)
@given(text=st.text())
def test_a_text_is_one_line_whatever_is_in_it(say: Callable[[Log, str], None], text: str) -> None:
    record = logged(lambda log: say(log, text))
    assert record.endswith("\n")
    assert record[:-1].isprintable()


@settings(deadline=None)
@given(path=st.text(), text=st.text())
def test_nobody_can_forge_a_record_with_an_error_or_a_path(path: str, text: str) -> None:
    for record in (
        logged(lambda log: log.fail(path, 2, text, subject=text), verbosity=0),
        logged(lambda log: log.fail(PATH, 2, "x", subject=text)),
        logged(lambda log: log.fail(path, 2, text)),
        logged(lambda log: log.fail(f"/x\nI1124 00:00:00.000000 1 criproxy] {path}", 2, f"\r\x1b[2K{text}")),
    ):
        assert len(record.splitlines()) == 1
    (first, *below) = logged(lambda log: log.enter(path, text, b"abc")).splitlines()
    assert HEADER.match(first)
    assert len(below) == 1
    assert below[0].startswith("# 3 bytes ")


def test_joined_errors_are_shown_in_one_line() -> None:
    assert logged(lambda log: log.fail("/x", 2, "one\ntwo")).endswith("(): UNKNOWN: one\\ntwo\n")


def test_what_is_not_utf8_is_shown_somehow() -> None:
    text = b"caf\xe9".decode(errors="surrogateescape")
    assert logged(lambda log: log.error(text)).endswith("caf\\udce9\n")


@pytest.mark.parametrize("length", [LIMIT - 100, LIMIT, LIMIT + 1, 10 * LIMIT])
def test_a_record_has_64_kib_at_most_and_says_how_many_bytes_are_left_out(length: int) -> None:
    record = logged(lambda log: log.info("x" * length))
    assert len(record) <= LIMIT
    match = re.search(r" \.\.\. \((\d+) bytes left out\)\n$", record)
    if length < LIMIT - 60:
        assert match is None
        assert record.endswith("x\n")
    else:
        assert match is not None
        assert record[: match.start()].rpartition("] ")[2].count("x") + int(match[1]) == length


def test_a_character_is_not_cut_in_two() -> None:
    record = logged(lambda log: log.info("x" + "\u00e9" * LIMIT))
    assert len(record.encode()) <= LIMIT
    assert re.search(r"\u00e9 \.\.\. \(\d+ bytes left out\)\n$", record)


def test_a_long_message_is_one_record_that_says_it_is_cut() -> None:
    response: Any = api()["ListContainersResponse"]()
    for number in range(5000):
        response.containers.add(id=f"{number:064x}")
    record = logged(lambda log: log.leave("/x", "ListContainersResponse", response.SerializeToString()))
    assert len(record) <= LIMIT
    assert record.endswith(f"\n# cut here: the whole message has {response.ByteSize()} bytes\n")


def test_a_record_is_one_write() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs, ours.makefile("w") as stream:
        theirs.settimeout(10)
        log = Log(3, StreamOutput(stream))
        body = api()["StopContainerRequest"](container_id="c1", timeout=30).SerializeToString()
        log.enter("/x", "StopContainerRequest", body)
        log.info("second")
        first, second = theirs.recv(1 << 16).decode(), theirs.recv(1 << 16).decode()
    assert HEADER.match(first)
    assert first.endswith("timeout: 30\n")
    assert second.endswith("criproxy] second\n")


def test_a_long_record_arrives_whole(pipe: Pipe) -> None:
    read, stream = pipe
    Log(0, StreamOutput(stream)).info("x" * 50_000)
    assert HEADER.sub("", drained(read)) == "x" * 50_000 + "\n"


def test_without_a_stream_it_writes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    Log(0).info("here")
    assert capsys.readouterr().err.endswith("criproxy] here\n")


def test_a_standard_error_that_was_never_open_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    log = Log(0)
    log.info("nowhere")
    assert log.enabled(0)


def test_a_reader_that_is_gone_is_no_error_and_one_that_comes_hears_of_it(pipe: Pipe) -> None:
    read, stream = pipe
    gone, write = os.pipe()
    os.close(gone)
    with os.fdopen(write, "w") as broken:
        log = Log(0, StreamOutput(broken))
        log.info("nobody reads this")
        log.info("nor this")
        os.dup2(stream.fileno(), write)
        log.info("heard")
    assert said(drained(read)) == [f"W {LOST}", "I heard"]


@pytest.mark.parametrize("make", [io.StringIO, lambda: os.fdopen(os.dup(1), "w")])
def test_a_closed_stream_is_no_error(make: Callable[[], TextIO]) -> None:
    stream = make()
    log = Log(0, StreamOutput(stream))
    stream.close()
    log.info("nowhere")
    late = Log(0, StreamOutput(stream))
    late.info("nowhere either")
    assert stream.closed


def test_a_full_pipe_makes_nobody_wait_and_the_next_record_says_what_is_lost(pipe: Pipe) -> None:
    read, stream = pipe
    log = Log(0, StreamOutput(stream))
    fill(pipe)
    log.info("lost")
    log.info("lost, too")
    assert drained(read).strip(".") == ""
    log.info("heard")
    log.info("heard again")
    assert said(drained(read)) == [f"W {LOST}", "I heard", "I heard again"]


def test_a_record_that_is_torn_does_not_run_into_the_next(pipe: Pipe) -> None:
    read, stream = pipe
    log = Log(0, StreamOutput(stream))
    fill(pipe)
    os.read(read, PAGE)
    log.info("x" * 2 * PAGE)
    log.info("lost")
    assert drained(read).endswith("x")
    log.info("heard")
    text = drained(read)
    assert text.startswith("\n")
    assert said(text[1:]) == [f"W {LOST}", "I heard"]


def test_a_write_that_is_refused_halfway_tears_a_record(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    read, stream = pipe
    log = Log(0, StreamOutput(stream))
    write = os.write
    takes = [10, 0]

    def reluctant(fd: int, data: bytes) -> int:
        size = takes.pop(0)
        if not size:
            raise BlockingIOError
        return write(fd, data[:size])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", reluctant)
        log.info("torn")
    assert len(drained(read)) == 10
    log.info("heard")
    text = drained(read)
    assert text.startswith("\nW")
    assert said(text[1:]) == ["W 1 records are lost: standard error did not take them", "I heard"]


def said(text: str) -> List[str]:
    """The records in a text, with nothing but the letter in front."""
    return [HEADER.sub(r"\1 ", line) for line in text.splitlines()]


def fill(pipe: Pipe) -> None:
    """Fills a pipe, page by page, so that it has room again for as much as is read from it."""
    fd = pipe[1].fileno()
    os.set_blocking(fd, False)
    with suppress(BlockingIOError):
        while True:
            os.write(fd, b"." * PAGE)
    os.set_blocking(fd, True)
