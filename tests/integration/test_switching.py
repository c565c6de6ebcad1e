"""Subscribers between both transports, with a real hub, a real stand-in, a real publisher."""

import asyncio
from pathlib import Path

import pytest

from crossfade.core.event import Event
from crossfade.core.route import REALTIME, WEBSOCKET
from tests.integration.scene import PARTITIONS, Consumer, Scene, in_order, wait_for
from tests.services import Project

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("supabase"), pytest.mark.timeout(150)]


def count(consumer: Consumer, via: str) -> int:
    return sum(len(numbers) for numbers in consumer.subscriber.serving()[via].values())


async def applied(consumer: Consumer, version: int) -> None:
    await wait_for(lambda: consumer.subscriber.flag_version == version)


async def more(consumer: Consumer, events: int) -> None:
    goal = len(consumer.events) + events
    await wait_for(lambda: len(consumer.events) >= goal)


async def test_i3_switches_under_load_lose_double_and_reorder_nothing(
    tmp_path: Path, project: Project
) -> None:
    async with (
        Scene(tmp_path, project) as scene,
        Consumer(scene.subscriber()) as consumer,
        Consumer(scene.subscriber(keys=["key-3"])) as single,
    ):
        async with scene.load():
            for version, percent in enumerate((50, 100, 0, 100, 25), 1):
                scene.flags.set(scene.serve(percent, version=version))
                wanted = percent * PARTITIONS // 100
                for one in (consumer, single):
                    await applied(one, version)
                    assert one.subscriber.switch_failures == 0
                assert count(consumer, REALTIME) == wanted
                assert count(consumer, WEBSOCKET) == PARTITIONS - wanted
                await more(consumer, 100)
        await consumer.all_of(scene.published)
        await single.all_of([event for event in scene.published if event.subject == "key-3"])
        report = consumer.subscriber.continuity()["app"]
        assert report.delivered_by["realtime"] > 0
        assert report.delivered_by["websocket"] > 0
        assert (report.conflicts, report.lost_events, report.open_holes) == (0, 0, 0)
        total = sum(event.hash for event in scene.published) & (1 << 64) - 1
        assert report.rolling_hash == format(total, "016x")


async def test_i5_a_dead_realtime_is_left_without_any_flag_and_found_again(
    tmp_path: Path, fresh_project: Project
) -> None:
    async with Scene(tmp_path, fresh_project) as scene, Consumer(scene.subscriber()) as consumer:
        async with scene.load(batch=5):
            scene.flags.set(scene.serve(100, version=1))
            await wait_for(lambda: count(consumer, REALTIME) == PARTITIONS)

            await asyncio.to_thread(fresh_project.stop)
            await wait_for(lambda: count(consumer, WEBSOCKET) == PARTITIONS)
            assert consumer.subscriber.fallen_back == PARTITIONS
            await more(consumer, 100)

            await asyncio.to_thread(fresh_project.start)
            await wait_for(lambda: count(consumer, REALTIME) == PARTITIONS)
            assert consumer.subscriber.fallen_back == 0
        await consumer.all_of(scene.published)


async def test_i5_a_deaf_realtime_is_noticed_by_its_missing_heads(
    tmp_path: Path, fresh_project: Project
) -> None:
    async with Scene(tmp_path, fresh_project) as scene, Consumer(scene.subscriber()) as consumer:
        async with scene.load(batch=5):
            scene.flags.set(scene.serve(100, version=1))
            await wait_for(lambda: count(consumer, REALTIME) == PARTITIONS)
            await asyncio.to_thread(fresh_project.fault, drop_live=True)
            await wait_for(lambda: count(consumer, WEBSOCKET) == PARTITIONS)
            await asyncio.to_thread(fresh_project.fault, drop_live=False)
            await wait_for(lambda: count(consumer, REALTIME) == PARTITIONS)
        await consumer.all_of(scene.published)


async def test_live_frames_that_are_lost_are_filled(tmp_path: Path, fresh_project: Project) -> None:
    patient = {"deaf_s": 20.0}  # it must not fall back because of the frames that are dropped
    async with (
        Scene(tmp_path, fresh_project, subscriber=patient) as scene,
        Consumer(scene.subscriber()) as consumer,
    ):
        await scene.publish(40)
        scene.flags.set(scene.serve(100, version=1))
        await scene.publish(40)
        await wait_for(lambda: count(consumer, REALTIME) == PARTITIONS)
        # Drained, and the hub knows that nothing is wanted of it any more.
        await wait_for(lambda: set(scene.hub._clients) == {frozenset()})
        await wait_for(lambda: len(consumer.events) == 80)
        # What is committed meanwhile is never sent live; heads tell of it when it is back.
        await asyncio.to_thread(fresh_project.fault, replication=False)
        await scene.publish(40)
        await wait_for(lambda: scene.publisher.owed["supabase"] == 0)
        await asyncio.to_thread(fresh_project.fault, replication=True)
        await consumer.all_of(scene.published)
        report = consumer.subscriber.continuity()["app"]
        assert report.delivered_by.get("hub", 0) + report.delivered_by.get("supabase", 0) >= 40


async def test_a_restart_goes_on_where_the_effects_ended(tmp_path: Path, project: Project) -> None:
    file = tmp_path / "positions.json"
    effects: list[Event] = []
    async with Scene(tmp_path, project) as scene:
        scene.flags.set(scene.serve(50, version=1))
        async with scene.load():
            for _ in range(3):
                goal = len(effects) + 150
                with pytest.raises(RuntimeError, match="stumble"):  # noqa: PT012
                    async with scene.subscriber(positions=file) as subscriber:
                        async for event in subscriber:
                            if len(effects) >= goal:
                                raise RuntimeError("stumble")  # before its effect
                            effects.append(event)
        async with scene.subscriber(positions=file) as subscriber:
            async for event in subscriber:
                effects.append(event)
                if len(effects) == len(scene.published):
                    break
    assert in_order(effects) == in_order(scene.published)
