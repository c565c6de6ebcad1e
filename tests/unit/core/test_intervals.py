"""Intervals of whole numbers against sets of them."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from crossfade.core.intervals import (
    all_or_none,
    clip,
    coalesce,
    contains,
    runs_of,
    size_of,
    without,
)

INTERVALS = st.lists(
    st.tuples(st.integers(1, 60), st.one_of(st.none(), st.integers(1, 60))), max_size=6
)


def members(intervals: object, head: int) -> set[int]:
    return {
        sequence
        for first, last in intervals  # type: ignore[attr-defined]
        for sequence in range(first, (head if last is None else last) + 1)
    }


@given(raw=INTERVALS, floor=st.integers(1, 20), head=st.integers(0, 50))
def test_coalesced_intervals_hold_the_same_sequences(
    raw: list[tuple[int, int | None]], floor: int, head: int
) -> None:
    found = coalesce(raw, floor, head)
    wanted = {one for one in members(raw, head) if floor <= one <= head}
    assert members(found, head) == wanted
    assert list(found) == sorted(found)
    for (_, before), (after, _) in pairwise(found):
        assert before + 1 < after  # neither touching nor overlapping
    for sequence in range(1, 60):
        assert contains(found, sequence) == (sequence in wanted)


@given(raw=INTERVALS, first=st.integers(1, 60), last=st.integers(1, 60))
def test_clipping_and_counting(raw: list[tuple[int, int | None]], first: int, last: int) -> None:
    intervals = coalesce(raw, 1, 50)
    inside = {one for one in members(intervals, 50) if first <= one <= last}
    assert members(clip(intervals, first, last), 50) == inside
    assert size_of(intervals, first, last) == len(inside)


@given(raw=INTERVALS, holes=INTERVALS)
def test_without_takes_exactly_the_holes_away(
    raw: list[tuple[int, int | None]], holes: list[tuple[int, int | None]]
) -> None:
    one, other = coalesce(raw, 1, 60), coalesce(holes, 1, 60)
    found = without(one, other)
    assert members(found, 60) == members(one, 60) - members(other, 60)
    assert found == coalesce(found, 1, 60)


@given(raw=INTERVALS, first=st.integers(1, 60), count=st.integers(0, 20))
def test_all_none_or_a_part(raw: list[tuple[int, int | None]], first: int, count: int) -> None:
    intervals = coalesce(raw, 1, 60)
    asked = set(range(first, first + count + 1))
    inside = asked & members(intervals, 60)
    expected = True if inside == asked else None if inside else False
    assert all_or_none(intervals, first, first + count) is expected


@given(numbers=st.sets(st.integers(0, 60)))
def test_runs_are_as_long_as_they_can_be(numbers: set[int]) -> None:
    found = tuple(runs_of(sorted(numbers)))
    assert found == coalesce([(one, one) for one in numbers], 0, 60)
