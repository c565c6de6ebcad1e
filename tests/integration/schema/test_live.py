"""Packed frames in the ingesting transaction, and knowing that they were written."""

import json

import pytest

from crossfade.core.event import from_wire
from tests.contract.events import make_event, make_events
from tests.integration.schema.database import Database

pytestmark = pytest.mark.xdist_group("schema")  # one set of services


def test_frames_are_packed_per_topic_in_order_and_within_the_limit(database: Database) -> None:
    events = [
        *make_events(1, 300, topic="a"),
        *make_events(1, 5, topic="b", partition=1),
        *make_events(1, 5, topic="b"),
    ]
    answer = database.ingest(events, frame_limit_bytes=20_000)
    frames = database.frames()
    assert answer["frames"] == len(frames)
    assert all(size <= 20_000 for *_, size in frames)
    assert {(topic, kind, frame["v"], frame["kind"]) for topic, kind, frame, _ in frames} == {
        ("crossfade:a", "events", 1, "events"),
        ("crossfade:b", "events", 1, "events"),
    }
    a = [frame["events"] for topic, _, frame, _ in frames if topic == "crossfade:a"]
    assert [one["sequence"] for events in a for one in events] == list(range(1, 301))
    assert len(a) < 12, "frames are not packed"
    (b,) = [frame["events"] for topic, _, frame, _ in frames if topic == "crossfade:b"]
    assert [(one["partition"], one["sequence"]) for one in b] == [
        (partition, number) for partition in (0, 1) for number in range(1, 6)
    ]


def test_an_event_larger_than_a_frame_is_stored_and_told(database: Database) -> None:
    answer = database.ingest(
        [make_event(1, data=json.dumps("x" * 3_000)), make_event(2)], frame_limit_bytes=2_000
    )
    assert (answer["inserted"], answer["frames"]) == (2, 1)
    assert answer["warnings"] == [
        "1 events are larger than a frame of 2000 bytes and were stored but not sent live"
    ]


def test_nothing_is_sent_when_not_live(database: Database) -> None:
    assert database.ingest(make_events(1, 3), live=False)["frames"] == 0
    assert database.frames() == []


def test_a_missing_partition_is_noticed(fresh_database: Database) -> None:
    """realtime.send only warns; the caller of an API never sees a warning."""
    assert fresh_database.call("crossfade_health_v1")["partition_today"] is True
    fresh_database.connection.execute(
        "do $$ declare name text; begin for name in select inhrelid::regclass from pg_inherits "
        "where inhparent = 'realtime.messages'::regclass loop "
        "execute 'drop table ' || name; end loop; end $$"
    )
    answer = fresh_database.ingest([make_event(1)])
    assert (answer["inserted"], answer["frames"]) == (1, 0)
    assert answer["warnings"] == [
        "1 of 1 frames were not sent live: realtime.messages has no partition for today; "
        "connect a Realtime client once and the server makes it"
    ]
    heads = fresh_database.call("crossfade_heads_v1", heads=[["app", 1, "critical", 0, 1, 1]])
    assert heads["frames"] == 0
    assert "no partition for today" in heads["warnings"][0]
    assert fresh_database.call("crossfade_health_v1")["partition_today"] is False
    # Later versions of Realtime have a partition for everything else.
    fresh_database.connection.execute(
        "create table realtime.messages_default partition of realtime.messages default"
    )
    assert fresh_database.call("crossfade_health_v1")["partition_today"] is True
    assert fresh_database.ingest([make_event(2)])["warnings"] == []


def test_a_failing_send_is_noticed(fresh_database: Database) -> None:
    fresh_database.connection.execute(
        "alter table realtime.messages add constraint no_events check (event <> 'events')"
    )
    answer = fresh_database.ingest([make_event(1)])
    assert (answer["inserted"], answer["frames"]) == (1, 0)
    assert "realtime.send failed" in answer["warnings"][0]


def test_without_realtime_events_are_still_stored(fresh_database: Database) -> None:
    fresh_database.connection.execute("drop schema realtime cascade")
    answer = fresh_database.ingest([make_event(1)])
    assert (answer["inserted"], answer["frames"]) == (1, 0)
    assert answer["warnings"] == ["realtime.send is missing: nothing was sent live"]
    assert fresh_database.call("crossfade_health_v1")["partition_today"] is False


def test_heads_never_go_down_and_are_sent_per_topic(database: Database) -> None:
    stream = ["app", 1, "critical", 0]
    database.call("crossfade_heads_v1", heads=[[*stream, 10, 3], ["app", 1, "debug", 0, 5, 1]])
    answer = database.call("crossfade_heads_v1", heads=[[*stream, 7, 1], [*stream, 8, 4]])
    assert answer == {"frames": 1, "warnings": []}
    frames = database.frames()
    assert sorted((topic, frame["heads"]) for topic, _, frame, _ in frames) == [
        ("crossfade:critical", [[*stream, 10, 3]]),
        ("crossfade:critical", [[*stream, 10, 4]]),
        ("crossfade:debug", [["app", 1, "debug", 0, 5, 1]]),
    ]
    assert all(frame["at_us"] > 1_700_000_000_000_000 for *_, frame, _ in frames)


def test_the_time_of_commit_travels_with_what_was_offered_with_it(database: Database) -> None:
    told, untold = make_event(1)._replace(committed_us=1_700_000_000_123_456), make_event(2)
    # Twins in one batch are one event, with one time.
    database.ingest([told, told, untold])
    ((_, _, frame, _),) = database.frames()
    assert [one.get("committed") for one in frame["events"]] == [1_700_000_000_123_456, None]
    assert [from_wire(one) for one in frame["events"]] == [told, untold]


def test_of_twins_with_other_contents_the_stored_one_is_sent(database: Database) -> None:
    database.ingest([make_event(9, id="taken")], live=False)
    first, second = make_event(1, id="mine", data="[2]"), make_event(1, id="mine", data="[3]")
    other = make_event(1, id="late", data="[4]")
    refused = make_event(1, id="taken", data="[1]")
    answer = database.ingest([refused, first, second, other, make_event(2)])
    assert (answer["inserted"], len(answer["conflicts"])) == (2, 3)
    ((_, _, frame, _),) = database.frames()
    assert [from_wire(one) for one in frame["events"]] == [first, make_event(2)]
    rows = database.connection.execute("select data from crossfade.events where id = 'mine'")
    assert rows.fetchall() == [("[2]",)]
