"""After an outage of the store: what is owed, how fast it drains, and what readers notice."""

import asyncio
import time
from typing import Any

from benchmarks.bench import Bench, Worker
from benchmarks.figures import Figure, LostEvents, percentile
from benchmarks.floors import copy_rate, ingest_rate, socket_ms
from benchmarks.publish import naively
from crossfade.settings import Settings

__all__ = ["measure"]

RATE = 2_000
OUTAGE_S = 60.0
BATCH = 2_000
FLOOR_BATCHES = 10
FLOOR_S = 5.0
NAIVE_EVENTS = 50
CAUGHT_UP = RATE
"""As many events owed as come in a second: the backlog is gone."""


async def measure(bench: Bench) -> list[Figure]:
    """The store refuses everything for the outage, then comes back; publishing goes on."""
    outage_s = bench.seconds(OUTAGE_S, 4.0)
    bench.tell(f"an outage of {outage_s:.0f} s at {RATE:,} events/s")
    async with bench.hub() as url:
        settings = bench.settings(websocket={"url": url}, relay={"batch_events": BATCH})
        reading = {"timeout_s": 900, "latencies": True}
        publishing = {"rate": RATE, "written": 100, "tell_s": 0.2}
        async with (
            bench.worker("subscriber", settings=settings, **reading) as subscriber,
            bench.worker(
                "publisher", settings=settings, sinks=["websocket", "supabase"], **publishing
            ) as publisher,
        ):
            await asyncio.sleep(2.0)
            bench.project.fault(refuse=True)
            await asyncio.sleep(outage_s)
            bench.project.fault(refuse=False)
            back = time.monotonic()
            owed, probed, drained, caught_up = await _drained(publisher, back, outage_s)
            publisher.say("stop")
            published = await _until(publisher, "published")
            await _until(publisher, "drained")
            await asyncio.sleep(1.0)
            subscriber.say("stop")
            seen = await subscriber.next(60)
    if seen["count"] != published["published"] or seen["repeated"] or seen["skipped"]:
        raise LostEvents(f"{published['published']} published, {seen['count']} delivered")
    ((rows,),) = bench.project.sql(
        "select count(*) from crossfade.events where source = %s", settings["publisher"]["source"]
    )
    if rows != published["published"]:
        raise LostEvents(f"{published['published']} published, {rows} in the table")
    live = [ms for at, ms in seen["latencies"] if back <= at <= drained]
    bench.tell("floors, naive")
    url = bench.project.database_url
    fastest = await asyncio.to_thread(ingest_rate, url, BATCH, FLOOR_BATCHES)
    copied = await asyncio.to_thread(copy_rate, url, BATCH, FLOOR_BATCHES)
    bare_ms = await socket_ms(RATE, bench.seconds(FLOOR_S, 1.0))
    by_hand = await _naive(bench)
    seconds = drained - probed
    bound = Settings.model_validate(settings).relay.catch_up_events_per_s
    return [
        Figure(name="owed after the outage", unit="events", better="less", value=owed,
               note=f"{outage_s:.0f} s at {RATE:,} events/s"),
        Figure(name="until what is owed began to sink", unit="s", better="less",
               value=probed - back, note="the breaker's probe, or the pause between two tries"),
        Figure(name="time to drain, from then on", unit="s", better="less",
               value=seconds, floor=owed / max(1.0, fastest - RATE),
               note="beside the live traffic; floor: at the next figure's floor" if caught_up
               else "gave up: it did not drain beside the live traffic"),
        Figure(name="into the table meanwhile", unit="events/s",
               value=owed / max(0.2, seconds) + RATE, floor=fastest,
               note=f"bounded on purpose: {bound:,.0f} events/s (relay.catch_up_events_per_s) "
               f"beside {RATE:,} live; floor: the table's function alone, by SQL, in batches of "
               f"{BATCH:,}; COPY of the same rows into a bare table: {copied:,.0f}"),
        Figure(name="live p95 by WebSocket meanwhile", unit="ms", better="less",
               value=percentile(live, 0.95), floor=percentile(bare_ms, 0.95),
               note=f"{len(live):,} events; 0 lost; floor: a bare WebSocket echo at "
               f"{RATE:,} events/s, nothing else running"),
        Figure(name="lost by an outage, of its events", unit="%", better="less",
               value=0, naive=by_hand, goal=0,
               note=f"naive: {NAIVE_EVENTS} events published while the store refuses"),
    ]  # fmt: skip


async def _naive(bench: Bench) -> float:
    bench.project.fault(refuse=True)
    try:
        found = await naively(bench, NAIVE_EVENTS, loses=True)
    finally:
        bench.project.fault(refuse=False)
    return 100 * float(found["lost"]) / NAIVE_EVENTS


async def _drained(
    publisher: Worker, back: float, outage_s: float
) -> tuple[int, float, float, bool]:
    """What was owed when the store came back, when it first sank, when it was gone, and whether."""
    owed, probed, most, at = 0, 0.0, 0, back
    deadline = time.monotonic() + 60 + 3 * outage_s
    while time.monotonic() < deadline:
        told = await publisher.next(30)
        now, at = told["owed"]["supabase"], told["at"]
        if told["at"] <= back:
            owed = now
            continue
        if now > most:
            most, probed = now, told["at"]
        if now <= CAUGHT_UP:
            return owed, probed or back, at, True
    return owed, probed or back, at, False


async def _until(publisher: Worker, word: str) -> dict[str, Any]:
    while True:
        told = await publisher.next(120)
        if word in told:
            return told
