# SPDX-License-Identifier: GPL-3.0-or-later
"""Framing: any bytes, in any pieces, are messages or one of two errors."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamvaultd.errors import MessageTooLarge
from streamvaultd.varlink.framing import Splitter
from streamvaultd.varlink.wire import (
    Decoder,
    MethodCall,
    ProtocolError,
    Reply,
    encode,
    parse_call,
    parse_reply,
)

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | INT64 | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.lists(st.dictionaries(TEXT, JSON, max_size=4), max_size=4)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in pairwise(edges)]


@given(OBJECTS, st.lists(st.integers(0, 500), max_size=8))
def test_messages_come_out_as_they_went_in_however_they_are_cut(
    objects: list[dict[str, Any]], cuts: list[int]
) -> None:
    decoder = Decoder()
    stream = b"".join(encode(each) for each in objects)
    found = [message for piece in pieces(stream, cuts) for message in decoder.feed(piece)]
    assert found == objects
    assert decoder.is_empty


@given(st.lists(st.binary(max_size=60) | st.sampled_from([b"{}\0", b'{"a":', b"\0", b"[" * 50]), max_size=8))
@example([b"[" * 5000 + b"\0"])
@example([b'{"a":"\\ud800"}\0'])
@example([b"1" * 5000 + b"\0"])
@example([b'{"\xff":1}\0'])
@example([b'{"a":NaN}\0'])
def test_garbage_raises_one_of_two_errors(chunks: list[bytes]) -> None:
    decoder = Decoder(limit=6000)
    try:
        for chunk in chunks:
            for message in decoder.feed(chunk):
                assert isinstance(message, dict)
                parse_call(message)
    except (ProtocolError, MessageTooLarge):
        return


def feed_in_pieces(splitter: Splitter, stream: bytes, size: int) -> None:
    for start in range(0, len(stream), size):
        splitter.feed(stream[start : start + size])


@pytest.mark.parametrize("piece", [1, 7, 10, 11, 100])
def test_a_message_of_the_limit_passes_and_one_byte_more_does_not(piece: int) -> None:
    splitter = Splitter(limit=10)
    assert splitter.feed(b"x" * 10) == []
    assert splitter.feed(b"\0") == [b"x" * 10]
    stream = b"y" * 11 + b"\0"
    with pytest.raises(MessageTooLarge) as caught:
        feed_in_pieces(splitter, stream, piece)
    assert caught.value.fields == {"limit": 10}


def test_a_splitter_holds_no_more_than_its_limit_of_a_message_that_never_ends() -> None:
    splitter = Splitter(limit=1000)
    with pytest.raises(MessageTooLarge):
        feed_in_pieces(splitter, b"x" * 1001, 1)


def test_encoded_messages_leave_out_what_is_not_said() -> None:
    assert json.loads(encode(Reply(parameters={"a": 1}))[:-1]) == {"parameters": {"a": 1}}
    assert json.loads(encode(Reply(parameters={}, continues=True))[:-1]) == {"parameters": {}, "continues": True}
    assert json.loads(encode(MethodCall(method="a.B", more=True))[:-1]) == {"method": "a.B", "more": True}


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"method": 3},
        {"method": "a.B", "parameters": []},
        {"method": "a.B", "more": "yes"},
        {"method": "a.B", "oneway": 1},
        {"method": None},
    ],
)
def test_a_call_of_the_wrong_shape_is_no_call(message: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        parse_call(message)


def test_unknown_keys_are_for_newer_peers() -> None:
    assert parse_call({"method": "a.B", "colour": "red"}) == MethodCall(method="a.B")
    assert parse_reply({"parameters": None, "colour": "red"}) == Reply()
    with pytest.raises(ProtocolError):
        parse_reply({"parameters": 5})


@given(st.dictionaries(st.sampled_from(["method", "parameters", "more", "oneway", "upgrade", "x"]), JSON))
def test_any_object_is_a_call_or_a_protocol_error(message: dict[str, Any]) -> None:
    try:
        assert parse_call(message).method == message["method"]
    except ProtocolError:
        return
