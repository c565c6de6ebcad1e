"""Subscribers over the hub alone: restarts, slow consumers, positions, everything else dead."""

import asyncio
import signal
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from crossfade.adapters.memory import MemoryEventStore, MemoryReporter
from crossfade.core.continuity import Lost
from crossfade.core.event import Event, Stream
from crossfade.core.sequencer import Start
from crossfade.core.telemetry import Role
from crossfade.errors import Closed, UsageError
from crossfade.local.hub import Hub
from crossfade.settings import Settings, WebSocketSettings
from crossfade.subscriber import Subscriber
from tests.integration.hub_process import HubProcess, free_port
from tests.integration.publishers import make_settings
from tests.integration.raw_client import RawClient, make_event
from tests.integration.scene import Consumer, Scene, in_order, wait_for

pytestmark = pytest.mark.timeout(150)


async def test_a_killed_hub_loses_nothing(tmp_path: Path) -> None:
    async with (
        HubProcess(tmp_path, client_buffer_bytes=50_000_000) as hub,
        Scene(tmp_path, websocket={"url": hub.url}) as scene,
        Consumer(scene.subscriber()) as consumer,
    ):
        for _ in range(2):
            async with scene.load(batch=50, pause_s=0.005):
                goal = len(consumer.events) + 300
                await wait_for(lambda goal=goal: len(consumer.events) >= goal)
                await hub.stop(signal.SIGKILL)
                await asyncio.sleep(0.2)
                await hub.start()
                goal = len(consumer.events) + 300
                await wait_for(lambda goal=goal: len(consumer.events) >= goal)
        await consumer.all_of(scene.published)
        report = consumer.subscriber.continuity()["app"]
        assert (report.conflicts, report.lost_events) == (0, 0)


async def test_a_slow_consumer_holds_a_bounded_queue_and_loses_nothing(tmp_path: Path) -> None:
    # About 15 MB in all, while the hub keeps 100 kB for a slow client and 300 events of history.
    sections: dict[str, Any] = {
        "websocket": {
            "client_buffer_bytes": 100_000,
            "history_events": 300,
            "max_frame_bytes": 150_000,
        },
        "subscriber": {"queue_events": 50, "buffer_events": 100},
    }
    async with Scene(tmp_path, **sections) as scene, scene.subscriber() as subscriber:
        filler = "x" * 5_000
        events: list[Event] = []
        deepest = 0

        async def consume() -> None:
            nonlocal deepest
            async for event in subscriber:
                events.append(event)
                deepest = max(deepest, len(subscriber._feed.queue))
                await asyncio.sleep(0.001)

        consuming = asyncio.create_task(consume())
        for start in range(0, 3_000, 250):
            scene.published += await scene.publisher.publish_many(
                {"type": "made", "data": {"n": n, "filler": filler}, "key": f"k{n % 8}"}
                for n in range(start, start + 250)
            )
        await wait_for(lambda: len(events) >= 3_000, 100)
        assert in_order(events) == in_order(scene.published)
        # The limit, one frame (150 kB are 28 events), what the buffer held, one page of a fill.
        assert deepest <= 50 + 28 + 100 + 28
        await subscriber.close()
        await consuming


async def test_earliest_reads_history_and_journal_latest_only_what_comes(tmp_path: Path) -> None:
    async with Scene(tmp_path, websocket={"history_events": 20}) as scene:
        await scene.publish(100)
        await wait_for(lambda: scene.publisher.owed["websocket"] == 0)
        async with (
            Consumer(scene.subscriber(start="earliest")) as everything,
            Consumer(scene.subscriber(start="latest")) as news,
        ):
            await everything.all_of(scene.published)
            assert everything.subscriber.continuity()["app"].delivered_by["hub"] > 0
            await scene.publish(50)
            await everything.all_of(scene.published)
            await news.all_of(scene.published[100:])


async def test_keys_follow_their_partitions_and_see_only_their_events(tmp_path: Path) -> None:
    async with Scene(tmp_path) as scene, Consumer(scene.subscriber(keys=["key-5"])) as consumer:
        await scene.publish(240)
        mine = [event for event in scene.published if event.subject == "key-5"]
        await consumer.all_of(mine)
        assert consumer.subscriber.continuity()["app"].streams == 1
        partition = mine[0].partition
        assert consumer.subscriber.serving()["websocket"] == {scene.topic: [partition]}
        whole = [event for event in scene.published if event.partition == partition]
        await wait_for(lambda: consumer.subscriber.positions()[mine[0].stream] == len(whole) + 1)


