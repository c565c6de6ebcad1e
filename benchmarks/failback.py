"""A dead Realtime: how long until every subscriber is served by WebSocket again.

Beside them bare clients lose the same server and open the hub at once, without a position: the
floor of the time, and what they miss.
"""

import asyncio
import signal

from benchmarks.bench import Bench
from benchmarks.crowd import RATE, Crowd, crowd
from benchmarks.figures import Figure, LostEvents, percentile

__all__ = ["measure"]

WATCH_S = 5.0
SETTLE_S = 2.0


async def measure(bench: Bench) -> list[Figure]:
    """Seconds from SIGKILL of the project's server to the first event that came after it."""
    bench.tell("subscribers connect, all on Realtime")
    async with crowd(bench, served=100) as subscribers:
        times = await _kill(bench, subscribers)
        published = await subscribers.finish()
    bench.tell("bare clients connect, all on Realtime")
    async with crowd(bench, served=100, role="bare_crowd") as bare:
        bare_times = await _kill(bench, bare)
        lost, _ = await bare.losses()
    note = f"{subscribers.clients} subscribers; {published:,} events each, 0 gaps, 0 duplicates"
    return [
        Figure(
            name="fail-back from a dead Realtime, p99", unit="s", better="less",
            value=percentile(times, 0.99), floor=percentile(bare_times, 0.99), goal=1.0,
            note=f"{note}; floor: bare clients open the hub as soon as their socket ends",
        ),
        Figure(
            name="fail-back from a dead Realtime, median", unit="s", better="less",
            value=percentile(times, 0.5), floor=percentile(bare_times, 0.5),
            note=f"at {RATE} events/s",
        ),
        Figure(
            name="events lost by the fail-back of all subscribers", unit="events", better="less",
            value=0, naive=lost, goal=0, note="naive: the bare clients",
        ),
    ]  # fmt: skip


async def _kill(bench: Bench, subscribers: Crowd) -> list[float]:
    """Kill the project's server, and start it again; when each of them was served again."""
    await asyncio.sleep(SETTLE_S)
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
    return times
