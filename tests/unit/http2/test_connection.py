"""Our connections joined to h2's, an implementation by others: the wire rules as a sound peer sees them."""

from __future__ import annotations

import itertools
from typing import Any, Callable, Dict, List, Tuple

import h2.events
import h2.settings
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from http2_reference import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HAS_PRIORITY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    PADDED,
    PREFACE,
    REQUEST,
    RESPONSE,
    RST_STREAM,
    SETTINGS,
    TRAILERS,
    WINDOW_UPDATE,
    Pair,
    Told,
    client,
    data,
    frame,
    headers,
    number,
    plain_block,
    sent,
    server,
    settings,
    told_by_events,
    told_by_wire,
)
from hypothesis import given
from hypothesis import strategies as st

from criproxy.http2.connection import CONNECTION_WINDOW, Connection
from criproxy.http2.errors import ErrorCode
from criproxy.http2.events import (
    DataReceived,
    Event,
    GoAwayReceived,
    HeadersReceived,
    PingAcknowledged,
    Sent,
    SettingsReceived,
    StreamReset,
)
from criproxy.http2.frames import DEFAULT_FRAME_SIZE
from criproxy.http2.headers import encode

DEFAULT = 65_535


def of_kind(events: List[Any], kind: type) -> List[Any]:
    return [event for event in events if isinstance(event, kind)]


def joined(events: List[Any], stream_id: int = 1) -> bytes:
    """The data of a stream's events, ours or h2's."""
    return b"".join(
        event.data
        for event in events
        if isinstance(event, (DataReceived, h2.events.DataReceived)) and event.stream_id == stream_id
    )


def serving(**options: object) -> Pair:
    """We are the server; h2, the client, has asked something on stream 1 and closed its side."""
    pair = Pair(client=False, **options)
    pair.theirs.send_headers(1, REQUEST, end_stream=True)
    pair.exchange()
    return pair


def asking(**options: object) -> Pair:
    """We are the client and have asked something on stream 1, which is open on our side; h2 has begun to answer."""
    pair = Pair(client=True, **options)
    assert pair.ours.open_stream() == 1
    pair.ours.sender.headers(1, encode(REQUEST))
    pair.exchange()
    pair.theirs.send_headers(1, RESPONSE)
    pair.exchange()
    return pair


# Calls.


def test_a_call_to_h2_is_answered() -> None:
    pair = Pair(client=True)
    stream_id = pair.ours.open_stream()
    pair.ours.sender.headers(stream_id, encode(REQUEST))
    pair.ours.sender.data(stream_id, b"question", True)
    _, heard = pair.exchange()
    assert [list(event.headers) for event in of_kind(heard, h2.events.RequestReceived)] == [REQUEST]
    assert joined(heard) == b"question"
    assert of_kind(heard, h2.events.StreamEnded)

    pair.theirs.send_headers(stream_id, RESPONSE)
    pair.theirs.send_data(stream_id, b"answer")
    pair.theirs.send_headers(stream_id, TRAILERS, end_stream=True)
    events, _ = pair.exchange()
    assert told_by_events(events) == [
        ("fields", 1, RESPONSE, False),
        ("data", 1, b"answer", False),
        ("fields", 1, TRAILERS, True),
    ]
    assert pair.ours.open_streams == 0


def test_a_call_of_h2s_is_answered() -> None:
    pair = Pair(client=False)
    pair.theirs.send_headers(1, REQUEST)
    pair.theirs.send_data(1, b"question", end_stream=True)
    events, _ = pair.exchange()
    assert told_by_events(events) == [("fields", 1, REQUEST, False), ("data", 1, b"question", True)]

    pair.ours.sender.headers(1, encode(RESPONSE))
    assert pair.ours.sender.data(1, b"answer") == 6
    pair.ours.sender.headers(1, encode(TRAILERS), True)
    _, heard = pair.exchange()
    assert [list(event.headers) for event in of_kind(heard, h2.events.ResponseReceived)] == [RESPONSE]
    assert joined(heard) == b"answer"
    assert [list(event.headers) for event in of_kind(heard, h2.events.TrailersReceived)] == [TRAILERS]
    assert of_kind(heard, h2.events.StreamEnded)
    assert pair.ours.open_streams == 0


def test_an_answer_may_be_trailers_alone() -> None:
    pair = serving()
    pair.ours.sender.headers(1, encode(RESPONSE + TRAILERS), True)
    _, heard = pair.exchange()
    assert [list(event.headers) for event in of_kind(heard, h2.events.ResponseReceived)] == [RESPONSE + TRAILERS]
    assert of_kind(heard, h2.events.StreamEnded)
    assert pair.ours.open_streams == 0


