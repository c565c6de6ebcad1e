"""Intervals of whole numbers: sequences, blocks, moments. Both ends are included."""

from collections.abc import Iterable, Iterator, Sequence

__all__ = [
    "Interval",
    "all_or_none",
    "clip",
    "coalesce",
    "contains",
    "runs_of",
    "size_of",
    "without",
]

Interval = tuple[int, int]
"""First and last number, both included."""


def coalesce(
    intervals: Iterable[tuple[int, int | None]], floor: int, head: int
) -> tuple[Interval, ...]:
    """Sort, clip to ``floor`` … ``head`` and join intervals; an open end reaches the head."""
    found: list[Interval] = []
    for first, last in sorted((first, head if last is None else last) for first, last in intervals):
        low, high = max(first, floor), min(last, head)
        if low > high:
            continue
        if found and low <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], high))
        else:
            found.append((low, high))
    return tuple(found)


def clip(intervals: Sequence[Interval], first: int, last: int) -> list[Interval]:
    """The parts of ``intervals`` within ``first`` … ``last``."""
    return [
        (max(low, first), min(high, last))
        for low, high in intervals
        if max(low, first) <= min(high, last)
    ]


def size_of(intervals: Sequence[Interval], first: int, last: int) -> int:
    """How many sequences of ``first`` … ``last`` lie in ``intervals``."""
    return sum(high - low + 1 for low, high in clip(intervals, first, last))


def contains(intervals: Sequence[Interval], sequence: int) -> bool:
    """Whether ``sequence`` lies in one of ``intervals``."""
    return any(low <= sequence <= high for low, high in intervals)


def all_or_none(intervals: Sequence[Interval], first: int, last: int) -> bool | None:
    """Whether all of ``first`` … ``last`` lies in one of ``intervals``; None when only a part.

    Disjoint intervals that do not touch, as ``coalesce`` makes them.
    """
    for low, high in intervals:
        if low <= last and first <= high:
            return True if low <= first and last <= high else None
    return False


def without(intervals: Sequence[Interval], holes: Sequence[Interval]) -> tuple[Interval, ...]:
    """What of ``intervals`` no hole covers; both are disjoint and ascending."""
    found: list[Interval] = []
    for low, high in intervals:
        for first, last in clip(holes, low, high):
            if low < first:
                found.append((low, first - 1))
            low = last + 1
        if low <= high:
            found.append((low, high))
    return tuple(found)


def runs_of(numbers: Iterable[int]) -> Iterator[Interval]:
    """The runs of consecutive numbers among ascending ones."""
    first = last = None
    for number in numbers:
        if last is not None and first is not None and number != last + 1:
            yield first, last
            first = None
        first = number if first is None else first
        last = number
    if first is not None and last is not None:
        yield first, last
