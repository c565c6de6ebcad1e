"""Copying what the table lacks: dry run first, nothing overwritten, looked at again."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from crossfade.adapters.memory import MemoryEventStore
from crossfade.backfill import Backfill, backfill
from crossfade.core.event import Event
from crossfade.core.verdict import Verdict
from crossfade.errors import JournalUnavailable, StoreRejected, StoreUnavailable
from crossfade.ports import IngestResult
from tests.reconciliation_data import MemorySupabase, World, make_event, stream

LOST = stream("critical", 3)
QUIET = stream("system", 7)


class Table(MemoryEventStore):
    """The table behind ``MemorySupabase``, as a store that takes batches; can be made to fail."""

    def __init__(self, rows: MemorySupabase) -> None:
        super().__init__()
        self.rows = rows
        for held in rows.events.values():
            for event in held.values():
                self.events[event.position] = self._ids[event.id] = event
        self.batches: list[int] = []
        self.live: set[bool] = set()
        self.refuses: set[int] = set()
        self.unavailable = 0

    async def ingest(self, events: Sequence[Event], *, live: bool = True) -> IngestResult:
        self.batches.append(len(events))
        self.live.add(live)
        if self.unavailable:
            self.unavailable -= 1
            raise StoreUnavailable("starting")
        if self.refuses & {event.sequence for event in events}:
            raise StoreRejected("too large")
        result = await super().ingest(events, live=live)
        for event in self.events.values():
            self.rows.put(event)
        return result


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path) as made:
        yield made


def run(world: World, table: Table | None = None, **given: object) -> Backfill:
    readers = {name: world.readers()[name] for name in ("journal", "supabase")}
    table = table or Table(world.supabase)
    return backfill(
        world.settings(), clock=world.clock, readers=readers, store=lambda: table, **given
    )  # type: ignore[arg-type]


def lose(world: World, events: Sequence[Event]) -> None:
    for event in events:
        world.drop("supabase", event)


def test_a_dry_run_says_what_lacks_and_copies_nothing(world: World) -> None:
    lose(world, world.fill(LOST, 40)[10:25])
    world.publish(LOST, 3, age_s=0.5)  # the relay's business
    world.publish(QUIET, 9)  # not owed
    table = Table(world.supabase)
    result = run(world, table)
    assert (result.lacking, result.inserted, result.dry_run) == (15, 0, True)
    assert result.checked_events == 49
    assert not result.is_complete
    assert table.batches == []


def test_what_lacks_is_copied_quietly_and_looked_at_again(world: World) -> None:
    events = world.fill(LOST, 40)
    lose(world, events[10:25])
    table = Table(world.supabase)
    result = run(world, table, dry_run=False)
    assert (result.lacking, result.inserted, result.skipped, result.left) == (15, 15, 0, 0)
    assert result.is_complete
    assert table.live == {False}
    held = world.supabase.events[LOST].values()
    assert sorted(event.hash for event in held) == sorted(event.hash for event in events)
    assert world.reconcile().verdict is Verdict.PASS
    again = run(world, Table(world.supabase), dry_run=False)
    assert (again.lacking, again.is_complete) == (0, True)
    assert again.to_json()["complete"] is True


def test_what_the_publisher_still_owes_is_copied_too(world: World) -> None:
    """It may never come back to send it."""
    world.route(LOST)
    world.publish(LOST, 5, to=("websocket",), owed=("supabase",))
    result = run(world, dry_run=False)
    assert (result.lacking, result.inserted, result.left) == (5, 5, 0)


def test_everything_is_more_than_is_owed(world: World) -> None:
    world.publish(QUIET, 20, to=("websocket",))
    assert run(world).lacking == 0
    result = run(world, dry_run=False, everything=True)
    assert (result.inserted, result.left) == (20, 0)
    assert world.reconcile().verdict is Verdict.PASS


def test_batches_are_limited(world: World) -> None:
    world.route(LOST)
    world.publish(LOST, 1_001, to=("websocket",))
    table = Table(world.supabase)
    result = run(world, table, dry_run=False)
    assert result.inserted == 1_001
    assert table.batches == [500, 500, 1]


def test_what_is_held_otherwise_is_parked_never_overwritten(world: World) -> None:
    events = world.fill(LOST, 10)
    world.alter("supabase", events[2], forged=True, data='{"delay":-1}')
    lose(world, events[5:6])
    kept = world.supabase.events[LOST][3]
    result = run(world, dry_run=False)
    assert (result.inserted, result.left, result.parked_count) == (1, 0, 1)
    assert result.parked == (
        "app/1/critical/3/3: altered in supabase: data: not as in journal; "
        "the checksum was changed with it",
    )
    assert world.supabase.events[LOST][3] == kept
    assert not result.is_complete


def test_an_id_that_is_taken_elsewhere_is_parked(world: World) -> None:
    events = world.fill(LOST, 10)
    lose(world, events[5:6])
    world.supabase.put(make_event(LOST, 99, id=events[5].id))
    result = run(world, dry_run=False)
    assert (result.inserted, result.left) == (0, 1)
    assert "holds this position or id otherwise" in result.parked[0]


def test_what_the_journal_holds_damaged_is_not_spread(world: World) -> None:
    events = world.fill(LOST, 10)
    lose(world, events[5:7])
    world.alter("journal", events[5], forged=False, data="{}")
    world.drop("journal", events[8])
    lose(world, events[8:9])
    result = run(world, dry_run=False)
    assert (result.lacking, result.inserted, result.left) == (2, 1, 2)
    assert {text.split(":")[0][-1] for text in result.parked} == {"6", "9"}
    assert result.parked_count == 2


def test_a_refused_event_is_found_by_halving_and_the_rest_is_copied(world: World) -> None:
    world.route(LOST)
    world.publish(LOST, 50, to=("websocket",))
    table = Table(world.supabase)
    table.refuses = {17}
    result = run(world, table, dry_run=False)
    assert (result.inserted, result.left) == (49, 1)
    assert result.parked == ("app/1/critical/3/17: refused: too large",)


def test_a_store_that_comes_back_is_waited_for(world: World) -> None:
    lose(world, world.fill(LOST, 10)[3:5])
    table = Table(world.supabase)
    table.unavailable = 2
    assert run(world, table, dry_run=False).is_complete
    assert table.batches == [2, 2, 2]


@pytest.mark.parametrize("method", ["streams", "digests", "rows"])
def test_an_unreadable_table_is_raised(world: World, method: str) -> None:
    events = world.fill(LOST, 10)
    lose(world, events[3:5])
    world.alter("supabase", events[6], forged=True, data="{}")  # a row that has to be looked at
    world.supabase.broken = method
    with pytest.raises(StoreUnavailable, match=method):
        run(world, dry_run=False)


def test_a_missing_journal_is_raised(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        settings = world.settings()
        gone = settings.journal.model_copy(update={"path": tmp_path / "gone.db"})
        with pytest.raises(JournalUnavailable, match=r"gone\.db"):
            backfill(settings.model_copy(update={"journal": gone}))