def test_a_stream_of_which_one_half_is_closed_still_carries_the_other() -> None:
    pair = asking()
    pair.ours.sender.data(1, b"", True)
    pair.exchange()
    assert pair.ours.knows(1)
    pair.theirs.send_data(1, b"late answer")
    events, _ = pair.exchange()
    assert joined(events) == b"late answer"

    other = serving()
    assert other.ours.knows(1)
    other.ours.sender.headers(1, encode(RESPONSE))
    other.ours.sender.data(1, b"late answer", True)
    _, heard = other.exchange()
    assert joined(heard) == b"late answer"
    assert other.ours.open_streams == 0


def test_an_answer_may_end_before_its_request() -> None:
    pair = asking()
    pair.theirs.send_headers(1, TRAILERS, end_stream=True)
    pair.exchange()
    assert pair.ours.open_streams == 1
    pair.ours.sender.data(1, b"too late", True)
    pair.exchange()
    assert pair.ours.open_streams == 0


def test_many_streams_share_a_connection() -> None:
    pair = Pair(client=False)
    for stream_id in range(1, 40, 2):
        pair.theirs.send_headers(stream_id, REQUEST)
    for stream_id in range(39, 0, -2):
        pair.theirs.send_data(stream_id, b"%d" % stream_id, end_stream=True)
    events, _ = pair.exchange()
    assert {event.stream_id: event.data for event in of_kind(events, DataReceived)} == {
        stream_id: b"%d" % stream_id for stream_id in range(1, 40, 2)
    }


def test_what_is_sent_on_a_stream_that_is_over_is_swallowed() -> None:
    pair = serving()
    pair.ours.sender.headers(1, encode(RESPONSE), True)
    pair.exchange()
    assert pair.ours.sender.data(1, b"more") == 4
    pair.ours.sender.headers(1, encode(TRAILERS), True)
    pair.ours.reset(1, ErrorCode.CANCEL)
    pair.ours.consumed(1, 10)
    assert pair.ours.data_to_send() == b""


def test_nothing_is_sent_behind_an_end_that_has_been_sent() -> None:
    pair = Pair(client=True)
    pair.ours.open_stream()
    pair.ours.sender.headers(1, encode(REQUEST), True)
    pair.exchange()
    assert pair.ours.sender.data(1, b"more") == 4
    pair.ours.sender.headers(1, encode(TRAILERS), True)
    assert pair.ours.data_to_send() == b""


# What each end says of itself first.


def test_a_client_announces_itself() -> None:
    connection = Connection(True, stream_window=100_000)
    wire = connection.data_to_send()
    assert wire.startswith(PREFACE)
    events = H2Connection(H2Configuration(client_side=False)).receive_data(wire)
    changed = {
        key: setting.new_value
        for event in of_kind(events, h2.events.RemoteSettingsChanged)
        for key, setting in event.changed_settings.items()
    }
    codes = h2.settings.SettingCodes
    assert changed[codes.HEADER_TABLE_SIZE] == 0
    assert changed[codes.ENABLE_PUSH] == 0
    assert changed[codes.INITIAL_WINDOW_SIZE] == 100_000
    assert of_kind(events, h2.events.WindowUpdated)[0].delta == CONNECTION_WINDOW - DEFAULT


def test_a_server_says_how_many_streams_it_takes() -> None:
    pair = Pair(client=False, max_streams=7)
    assert pair.theirs.remote_settings.max_concurrent_streams == 7


def test_the_handshake_is_told() -> None:
    connection = Connection(False)
    events = connection.receive(PREFACE + settings() + frame(SETTINGS, ACK, 0))
    assert events == [SettingsReceived()]
    assert [(found.kind, found.flags) for found in sent(connection)] == [
        (SETTINGS, 0),
        (WINDOW_UPDATE, 0),
        (SETTINGS, ACK),
    ]


def test_a_client_opens_as_many_streams_as_the_server_takes() -> None:
    connection = client(server_settings=((0x3, 2),))
    assert connection.open_stream() == 1
    assert (connection.open_stream(), connection.can_open) == (3, False)
    connection.reset(1, ErrorCode.CANCEL)
    assert (connection.can_open, connection.open_stream()) == (True, 5)


# Flow control, sending.


def test_what_the_default_window_does_not_let_pass_waits_for_a_window_update() -> None:
    pair = serving()
    body = bytes(range(256)) * 1_000
    pair.ours.sender.headers(1, encode(RESPONSE))
    assert pair.ours.sender.data(1, body) == DEFAULT
    pair.ours.sender.headers(1, encode(TRAILERS), True)
    events, heard = pair.exchange()
    assert joined(heard) == body[:DEFAULT]
    assert not of_kind(heard, h2.events.TrailersReceived)
    got, told = joined(heard), 0
    while len(got) < len(body):
        pair.theirs.acknowledge_received_data(40_000, 1)
        events, heard = pair.exchange()
        got += joined(heard)
        told += sum(event.size for event in of_kind(events, Sent))
    assert got == body
    assert told == len(body) - DEFAULT
    assert of_kind(heard, h2.events.TrailersReceived)
    assert pair.ours.open_streams == 0


