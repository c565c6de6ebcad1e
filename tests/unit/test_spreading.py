"""Sharing out content checks: what is shared, how it is cut, and that nothing changes by it."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import orjson
import pytest

from crossfade.core.reconciliation_plan import Range
from crossfade.spreading import SharedReader, Work, digests_as_work, shareable
from tests.reconciliation_data import World, found, stream

ONE, TWO = stream("critical", 3), stream("system", 7)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path) as made:
        yield made


class Workers:
    """Answers shares as workers elsewhere would: through JSON."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.shares: list[Work] = []

    def __call__(self, store: str, shares: Sequence[Work], block: int) -> Iterable[Work]:
        reader = self.world.readers()[store]
        for share in shares:
            self.shares.append(share)
            work = orjson.loads(orjson.dumps(share))
            yield orjson.loads(orjson.dumps(digests_as_work(reader, work, block)))


def test_shares_are_cut_at_the_borders_of_blocks(world: World) -> None:
    world.fill(ONE, 70)
    world.fill(TWO, 20)
    workers = Workers(world)
    reader = SharedReader(world.supabase, workers, blocks=3)
    ranges = [Range(ONE, 5, 70), Range(TWO, 1, 20)]
    shared = list(reader.digests(ranges, 8, anew=True))
    assert sorted(shared) == sorted(world.supabase.digests(ranges, 8, anew=True))
    assert [[row[4:] for row in share] for share in workers.shares] == [
        [[5, 24]],
        [[25, 48]],
        [[49, 70]],
        [[1, 20]],
    ]


def test_little_and_what_is_not_asked_anew_is_not_shared(world: World) -> None:
    world.fill(ONE, 70)
    workers = Workers(world)
    reader = SharedReader(world.supabase, workers, blocks=9)
    whole = [Range(ONE, 1, 70)]
    assert list(reader.digests(whole, 8, anew=True)) == list(world.supabase.digests(whole, 8))
    assert list(SharedReader(world.supabase, workers, blocks=1).digests(whole, 8))
    assert workers.shares == []


def test_a_run_by_workers_finds_what_a_run_without_finds(world: World) -> None:
    events = world.fill(ONE, 5_000)
    world.alter("supabase", events[4_321], forged=True, data="{}")
    world.drop("supabase", events[17])
    workers = Workers(world)
    expected = found(world.reconcile(content=True))
    shared = world.reconcile(content=True, wrap=lambda _, reader: shareable(reader, workers))
    assert found(shared) == expected
    assert len(expected) == 2
    assert len(workers.shares) >= 9  # 625 blocks of each store in shares of 256
