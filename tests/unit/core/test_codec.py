import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.core.canonical import canonical_json
from crossfade.core.codec import Identity, JsonCodec, Received, check_codec, from_stamp, stamp
from crossfade.core.event import Event, content_hash
from crossfade.core.recognition import Recogniser
from crossfade.errors import InvalidEvent, SettingsError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


def make(number: int, data: Any = None, **more: Any) -> Event:
    values: dict[str, Any] = {
        "id": f"id-{number}", "source": "app/é", "type": "order.new", "time_us": number,
        "subject": "k", "category": "critical", "topic": "critical", "partition": 3, "epoch": 9,
        "sequence": number, "data": canonical_json({"n": 0} if data is None else data), "hash": 0,
        "committed_us": 77,
    }  # fmt: skip
    event = Event(**{**values, **more})
    return event._replace(hash=content_hash(event))


def codec(identity: Identity) -> JsonCodec:
    mark = "" if identity == "content" else "meta.mark"
    return JsonCodec(data="body.order", type="meta.kind", mark=mark, identity=identity)


@given(value=VALUES, identity=st.sampled_from(["stamp", "id", "content"]))
def test_what_went_in_is_recognised_whatever_the_content(value: Any, identity: Identity) -> None:
    event = make(1, value)
    recogniser = Recogniser(codec(identity))
    if recogniser.needs_journal:
        recogniser.learn(event)
    # A server in between that parses and writes anew.
    frame = json.dumps(json.loads(codec(identity).encode(event)), indent=1)
    (received,) = codec(identity).decode(frame)
    assert recogniser.recognise(received) == event


def test_a_stamp_is_plain_text_and_nothing_else_is_a_stamp() -> None:
    event = make(5)
    text = stamp(event)
    assert text.isascii()
    assert text.replace("cf1.", "").replace("-", "").replace("_", "").isalnum()
    assert from_stamp(text, event.data) == event
    for wrong in ("", "cf1.", "cf1.e30", text[:-3], text[4:], "cf1.WzFd", "cf1.é"):
        with pytest.raises(InvalidEvent, match="stamp: not one of Crossfade's"):
            from_stamp(wrong, "{}")


def test_an_altered_frame_keeps_its_position_where_one_is_carried() -> None:
    event = make(1)
    for identity in ("stamp", "id"):
        recogniser = Recogniser(codec(identity))
        recogniser.learn(event)
        (received,) = codec(identity).decode(codec(identity).encode(event))
        found = recogniser.recognise(received._replace(data={"n": 1}))
        assert found == event._replace(data='{"n":1}')
        assert not found.is_intact()
    recogniser = Recogniser(codec("id"))
    recogniser.learn(event)
    (received,) = codec("id").decode(codec("id").encode(event))
    assert recogniser.recognise(received._replace(type="order.old")) == event._replace(
        type="order.old"
    )
    assert recogniser.recognise(received._replace(mark="nobody")) is None


def test_like_contents_are_told_apart_by_their_order_and_the_last_one_repeats() -> None:
    recogniser = Recogniser(codec("content"))
    events = [make(1), make(2), make(3, {"n": 9})]
    for event in events:
        recogniser.learn(event)
        recogniser.learn(event)
    like, other = Received({"n": 0}, "order.new"), Received({"n": 9}, "order.new")
    found = [recogniser.recognise(one) for one in (like, other, like, like, other)]
    assert found == [events[0], events[2], events[1], events[1], events[2]]
    assert recogniser.recognise(Received({"n": 0}, "order.old")) is None


@pytest.mark.parametrize("identity", ["id", "content"])
def test_the_oldest_are_forgotten(identity: Identity) -> None:
    recogniser = Recogniser(codec(identity), limit_events=2)
    events = [make(number, {"n": number}) for number in range(1, 5)]
    frames = [codec(identity).decode(codec(identity).encode(event))[0] for event in events]
    for event in events:
        recogniser.learn(event)
    assert [recogniser.recognise(one) for one in frames] == [None, None, *events[2:]]


def test_frames_that_hold_no_event_are_none_and_broken_ones_are_errors() -> None:
    assert codec("id").decode('{"hello":1}') == []
    assert codec("id").decode("[1]") == []
    for wrong in ("{", '{"body":{"order":1},"meta":{"mark":7}}', b"\xff"):
        with pytest.raises(InvalidEvent):
            codec("id").decode(wrong)


def test_the_canaries_find_what_a_codec_loses() -> None:
    for identity in ("stamp", "id", "content"):
        assert check_codec(codec(identity)) == []

    class Lossy(JsonCodec):
        """As a server that holds numbers as doubles."""

        def encode(self, event: Event) -> str:
            return json.dumps(json.loads(super().encode(event), parse_int=float))

    faults = check_codec(Lossy(mark="m", identity="stamp"))
    assert len(faults) == 1
    assert "12345678901234567890" in faults[0]
    # With an id the journal's own event, seen through the codec, is what is compared.
    assert check_codec(Lossy(mark="m", identity="id")) == []

    class Empty(JsonCodec):
        def decode(self, frame: str | bytes) -> list[Received]:
            return [Received({})]

    assert check_codec(Empty()) == ["events of different content look alike through it"]
    assert "comes back as ''" in check_codec(Empty(mark="m", identity="id"))[0]

    class Broken(JsonCodec):
        def encode(self, event: Event) -> str:
            raise KeyError("order")

    assert "KeyError: 'order'" in check_codec(Broken())[0]


def test_a_mark_has_a_place_exactly_when_something_is_carried() -> None:
    with pytest.raises(SettingsError):
        JsonCodec(identity="id")
    with pytest.raises(SettingsError):
        JsonCodec(mark="id")
    with pytest.raises(SettingsError):
        JsonCodec(data="")