def test_the_streams_window_and_the_connections_bind_both() -> None:
    pair = serving()
    pair.ours.sender.headers(1, encode(RESPONSE))
    pair.ours.sender.data(1, bytes(100_000))
    pair.exchange()
    pair.theirs.increment_flow_control_window(1_000)
    assert joined(pair.exchange()[1]) == b""
    pair.theirs.increment_flow_control_window(600, 1)
    assert len(joined(pair.exchange()[1])) == 600
    pair.theirs.increment_flow_control_window(5_000, 1)
    assert len(joined(pair.exchange()[1])) == 400


def test_streams_that_wait_go_on_in_turns() -> None:
    connection = server(client_settings=((INITIAL_WINDOW_SIZE, 2**20),))
    connection.receive(headers(1, REQUEST, True) + headers(3, REQUEST, True))
    for stream_id in (1, 3):
        connection.sender.headers(stream_id, encode(RESPONSE))
        connection.sender.data(stream_id, bytes(100_000), True)
    connection.data_to_send()
    events = connection.receive(frame(WINDOW_UPDATE, 0, 0, number(2**20)))
    order = [found.stream_id for found in sent(connection)]
    assert order[:4] == [1, 3, 1, 3]
    assert {event.stream_id for event in of_kind(events, Sent)} == {1, 3}
    assert connection.open_streams == 0


def test_data_is_cut_to_frames() -> None:
    connection = server()
    connection.receive(headers(1, REQUEST, True))
    connection.sender.headers(1, encode(RESPONSE))
    assert connection.sender.data(1, bytes(40_000), True) == 40_000
    found = [each for each in sent(connection) if each.kind == DATA]
    assert [len(each.payload) for each in found] == [16_384, 16_384, 7_232]
    assert [each.flags for each in found] == [0, 0, END_STREAM]


def test_a_peer_that_takes_larger_frames_gets_them() -> None:
    pair = serving()
    pair.theirs.update_settings({h2.settings.SettingCodes.MAX_FRAME_SIZE: 30_000})
    pair.exchange()
    pair.ours.sender.headers(1, encode(RESPONSE))
    pair.ours.sender.data(1, bytes(40_000), True)
    assert [len(event.data) for event in of_kind(pair.exchange()[1], h2.events.DataReceived)] == [30_000, 10_000]


def test_a_larger_initial_window_lets_data_go_that_waits() -> None:
    connection = server(client_settings=((INITIAL_WINDOW_SIZE, 10),))
    connection.receive(headers(1, REQUEST, True))
    connection.sender.headers(1, encode(RESPONSE))
    assert connection.sender.data(1, b"0123456789abcdef") == 10
    connection.data_to_send()
    events = connection.receive(settings((INITIAL_WINDOW_SIZE, 13)))
    assert of_kind(events, Sent) == [Sent(1, 3)]
    assert [found.payload for found in sent(connection) if found.kind == DATA] == [b"abc"]


def test_a_window_may_become_negative() -> None:
    connection = server()
    connection.receive(headers(1, REQUEST, True))
    connection.sender.headers(1, encode(RESPONSE))
    connection.sender.data(1, bytes(1_000))
    connection.receive(settings((INITIAL_WINDOW_SIZE, 400)))
    connection.data_to_send()
    assert connection.sender.data(1, b"xy") == 0
    connection.receive(frame(WINDOW_UPDATE, 0, 1, number(600)))
    assert sent(connection) == []
    assert connection.receive(frame(WINDOW_UPDATE, 0, 1, number(1))) == [Sent(1, 1)]
    assert connection.receive(settings((INITIAL_WINDOW_SIZE, 401))) == [SettingsReceived(), Sent(1, 1)]


def test_an_end_without_data_needs_no_window() -> None:
    connection = server(client_settings=((INITIAL_WINDOW_SIZE, 0),))
    connection.receive(headers(1, REQUEST, True) + headers(3, REQUEST, True))
    for stream_id in (1, 3):
        connection.sender.headers(stream_id, encode(RESPONSE))
    assert connection.sender.data(1, b"", True) == 0
    connection.sender.headers(3, encode(TRAILERS), True)
    assert [(found.kind, found.stream_id) for found in sent(connection)][2:] == [(DATA, 1), (HEADERS, 3)]
    assert connection.open_streams == 0