async def test_a_consumer_that_raises_gets_its_event_again(tmp_path: Path) -> None:
    file = tmp_path / "positions.json"
    async with Scene(tmp_path) as scene:
        await scene.publish(10, keys=1)
        seen: list[int] = []
        tried: list[int] = []

        async def handle(event: Event) -> None:
            tried.append(event.sequence)
            if event.sequence == 4 and tried.count(4) == 1:
                raise ValueError("not today")
            seen.append(event.sequence)
            if event.sequence == 10:
                await subscriber.commit()
                raise EOFError

        async with scene.subscriber(positions=file) as subscriber:
            with pytest.raises(ValueError, match="not today"):
                await subscriber.run(handle)
        async with scene.subscriber(positions=file) as subscriber:
            with pytest.raises(EOFError):
                await subscriber.run(handle)
        assert seen == list(range(1, 11))
        assert tried == [1, 2, 3, 4, 4, 5, 6, 7, 8, 9, 10]
        async with scene.subscriber(positions=file) as subscriber:
            await scene.publish(1, keys=1)
            assert (await anext(aiter(subscriber))).sequence == 11


@pytest.mark.parametrize("start", ["earliest", "latest"])
async def test_what_was_not_taken_from_the_queue_comes_after_the_restart(
    tmp_path: Path, start: Start
) -> None:
    file = tmp_path / "positions.json"
    effects: list[Event] = []
    async with Scene(tmp_path) as scene:
        await scene.publish(30)
        await wait_for(lambda: scene.publisher.owed["websocket"] == 0)
        for goal in (7, 19, 40):
            async with scene.subscriber(positions=file, start=start) as subscriber:
                await wait_for(lambda subscriber=subscriber: subscriber.continuity())
                await scene.publish(30)
                async for event in subscriber:
                    effects.append(event)
                    if len(effects) == goal:
                        await subscriber.commit()
                        break
                wanted = scene.published[0 if start == "earliest" else 30 :]
                # All of it is in the queue: the positions must not be where the sequencer is.
                delivered = len(wanted) - len(effects)
                await wait_for(
                    lambda subscriber=subscriber, delivered=delivered: (
                        len(subscriber._feed.queue) == delivered
                    )
                )
        async with Consumer(scene.subscriber(positions=file, start=start)) as consumer:
            await wait_for(lambda: len(effects) + len(consumer.events) >= len(wanted))
            assert in_order([*effects, *consumer.events]) == in_order(wanted)


async def test_breaking_out_does_not_count_as_handled(tmp_path: Path) -> None:
    file = tmp_path / "positions.json"
    async with Scene(tmp_path) as scene:
        await scene.publish(3, keys=1)
        async with scene.subscriber(positions=file) as subscriber:
            async for event in subscriber:
                if event.sequence == 2:
                    break
        async with scene.subscriber(positions=file) as subscriber:
            assert (await anext(aiter(subscriber))).sequence == 2


async def test_positions_that_can_not_be_read_stop_it_and_stay(tmp_path: Path) -> None:
    file = tmp_path / "positions.json"
    file.write_text('{"v": 9}')
    with pytest.raises(UsageError, match=r"positions.json: positions can not be read \(version 9"):
        async with Subscriber(Settings(), positions=file):
            pass
    assert file.read_text() == '{"v": 9}'


async def test_i5_with_everything_else_dead_events_arrive_over_websocket(tmp_path: Path) -> None:
    dead = f"127.0.0.1:{free_port()}"
    sections: dict[str, Any] = {
        "publisher": {"drain_s": 0.1},
        "supabase": {"url": f"http://{dead}", "anon_key": "k", "service_role_key": "s"},
        "control": {"url": f"http://{dead}", "instance_token": "i", "timeout_s": 0.2},
    }
    async with (
        Scene(tmp_path, **sections) as scene,
        # Its own wiring: it looks for flags and takes its telemetry to a server that is dead.
        Consumer(Subscriber(scene.settings)) as consumer,
        Consumer(scene.subscriber()) as served,
    ):
        scene.flags.set(scene.serve(100, version=1))
        await scene.publish(200)
        await consumer.all_of(scene.published)
        await served.all_of(scene.published)


