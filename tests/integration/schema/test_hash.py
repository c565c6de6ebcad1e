"""The generated hash is ``core.event.content_hash``, and content travels unchanged."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from crossfade.core.canonical import canonical_json
from crossfade.core.event import (
    Event,
    check_text,
    content_hash,
    from_wire,
    hash_to_hex,
    to_wire,
)
from crossfade.errors import InvalidEvent
from tests.integration.schema.database import Database

pytestmark = pytest.mark.xdist_group("schema")  # one set of services

VECTORS = Path(__file__).parents[2] / "vectors" / "hash.json"


def _is_text(value: str) -> bool:
    try:
        check_text("x", value, empty=True)
    except InvalidEvent:
        return False
    return True


names = st.text(min_size=1, max_size=20).filter(_is_text)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs",)), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=("Cs",)), max_size=8), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@st.composite
def any_event(draw: st.DrawFn) -> Event:
    event = Event(
        id=draw(st.uuids()).hex,
        source=draw(names),
        type=draw(names),
        # From year 1 to year 9999, so also before 1970.
        time_us=draw(st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999)),
        subject=draw(names | st.just("")),
        category=draw(names),
        topic=draw(names),
        partition=draw(st.integers(0, 2**31 - 1)),
        epoch=draw(st.integers(0, 2**63 - 1)),
        sequence=draw(st.integers(1, 2**63 - 1)),
        data=canonical_json(draw(json_values)),
        hash=0,
    )
    return event._replace(hash=content_hash(event))


def an_event(time_us: int) -> Event:
    event = Event("id", "app", "type", time_us, "", "c", "t", 0, 1, 1, "{}", 0)
    return event._replace(hash=content_hash(event))


@settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(event=any_event())
@example(event=an_event(-62_135_596_800_000_000))
@example(event=an_event(-30_610_224_000_000_001))
@example(event=an_event(253_402_300_799_999_999))
def test_hash_and_content_are_the_same_in_python_and_sql(database: Database, event: Event) -> None:
    database.empty()
    answer = database.ingest([event])
    assert answer["inserted"] == 1, answer
    assert answer["warnings"] == []
    (filled,) = database.call(
        "crossfade_fill_v1",
        source=event.source,
        epoch=event.epoch,
        topic=event.topic,
        partition=event.partition,
        first=event.sequence,
        last=event.sequence,
    )["events"]
    assert filled.pop("content_hash") == hash_to_hex(event.hash)
    assert filled == to_wire(event)
    # What goes out live is the same again.
    live = database.one(
        "select payload -> 'events' -> 0 from realtime.messages "
        "where payload -> 'events' -> 0 ->> 'id' = %s",
        event.id,
    )
    assert live == to_wire(event)


def test_shared_vectors(database: Database) -> None:
    events = [from_wire(vector) for vector in json.loads(VECTORS.read_text(encoding="utf-8"))]
    assert events
    for event in events:
        assert database.ingest([event])["warnings"] == []
        assert database.one("select hash from crossfade.events where id = %s", event.id) == (
            event.hash
        )