def test_an_end_without_data_leaves_behind_data_that_waits() -> None:
    connection = server(client_settings=((INITIAL_WINDOW_SIZE, 0),))
    connection.receive(headers(1, REQUEST, True))
    connection.sender.headers(1, encode(RESPONSE))
    connection.data_to_send()
    assert connection.sender.data(1, b"abc") == 0
    assert connection.sender.data(1, b"", True) == 0
    assert sent(connection) == []
    assert connection.receive(frame(WINDOW_UPDATE, 0, 1, number(3))) == [Sent(1, 3)]
    assert [(found.payload, found.flags) for found in sent(connection)] == [(b"abc", 0), (b"", END_STREAM)]
    assert connection.open_streams == 0


def test_data_and_trailers_that_wait_leave_in_their_order() -> None:
    connection = server(client_settings=((INITIAL_WINDOW_SIZE, 0),))
    connection.receive(headers(1, REQUEST, True))
    connection.sender.headers(1, encode(RESPONSE))
    connection.data_to_send()
    for piece in (b"one", b"two", b"three"):
        assert connection.sender.data(1, piece) == 0
    connection.sender.headers(1, encode(TRAILERS), True)
    events = connection.receive(frame(WINDOW_UPDATE, 0, 1, number(11)))
    assert sum(event.size for event in of_kind(events, Sent)) == 11
    found = sent(connection)
    assert [each.kind for each in found] == [DATA, DATA, DATA, HEADERS]
    assert b"".join(each.payload for each in found[:3]) == b"onetwothree"
    assert connection.open_streams == 0


def test_a_stream_that_is_reset_waits_no_longer() -> None:
    connection = server(client_settings=((INITIAL_WINDOW_SIZE, 0),))
    connection.receive(headers(1, REQUEST, True) + headers(3, REQUEST, True))
    for stream_id in (1, 3):
        connection.sender.headers(stream_id, encode(RESPONSE))
        connection.sender.data(stream_id, b"abc", True)
    connection.reset(1, ErrorCode.CANCEL)
    connection.receive(frame(RST_STREAM, 0, 3, number(8)))
    connection.data_to_send()
    assert of_kind(connection.receive(settings((INITIAL_WINDOW_SIZE, 100))), Sent) == []
    assert [found.kind for found in sent(connection)] == [SETTINGS]
    assert connection.open_streams == 0


# Flow control, receiving.


def test_a_streams_window_comes_back_as_its_data_is_consumed() -> None:
    pair = Pair(client=False, stream_window=100_000)
    pair.theirs.send_headers(1, REQUEST)
    for _ in range(5):
        pair.theirs.send_data(1, bytes(16_000))
    events, _ = pair.exchange()
    assert pair.theirs.local_flow_control_window(1) == 20_000
    assert sum(event.size for event in of_kind(events, DataReceived)) == 80_000
    pair.ours.consumed(1, 80_000)
    pair.exchange()
    assert pair.theirs.local_flow_control_window(1) == 100_000


def test_a_window_is_given_back_by_halves() -> None:
    pair = Pair(client=False, stream_window=100_000)
    pair.theirs.send_headers(1, REQUEST)
    for _ in range(4):
        pair.theirs.send_data(1, bytes(15_000))
    pair.exchange()
    pair.ours.consumed(1, 49_999)
    assert sent(pair.ours) == []
    pair.ours.consumed(1, 1)
    assert [(found.kind, found.payload) for found in sent(pair.ours)] == [(WINDOW_UPDATE, number(50_000))]


def test_padding_takes_of_the_window_and_comes_back() -> None:
    pair = Pair(client=False)
    pair.theirs.send_headers(1, REQUEST)
    pair.theirs.send_data(1, b"abc", pad_length=200)
    events, _ = pair.exchange()
    assert of_kind(events, DataReceived) == [DataReceived(1, b"abc", 204, False)]
    assert pair.theirs.local_flow_control_window(1) == DEFAULT - 204


def test_the_connections_window_comes_back_though_nobody_consumes() -> None:
    pair = Pair(client=False, stream_window=2 * CONNECTION_WINDOW)
    pair.theirs.send_headers(1, REQUEST)
    total = 0
    while total < 2 * CONNECTION_WINDOW - 16_384:
        for _ in range(64):
            pair.theirs.send_data(1, bytes(16_384))
        total += 64 * 16_384
        pair.exchange()
        assert pair.theirs.outbound_flow_control_window * 2 >= CONNECTION_WINDOW


