"""As much of HTTP/1.1 as a scrape takes."""

from __future__ import annotations

import http.client
import io
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from criproxy.metrics.http import Answer, HttpError, Request, parse, written


def refusal(head: bytes) -> Answer:
    with pytest.raises(HttpError) as caught:
        parse(head)
    return caught.value.answer


class _Socket:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, mode: str) -> io.BytesIO:
        assert mode == "rb"
        return io.BytesIO(self._data)


def read(data: bytes) -> http.client.HTTPResponse:
    """What Python's own client makes of an answer."""
    response = http.client.HTTPResponse(cast(Any, _Socket(data)), method="GET")
    response.begin()
    return response


# Requests.


def test_a_get_has_a_path_and_what_is_accepted() -> None:
    head = b"GET /metrics HTTP/1.1\r\nHost: x\r\nACCEPT:  text/plain;q=0.5 \r\naccept: */*"
    assert parse(head) == Request("/metrics", "text/plain;q=0.5, */*")


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/metrics?name[]=up", "/metrics"),
        (b"http://node:11251/metrics", "/metrics"),
        (b"HTTP://node/metrics?x", "/metrics"),
        (b"http://node", ""),
        (b"/metrics?from=http://node/x", "/metrics"),
        (b"/http://node/x", "/http://node/x"),
        (b"*", "*"),
        (b"/a/../metrics", "/a/../metrics"),
    ],
)
def test_a_target_has_a_path(target: bytes, path: str) -> None:
    assert parse(b"GET %s HTTP/1.1\r\nHost: x" % target).path == path


def test_an_old_client_need_not_name_the_host() -> None:
    assert parse(b"GET /metrics HTTP/1.0") == Request("/metrics", "")
    assert refusal(b"GET /metrics HTTP/1.1").status == 400


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"GET",
        b"GET /metrics",
        b"GET  /metrics HTTP/1.1",
        b"GET /met rics HTTP/1.1",
        b"GET /\xff HTTP/1.1",
        b" GET / HTTP/1.1",
        b"GET / HTTP/1.1\nHost: x",
        b"GET / http/1.1",
        b"GET / HTTP/1.1\r\nHost : x",
        b"GET / HTTP/1.1\r\nHost: x\r\n folded",
        b"GET / HTTP/1.1\r\nHost: x\r\nno colon",
        b"GET / HTTP/1.1\r\nHost: a\0b",
        b"GET / HTTP/1.1\r\nHost: a\nb: c",
        b"GET / HTTP/1.1\r\nHost: x\r\n: nameless",
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
    ],
)
def test_what_is_not_http_is_refused(head: bytes) -> None:
    assert refusal(head).status == 400


@pytest.mark.parametrize("method", [b"HEAD", b"POST", b"PRI", b"get"])
def test_there_is_only_get(method: bytes) -> None:
    answer = refusal(method + b" /metrics HTTP/1.1\r\nHost: x")
    assert answer.status == 405
    assert read(written(answer)).headers["Allow"] == "GET"


def test_http_2_is_another_protocol() -> None:
    assert refusal(b"PRI * HTTP/2.0").status == 505


@given(st.binary(max_size=200))
def test_whatever_comes_is_a_request_or_refused(head: bytes) -> None:
    try:
        status = parse(head) and 200
    except HttpError as error:
        status = error.answer.status
    assert status in (200, 400, 405, 505)


# Answers.


@given(st.sampled_from([200, 404, 503]), st.binary(max_size=100))
def test_an_answer_is_read_as_it_was_meant(status: int, body: bytes) -> None:
    response = read(written(Answer(status, body, "text/plain")))
    assert (response.status, response.read()) == (status, body)
    assert response.headers["Content-Type"] == "text/plain"
    assert response.headers["Connection"] == "close"
    assert "Allow" not in response.headers
