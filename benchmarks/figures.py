"""What every bench makes: figures, each beside its floor, a naive dual write, and its goal."""

import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["Figure", "LostEvents", "alternating", "percentile"]

Side = Callable[[], Awaitable[float]]


class LostEvents(Exception):
    """Events are missing, doubled or out of order: the only thing that fails a bench."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured value.

    Attributes:
        better: whether ``more`` or ``less`` is better.
        floor: the same work without us, as fast as this machine can do it.
        naive: the same of a naive dual write (await the broadcast, await one insert).
        goal: met when the value is at least (``more``) or at most (``less``) this.
        goal_ratio: met when we are so many times better than ``naive``.
        note: what one must know to read it.
    """

    name: str
    unit: str
    value: float
    better: Literal["more", "less"] = "more"
    floor: float | None = None
    naive: float | None = None
    goal: float | None = None
    goal_ratio: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times better than ``naive``."""
        if self.naive is None or not self.naive or not self.value:
            return None
        return self.value / self.naive if self.better == "more" else self.naive / self.value

    @property
    def met(self) -> bool | None:
        """Whether the goals are met; None without a goal."""
        kept: list[bool] = []
        if self.goal is not None:
            more = self.better == "more"
            kept.append(self.value >= self.goal if more else self.value <= self.goal)
        if self.goal_ratio is not None:
            kept.append(self.ratio is not None and self.ratio >= self.goal_ratio)
        return all(kept) if kept else None

    def to_json(self) -> dict[str, Any]:
        """The figure as JSON values."""
        return {**asdict(self), "ratio": self.ratio, "met": self.met}


async def alternating(
    sides: Mapping[str, Side], rounds: int, tell: Callable[[str], None]
) -> dict[str, float]:
    """The median of each side over rounds; each round begins with the next one.

    What disturbs the machine for a while so falls on all of them.
    """
    names = list(sides)
    found: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        shift = number % len(names)
        for name in (*names[shift:], *names[:shift]):
            tell(f"{name}, round {number + 1} of {rounds}")
            found[name].append(await sides[name]())
    return {name: statistics.median(values) for name, values in found.items()}


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` of the values lie (nearest rank); 0 of none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * len(ordered)))]