def test_data_of_streams_that_are_over_counts_for_the_connections_window() -> None:
    pair = Pair(client=False, stream_window=CONNECTION_WINDOW)
    pair.theirs.send_headers(1, REQUEST)
    pair.exchange()
    pair.ours.reset(1, ErrorCode.CANCEL)
    for _ in range(CONNECTION_WINDOW // 16_384 // 2):
        pair.theirs.send_data(1, bytes(16_384))
    events, _ = pair.exchange()
    assert events == []
    assert pair.theirs.outbound_flow_control_window == CONNECTION_WINDOW


# While the socket takes nothing.


def test_held_data_waits_and_leaves_when_the_socket_takes_it() -> None:
    pair = serving()
    pair.ours.sender.headers(1, encode(RESPONSE))
    assert pair.ours.sender.hold(True) == []
    assert pair.ours.sender.data(1, b"abc") == 0
    pair.ours.sender.headers(1, encode(TRAILERS), True)
    _, heard = pair.exchange()
    assert joined(heard) == b""
    assert pair.ours.sender.hold(False) == [Sent(1, 3)]
    _, heard = pair.exchange()
    assert joined(heard) == b"abc"
    assert of_kind(heard, h2.events.TrailersReceived)
    assert pair.ours.open_streams == 0


def test_a_window_that_opens_while_the_socket_takes_nothing_moves_nothing() -> None:
    connection = server(client_settings=((INITIAL_WINDOW_SIZE, 0),))
    connection.receive(headers(1, REQUEST, True))
    connection.sender.headers(1, encode(RESPONSE))
    connection.sender.data(1, b"abc", True)
    connection.sender.hold(True)
    assert connection.receive(frame(WINDOW_UPDATE, 0, 1, number(2))) == []
    assert connection.receive(settings((INITIAL_WINDOW_SIZE, 1))) == [SettingsReceived()]
    assert connection.sender.hold(False) == [Sent(1, 3)]
    assert connection.open_streams == 0


def test_lifting_a_hold_sends_no_more_than_the_windows_let() -> None:
    connection = server(client_settings=((INITIAL_WINDOW_SIZE, 2),))
    connection.receive(headers(1, REQUEST, True))
    connection.sender.headers(1, encode(RESPONSE))
    connection.sender.hold(True)
    connection.sender.data(1, b"abc", True)
    assert connection.sender.hold(False) == [Sent(1, 2)]
    assert connection.sender.hold(False) == []


def test_headers_and_control_frames_pass_while_the_socket_takes_nothing() -> None:
    pair = Pair(client=False)
    pair.ours.sender.hold(True)
    pair.theirs.send_headers(1, REQUEST, end_stream=True)
    pair.theirs.ping(b"12345678")
    pair.exchange()
    pair.ours.sender.headers(1, encode(RESPONSE))
    _, heard = pair.exchange()
    assert of_kind(heard, h2.events.ResponseReceived)


# Frames of other kinds.


def test_a_ping_is_answered() -> None:
    pair = Pair(client=False)
    pair.theirs.ping(b"12345678")
    _, heard = pair.exchange()
    assert [event.ping_data for event in of_kind(heard, h2.events.PingAckReceived)] == [b"12345678"]


def test_the_answer_to_a_ping_of_ours_is_told() -> None:
    pair = Pair(client=True)
    pair.ours.ping(b"abcdefgh")
    events, _ = pair.exchange()
    assert events == [PingAcknowledged(b"abcdefgh")]


def test_settings_are_acknowledged_at_any_time() -> None:
    pair = serving()
    pair.theirs.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 1_000})
    events, heard = pair.exchange()
    assert events == [SettingsReceived()]
    assert of_kind(heard, h2.events.SettingsAcknowledged)


def test_a_reset_by_h2_ends_the_stream() -> None:
    for pair in (serving(), asking()):
        pair.theirs.reset_stream(1, 8)
        events, _ = pair.exchange()
        assert events == [StreamReset(1, ErrorCode.CANCEL)]
        assert pair.ours.open_streams == 0
        assert pair.ours.sender.data(1, b"more") == 4
        assert pair.ours.data_to_send() == b""


def test_a_reset_of_ours_reaches_h2() -> None:
    for pair in (serving(), asking()):
        pair.ours.reset(1, ErrorCode.CANCEL)
        _, heard = pair.exchange()
        assert [event.error_code for event in of_kind(heard, h2.events.StreamReset)] == [ErrorCode.CANCEL]
        assert pair.ours.open_streams == 0


def test_frames_that_cross_our_reset_are_ignored() -> None:
    pair = asking()
    pair.ours.reset(1, ErrorCode.CANCEL)
    pair.theirs.send_data(1, b"late")
    pair.theirs.increment_flow_control_window(10, 1)
    pair.theirs.send_headers(1, TRAILERS, end_stream=True)
    events = pair.ours.receive(pair.theirs.data_to_send())
    assert events == []
    assert [found.kind for found in sent(pair.ours)] == [RST_STREAM]


def test_a_reset_that_crosses_the_end_of_the_stream_is_ignored() -> None:
    connection = client()
    connection.open_stream()
    connection.sender.headers(1, encode(REQUEST), True)
    connection.receive(headers(1, RESPONSE + TRAILERS, True))
    assert connection.receive(frame(RST_STREAM, 0, 1, number(0))) == []


