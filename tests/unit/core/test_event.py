"""Events, positions, hashes, the wire form."""

import json
import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.core.canonical import canonical_json
from crossfade.core.event import (
    Draft,
    Event,
    Position,
    Stream,
    check_text,
    content_hash,
    format_time,
    from_wire,
    hash_from_hex,
    hash_to_hex,
    parse_time,
    placed,
    to_wire,
    uuid7,
)
from crossfade.errors import InvalidEvent

VECTORS = Path(__file__).parents[2] / "vectors"
EVENT = Event(
    id="013bf3d7-0a00-7000-8000-000000000001",
    source="flights",
    type="flight.departed",
    time_us=1_357_035_420_000_000,
    subject="N14228",
    category="user_activity",
    topic="user_activity",
    partition=7,
    epoch=1,
    sequence=42,
    data='{"carrier":"UA","flight":1545}',
    hash=0,
)
events = st.builds(
    Event,
    id=st.uuids().map(str),
    source=st.sampled_from(["app", "flights/nyc"]),
    type=st.sampled_from(["a.b", "é"]),
    time_us=st.integers(-(10**15), 10**17 // 2),
    subject=st.text(st.characters(min_codepoint=0x20, exclude_categories=["Cs", "Cc"])),
    category=st.just("system"),
    topic=st.just("system"),
    partition=st.integers(0, 4095),
    epoch=st.integers(1, 9),
    sequence=st.integers(1, 2**62),
    data=st.dictionaries(st.text("ab", max_size=2), st.integers()).map(canonical_json),
    hash=st.integers(-(2**63), 2**63 - 1),
    committed_us=st.integers(0, 2**62),
)


def test_hash_vectors() -> None:
    """The vectors that SQL and TypeScript are held to as well."""
    rows = json.loads((VECTORS / "hash.json").read_text(encoding="utf-8"))
    assert len(rows) >= 5
    for row in rows:
        assert hash_to_hex(content_hash(from_wire(row))) == row["hash"]


@given(events)
def test_wire_round_trip(event: Event) -> None:
    assert from_wire(json.loads(json.dumps(to_wire(event)))) == event


@pytest.mark.parametrize(
    "change",
    [
        {"id": "x"},
        {"source": "x"},
        {"type": "x"},
        {"time_us": 0},
        {"subject": ""},
        {"category": "x"},
        {"topic": "x"},
        {"partition": 8},
        {"epoch": 2},
        {"sequence": 43},
        {"data": '{"carrier":"UA","flight":1546}'},
    ],
)
def test_every_field_is_in_the_hash(change: dict[str, object]) -> None:
    assert content_hash(EVENT._replace(**change)) != content_hash(EVENT)  # type: ignore[arg-type]


def test_the_carried_hash_is_not_in_the_hash_and_is_checked() -> None:
    intact = EVENT._replace(hash=content_hash(EVENT))
    assert content_hash(intact) == intact.hash
    assert intact.is_intact()
    assert not intact._replace(subject="N1").is_intact()


@given(st.integers(-(2**63), 2**63 - 1))
def test_hash_hex_round_trip(value: int) -> None:
    assert len(hash_to_hex(value)) == 16
    assert hash_from_hex(hash_to_hex(value)) == value


@given(st.integers(-(10**15), 10**17 * 2))
def test_time_round_trip(time_us: int) -> None:
    assert parse_time(format_time(time_us)) == time_us


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T01:00:00+01:00", 0),
        ("2013-01-01T05:17:00.123456789Z", 1_357_017_420_123_456),
        ("2013-01-01T05:17:00.123456Z", 1_357_017_420_123_456),
        ("2013-01-01 05:17:00.000001Z", 1_357_017_420_000_001),
        ("1969-12-31T23:59:59.999999Z", -1),
        ("2013-01-01 05:17:00.5-05:00", 1_357_035_420_500_000),
    ],
)
def test_times_that_are_read(text: str, expected: int) -> None:
    assert parse_time(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2013-01-01",
        "2013-01-01T05:17:00",
        "2013-13-01T05:17:00Z",
        "yesterday",
        "٢013-01-01T05:17:00Z",
        "2013-13-01T05:17:00.000000Z",
        "2013-01-01T05:17:61.000000Z",
        "2013-01-01T05:17:00.00000٢Z",
        "2013-01-01T05:17:00.-00001Z",
    ],
)
def test_times_that_are_refused(text: str) -> None:
    with pytest.raises(InvalidEvent, match="time"):
        parse_time(text)


