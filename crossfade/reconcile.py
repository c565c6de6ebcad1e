"""Reconciliation: every event of the journal, the WebSocket recording and the Supabase table.

The shell around ``core.reconciliation``: reads the stores, repeats what looks wrong, keeps
the seals. One call is one run.
"""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

from crossfade.adapters.clock import SystemClock
from crossfade.adapters.stores.seals import SealStore
from crossfade.comparison import Comparison, Progress, covered_by, open_readers
from crossfade.core.digest import BlockDigest
from crossfade.core.event import Event, Stream
from crossfade.core.reconciliation import STORES, Discrepancy, Evidence, Reconciliation
from crossfade.core.reconciliation_plan import (
    Block,
    JournalStream,
    Outline,
    Plan,
    Seal,
    plan_blocks,
    size_of,
)
from crossfade.core.reconciliation_rows import Row, phantom
from crossfade.core.reconciliation_tally import Tally
from crossfade.core.verdict import Verdict
from crossfade.errors import JournalError, UsageError
from crossfade.ports import Clock, StoreReader
from crossfade.settings import Settings

__all__ = ["reconcile"]

PHANTOM_ROWS = 1_000
"""Rows beyond the journal's head that are looked at together."""
SAMPLE_EVENTS = 500
"""Events whose shape the expectations look at."""


class _Beyond(NamedTuple):
    """Sequences that a store shows and the journal's outline did not."""

    store: str
    stream: Stream
    first: int
    last: int