def test_calls_under_way_go_on_after_a_goaway_of_the_servers() -> None:
    pair = asking()
    unseen = pair.ours.open_stream()
    pair.ours.sender.headers(unseen, encode(REQUEST), True)
    events = pair.ours.receive(frame(GOAWAY, 0, 0, number(1) + number(0) + b"restart"))
    assert events == [GoAwayReceived(1, ErrorCode.NO_ERROR, b"restart"), StreamReset(unseen, ErrorCode.REFUSED_STREAM)]
    assert pair.ours.going_away
    assert not pair.ours.can_open
    pair.theirs.send_data(1, b"rest")
    pair.theirs.send_headers(1, TRAILERS, end_stream=True)
    events, _ = pair.exchange()
    assert joined(events) == b"rest"
    pair.ours.sender.data(1, b"", True)
    assert pair.ours.open_streams == 0


def test_h2_understands_our_goaway() -> None:
    pair = serving()
    pair.ours.go_away(ErrorCode.NO_ERROR, "bye")
    assert pair.ours.going_away
    _, heard = pair.exchange()
    (event,) = of_kind(heard, h2.events.ConnectionTerminated)
    assert (event.last_stream_id, event.error_code, event.additional_data) == (1, 0, b"bye")


def test_calls_that_cross_the_announcement_of_our_goaway_are_taken() -> None:
    connection = server()
    connection.receive(headers(1, REQUEST, True))
    connection.announce_going_away()
    (announced,) = sent(connection)
    assert (announced.kind, announced.payload) == (GOAWAY, number(2**31 - 1) + number(0))
    events = connection.receive(headers(3, REQUEST, True))
    assert [event.stream_id for event in of_kind(events, HeadersReceived)] == [3]
    connection.go_away()
    (final,) = sent(connection)
    assert final.payload == number(3) + number(0)
    assert not of_kind(connection.receive(headers(5, REQUEST, True)), HeadersReceived)


def test_after_our_goaway_calls_under_way_go_on_and_new_ones_are_ignored() -> None:
    connection = server()
    connection.receive(headers(1, REQUEST))
    connection.go_away()
    connection.data_to_send()
    late = (
        headers(3, REQUEST)
        + data(3, b"abc", True)
        + frame(WINDOW_UPDATE, 0, 3, number(1))
        + frame(RST_STREAM, 0, 3, number(8))
    )
    events = connection.receive(late + data(1, b"question", True))
    assert told_by_events(events) == [("data", 1, b"question", True)]
    assert sent(connection) == []
    connection.sender.headers(1, encode(RESPONSE + TRAILERS), True)
    assert connection.open_streams == 0


def test_a_client_that_goes_away_may_still_call() -> None:
    """Its GOAWAY is about streams of the server's; who waits for an answer must not wait for ever."""
    connection = server()
    goaway = frame(GOAWAY, 0, 0, number(0) + number(0))
    events = connection.receive(headers(1, REQUEST, True) + goaway + headers(3, REQUEST, True))
    assert [event.stream_id for event in of_kind(events, HeadersReceived)] == [1, 3]
    assert connection.going_away
    assert connection.open_streams == 2


# Field blocks in several frames, padding, priority.

_LARGE: List[Tuple[bytes, bytes]] = [*REQUEST, *((b"x-%d" % at, b"%04d" % at * 200) for at in range(50))]


def test_a_block_larger_than_a_frame_is_read() -> None:
    pair = Pair(client=False)
    pair.theirs.send_headers(1, _LARGE, end_stream=True)
    wire = pair.theirs.data_to_send()
    assert told_by_events(pair.ours.receive(wire)) == [("fields", 1, _LARGE, True)]


def test_a_block_larger_than_a_frame_is_written() -> None:
    pair = Pair(client=True)
    pair.ours.open_stream()
    pair.ours.sender.headers(1, encode(_LARGE), True)
    wire = pair.ours.data_to_send()
    heard = pair.theirs.receive_data(wire)
    assert [list(event.headers) for event in of_kind(heard, h2.events.RequestReceived)] == [_LARGE]
    assert of_kind(heard, h2.events.StreamEnded)


@pytest.mark.parametrize("more", range(-3, 4))
def test_a_block_that_just_fills_its_frames_is_written(more: int) -> None:
    pair = Pair(client=True)
    pair.ours.open_stream()
    filler = (b"x", b"v" * 30_000)
    # Two frames, but for the field's own bytes and the size update before the first block.
    left = 2 * 16_384 - 1 - len(encode([*REQUEST, filler, (b"y", b"")])) + more
    fields = [*REQUEST, filler, (b"y", b"v" * (left - 2))]
    pair.ours.sender.headers(1, encode(fields))
    _, heard = pair.exchange()
    assert [list(event.headers) for event in of_kind(heard, h2.events.RequestReceived)] == [fields]