async def test_i2_a_range_that_no_store_holds_is_told_in_its_place(tmp_path: Path) -> None:
    told: list[tuple[Lost, dict[Stream, int]]] = []
    heads = [["app", 1, "critical", 0, 9, 10]]
    async with (
        Hub(WebSocketSettings(url="ws://127.0.0.1:0", token=SecretStr("t"), heads_s=0.1)) as hub,
        RawClient(hub.url, "publisher") as publisher,
    ):
        await publisher.publish(*(make_event(n) for n in range(10, 13)), heads=heads)
        stream = make_event(1).stream
        settings = make_settings(tmp_path, websocket={"url": hub.url})

        def lost(one: Lost) -> None:
            told.append((one, subscriber.positions()))

        subscriber = Subscriber(settings, topics=["critical"], positions={stream: 3}, on_lost=lost)
        async with subscriber:
            asked = await publisher.next("fill")
            assert (asked["first"], asked["last"]) == (3, 9)
            await publisher.send("filled", request=asked["request"], events=[], floor=10, head=12)
            first = await anext(aiter(subscriber))
            # While it is being told, its position has not moved.
            assert told == [(Lost(stream, 3, 9, "retention"), {stream: 3})]
            assert subscriber.positions() == {stream: 10}
            assert first == make_event(10)
            assert subscriber.continuity()["app"].lost_events == 7


async def test_an_altered_event_is_not_handed_over_but_fetched_again(tmp_path: Path) -> None:
    async with (
        Hub(WebSocketSettings(url="ws://127.0.0.1:0", token=SecretStr("t"), heads_s=0.1)) as hub,
        RawClient(hub.url, "publisher") as publisher,
    ):
        settings = make_settings(tmp_path, websocket={"url": hub.url})
        store = MemoryEventStore()
        await store.ingest([make_event(n) for n in (1, 2, 3)])
        forged = make_event(2)._replace(data='{"n":666}')
        await publisher.publish(make_event(1), forged, make_event(3))
        async with Subscriber(settings, topics=["critical"], store=store) as subscriber:
            reading = aiter(subscriber)
            assert [await anext(reading) for _ in range(3)] == [make_event(n) for n in (1, 2, 3)]
            assert subscriber.continuity()["app"].delivered_by["supabase"] == 1


async def test_telemetry_says_what_was_delivered(tmp_path: Path) -> None:
    reporter = MemoryReporter()
    async with (
        Scene(tmp_path) as scene,
        Consumer(scene.subscriber(reporter=reporter, instance="me")) as consumer,
    ):
        await scene.publish(60)
        await consumer.all_of(scene.published)
        await wait_for(
            lambda: sum(one.transports["websocket"].delivered for one in reporter.reports) == 60
        )
    report = reporter.reports[-1]
    assert (report.instance, report.role, report.flag_version) == ("me", Role.SUBSCRIBER, 0)
    assert report.totals["delivered"] == 60
    assert report.totals["lost"] == 0
    assert report.transports["websocket"].partitions == 4
    assert sum(one.categories.get(scene.topic, 0) for one in reporter.reports) == 60


async def test_a_topic_that_nobody_has_heard_of_is_followed_too(tmp_path: Path) -> None:
    async with (
        Hub(WebSocketSettings(url="ws://127.0.0.1:0", token=SecretStr("t"), heads_s=0.1)) as hub,
        RawClient(hub.url, "publisher") as publisher,
        Subscriber(make_settings(tmp_path, websocket={"url": hub.url})) as subscriber,
    ):
        reading = aiter(subscriber)
        await publisher.publish(make_event(1))
        assert await anext(reading) == make_event(1)
        await publisher.publish(make_event(1, topic="born-since"))
        assert (await anext(reading)).topic == "born-since"


async def test_a_subscriber_is_used_between_its_entry_and_its_end(tmp_path: Path) -> None:
    async with Scene(tmp_path) as scene:
        subscriber = scene.subscriber()
        with pytest.raises(Closed, match="async with"):
            await anext(aiter(subscriber))
        async with subscriber:
            await scene.publish(3)
            await anext(aiter(subscriber))
        with pytest.raises(StopAsyncIteration):
            await anext(aiter(subscriber))