def reconcile(
    settings: Settings,
    *,
    trigger: str = "cli",
    full: bool = False,
    stores: Collection[str] = STORES,
    categories: Collection[str] | None = None,
    clock: Clock | None = None,
    progress: Progress | None = None,
    readers: Mapping[str, StoreReader] | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Reconciliation:
    """Hold the stores against each other and name every event that one of them holds wrongly.

    Blocks; run it in a thread from async code. Events younger than
    ``settings.reconcile.grace_s`` are in flight and not judged; what looks wrong is looked
    at again ``rechecks`` times, ``recheck_s`` apart, and only what survives is reported.
    Blocks that agree are sealed when all three stores were compared, and skipped until
    something in them can have changed; each run compares ``scrub_blocks`` of them again.

    Args:
        trigger: who asked: ``week``, ``validate``, ``rollback`` or ``cli``.
        full: compare sealed blocks as well.
        stores: which of ``journal``, ``websocket``, ``supabase``; the journal always is.
        categories: only streams of these categories; None for all.
        progress: told how far each phase is; may be called from several threads, one at a time.
        readers: instead of those the settings name; closed at the end.
        sleep: waits between rechecks (seconds).

    Returns:
        The result. A store that can not be read is named in ``errors`` (verdict ERROR).

    Raises:
        UsageError: an unknown store or category, or the state file can not be used.
    """
    _check_names("store", stores, STORES)
    if categories is not None:
        _check_names("category", categories, settings.classification.categories)
    wanted = [name for name in STORES if name == "journal" or name in stores]
    run = _Run(settings, trigger, full, wanted, categories, clock or SystemClock(), sleep)
    return run.execute(readers, progress)


def _check_names(what: str, names: Collection[str], known: Collection[str]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(f"unknown {what} {', '.join(unknown)}: there are {', '.join(known)}")


class _Run:
    def __init__(
        self,
        settings: Settings,
        trigger: str,
        full: bool,
        wanted: Sequence[str],
        categories: Collection[str] | None,
        clock: Clock,
        sleep: Callable[[float], None],
    ) -> None:
        self._settings = settings
        self._options = settings.reconcile
        self._trigger = trigger
        self._full = full
        self._wanted = tuple(wanted)
        self._categories = categories
        self._clock = clock
        self._sleep = sleep
        self._at_us = clock.now_us()
        self._started_ms = clock.monotonic_ms()

    def execute(
        self, readers: Mapping[str, StoreReader] | None, progress: Progress | None
    ) -> Reconciliation:
        names = [*self._wanted, *(["realtime"] if self._wanted == STORES else [])]
        errors: dict[str, str] = {}
        if readers is None:
            opened, errors = open_readers(self._settings, names)
        else:
            opened = {name: readers[name] for name in names if name in readers}
        errors.pop("realtime", None)  # the same file as websocket, whose error says it all
        comparison = Comparison(
            opened, size=self._options.block, exact=self._options.exact, progress=progress
        )
        with comparison:
            comparison.errors.update(errors)
            if "journal" in errors:
                return self._unreadable(comparison.errors)
            try:
                return self._compare(comparison)
            except JournalError as error:
                comparison.errors["journal"] = str(error)
                return self._unreadable(comparison.errors)

    def _unreadable(self, errors: Mapping[str, str]) -> Reconciliation:
        return Reconciliation(
            at_us=self._at_us,
            duration_ms=float(self._clock.monotonic_ms() - self._started_ms),
            verdict=Verdict.ERROR,
            trigger=self._trigger,
            full=self._full,
            errors=dict(errors),
        )

    def _compare(self, comparison: Comparison) -> Reconciliation:
        outline = self._outline(comparison)
        streams = {facts.stream: facts for facts in outline.streams if self._takes(facts.category)}
        sealing = self._wanted == STORES and not comparison.errors
        state = SealStore(self._options.state, self._options.block) if sealing else None
        try:
            plan = plan_blocks(
                streams.values(),
                state.load() if state else {},
                self._options.block,
                full=self._full,
                scrub=self._options.scrub_blocks,
            )
            tally = Tally(
                stores=self._wanted,
                streams=streams.values(),
                plan=plan,
                exact=self._options.exact,
                tolerance=self._options.tolerance,
            )
            sealed, broken = self._cycle(comparison, outline, streams, plan, tally)
            count = 0
            if state is not None and not comparison.errors:
                comparison.report("seal", 0, 1)
                count = state.save(sealed, broken)
                comparison.report("seal", 1, 1)
        finally:
            if state is not None:
                state.close()
        result = tally.result(
            stores=comparison.stores,
            at_us=self._at_us,
            duration_ms=float(self._clock.monotonic_ms() - self._started_ms),
            trigger=self._trigger,
            full=self._full,
            sealed=count,
            errors=comparison.errors,
            foreign=_foreign(comparison, outline),
            count_realtime="realtime" in comparison.extents,
        )
        evidence = Evidence(
            stores=comparison.stores,
            rollups=tally.rollups(),
            sample=_sample(comparison, streams.values()),
            categories=self._settings.classification.categories,
            topics=self._settings.topics,
            exact=self._options.exact,
            tolerance=self._options.tolerance,
            max_event_bytes=self._settings.publisher.max_event_bytes,
        )
        return replace(result, evidence=evidence)

    def _cycle(
        self,
        comparison: Comparison,
        outline: Outline,
        streams: Mapping[Stream, JournalStream],
        plan: Plan,
        tally: Tally,
    ) -> tuple[list[tuple[Stream, int, Seal]], list[tuple[Stream, int]]]:
        """Compare, and compare again what differs, until it agrees or is a finding."""
        sealed: list[tuple[Stream, int, Seal]] = []
        suspects: Sequence[Block] = plan.blocks
        seen: Mapping[Block, Mapping[str, BlockDigest]] = {}
        beyond: Sequence[_Beyond] = _places_beyond(comparison, outline)
        for round_number in range(self._options.rechecks + 1):
            last = round_number == self._options.rechecks
            if round_number:
                comparison.report("recheck", round_number, self._options.rechecks)
                self._sleep(self._options.recheck_s)
                streams = _refreshed(streams, self._outline(comparison))
                suspects = _still_held(suspects, streams)
            differing: dict[Block, Mapping[str, BlockDigest]] = {}
            covered = covered_by(comparison.coverage, self._margin_us)
            # The last look reads the rows whatever the digests say, for details as of now.
            for one in comparison.compare(suspects, streams, covered, None if last else seen):
                facts = streams[one.block.stream]
                if one.is_wrong:
                    differing[one.block] = one.digests
                else:
                    sealed.append(self._seal(facts, one.block, one.digests))
                if last or not one.is_wrong:
                    tally.add(facts, one.digests, one.findings)
            beyond = self._look_beyond(comparison, beyond, streams, tally if last else None)
            suspects, seen = list(differing), differing
            if not suspects and not beyond:
                break
        return sealed, [(block.stream, block.number) for block in suspects]

    def _look_beyond(
        self,
        comparison: Comparison,
        places: Iterable[_Beyond],
        streams: Mapping[Stream, JournalStream],
        tally: Tally | None,
    ) -> list[_Beyond]:
        """The places that still hold phantoms; with ``tally`` each of them is a finding."""
        still = []
        for place in places:
            found = self._phantoms(comparison, place, streams)
            if tally is not None:
                for one in found:
                    tally.discrepancy(one)
            elif next(found, None) is not None:
                still.append(place)
        return still

    def _outline(self, comparison: Comparison) -> Outline:
        since = self._options.websocket_since
        return comparison.read_outline(
            self._at_us - round(self._options.grace_s * 1e6),
            round(since.timestamp() * 1e6) if since else 0,
        )

    @property
    def _margin_us(self) -> int:
        return min(1_000_000, round(self._options.grace_s * 5e5))

    def _takes(self, category: str) -> bool:
        return self._categories is None or category in self._categories

    def _seal(
        self, facts: JournalStream, block: Block, digests: Mapping[str, BlockDigest]
    ) -> tuple[Stream, int, Seal]:
        realtime = digests.get("realtime")
        seal = Seal(
            block.last,
            size_of(facts.owed["websocket"], block.first, block.last),
            size_of(facts.owed["supabase"], block.first, block.last),
            realtime.events if realtime else 0,
            digests["journal"].total,
            self._at_us,
        )
        return block.stream, block.number, seal

    def _phantoms(
        self,
        comparison: Comparison,
        place: _Beyond,
        streams: Mapping[Stream, JournalStream],
    ) -> Iterator[Discrepancy]:
        """The rows of a place that the journal, read after them, still does not hold."""
        facts = streams.get(place.stream)
        held = comparison.reader(place.store).rows(place.stream, place.first, place.last)
        for chunk in _chunks(held):
            found = {row.event.sequence: row for row in chunk}
            journalled: Collection[int] = ()
            if facts is not None and place.store != "journal":
                # Rows of the journal above its own head are phantoms themselves.
                last = min(max(found), facts.head)
                journalled = {
                    row.event.sequence
                    for row in comparison.journal.rows(place.stream, min(found), last)
                }
            for sequence in sorted(found):
                row = found[sequence]
                if sequence not in journalled and self._takes(row.event.category):
                    head = facts.head if facts else None
                    yield phantom(row, place.store, head, self._options.exact)


def _sample(comparison: Comparison, streams: Collection[JournalStream]) -> tuple[Event, ...]:
    """The newest judged events of each stream, some ``SAMPLE_EVENTS`` in all."""
    each = max(1, SAMPLE_EVENTS // max(1, len(streams)))
    return tuple(
        row.event
        for facts in islice(streams, SAMPLE_EVENTS)
        for row in comparison.journal.rows(
            facts.stream, max(facts.floor, facts.watermark - each + 1), facts.watermark
        )
    )


def _chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    iterator = iter(rows)
    while chunk := list(islice(iterator, PHANTOM_ROWS)):
        yield chunk


def _places_beyond(comparison: Comparison, outline: Outline) -> list[_Beyond]:
    """Where a store shows sequences above the journal's head, or streams the journal lacks."""
    streams = {facts.stream: facts for facts in outline.streams}
    found = [
        _Beyond("journal", facts.stream, facts.head + 1, facts.held)
        for facts in outline.streams
        if facts.held > facts.head
    ]
    for store in comparison.stores[1:]:
        for stream, floor, head in comparison.extents.get(store, ()):
            facts = streams.get(stream)
            if facts is not None and head > facts.head:
                found.append(_Beyond(store, stream, max(floor, facts.head + 1), head))
            elif facts is None and (stream.source, stream.epoch) in outline.scope:
                found.append(_Beyond(store, stream, floor, head))
    return found


def _foreign(comparison: Comparison, outline: Outline) -> dict[str, int]:
    """Per store, the number of streams of sources and epochs that are not this journal's."""
    return {
        store: sum((one.stream.source, one.stream.epoch) not in outline.scope for one in extents)
        for store, extents in comparison.extents.items()
    }


def _refreshed(
    streams: Mapping[Stream, JournalStream], outline: Outline
) -> dict[Stream, JournalStream]:
    """The same streams with what has moved since, judged up to the same watermarks."""
    fresh = {facts.stream: facts for facts in outline.streams}
    return {
        stream: replace(
            facts,
            floor=fresh[stream].floor,
            head=fresh[stream].head,
            next=fresh[stream].next,
            parked=fresh[stream].parked,
        )
        if stream in fresh
        else facts
        for stream, facts in streams.items()
    }


def _still_held(blocks: Iterable[Block], streams: Mapping[Stream, JournalStream]) -> list[Block]:
    """The blocks without what the journal has dropped meanwhile."""
    cut = [block._replace(first=max(block.first, streams[block.stream].floor)) for block in blocks]
    return [block for block in cut if block.first <= block.last]
