"""200 subscribers switched to Realtime and back under load: how long, and 0 lost or doubled."""

from benchmarks.bench import Bench
from benchmarks.crowd import RATE, crowd
from benchmarks.figures import Figure, percentile

__all__ = ["measure"]


async def measure(bench: Bench) -> list[Figure]:
    """Seconds from the flags' change to the last cut, both ways."""
    there: list[list[float]] = []
    back: list[list[float]] = []
    bench.tell("subscribers connect")
    async with crowd(bench, served=0) as subscribers:
        for number in range(bench.rounds):
            bench.tell(f"to Realtime and back, round {number + 1} of {bench.rounds}")
            there.append(await subscribers.move(100))
            back.append(await subscribers.move(0))
        published = await subscribers.finish()
    note = f"{subscribers.clients} subscribers at {RATE} events/s, spread over 0.5 s"
    proof = f"; {published:,} events each, 0 gaps, 0 duplicates"
    return [
        Figure(
            name="switch to Realtime, last of all", unit="s", better="less",
            value=_middle([max(one) for one in there]), note=note + proof,
        ),
        Figure(
            name="switch to WebSocket, last of all", unit="s", better="less",
            value=_middle([max(one) for one in back]), note=note,
        ),
        Figure(
            name="switch to Realtime, median", unit="s", better="less",
            value=_middle([percentile(one, 0.5) for one in there]),
        ),
        Figure(
            name="switch to WebSocket, median", unit="s", better="less",
            value=_middle([percentile(one, 0.5) for one in back]),
        ),
    ]  # fmt: skip


def _middle(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]
