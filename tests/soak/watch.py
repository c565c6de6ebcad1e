"""Memory and file descriptors of processes over time, and whether they grow."""

import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import psutil

__all__ = ["Line", "Watch", "slope"]

LEAST_S = 60.0
"""A shorter stretch says nothing of growth."""
MEMORY_SHARE = 0.10
MEMORY_BYTES = 8_000_000
"""Memory may grow over the stretch by a tenth of its mean, or by this, whichever is more."""
DESCRIPTORS = 4.0
"""File descriptors may grow over the stretch by so many: connections come and go."""


@dataclass(frozen=True, slots=True)
class Line:
    """The regression line of one figure of one process, from its first to its last sample.

    ``flat`` is None when the stretch was too short to tell.
    """

    process: str
    figure: str
    mean: float
    growth: float
    limit: float
    seconds: float
    samples: int

    @property
    def flat(self) -> bool | None:
        """Whether the line rises by no more than its limit."""
        return None if self.seconds < LEAST_S else self.growth <= self.limit

    def to_json(self) -> dict[str, Any]:
        """The line as JSON values."""
        return {name: getattr(self, name) for name in (*self.__slots__, "flat")}


class Watch:
    """Samples processes; a restarted one begins anew."""

    def __init__(self) -> None:
        self._samples: dict[tuple[str, int], list[tuple[float, int, int]]] = defaultdict(list)

    def sample(self, processes: dict[str, int]) -> None:
        """Look at each process, by name and pid."""
        for name, pid in processes.items():
            try:
                process = psutil.Process(pid)
                row = (time.monotonic(), process.memory_info().rss, process.num_fds())
            except psutil.Error:
                continue  # it was killed a moment ago
            self._samples[name, pid].append(row)

    def forget(self) -> None:
        """Begin a new stretch: what was before is warming up."""
        self._samples.clear()

    def lines(self) -> list[Line]:
        """Per process that lived longest under its name: memory and descriptors."""
        longest: dict[str, list[tuple[float, int, int]]] = {}
        for (name, _), rows in self._samples.items():
            if len(rows) > len(longest.get(name, ())):
                longest[name] = rows
        found = []
        for name, rows in sorted(longest.items()):
            times = [row[0] for row in rows]
            seconds = times[-1] - times[0]
            for figure, column in (("memory", 1), ("descriptors", 2)):
                values = [float(row[column]) for row in rows]
                mean = sum(values) / len(values)
                limit = max(MEMORY_BYTES, MEMORY_SHARE * mean) if column == 1 else DESCRIPTORS
                growth = slope(times, values) * seconds
                found.append(Line(name, figure, mean, growth, limit, seconds, len(rows)))
        return found


def slope(times: list[float], values: list[float]) -> float:
    """The least-squares line's rise a second; 0 when there are fewer than two moments."""
    count = len(times)
    middle, mean = sum(times) / count, sum(values) / count
    spread = sum((at - middle) ** 2 for at in times)
    if not spread:
        return 0.0
    pairs = zip(times, values, strict=True)
    return sum((at - middle) * (value - mean) for at, value in pairs) / spread
