"""Reconciliation: every event of the journal, the WebSocket recording and the Supabase table.

The shell around ``core.reconciliation``: reads the stores, repeats what looks wrong, keeps
the seals. One call is one run.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice

from crossfade.adapters.clock import SystemClock
from crossfade.comparison import Comparison, Progress, covered_by, open_readers
from crossfade.core.digest import BlockDigest
from crossfade.core.event import Event, Stream
from crossfade.core.gaps import Gap, gaps_by_stream
from crossfade.core.reconciliation import STORES, Evidence, Reconciliation, SuiteResult
from crossfade.core.reconciliation_plan import (
    Block,
    JournalStream,
    Outline,
    Range,
    narrowed,
    refreshed,
    still_held,
)
from crossfade.core.reconciliation_rows import BlockFindings
from crossfade.core.reconciliation_tally import Tally
from crossfade.core.verdict import Verdict
from crossfade.errors import JournalError, UsageError
from crossfade.phantoms import Beyond, foreign_streams, phantoms_in, places_beyond
from crossfade.ports import Clock, StoreReader
from crossfade.sealing import Sealing, known_gaps
from crossfade.settings import Settings

__all__ = ["Judge", "reconcile"]

Judge = Callable[[Reconciliation], Sequence[SuiteResult]]
"""Runs the suites of expectations over a result with its evidence."""

LASTING = 10_000
"""Blocks whose findings are kept from the first look to the last."""
SAMPLE_EVENTS = 500
"""Events whose shape the expectations look at."""


def reconcile(
    settings: Settings,
    *,
    trigger: str = "cli",
    full: bool = False,
    content: bool = False,
    scrub: int | None = None,
    stores: Collection[str] = STORES,
    categories: Collection[str] | None = None,
    ranges: Sequence[Range] = (),
    judge: Judge | None = None,
    clock: Clock | None = None,
    progress: Progress | None = None,
    readers: Mapping[str, StoreReader] | None = None,
    wrap: Callable[[str, StoreReader], StoreReader] | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Reconciliation:
    """Hold the stores against each other and name every event that one of them holds wrongly.

    Blocks; run it in a thread from async code. Events younger than
    ``settings.reconcile.grace_s`` are in flight and not judged; what looks wrong is looked
    at again ``rechecks`` times, ``recheck_s`` apart, and only what survives is reported.
    Blocks that agree are sealed when all three stores were compared, and skipped until
    something in them changed, by the logs of changes that the stores keep; each run reads
    some of them again from their content.

    Args:
        trigger: who asked: ``week``, ``validate``, ``rollback`` or ``cli``.
        full: compare sealed blocks as well: every digest of the table, with the sums of the seals
            where journal and recording did not change since.
        scrub: so many sealed blocks, those whose turn it is, are read again from their content;
            None for ``scrub_blocks``.
        content: hash everything that the three stores hold anew, trusting no seal and no column.
        stores: which of ``journal``, ``websocket``, ``supabase``; the journal always is.
        categories: only streams of these categories; None for all.
        ranges: only these sequences (of a stream from the first range to the last), all of them
            compared and no seals written; none for everything.
        judge: the suites of expectations; what they conclude is folded into the verdict, and when
            they deny what the comparison found right, nothing is sealed.
        progress: told how far each phase is; may be called from several threads, one at a time.
        readers: instead of those the settings name; closed at the end.
        wrap: given a store's name and its reader, the reader to work with (``spreading``).
        sleep: waits between rechecks (seconds).

    Returns:
        The result. A store that can not be read is named in ``errors`` (verdict ERROR).

    Raises:
        UsageError: an unknown store, category or stream, or the state file can not be used.
    """
    _check_names("store", stores, STORES)
    if categories is not None:
        _check_names("category", categories, settings.classification.categories)
    _check_names("category", settings.reconcile.tolerances, settings.classification.categories)
    if "exact" in settings.reconcile.model_fields_set:
        # A slip of the pen would tolerate what must not be; the default may name what is not there.
        _check_names(
            "category of reconcile.exact:",
            settings.reconcile.exact,
            settings.classification.categories,
        )
    wanted = [name for name in STORES if name == "journal" or name in stores]
    if scrub is not None:
        options = settings.reconcile.model_copy(update={"scrub_blocks": scrub})
        settings = settings.model_copy(update={"reconcile": options})
    run = _Run(
        settings,
        trigger,
        full,
        content,
        wanted,
        categories,
        ranges,
        judge,
        clock or SystemClock(),
        sleep,
    )
    return run.execute(readers, progress, wrap)


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
        content: bool,
        wanted: Sequence[str],
        categories: Collection[str] | None,
        ranges: Sequence[Range],
        judge: Judge | None,
        clock: Clock,
        sleep: Callable[[float], None],
    ) -> None:
        self._settings = settings
        self._options = settings.reconcile
        self._trigger = trigger
        self._full = full or content
        self._content = content
        self._wanted = tuple(wanted)
        self._categories = categories
        self._ranges = tuple(ranges)
        self._judge = judge
        self._gaps: Sequence[Gap] = ()
        self._clock = clock
        self._sleep = sleep
        self._at_us = clock.now_us()
        self._started_ms = clock.monotonic_ms()

    def execute(
        self,
        readers: Mapping[str, StoreReader] | None,
        progress: Progress | None,
        wrap: Callable[[str, StoreReader], StoreReader] | None,
    ) -> Reconciliation:
        names = [*self._wanted, *(["realtime"] if self._wanted == STORES else [])]
        errors: dict[str, str] = {}
        if readers is None:
            opened, errors = open_readers(self._settings, names)
        else:
            opened = {name: readers[name] for name in names if name in readers}
        if wrap:
            opened = {name: wrap(name, reader) for name, reader in opened.items()}
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
        self._gaps = known_gaps(self._options)
        outline = self._outline(comparison)
        self._check_ranges(comparison, outline)
        streams = self._chosen(outline)
        enabled = self._wanted == STORES and not comparison.errors and not self._ranges
        with Sealing(self._options, self._at_us, enabled=enabled) as sealing:
            plan = sealing.plan(
                comparison, streams.values(), full=self._full, content=self._content
            )
            tally = Tally(
                stores=self._wanted,
                streams=streams.values(),
                plan=plan,
                skipped_realtime=sealing.skipped_realtime,
                exact=self._options.exact,
                tolerance=self._options.tolerance,
                tolerances=self._options.tolerances,
            )
            wrong = self._cycle(comparison, outline, streams, sealing, plan.blocks, tally)
            result = tally.result(
                stores=comparison.stores,
                at_us=self._at_us,
                duration_ms=float(self._clock.monotonic_ms() - self._started_ms),
                trigger=self._trigger,
                full=self._full,
                errors=comparison.errors,
                foreign=foreign_streams(comparison, outline),
                count_realtime="realtime" in comparison.extents,
            )
            result = self._judged(
                replace(
                    result,
                    gaps=tuple(gap for gap in self._gaps if gap.range.stream in streams),
                    evidence=self._evidence(comparison, streams, tally),
                )
            )
            if enabled and not comparison.errors:
                comparison.report("seal", 0, 1)
                count = sealing.save(wrong, trusted=not result.is_denied)
                result = replace(result, blocks=result.blocks._replace(sealed=count))
                comparison.report("seal", 1, 1)
        return result

    def _judged(self, result: Reconciliation) -> Reconciliation:
        return result.with_suites(self._judge(result)) if self._judge else result

    def _evidence(
        self, comparison: Comparison, streams: Mapping[Stream, JournalStream], tally: Tally
    ) -> Evidence:
        return Evidence(
            stores=comparison.stores,
            rollups=tally.rollups(),
            sample=_sample(comparison, streams.values()) if self._judge else (),
            categories=self._settings.classification.categories,
            topics=self._settings.topics,
            exact=self._options.exact,
            tolerance=self._options.tolerance,
            tolerances=self._options.tolerances,
            max_event_bytes=self._settings.publisher.max_event_bytes,
        )

    def _cycle(
        self,
        comparison: Comparison,
        outline: Outline,
        streams: Mapping[Stream, JournalStream],
        sealing: Sealing,
        blocks: Sequence[Block],
        tally: Tally,
    ) -> list[Block]:
        """Compare, and compare again what differs, until it agrees or is a finding."""
        suspects = blocks
        seen: Mapping[Block, Mapping[str, BlockDigest]] = {}
        lasting: dict[Block, BlockFindings] = {}
        beyond: Sequence[Beyond] = self._asked_of(places_beyond(comparison, outline))
        for round_number in range(self._options.rechecks + 1):
            last = round_number == self._options.rechecks
            if round_number:
                comparison.report("recheck", round_number, self._options.rechecks)
                self._sleep(self._options.recheck_s)
                outline = self._outline(comparison)
                streams = refreshed(streams, self._chosen(outline))
                suspects = still_held(suspects, streams)
            differing: dict[Block, Mapping[str, BlockDigest]] = {}
            if round_number and sealing.marks:
                known = {
                    block: seen[block] for block in suspects if block in (lasting if last else seen)
                }
                quiet = comparison.unchanged(known, sealing.marks)
                differing = {block: seen[block] for block in quiet}
                suspects = [block for block in suspects if block not in quiet]
                for block in quiet if last else ():
                    tally.add(streams[block.stream], seen[block], lasting[block])
            # The last look reads the rows whatever the digests say, for details as of now; except
            # where nothing changed and nothing found depends on the moment.
            for one in comparison.compare(
                suspects,
                streams,
                covered_by(comparison.coverage, self._margin_us),
                None if last else seen,
                vouched=None if round_number else sealing.vouched,
                anew=None if self._content else sealing.scrubbed,
                suspects=() if round_number else sealing.suspects,
            ):
                if one.is_wrong:
                    differing[one.block] = one.digests
                    lasting.pop(one.block, None)
                    if one.findings and len(lasting) < LASTING and one.findings.last:
                        lasting[one.block] = one.findings
                else:
                    sealing.agreed(one)
                if last or not one.is_wrong:
                    tally.add(
                        streams[one.block.stream], one.digests, one.findings, one.vouched or 1
                    )
            if last or not round_number or not differing:
                beyond = self._look_beyond(comparison, beyond, outline, tally if last else None)
            suspects, seen = sorted(differing), differing
            if not suspects and not beyond:
                break
        return list(suspects)

    def _look_beyond(
        self,
        comparison: Comparison,
        places: Iterable[Beyond],
        outline: Outline,
        tally: Tally | None,
    ) -> list[Beyond]:
        """The places that still hold phantoms; with ``tally`` each of them is a finding."""
        streams = {facts.stream: facts for facts in outline.streams}
        still = []
        for place in places:
            found = phantoms_in(
                comparison, place, streams, takes=self._takes, exact=self._options.exact
            )
            if tally is not None:
                for one in found:
                    tally.discrepancy(one)
            elif next(found, None) is not None:
                still.append(place)
        return still

    def _chosen(self, outline: Outline) -> dict[Stream, JournalStream]:
        """The streams that the run looks at, as far as it does."""
        found = {}
        accepted = gaps_by_stream(self._gaps)
        for facts in outline.streams:
            facts = replace(facts, accepted=accepted.get(facts.stream, ()))
            one = narrowed(facts, self._ranges) if self._ranges else facts
            if one is not None and self._takes(facts.category):
                found[facts.stream] = one
        return found

    def _check_ranges(self, comparison: Comparison, outline: Outline) -> None:
        """Refuse a stream that no store knows: one mistyped among others would pass unseen."""
        known = {facts.stream for facts in outline.streams}
        known |= {one.stream for found in comparison.extents.values() for one in found}
        unknown = sorted({one.stream for one in self._ranges} - known)
        if unknown and not comparison.errors:
            names = ", ".join("/".join(map(str, one)) for one in unknown)
            raise UsageError(f"no store knows the stream {names}")

    def _asked_of(self, places: Sequence[Beyond]) -> list[Beyond]:
        """The places as far as the run looks at them."""
        if not self._ranges:
            return list(places)
        return [
            place._replace(first=max(place.first, asked.first), last=min(place.last, asked.last))
            for place in places
            for asked in self._ranges
            if asked.stream == place.stream
            and max(place.first, asked.first) <= min(place.last, asked.last)
        ]

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