def test_blocks_need_no_table_whatever_the_peer_makes_of_its_own() -> None:
    pair = Pair(client=True)
    for size in (4_096, 0, 100):
        pair.theirs.update_settings({h2.settings.SettingCodes.HEADER_TABLE_SIZE: size})
        pair.exchange()
        stream_id = pair.ours.open_stream()
        pair.ours.sender.headers(stream_id, encode(REQUEST), True)
        _, heard = pair.exchange()
        assert [list(event.headers) for event in of_kind(heard, h2.events.RequestReceived)] == [REQUEST]


def test_a_block_cut_into_many_continuations_is_read() -> None:
    connection = server()
    block = plain_block(REQUEST)
    wire = frame(HEADERS, END_STREAM, 1, block[:3])
    for at in range(3, len(block), 5):
        wire += frame(CONTINUATION, END_HEADERS if at + 5 >= len(block) else 0, 1, block[at : at + 5])
    assert told_by_events(connection.receive(wire)) == [("fields", 1, REQUEST, True)]


@pytest.mark.parametrize("end", [END_STREAM, 0])
def test_padding_and_priority_are_taken_off_headers(end: int) -> None:
    block = plain_block(REQUEST)
    priority = number(2**31) + b"\x10"
    for flags, payload in (
        (PADDED, b"\x04" + block + bytes(4)),
        (PADDED, b"\x00" + block),
        (HAS_PRIORITY, priority + block),
        (PADDED | HAS_PRIORITY, b"\x07" + priority + block + bytes(7)),
    ):
        connection = server()
        events = connection.receive(frame(HEADERS, END_HEADERS | flags | end, 1, payload))
        assert told_by_events(events) == [("fields", 1, REQUEST, bool(end))]


def test_h2s_priorities_change_nothing() -> None:
    pair = Pair(client=False)
    pair.theirs.send_headers(1, REQUEST, priority_weight=20, priority_depends_on=0, priority_exclusive=True)
    pair.theirs.prioritize(1, weight=100)
    pair.theirs.send_data(1, b"abc", end_stream=True, pad_length=0)
    events, _ = pair.exchange()
    assert told_by_events(events) == [("fields", 1, REQUEST, False), ("data", 1, b"abc", True)]


def test_frames_of_unknown_types_and_unknown_settings_are_ignored() -> None:
    connection = server()
    assert connection.receive(frame(0xFA, 0xFF, 9, b"grease")) == []
    assert connection.receive(settings((0x7A7A, 1), (0x1, 0))) == [SettingsReceived()]


# However the bytes arrive.


def _much() -> Tuple[bytes, List[Event]]:
    """All that a client's side may hold, and what it amounts to in one piece."""
    theirs = Pair(client=False).theirs
    wire = PREFACE + settings((INITIAL_WINDOW_SIZE, 70_000)) + frame(SETTINGS, ACK, 0)
    theirs.send_headers(1, REQUEST)
    theirs.send_data(1, b"padded", pad_length=3)
    theirs.ping(b"12345678")
    theirs.send_headers(3, REQUEST, priority_weight=3)
    theirs.send_data(3, b"xyz", end_stream=True)
    theirs.increment_flow_control_window(10)
    theirs.increment_flow_control_window(10, 1)
    theirs.send_headers(1, TRAILERS, end_stream=True)
    theirs.send_headers(5, REQUEST)
    theirs.reset_stream(5)
    wire += theirs.data_to_send() + frame(0x77, 0, 0, b"unknown")
    block = plain_block(REQUEST)
    wire += frame(HEADERS, 0, 7, block[:9]) + frame(CONTINUATION, END_HEADERS, 7, block[9:])
    wire += frame(GOAWAY, 0, 0, number(0) + number(0) + b"bye")
    return wire, Connection(False).receive(wire)


def _comparable(events: List[Event]) -> List[object]:
    """Blocks have no equality of their own."""
    return [
        (event.stream_id, event.block.fields, event.end_stream) if isinstance(event, HeadersReceived) else event
        for event in events
    ]


def test_bytes_that_come_one_by_one_give_the_same_events() -> None:
    wire, expected = _much()
    assert len(expected) == 10
    connection = Connection(False)
    events: List[Event] = []
    for at in range(len(wire)):
        events += connection.receive(wire[at : at + 1])
    assert _comparable(events) == _comparable(expected)


def test_bytes_cut_anywhere_give_the_same_events() -> None:
    wire, expected = _much()
    for cut in range(1, len(wire)):
        connection = Connection(False)
        events = connection.receive(wire[:cut]) + connection.receive(wire[cut:])
        assert _comparable(events) == _comparable(expected), cut


