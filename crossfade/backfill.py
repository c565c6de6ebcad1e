"""Backfill: copy to Supabase what the journal holds and the table lacks.

Nothing is ever overwritten or deleted: what is held with another content, or is damaged in the
journal itself, is listed for a person. Repeating a backfill is harmless, and so is running one
beside the relay: the table skips what it has.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from crossfade.adapters.clock import SystemClock
from crossfade.adapters.supabase import SupabaseEventStore
from crossfade.comparison import Compared, Comparison, Progress, open_readers
from crossfade.core.event import Event, Position, Stream
from crossfade.core.reconciliation import Discrepancy, Kind
from crossfade.core.reconciliation_plan import Block, JournalStream, Seals, plan_blocks
from crossfade.core.reconciliation_rows import Row
from crossfade.errors import JournalUnavailable, StoreRejected, StoreUnavailable, UsageError
from crossfade.ports import Clock, EventStore, IngestResult, StoreReader
from crossfade.settings import Settings

__all__ = ["Backfill", "backfill"]

BATCH_BYTES = 4_000_000
"""Content of one call (the function takes 16 MB)."""
MAX_NAMED = 1_000
"""So many events left to a person are named; all are counted."""
ATTEMPTS = 5
PAUSE_S = 0.5
"""Wait before a batch is sent again; it grows by as much each time."""

_log = logging.getLogger("crossfade.backfill")


@dataclass(frozen=True, slots=True, kw_only=True)
class Backfill:
    """What a backfill did, or (``dry_run``) would do.

    ``lacking`` events were owed to the table and not in it; ``inserted`` were copied,
    ``skipped`` had arrived meanwhile; ``left`` are still lacking after a second look. ``parked``
    names what only a person can decide (``parked_count`` of them): held with another content,
    damaged in the journal, or refused by the table.
    """

    at_us: int
    duration_ms: float
    dry_run: bool
    everything: bool
    checked_events: int = 0
    lacking: int = 0
    inserted: int = 0
    skipped: int = 0
    left: int = 0
    parked: tuple[str, ...] = ()
    parked_count: int = 0

    @property
    def is_complete(self) -> bool:
        """Whether the table holds everything it is owed, as it should."""
        missing = self.lacking if self.dry_run else self.left
        return not missing and not self.parked_count

    def to_json(self) -> dict[str, Any]:
        """The result as JSON values."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**fields, "parked": list(self.parked), "complete": self.is_complete}


def backfill(
    settings: Settings,
    *,
    dry_run: bool = True,
    everything: bool = False,
    streams: Collection[Stream] | None = None,
    clock: Clock | None = None,
    progress: Progress | None = None,
    readers: Mapping[str, StoreReader] | None = None,
    store: Callable[[], EventStore] | None = None,
) -> Backfill:
    """Find what the table lacks, copy it unless ``dry_run``, and look again.

    Blocks, and runs an event loop of its own: call it in a thread from async code. Events
    younger than ``settings.reconcile.grace_s`` are left to the relay. Nothing is sent live:
    subscribers fill their holes from the table.

    Args:
        dry_run: look only.
        everything: copy all that the journal holds, not only what the routes owe (before the
            WebSocket side is switched off).
        streams: only these; None: all.
        readers: ``journal`` and ``supabase`` instead of those the settings name.
        store: makes what is written to, instead of the settings' project; it is closed again
            if it has a ``close``.

    Raises:
        StoreError: the table can not be read, or stays unavailable while it is written.
        JournalError: the journal can not be read.
        UsageError: the journal does not know one of ``streams``.
    """
    run = _Run(settings, dry_run, everything, streams, clock or SystemClock())
    return run.execute(progress, readers, store)


