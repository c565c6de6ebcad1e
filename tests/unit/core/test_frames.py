"""Frames: what travels."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.core.event import Event, Head, Stream
from crossfade.core.frames import (
    ENCODED_CHARACTERS,
    decode_events,
    decode_frame,
    decode_heads,
    decode_stream,
    encode_event,
    encode_frame,
    events_frame,
    heads_frame,
    pack,
)
from crossfade.errors import InvalidEvent
from tests.unit.core.test_event import events


@given(st.lists(events, max_size=5))
def test_events_frame_round_trip(some: list) -> None:
    frame = decode_frame(events_frame(encode_event(event) for event in some))
    assert frame["kind"] == "events"
    assert decode_events(frame) == some


def test_an_event_is_encoded_once_and_a_long_one_is_not_kept() -> None:
    short = Event("1", "a", "t", 0, "", "c", "c", 0, 1, 1, "{}", 0)
    long = short._replace(data=f'"{"x" * ENCODED_CHARACTERS}"')
    assert encode_event(short) is encode_event(short)
    assert encode_event(long) == encode_event(long)
    assert encode_event(long) is not encode_event(long)


def test_heads_frame_round_trip() -> None:
    heads = [Head(Stream("a", 1, "t", 3), 9, 2), Head(Stream("b/c", 2, "u", 0), 1)]
    frame = decode_frame(heads_frame(heads, 5))
    assert frame["at_us"] == 5
    assert decode_heads(frame) == heads


def test_streams_are_read_from_frames() -> None:
    stream = Stream("a", 1, "t", 3)
    frame = decode_frame(encode_frame("fill", request=1, **stream._asdict(), first=1, last=2))
    assert decode_stream(frame) == stream
    with pytest.raises(InvalidEvent, match="stream"):
        decode_stream({"source": "a"})


@pytest.mark.parametrize(
    "raw", ["", "[]", "{}", '{"kind":"x"}', '{"v":2,"kind":"x"}', '{"v":1,"kind":1}']
)
def test_what_is_no_frame_is_refused(raw: str) -> None:
    with pytest.raises(InvalidEvent, match="frame"):
        decode_frame(raw)


@pytest.mark.parametrize("heads", [None, [[]], [["a", 1, "t", 3, "x", 1]], [["a", 1, "t", 3, 1]]])
def test_malformed_heads_are_refused(heads: object) -> None:
    with pytest.raises(InvalidEvent, match="heads"):
        decode_heads({"heads": heads})


@given(st.lists(st.binary(max_size=60), max_size=30), st.integers(40, 200))
def test_pack_keeps_order_and_limit(encoded: list[bytes], limit_bytes: int) -> None:
    runs = pack(encoded, limit_bytes)
    assert [item for run in runs for item in run] == encoded
    assert all(run for run in runs)
    for run in runs:
        assert len(events_frame(run)) <= limit_bytes or len(run) == 1


@given(st.lists(st.binary(min_size=10, max_size=10), min_size=1, max_size=40))
def test_pack_wastes_no_frame(encoded: list[bytes]) -> None:
    runs = pack(encoded, 100)
    for before, after in itertools.pairwise(runs):
        assert len(events_frame([*before, after[0]])) > 100
