"""A dead Realtime: how long until every subscriber is served by WebSocket again."""

import asyncio
import signal

from benchmarks.bench import Bench
from benchmarks.crowd import RATE, crowd
from benchmarks.figures import Figure, LostEvents, percentile

__all__ = ["measure"]

WATCH_S = 5.0


async def measure(bench: Bench) -> list[Figure]:
    """Seconds from SIGKILL of the project's server to the first event that came after it."""
    bench.tell("subscribers connect, all on Realtime")
    async with crowd(bench, served=100) as subscribers:
        await asyncio.sleep(2.0)
        bench.tell("the project is killed")
        await subscribers.tell("watch")
        bench.project.stop(signal.SIGKILL)
        try:
            await asyncio.sleep(WATCH_S)
            answers = await subscribers.tell("watched")
        finally:
            await asyncio.to_thread(bench.project.start)
        bench.tell("the project is back; what is owed drains")
        times = [one for answer in answers for one in answer["first_s"]]
        if len(times) != subscribers.clients:
            raise LostEvents(f"{len(times)} of {subscribers.clients} are served again")
        published = await subscribers.finish()
    note = f"{subscribers.clients} subscribers; {published:,} events each, 0 gaps, 0 duplicates"
    return [
        Figure(
            name="fail-back from a dead Realtime, p99", unit="s", better="less",
            value=percentile(times, 0.99), goal=1.0, note=note,
        ),
        Figure(
            name="fail-back from a dead Realtime, median", unit="s", better="less",
            value=percentile(times, 0.5), note=f"at {RATE} events/s",
        ),
    ]  # fmt: skip
