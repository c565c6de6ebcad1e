"""All three stores, sustained: published as fast as the slowest of them takes it."""

from statistics import median
from typing import Any

from benchmarks.bench import Bench
from benchmarks.figures import Figure, LostEvents
from benchmarks.publish import naive
from benchmarks.workers.publishing import WINDOW

__all__ = ["measure"]

RATE = 10_000
SECONDS = 60.0
RELAY = {"batch_events": 2_000, "catch_up_events_per_s": 0}
"""Large batches, and no bound on the rate: this is about what the road can carry."""


async def measure(bench: Bench) -> list[Figure]:
    """Events a second into journal, hub (one subscriber) and table, and that none is missing."""
    by_hand = [await _naive(bench)]
    count = round(RATE * bench.seconds(SECONDS))
    bench.tell(f"{count:,} events into three stores")
    async with bench.hub() as url:
        settings = bench.settings(websocket={"url": url}, relay=RELAY)
        common: dict[str, Any] = {"settings": settings, "count": count}
        sinks = ["websocket", "supabase"]
        publishing = {"written": 100, "sinks": sinks, **common}
        async with (
            bench.worker("subscriber", timeout_s=900, **common) as subscriber,
            bench.worker("publisher", **publishing) as publisher,
        ):
            durable = await publisher.next(900)
            drained = await publisher.next(900)
            seen = await subscriber.next(900)
    _check(bench, settings["publisher"]["source"], count, seen)
    by_hand += [await _naive(bench) for _ in range(bench.rounds - 1)]
    seconds = max(drained["drained_s"], seen["last"] - durable["started"])
    return [
        Figure(
            name="all three stores, until each has all", unit="events/s", value=count / seconds,
            naive=median(by_hand), goal=RATE, goal_ratio=100,
            note=f"{count:,} events in {seconds:.0f} s, 0 lost; fsync; batches of "
            f"{RELAY['batch_events']:,}, no more than {WINDOW:,} owed; naive: before and after",
        ),
        Figure(
            name="the publisher's CPU meanwhile", unit="µs/event", better="less",
            value=drained["cpu_s"] / count * 1e6,
            note="journal, hub link and relay to Supabase, all threads",
        ),
    ]  # fmt: skip


async def _naive(bench: Bench) -> float:
    bench.tell("naive")
    return await naive(bench)


def _check(bench: Bench, source: str, count: int, seen: dict[str, Any]) -> None:
    ((rows,),) = bench.project.sql(
        "select count(*) from crossfade.events where source = %s", source
    )
    if rows != count or seen["count"] != count or seen["repeated"] or seen["skipped"]:
        raise LostEvents(f"{count} published, {rows} in the table, {seen} at the subscriber")
