"""What lies between a subscriber's transports and its consumer."""

import asyncio
from typing import Any

import pytest

from crossfade.core.continuity import Lost
from crossfade.core.event import Event, Head, content_hash
from crossfade.core.flags import EVERYTHING, Flags
from crossfade.core.flow import Fill
from crossfade.core.route import REALTIME, WEBSOCKET
from crossfade.core.sequencer import Sequencer
from crossfade.core.switch import Pace, Switch
from crossfade.feed import QUIET_HUB_MS, SETTLE_MS, Feed
from crossfade.ports import FillPage
from tests.unit.manual_clock import ManualClock

PARTITIONS = 4


def make_event(sequence: int, partition: int = 0, topic: str = "critical", **more: Any) -> Event:
    event = Event(
        f"{topic}-{partition}-{sequence}", "app", "t", sequence, "", topic, topic, partition, 1,
        sequence, "{}", 0, **more,
    )  # fmt: skip
    return event._replace(hash=content_hash(event))


def make_feed(clock: ManualClock, **options: Any) -> Feed:
    values: dict[str, Any] = {
        "topics": ["critical"],
        "discover": False,
        "numbers_of": lambda topic: frozenset(range(PARTITIONS)),
        "subjects": None,
        "queue_events": 10,
        **options,
    }
    start = values.pop("start", "earliest")
    sequencer = Sequencer(start=start, hole_grace_ms=100)
    return Feed(sequencer, Switch(Pace(drain_ms=0)), clock=clock, **values)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def taken(feed: Feed) -> list[Any]:
    return list(iter(feed.take, None))


def serve(feed: Feed, clock: ManualClock, percent: float, version: int = 1) -> None:
    feed.flags(
        Flags(
            version=version,
            partitions=PARTITIONS,
            topics={"critical": "critical"},
            served={EVERYTHING: percent},
        )
    )
    feed.step()
    feed.joined(REALTIME, {"critical": None})
    feed.heads(REALTIME, [], {"critical": None})
    feed.heads(WEBSOCKET, [], {"critical": None})
    feed.step()
    clock.ms += 1
    feed.step()


def test_events_come_out_in_order_and_once(clock: ManualClock) -> None:
    feed = make_feed(clock)
    feed.events(WEBSOCKET, [make_event(2), make_event(1), make_event(1)])
    assert [event.sequence for event in taken(feed)] == [1, 2]
    assert feed.ready.is_set()


def test_only_the_partitions_wanted_of_a_transport_are_taken_from_it(clock: ManualClock) -> None:
    feed = make_feed(clock)
    feed.events(REALTIME, [make_event(1)])
    feed.events(WEBSOCKET, [make_event(1, topic="foreign")])
    assert taken(feed) == []
    serve(feed, clock, 100)
    feed.events(WEBSOCKET, [make_event(1)])
    assert taken(feed) == []
    feed.events(REALTIME, [make_event(1)])
    assert taken(feed) == [make_event(1)]
    window = feed.counts[REALTIME].take(PARTITIONS, clock.ms)
    assert (window.received, window.delivered, window.cohort) == (2, 1, 1)
    assert feed.counts[WEBSOCKET].take(0, clock.ms).cohort == 0


def test_heads_of_a_transport_open_holes_only_where_it_is_listened_to(clock: ManualClock) -> None:
    feed = make_feed(clock)
    head = Head(make_event(1).stream, 5)
    feed.heads(REALTIME, [head], {"critical": None})
    clock.ms += 1_000
    assert feed.step() == []
    feed.heads(WEBSOCKET, [head, Head(make_event(1, partition=1).stream, 0)], None)
    clock.ms += 1_000
    assert feed.step() == [Fill(head.stream, 1, 5, "hub")]


def test_a_fill_is_not_started_while_there_is_no_room(clock: ManualClock) -> None:
    feed = make_feed(clock)
    feed.events(WEBSOCKET, [make_event(n, partition=1) for n in range(1, 11)])
    feed.heads(WEBSOCKET, [Head(make_event(1).stream, 5)], None)
    clock.ms += 1_000
    assert feed.step() == []
    taken(feed)
    assert len(feed.step()) == 1


async def test_i10_room_ends_at_the_limit_and_comes_back_at_half(clock: ManualClock) -> None:
    feed = make_feed(clock)
    await feed.room()
    feed.events(WEBSOCKET, [make_event(n) for n in range(1, 13)])
    waiting = asyncio.create_task(feed.room())
    for _ in range(6):
        await asyncio.sleep(0)
        assert not waiting.done()
        feed.take()
    feed.take()
    await asyncio.wait_for(waiting, 5)
    assert len(feed.queue) == 5


def test_with_subjects_others_are_passed_over_and_move_the_position(clock: ManualClock) -> None:
    feed = make_feed(clock, subjects=frozenset({"mine"}))
    mine = make_event(2)._replace(subject="mine")
    mine = mine._replace(hash=content_hash(mine))
    feed.events(WEBSOCKET, [make_event(1), mine, make_event(3)])
    assert taken(feed) == [mine]
    assert feed.sequencer.positions()[mine.stream] == 4


def test_an_altered_event_is_left_out_wherever_it_comes_from(clock: ManualClock) -> None:
    feed = make_feed(clock)
    forged = make_event(1)._replace(data='{"forged":1}')
    feed.events(WEBSOCKET, [forged, make_event(2)])
    assert (taken(feed), feed.altered) == ([], 1)
    clock.ms += 1_000
    (fill,) = feed.step()
    feed.filled(fill, FillPage([forged], 1, 2))
    assert (taken(feed), feed.altered) == ([], 2)
    (fill,) = feed.step()
    assert fill.source == "supabase"
    feed.filled(fill, FillPage([make_event(1)], 1, 2))
    assert taken(feed) == [make_event(1), make_event(2)]