def test_position_is_written_and_read() -> None:
    position = EVENT.position
    assert str(position) == "flights/1/user_activity/7/42"
    assert Position.parse(str(position)) == position
    assert Position.parse("a/b/1/t/0/9") == Position("a/b", 1, "t", 0, 9)
    assert position.stream == EVENT.stream == Stream("flights", 1, "user_activity", 7)
    assert Position.parse(f"a/1/t/0/{2**63 - 1}").sequence == 2**63 - 1
    for bad in (
        "", "a/b", "a/x/t/0/1", "a/1/t/0/one", "a/1/t/-1/1", "a/1/t/0/-1", "a/1/t/0/ 1",
        "a/1/t/0/1_0", "a/1/t/0/+1", "a/1/t/0/\u0663", "a/1/t/0/1\n", "/1/t/0/1", "a/1//0/1",
        f"a/1/t/0/{2**63}", f"a/{2**63}/t/0/1", "a/1/t/0/" + "9" * 5_000,
    ):  # fmt: skip
        with pytest.raises(InvalidEvent, match="not a position"):
            Position.parse(bad)


@given(st.integers(0, 2**47 * 1000), st.binary(min_size=10, max_size=10))
def test_uuid7_is_one_and_sorts_by_time(now_us: int, random: bytes) -> None:
    value = uuid.UUID(uuid7(now_us, random))
    assert value.version == 7
    assert value.variant == uuid.RFC_4122
    assert value.int >> 80 == now_us // 1000
    assert uuid7(now_us, random) < uuid7(now_us + 1000, bytes(10))


@given(st.integers(0, 2**48 * 1000 - 1), st.binary(min_size=10, max_size=10))
def test_uuid7_has_the_bits_of_its_time_and_of_what_is_random(now_us: int, random: bytes) -> None:
    bits = int.from_bytes(random, "big")
    value = uuid.UUID(uuid7(now_us, random)).int
    assert value & ~(0xF << 76 | 0x3 << 62) == (now_us // 1000) << 80 | (
        bits & ~(0xF << 76 | 0x3 << 62)
    )


def test_a_draft_is_placed_with_the_hash_of_its_position() -> None:
    draft = Draft("an-id", "made", 5, "k", "system", "system", 3, '{"a":1}')
    event = placed(draft, "app", 7, 9, 11)
    assert event == Event(
        "an-id", "app", "made", 5, "k", "system", "system", 3, 7, 9, '{"a":1}', event.hash, 11
    )
    assert event.is_intact()
    assert not event._replace(sequence=10).is_intact()


@pytest.mark.parametrize("value", ["", "a\x1fb", "a\nb", "a\x85b", "x" * 257, 5, None, "\ud800"])
def test_text_that_is_refused(value: object) -> None:
    with pytest.raises(InvalidEvent, match=r"^type: "):
        check_text("type", value)


@pytest.mark.parametrize(
    "change", [{"sequence": 0}, {"data": {}}, {"hash": "zz"}, {"time": "now"}, {"partition": None}]
)
def test_malformed_wire_events_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(InvalidEvent):
        from_wire({**to_wire(EVENT), **change})
    with pytest.raises(InvalidEvent):
        from_wire({key: value for key, value in to_wire(EVENT).items() if key not in change})
    with pytest.raises(InvalidEvent):
        from_wire([])


def test_the_time_of_commit_travels_and_is_no_part_of_the_hash() -> None:
    event = EVENT
    stamped = event._replace(committed_us=1_700_000_000_000_123)
    assert "committed" not in to_wire(event)
    assert from_wire(to_wire(stamped)) == stamped
    assert content_hash(stamped) == content_hash(event)
