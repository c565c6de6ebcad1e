"""200 subscribers switched to Realtime and back under load: how long, and 0 lost or doubled.

Beside them as many bare clients do the same at once and without overlap: the floor of the time,
and what a naive switch loses.
"""

from statistics import median

from benchmarks.bench import Bench
from benchmarks.crowd import RATE, Crowd, crowd
from benchmarks.figures import Figure, percentile

__all__ = ["measure"]

_FLOOR = "floor: bare clients, all at once, close and open and subscribe"


async def measure(bench: Bench) -> list[Figure]:
    """Seconds from the flags' change to the last cut, both ways; what a naive switch loses."""
    bench.tell("subscribers connect")
    async with crowd(bench, served=0) as subscribers:
        there, back = await _moves(bench, subscribers, "")
        published = await subscribers.finish()
    bench.tell("bare clients connect")
    async with crowd(bench, served=0, role="bare_crowd") as bare:
        bare_there, bare_back = await _moves(bench, bare, "bare, ")
        lost, repeated = await bare.losses()
    note = f"{subscribers.clients} subscribers at {RATE} events/s, spread over 0.5 s"
    proof = f"; {published:,} events each, 0 gaps, 0 duplicates"
    switches = 2 * bench.rounds
    return [
        Figure(
            name="switch to Realtime, last of all", unit="s", better="less",
            value=median(map(max, there)), floor=median(map(max, bare_there)),
            note=f"{note}{proof}; {_FLOOR}",
        ),
        Figure(
            name="switch to WebSocket, last of all", unit="s", better="less",
            value=median(map(max, back)), floor=median(map(max, bare_back)), note=note,
        ),
        Figure(
            name="switch to Realtime, median", unit="s", better="less",
            value=median(percentile(one, 0.5) for one in there),
            floor=median(percentile(one, 0.5) for one in bare_there),
            note="overlap until the new transport has delivered a head, one a second",
        ),
        Figure(
            name="switch to WebSocket, median", unit="s", better="less",
            value=median(percentile(one, 0.5) for one in back),
            floor=median(percentile(one, 0.5) for one in bare_back),
        ),
        Figure(
            name="events lost by a switch of all subscribers", unit="events", better="less",
            value=0, naive=lost / switches, goal=0,
            note=f"naive: the bare clients; they also got {repeated / switches:,.0f} twice",
        ),
    ]  # fmt: skip


async def _moves(
    bench: Bench, subscribers: Crowd, who: str
) -> tuple[list[list[float]], list[list[float]]]:
    there: list[list[float]] = []
    back: list[list[float]] = []
    for number in range(bench.rounds):
        bench.tell(f"{who}to Realtime and back, round {number + 1} of {bench.rounds}")
        there.append(await subscribers.move(100))
        back.append(await subscribers.move(0))
    return there, back