def test_what_is_lost_stands_in_its_place(clock: ManualClock) -> None:
    feed = make_feed(clock)
    feed.events(WEBSOCKET, [make_event(1), make_event(5)])
    clock.ms += 1_000
    for page in (FillPage([], 4, 5), FillPage([], None, None)):
        (fill,) = feed.step()
        feed.filled(fill, page)
    assert taken(feed) == [make_event(1), Lost(make_event(1).stream, 2, 3, "retention")]
    assert feed.pending() == {}


def test_what_is_pending_is_known_by_its_first(clock: ManualClock) -> None:
    feed = make_feed(clock)
    feed.events(WEBSOCKET, [make_event(n) for n in (1, 2, 3)])
    feed.events(WEBSOCKET, [make_event(1, partition=2)])
    feed.take()
    assert feed.pending() == {make_event(1).stream: 2, make_event(1, partition=2).stream: 1}


def test_topics_are_discovered_where_all_are_followed(clock: ManualClock) -> None:
    feed = make_feed(clock, discover=True)
    feed.met(WEBSOCKET, [Head(make_event(1, topic="born").stream, 3)])
    feed.events(WEBSOCKET, [make_event(1, topic="later")])
    feed.flags(Flags(version=1, topics={"flagged": "system"}))
    assert feed.switch.topics == {"critical", "born", "later", "flagged"}
    assert [event.topic for event in taken(feed)] == ["later"]
    assert make_event(1, topic="born").stream in feed.sequencer.positions()


def test_latest_is_settled_by_the_first_subscription(clock: ManualClock) -> None:
    feed = make_feed(clock, start="latest")
    feed.met(WEBSOCKET, [Head(make_event(1).stream, 7)])
    feed.joined(WEBSOCKET, {"critical": None})
    feed.events(WEBSOCKET, [make_event(8), make_event(2, partition=1)])
    feed.events(WEBSOCKET, [make_event(1, partition=1)])
    assert [(event.partition, event.sequence) for event in taken(feed)] == [(0, 8), (1, 1), (1, 2)]


def test_latest_begins_behind_what_a_restarted_hub_hears_of_later(clock: ManualClock) -> None:
    feed = make_feed(clock, start="latest")
    feed.met(WEBSOCKET, [])
    feed.joined(WEBSOCKET, {"critical": None})
    feed.heads(WEBSOCKET, [Head(make_event(1).stream, 7)], None)
    feed.events(WEBSOCKET, [make_event(8), make_event(2, partition=1)])
    feed.events(WEBSOCKET, [make_event(1, partition=1)])
    assert [(event.partition, event.sequence) for event in taken(feed)] == [(0, 8), (1, 1), (1, 2)]


def test_a_hub_that_stays_empty_is_a_new_one(clock: ManualClock) -> None:
    feed = make_feed(clock, start="latest")
    feed.met(WEBSOCKET, [])
    feed.joined(WEBSOCKET, {"critical": None})
    clock.ms += QUIET_HUB_MS
    feed.step()
    feed.events(WEBSOCKET, [make_event(2)])
    feed.events(WEBSOCKET, [make_event(1)])
    assert [event.sequence for event in taken(feed)] == [1, 2]


@pytest.mark.parametrize("realtime_first", [False, True])
def test_an_empty_hub_does_not_put_off_what_realtimes_heads_settle(
    clock: ManualClock, realtime_first: bool
) -> None:
    feed = make_feed(clock, start="latest")
    if realtime_first:
        serve(feed, clock, 100)
    feed.met(WEBSOCKET, [])
    feed.joined(WEBSOCKET, {"critical": None})
    if not realtime_first:
        serve(feed, clock, 100)
    clock.ms += SETTLE_MS
    feed.step()
    feed.events(REALTIME, [make_event(2, partition=1)])
    feed.events(REALTIME, [make_event(1, partition=1)])
    assert [event.sequence for event in taken(feed)] == [1, 2]


def test_without_a_hub_it_is_settled_some_time_after_realtimes_first_heads(
    clock: ManualClock,
) -> None:
    feed = make_feed(clock, start="latest")
    serve(feed, clock, 100)
    feed.events(REALTIME, [make_event(5)])
    clock.ms += SETTLE_MS
    feed.step()
    feed.events(REALTIME, [make_event(2, partition=1)])
    feed.events(REALTIME, [make_event(1, partition=1)])
    assert [(event.partition, event.sequence) for event in taken(feed)] == [(0, 5), (1, 1), (1, 2)]


def test_latency_counts_what_came_live(clock: ManualClock) -> None:
    feed = make_feed(clock)
    stamp = clock.now_us() - 40_000
    feed.met(WEBSOCKET, [Head(make_event(1).stream, 2)])
    feed.events(WEBSOCKET, [make_event(n, committed_us=stamp) for n in (1, 2, 3)])
    feed.events(WEBSOCKET, [make_event(4)])
    window = feed.counts[WEBSOCKET].take(PARTITIONS, clock.ms)
    assert window.delivered == 4
    assert window.latency_ms.n == 1, "1 and 2 are history, 4 has no time of commit"


def test_a_connection_that_is_gone_has_no_heads(clock: ManualClock) -> None:
    feed = make_feed(clock)
    feed.heads(WEBSOCKET, [], None)
    clock.ms += 70
    assert feed.counts[WEBSOCKET].take(4, clock.ms).head_age_ms == 70
    feed.left(WEBSOCKET, "gone")
    window = feed.counts[WEBSOCKET].take(4, clock.ms)
    assert (window.connected, window.head_age_ms) == (False, None)
