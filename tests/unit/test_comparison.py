"""Coverage, readers that fail to open, and what a comparison asks for."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from crossfade.comparison import Comparison, covered_by, open_readers
from crossfade.core.event import Stream
from crossfade.core.reconciliation_plan import JournalStream, Range, Seals, plan_blocks
from tests.reconciliation_data import NOW_US, World, stream

LOST = stream("critical", 3)
QUIET = stream("system", 7)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path) as made:
        yield made


@pytest.mark.parametrize(
    ("at_us", "covered"),
    [
        (9, False),
        (10, True),
        (15, True),
        (18, True),
        (19, False),
        (25, False),
        (30, True),
        (99, False),
    ],
)
def test_covered_means_connected_until_a_margin_after(at_us: int, covered: bool) -> None:
    assert covered_by([(10, 20), (30, 40)], 2)(at_us) is covered


def test_nothing_is_covered_by_no_connection() -> None:
    assert covered_by([], 0)(5) is False


def test_readers_that_can_not_be_opened_are_named(world: World) -> None:
    readers, errors = open_readers(world.settings(), ("journal", "websocket", "supabase"))
    assert set(readers) == {"journal", "websocket"}
    assert set(errors) == {"supabase"}
    for reader in readers.values():
        reader.close()


def compared(world: World) -> tuple[Comparison, dict[Stream, JournalStream]]:
    comparison = Comparison(world.readers(), size=8, exact=("critical",))
    outline = comparison.read_outline(NOW_US, 0)
    return comparison, {facts.stream: facts for facts in outline.streams}


def test_a_store_is_asked_for_the_streams_it_holds(world: World) -> None:
    world.fill(LOST, 20)
    world.fill(QUIET, 20, routed=False)
    comparison, streams = compared(world)
    with comparison:
        plan = plan_blocks(streams.values(), Seals(), 8, full=True)
        found = list(comparison.compare(plan.blocks, streams, lambda at_us: True))
    assert all(one.agrees and not one.is_wrong for one in found)
    assert world.supabase.asked == [Range(LOST, 1, 20)]


def test_memory_is_bounded_by_slices(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossfade.comparison.SLICE_BLOCKS", 2)
    monkeypatch.setattr("crossfade.drilling.DRILL_ROWS", 1)
    events = world.fill(LOST, 40)
    for event in events[::9]:
        world.drop("supabase", event)
    seen: list[tuple[int, int]] = []
    comparison, streams = compared(world)
    comparison._progress = lambda phase, done, total: seen.append((done, total))
    with comparison:
        plan = plan_blocks(streams.values(), Seals(), 8, full=True)
        found = list(comparison.compare(plan.blocks, streams, lambda at_us: True))
    assert [one.block for one in found] == list(plan.blocks)
    assert sum(len(one.findings.discrepancies) for one in found if one.findings) == 5
    assert [(asked.first, asked.last) for asked in world.supabase.asked] == [
        (1, 16), (17, 32), (33, 40),
    ]  # fmt: skip
    assert seen[-1] == (5, 5)
    assert seen == sorted(seen)