class _Run:
    def __init__(
        self,
        settings: Settings,
        dry_run: bool,
        everything: bool,
        streams: Collection[Stream] | None,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._dry_run = dry_run
        self._everything = everything
        self._streams = streams
        self._clock = clock
        self._parked: list[str] = []
        self._parked_count = 0
        self._lacking = 0
        self._inserted = 0
        self._skipped = 0

    def execute(
        self,
        progress: Progress | None,
        readers: Mapping[str, StoreReader] | None,
        store: Callable[[], EventStore] | None,
    ) -> Backfill:
        at_us, started_ms = self._clock.now_us(), self._clock.monotonic_ms()
        options = self._settings.reconcile
        if readers is None:
            readers, errors = open_readers(self._settings, ("journal", "supabase"))
            _raise_first(errors)
        with Comparison(
            readers, size=options.block, exact=options.exact, progress=progress
        ) as comparison:
            cutoff_us = at_us - round(options.grace_s * 1e6)
            outline = comparison.read_outline(cutoff_us, 0)
            _raise_first(comparison.errors)
            self._check_streams({facts.stream for facts in outline.streams})
            streams = {
                facts.stream: self._owed(facts)
                for facts in outline.streams
                if self._streams is None or facts.stream in self._streams
            }
            plan = plan_blocks(streams.values(), Seals(), options.block, full=True)
            wrong = self._copy(comparison, plan.blocks, streams, store)
            left = 0
            if not self._dry_run:
                comparison.report("verify", 0, 1)
                comparison.read_outline(cutoff_us, 0)  # the table may hold new streams now
                left = sum(len(_missing(one)) for one in self._compare(comparison, wrong, streams))
                comparison.report("verify", 1, 1)
        return Backfill(
            at_us=at_us,
            duration_ms=float(self._clock.monotonic_ms() - started_ms),
            dry_run=self._dry_run,
            everything=self._everything,
            checked_events=sum(block.last - block.first + 1 for block in plan.blocks),
            lacking=self._lacking,
            inserted=self._inserted,
            skipped=self._skipped,
            left=left,
            parked=tuple(self._parked),
            parked_count=self._parked_count,
        )

    def _check_streams(self, known: Collection[Stream]) -> None:
        # A name that was mistyped would compare nothing, and nothing lacks in nothing.
        unknown = sorted(one for one in self._streams or () if one not in known)
        if unknown:
            names = ", ".join("/".join(map(str, one)) for one in unknown)
            raise UsageError(f"the journal holds no stream {names}")

    def _owed(self, facts: JournalStream) -> JournalStream:
        intervals = facts.owed.get("supabase", ())
        if self._everything:
            intervals = ((facts.floor, facts.head),) if facts.floor <= facts.head else ()
        return replace(facts, owed={"supabase": intervals})

    def _compare(
        self,
        comparison: Comparison,
        blocks: Sequence[Block],
        streams: Mapping[Stream, JournalStream],
    ) -> Iterator[Compared]:
        # The tap is not part of it, so whether it was connected does not matter.
        for one in comparison.compare(blocks, streams, lambda at_us: True):
            _raise_first(comparison.errors)
            yield one
        _raise_first(comparison.errors)

    def _copy(
        self,
        comparison: Comparison,
        blocks: Sequence[Block],
        streams: Mapping[Stream, JournalStream],
        store: Callable[[], EventStore] | None,
    ) -> list[Block]:
        """Copy what is lacking; the blocks that differed."""
        wrong: list[Block] = []
        events = self._lacking_events(comparison, self._compare(comparison, blocks, streams), wrong)
        if self._dry_run:
            for _ in events:
                pass
            return wrong
        with asyncio.Runner() as runner:
            target: EventStore | None = None
            try:
                for batch in _batches(events, self._settings.relay.batch_events):
                    if target is None:
                        target = (
                            store() if store else SupabaseEventStore.for_publisher(self._settings)
                        )
                    self._ingest(runner, target, batch)
                    comparison.report("copy", self._inserted + self._skipped, self._lacking)
            finally:
                if isinstance(target, SupabaseEventStore):
                    runner.run(target.close())
        return wrong

    def _lacking_events(
        self, comparison: Comparison, compared: Iterable[Compared], wrong: list[Block]
    ) -> Iterator[Event]:
        for one in compared:
            missing = _missing(one)
            for found in _unrepairable(one):
                self._park(found.position, f"{found.kind.value} in {found.store}: {found.detail}")
            if not missing:
                continue
            wrong.append(one.block)
            rows: dict[int, Row] = {
                row.event.sequence: row
                for row in comparison.journal.rows(one.block.stream, min(missing), max(missing))
            }
            for sequence in sorted(missing):
                row = rows.get(sequence)
                if row is None:
                    continue  # missing in the journal too (parked), or dropped there meanwhile
                self._lacking += 1
                if row.is_intact:  # else it is parked, as a stale hash of the journal
                    yield row.event

    def _ingest(self, runner: asyncio.Runner, target: EventStore, batch: list[Event]) -> None:
        """Send a batch; one that is refused is halved until the event is found that is at fault."""
        try:
            result = _send(runner, target, batch)
        except StoreRejected as error:
            if len(batch) == 1:
                self._park(str(batch[0].position), f"refused: {error}")
                return
            middle = len(batch) // 2
            self._ingest(runner, target, batch[:middle])
            self._ingest(runner, target, batch[middle:])
            return
        self._inserted += result.inserted
        self._skipped += result.skipped
        for conflict in result.conflicts:
            self._park(str(conflict.position), "the table holds this position or id otherwise")

    def _park(self, position: str, reason: str) -> None:
        self._parked_count += 1
        if len(self._parked) < MAX_NAMED:
            self._parked.append(f"{position}: {reason}")


def _send(runner: asyncio.Runner, target: EventStore, batch: list[Event]) -> IngestResult:
    for attempt in range(1, ATTEMPTS):
        try:
            return runner.run(target.ingest(batch, live=False))
        except StoreUnavailable as error:
            _log.warning("%s; sending the batch again", error)
            time.sleep(PAUSE_S * attempt)
    return runner.run(target.ingest(batch, live=False))


def _missing(one: Compared) -> set[int]:
    """The sequences of a block that the table lacks."""
    return {
        Position.parse(found.position).sequence
        for found in _discrepancies(one)
        if found.kind in (Kind.MISSING, Kind.LATE) and found.store == "supabase"
    }


def _unrepairable(one: Compared) -> list[Discrepancy]:
    return [
        found
        for found in _discrepancies(one)
        if found.kind in (Kind.ALTERED, Kind.RESERIALISED, Kind.STALE_HASH)
        or (found.kind is Kind.MISSING and found.store == "journal")
    ]


def _discrepancies(one: Compared) -> list[Discrepancy]:
    return one.findings.discrepancies if one.findings else []


def _batches(events: Iterable[Event], limit: int) -> Iterator[list[Event]]:
    batch: list[Event] = []
    size = 0
    for event in events:
        length = len(event.data)
        if batch and (len(batch) >= limit or size + length > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(event)
        size += length
    if batch:
        yield batch


def _raise_first(errors: Mapping[str, str]) -> None:
    for name, text in errors.items():
        raise (JournalUnavailable if name == "journal" else StoreUnavailable)(text)
