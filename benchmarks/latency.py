"""Latency from the call of ``publish()`` to the hand-over, at a steady rate, by each transport."""

import asyncio
from typing import Any

from benchmarks.bench import Bench
from benchmarks.figures import Figure, LostEvents, percentile
from benchmarks.floors import notify_ms, socket_ms

__all__ = ["measure"]

RATE = 1_000
SECONDS = 20.0
WARM_S = 2.0
"""Left out at the beginning: joins and caches."""
SHARES = (0.5, 0.95, 0.99)
FLOOR_S = 9.0
FLOORS = {
    "websocket": "a bare WebSocket echo of the same size and rate",
    "realtime": "a bare row a commit with NOTIFY, to who listens",
}


async def measure(bench: Bench) -> list[Figure]:
    """p50, p95 and p99 by WebSocket and by Realtime."""
    found: dict[str, list[list[float]]] = {"websocket": [], "realtime": []}
    floors: dict[str, list[list[float]]] = {"websocket": [], "realtime": []}
    brief_s = bench.seconds(FLOOR_S / bench.rounds, 1.0)
    for number in range(bench.rounds):
        for via in sorted(found, reverse=bool(number % 2)):
            bench.tell(f"{via}, round {number + 1} of {bench.rounds}")
            found[via].append(await _round(bench, via))
        bench.tell(f"floors, round {number + 1} of {bench.rounds}")
        floors["websocket"].append(await socket_ms(RATE, brief_s))
        floors["realtime"].append(await notify_ms(bench.project.database_url, RATE, brief_s))
    figures = []
    for via, rounds in found.items():
        for share in SHARES:
            values = sorted(percentile(one, share) for one in rounds)
            bare = sorted(percentile(one, share) for one in floors[via])
            figures.append(
                Figure(
                    name=f"publish → delivered by {via}, p{share * 100:g}", unit="ms",
                    better="less", value=values[len(values) // 2],
                    floor=bare[len(bare) // 2],
                    goal=50 if share == 0.95 else None,
                    note=f"at {RATE:,} events/s; fsync; floor: {FLOORS[via]}",
                )
            )  # fmt: skip
    return figures


async def _round(bench: Bench, via: str) -> list[float]:
    seconds = bench.seconds(SECONDS / bench.rounds, 4.0)
    async with bench.hub() as url:
        settings = bench.settings(websocket={"url": url})
        served = 100 if via == "realtime" else 0
        reading: dict[str, Any] = {"served": served, "timeout_s": 120, "latencies": True}
        publishing = {"rate": RATE, "seconds": seconds, "written": 100}
        sinks = ["websocket", "supabase"]
        async with (
            bench.worker("subscriber", settings=settings, **reading) as subscriber,
            bench.worker("publisher", settings=settings, sinks=sinks, **publishing) as publisher,
        ):
            published = await publisher.next(120)
            await publisher.next(120)
            await asyncio.sleep(1.0)
            subscriber.say("stop")
            seen = await subscriber.next(60)
    if seen["count"] != published["published"] or seen["repeated"] or seen["skipped"]:
        del seen["latencies"]
        raise LostEvents(f"{via}: {published['published']} were published: {seen}")
    first = seen["latencies"][0][0]
    return [ms for at, ms in seen["latencies"] if at - first >= WARM_S]
