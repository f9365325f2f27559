"""How a call has ended at a runtime, in whose words."""

from __future__ import annotations

import pytest

from criproxy.http2.grpc import OK_TRAILERS, RESPONSE_HEADERS, Code
from criproxy.http2.headers import Block, Head, decode
from criproxy.relay.outcome import Outcome, Source


@pytest.mark.parametrize("code", [5, 77])
def test_an_outcome_says_who_says_so_and_with_which_words(code: int) -> None:
    wire = RESPONSE_HEADERS + OK_TRAILERS
    outcome = Outcome(Source.RUNTIME, code, Block(Head(wire, decode(wire))))
    assert (outcome.ok, outcome.message, outcome.error.code) == (
        False,
        "",
        Code.NOT_FOUND if code == 5 else Code.UNKNOWN,
    )
