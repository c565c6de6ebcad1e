"""Fills, streams and digests."""

import json

import psycopg
import pytest

from tests.contract.events import make_event, make_events
from tests.integration.schema.database import Database

pytestmark = pytest.mark.xdist_group("schema")  # one set of services


def test_fill_pages_and_says_what_is_held(database: Database) -> None:
    database.ingest(make_events(5, 30), live=False)
    stream = {"source": "app", "epoch": 1, "topic": "critical", "partition": 0}
    page = database.call("crossfade_fill_v1", **stream, first=1, last=100, page=10)
    assert [event["sequence"] for event in page["events"]] == list(range(5, 15))
    assert (page["floor"], page["head"]) == (5, 30)
    nothing = database.call("crossfade_fill_v1", **{**stream, "partition": 1}, first=1, last=9)
    assert nothing == {"events": [], "floor": None, "head": None}
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="1 to 1000"):
        database.call("crossfade_fill_v1", **stream, first=1, last=100, page=1_001)


def test_fill_stops_at_four_megabytes(database: Database) -> None:
    big = json.dumps("x" * 900_000)
    for number in range(1, 8):
        database.ingest([make_event(number, data=big)], live=False)
    page = database.call(
        "crossfade_fill_v1", source="app", epoch=1, topic="critical", partition=0, first=1, last=9
    )
    assert [event["sequence"] for event in page["events"]] == [1, 2, 3, 4, 5]
    assert page["head"] == 7


def test_digests_are_sums_of_content_hashes(database: Database) -> None:
    events = [event for event in make_events(3, 700) if event.sequence not in (300, 301)]
    other = make_events(1, 5, topic="debug", partition=4)
    database.ingest(events + other, live=False)
    rows = database.call(
        "crossfade_digests_v1",
        ranges=[
            ["app", 1, "critical", 0, 1, 2**62],
            ["app", 1, "debug", 4, 2, 4],
            ["no", 1, "x", 0, 1, 9],
        ],
        block=256,
    )
    expected = []
    for block in range(3):
        held = [e for e in events if (e.sequence - 1) // 256 == block]
        expected.append(
            ["app", 1, "critical", 0, block, len(held), held[0].sequence, held[-1].sequence,
             str(sum(e.hash for e in held) % 2**64), 0]
        )  # fmt: skip
    expected.append(
        ["app", 1, "debug", 4, 0, 3, 2, 4, str(sum(e.hash for e in other[1:4]) % 2**64), 0]
    )
    assert rows == expected
    assert database.call("crossfade_streams_v1") == [
        ["app", 1, "critical", 0, 3, 700, 696],
        ["app", 1, "debug", 4, 1, 5, 5],
    ]
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="at least 1"):
        database.call("crossfade_digests_v1", ranges=[], block=0)


def test_too_many_blocks_are_refused_before_they_are_read(database: Database) -> None:
    database.ingest([make_event(1), make_event(200_001)], live=False)
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="100000 are allowed"):
        database.call("crossfade_digests_v1", ranges=[["app", 1, "critical", 0, 1, 10**9]], block=1)
