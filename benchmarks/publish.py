"""Publish throughput: journal with fsync, alone and through the hub to one subscriber."""

import asyncio
import sqlite3
import time
import uuid
from functools import partial
from typing import Any

from benchmarks.bench import Bench
from benchmarks.figures import Figure, LostEvents, alternating
from benchmarks.workers.speech import PAD_BYTES
from crossfade.local.addresses import free_port

__all__ = ["measure", "naive", "naively"]

EVENTS = 100_000
NAIVE_EVENTS = 300
GROUP = 1_000
RELAY = {"batch_events": 2_000}
"""Larger batches than by default, as a publisher of such a rate would have them."""


async def measure(bench: Bench) -> list[Figure]:
    """Events a second; CPU of the publisher's process apart from fan-out."""
    count = bench.count(EVENTS)
    cpu_us: list[float] = []
    found = await alternating(
        {
            "sqlite": partial(asyncio.to_thread, _sqlite, bench, count),
            "journal": lambda: _journal(bench, count, cpu_us),
            "hub": lambda: _through_hub(bench, count),
            "naive": lambda: naive(bench),
        },
        bench.rounds,
        bench.tell,
    )
    cpu_us.sort()
    return [
        Figure(
            name="publish, journal only", unit="events/s", value=found["journal"],
            floor=found["sqlite"], naive=found["naive"], goal_ratio=100,
            note=f"fsync; floor: SQLite rows in groups of {GROUP:,}",
        ),
        Figure(
            name="publish, journal + hub → one subscriber", unit="events/s", value=found["hub"],
            floor=found["sqlite"], naive=found["naive"], goal=20_000, goal_ratio=100,
            note="until the subscriber has handed the last one over; fsync; batches of up to "
            f"{RELAY['batch_events']:,}",
        ),
        Figure(
            name="publisher's CPU, apart from fan-out", unit="µs/event", better="less",
            value=cpu_us[len(cpu_us) // 2], goal=30,
            note="process time of all threads, journal's included",
        ),
    ]  # fmt: skip


def _sqlite(bench: Bench, count: int) -> float:
    """Rows of the same size into SQLite with fsync: what no journal can beat."""
    path = bench.folder / f"floor-{uuid.uuid4().hex[:8]}.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE events (number INTEGER PRIMARY KEY, data TEXT)")
    data = "x" * PAD_BYTES
    started = time.monotonic()
    for start in range(0, count, GROUP):
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT INTO events VALUES (?, ?)",
            ((number, data) for number in range(start, min(count, start + GROUP))),
        )
        connection.execute("COMMIT")
    seconds = time.monotonic() - started
    connection.close()
    path.unlink()
    return count / seconds


async def _journal(bench: Bench, count: int, cpu_us: list[float]) -> float:
    settings = bench.settings(supabase={"url": ""})
    async with bench.worker("publisher", settings=settings, count=count, sinks=[]) as publisher:
        done = await publisher.next(300)
    cpu_us.append(done["cpu_s"] / count * 1e6)
    return count / float(done["durable_s"])


async def _through_hub(bench: Bench, count: int) -> float:
    async with bench.hub() as url:
        settings = bench.settings(supabase={"url": ""}, websocket={"url": url}, relay=RELAY)
        common: dict[str, Any] = {"settings": settings, "count": count}
        async with (
            bench.worker("subscriber", timeout_s=300, **common) as subscriber,
            bench.worker("publisher", sinks=["websocket"], **common) as publisher,
        ):
            started = (await publisher.next(300))["started"]
            seen = await subscriber.next(300)
    if seen["count"] != count or seen["repeated"] or seen["skipped"]:
        raise LostEvents(f"{count} were published, the subscriber has {seen}")
    return count / float(seen["last"] - started)


async def naive(bench: Bench) -> float:
    """Await the broadcast, then one insert, for each event: events a second."""
    count = bench.count(NAIVE_EVENTS, 30)
    return count / float((await naively(bench, count))["seconds"])


async def naively(bench: Bench, count: int, *, loses: bool = False) -> dict[str, Any]:
    """Publish ``count`` events so; how many ``seconds`` it took, how many were ``lost``.

    Args:
        loses: go on after an insert that failed.
    """
    port = free_port()
    order = {"settings": bench.settings(), "port": port, "count": count, "loses": loses}
    async with bench.worker("naive", **order) as server:
        url = f"ws://127.0.0.1:{port}"
        reading = {"url": url, "clients": 1, "count": count, "timeout_s": 120}
        async with bench.worker("sockets", **reading):
            server.say("go")
            return await server.next(120)
