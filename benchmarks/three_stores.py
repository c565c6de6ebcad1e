"""All three stores: published without a pause; sustained means that all of them have it."""

from typing import Any

from benchmarks.bench import Bench
from benchmarks.figures import Figure, LostEvents
from benchmarks.publish import naive

__all__ = ["measure"]

RATE = 10_000
SECONDS = 60.0
RELAY = {"batch_events": 2_000, "catch_up_events_per_s": 0}
"""Large batches, and no bound on the rate: this is about what the road can carry."""


async def measure(bench: Bench) -> list[Figure]:
    """Events a second into journal, hub (one subscriber) and table, and that none is missing."""
    count = round(RATE * bench.seconds(SECONDS))
    bench.tell(f"{count:,} events into three stores")
    async with bench.hub() as url:
        settings = bench.settings(websocket={"url": url}, relay=RELAY)
        common: dict[str, Any] = {"settings": settings, "count": count}
        async with bench.worker("subscriber", timeout_s=900, **common) as subscriber:
            publishing = {"written": 100, "sinks": ["websocket", "supabase"], **common}
            async with bench.worker("publisher", **publishing) as publisher:
                durable = await publisher.next(900)
                drained = await publisher.next(900)
                seen = await subscriber.next(900)
    _check(bench, settings["publisher"]["source"], count, seen)
    bench.tell("naive")
    by_hand = await naive(bench)
    seconds = max(drained["drained_s"], seen["last"] - durable["started"])
    return [
        Figure(
            name="all three stores, until each has all", unit="events/s", value=count / seconds,
            naive=by_hand, goal=RATE, goal_ratio=100,
            note=f"{count:,} events in {seconds:.0f} s, 0 lost; fsync; batches of 2,000, unbounded",
        ),
        Figure(
            name="the same, until durable", unit="events/s", value=count / durable["durable_s"],
            note="the journal's side alone, while the relays work",
        ),
    ]  # fmt: skip


def _check(bench: Bench, source: str, count: int, seen: dict[str, Any]) -> None:
    ((rows,),) = bench.project.sql(
        "select count(*) from crossfade.events where source = %s", source
    )
    if rows != count or seen["count"] != count or seen["repeated"] or seen["skipped"]:
        raise LostEvents(f"{count} published, {rows} in the table, {seen} at the subscriber")