@given(st.data())
def test_bytes_cut_at_many_places_give_the_same_events(cuts: st.DataObject) -> None:
    wire, expected = _much()
    places = sorted(cuts.draw(st.sets(st.integers(1, len(wire) - 1), max_size=20)))
    connection = Connection(False)
    events: List[Event] = []
    for start, stop in zip([0, *places], [*places, len(wire)]):
        events += connection.receive(wire[start:stop])
    assert _comparable(events) == _comparable(expected)
    assert connection.data_to_send() == _answer_in_one_piece(wire)


def _answer_in_one_piece(wire: bytes) -> bytes:
    connection = Connection(False)
    connection.receive(wire)
    return connection.data_to_send()


@given(st.integers(1, 40_000), st.integers(66_000, 300_000))
def test_a_large_message_in_large_pieces_is_the_same_data(first: int, size: int) -> None:
    wire = PREFACE + settings() + frame(SETTINGS, ACK, 0) + headers(1, REQUEST)
    for number_of_frame in range(40):
        wire += frame(DATA, 0, 1, bytes((number_of_frame,)) * DEFAULT_FRAME_SIZE)
    wire += data(1, b"the end of it") + headers(3, REQUEST) + data(3, b"another's") + headers(1, TRAILERS, True)
    connection = Connection(False, 2**20)
    events = connection.receive(wire[:first])
    for at in range(first, len(wire), size):
        events += connection.receive(wire[at : at + size])
    assert _joined(told_by_events(events)) == _joined(told_by_wire(wire))


def _joined(told: List[Told]) -> List[Told]:
    """What is told, with the data of one stream in one piece as long as nothing else comes between."""
    joined: List[Told] = []
    for kind, stream_id, content, end in told:
        if kind == "data" and joined and joined[-1][:2] == (kind, stream_id):
            content = joined.pop()[2] + content
        joined.append((kind, stream_id, content, end))
    return joined


def test_events_agree_with_a_plain_reading_of_the_wire() -> None:
    wire, expected = _much()
    assert told_by_events(expected) == told_by_wire(wire)


# Every order in which a stream may end.

Step = Callable[[Connection, int], object]


def _data_and_trailers(connection: Connection, stream_id: int) -> None:
    connection.sender.data(stream_id, b"abc")
    connection.sender.headers(stream_id, encode(TRAILERS), True)


_OUR_ENDS: Dict[str, Step] = {
    "data": lambda connection, stream_id: connection.sender.data(stream_id, b"abc", True),
    "empty data": lambda connection, stream_id: connection.sender.data(stream_id, b"", True),
    "trailers": lambda connection, stream_id: connection.sender.headers(stream_id, encode(TRAILERS), True),
    "data, trailers": _data_and_trailers,
    "reset": lambda connection, stream_id: connection.reset(stream_id, ErrorCode.CANCEL),
}
_THEIR_ENDS: Dict[str, bytes] = {
    "data": data(1, b"xyz", True),
    "empty data": data(1, b"", True),
    "trailers": headers(1, TRAILERS, True),
    "reset": frame(RST_STREAM, 0, 1, number(8)),
    "data, reset": data(1, b"xyz", True) + frame(RST_STREAM, 0, 1, number(0)),
}


def _opened(is_client: bool, window: int) -> Connection:
    if is_client:
        connection = client(server_settings=((INITIAL_WINDOW_SIZE, window),))
        connection.open_stream()
        connection.sender.headers(1, encode(REQUEST))
        connection.receive(headers(1, RESPONSE))
        return connection
    connection = server(client_settings=((INITIAL_WINDOW_SIZE, window),))
    connection.receive(headers(1, REQUEST))
    connection.sender.headers(1, encode(RESPONSE))
    return connection


@pytest.mark.parametrize("is_client", [True, False], ids=["client", "server"])
@pytest.mark.parametrize("ours", _OUR_ENDS)
@pytest.mark.parametrize("theirs", _THEIR_ENDS)
def test_a_stream_is_over_when_both_have_ended_it(is_client: bool, ours: str, theirs: str) -> None:
    """We first, they first, and either with our data waiting for a window that opens before or after their end."""
    steps: Dict[str, Callable[[Connection], object]] = {
        "we end": lambda connection: _OUR_ENDS[ours](connection, 1),
        "they end": lambda connection: connection.receive(_THEIR_ENDS[theirs]),
        "the window opens": lambda connection: connection.receive(frame(WINDOW_UPDATE, 0, 1, number(100))),
    }
    for order in itertools.permutations(steps):
        connection = _opened(is_client, 0)
        for name in order:
            steps[name](connection)
        assert connection.open_streams == 0, order
        assert not connection.knows(1)
        # Nothing has stayed behind that a window could let go.
        assert connection.receive(settings((INITIAL_WINDOW_SIZE, 1_000))) == [SettingsReceived()]
