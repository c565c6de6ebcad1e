"""Adds up a run: what was compared, what was found, and the result made of it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from crossfade.core.digest import BlockDigest
from crossfade.core.event import Stream
from crossfade.core.intervals import size_of
from crossfade.core.reconciliation import (
    CRITICAL,
    MAX_DISCREPANCIES,
    UNDECIDED,
    Blocks,
    CategoryCount,
    Discrepancy,
    Kind,
    Reconciliation,
    Rollup,
    StoreCount,
    conclude,
)
from crossfade.core.reconciliation_plan import JournalStream, Plan
from crossfade.core.reconciliation_rows import BlockFindings

__all__ = ["Tally"]

_MASK = 0xFFFF_FFFF_FFFF_FFFF


class Tally:
    """Collects one run's comparison.

    Mutable on purpose, with bounded memory: figures per store, category and stream, and
    the first ``MAX_DISCREPANCIES`` discrepancies of either severity.
    """

    def __init__(
        self,
        *,
        stores: Sequence[str],
        streams: Iterable[JournalStream],
        plan: Plan,
        skipped_realtime: int = 0,
        exact: Sequence[str],
        tolerance: float,
        tolerances: Mapping[str, float],
    ) -> None:
        self._stores = tuple(stores)
        self._streams = {facts.stream: facts for facts in streams}
        self._plan = plan
        self._skipped_realtime = skipped_realtime
        self._exact = tuple(exact)
        self._tolerance = tolerance
        self._tolerances = tolerances
        self._kinds: dict[str, Counter[str]] = {store: Counter() for store in self._stores}
        self._categories: dict[str, Counter[str]] = {}
        self._named: dict[bool, list[Discrepancy]] = {True: [], False: []}
        self._rollups: dict[tuple[Stream, str, str], list[int]] = {}
        self._realtime: Counter[str] = Counter()
        self._differing = 0
        self.count = 0
        """Discrepancies so far."""

    def add(
        self,
        facts: JournalStream,
        digests: Mapping[str, BlockDigest],
        findings: BlockFindings | None,
        blocks: int = 1,
    ) -> None:
        """A compared block; ``findings`` is None when the digests agreed.

        ``blocks`` is how many blocks that agree it stands for.

        What Realtime delivered live of it is counted, never judged.
        """
        if findings is None:
            for store in self._stores:
                if store in digests:
                    sums = (digests[store].events, digests[store].total)
                    self._roll_up(facts, store, sums, sums, blocks)
        else:
            self._differing += 1
            for store, expected in findings.expected.items():
                held = findings.held[store]
                self._roll_up(
                    facts, store, (expected.count, expected.total), (held.count, held.total)
                )
            for one in findings.discrepancies:
                self.discrepancy(one)
        live = digests.get("realtime")
        if live is not None:
            self._realtime["present"] += live.events
            self._realtime["duplicated"] += live.repeated
            self._realtime["altered"] += live.stale

    def discrepancy(self, one: Discrepancy) -> None:
        """One more discrepancy."""
        self.count += 1
        self._kinds[one.store][one.kind.value] += 1
        self._categories.setdefault(one.category, Counter())[one.kind.value] += 1
        named = self._named[one.severity == CRITICAL]
        if len(named) < MAX_DISCREPANCIES:
            named.append(one)

    def result(
        self,
        *,
        stores: Iterable[str],
        at_us: int,
        duration_ms: float,
        trigger: str,
        full: bool,
        errors: Mapping[str, str],
        foreign: Mapping[str, int],
        count_realtime: bool,
    ) -> Reconciliation:
        """The run's result.

        ``stores`` are those that could be read to the end. How many blocks are sealed is not
        known before the suites have judged it.
        """
        checked = sum(block.last - block.first + 1 for block in self._plan.blocks)
        expected = self._expected_by_category()
        categories = {
            name: CategoryCount(
                expected=expected.get(name, 0), kinds=dict(self._categories.get(name, {}))
            )
            for name in sorted({*expected, *self._categories})
        }
        counts = {store: self._store(store, foreign.get(store, 0)) for store in stores}
        if count_realtime:
            counts["realtime"] = self._realtime_count(foreign.get("realtime", 0))
        return Reconciliation(
            at_us=at_us,
            duration_ms=duration_ms,
            verdict=conclude(
                checked_events=checked,
                errors=errors,
                categories=categories,
                exact=self._exact,
                tolerance=self._tolerance,
                tolerances=self._tolerances,
            ),
            trigger=trigger,
            full=full,
            checked_events=checked,
            blocks=Blocks(
                len(self._plan.blocks),
                self._differing,
                0,
                len({block.stream for block in self._plan.blocks}),
            ),
            stores=counts,
            categories=categories,
            discrepancies=(*self._named[True], *self._named[False])[:MAX_DISCREPANCIES],
            discrepancy_count=self.count,
            errors=dict(errors),
        )

    def _roll_up(
        self,
        facts: JournalStream,
        store: str,
        expected: tuple[int, int],
        held: tuple[int, int],
        blocks: int = 1,
    ) -> None:
        sums = self._rollups.setdefault((facts.stream, facts.category, store), [0, 0, 0, 0, 0])
        for index, value in enumerate((blocks, expected[0], held[0], expected[1], held[1])):
            sums[index] += value

    def rollups(self) -> tuple[Rollup, ...]:
        """What was compared so far, per stream and store."""
        return tuple(
            Rollup(
                stream.topic, stream.partition, category, store,
                blocks, expected, held, expected_total & _MASK, held_total & _MASK,
            )
            for (stream, category, store), (blocks, expected, held, expected_total, held_total)
            in self._rollups.items()
        )  # fmt: skip

    def _expected_by_category(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for facts in self._streams.values():
            found[facts.category] += max(0, facts.watermark - facts.floor + 1)
        return found

    def _owed(self, store: str, *, in_flight: bool) -> int:
        """How many events a store must hold, below the watermarks or above them."""
        total = 0
        for facts in self._streams.values():
            whole = ((facts.floor, facts.head),)
            intervals = whole if store == "journal" else facts.owed.get(store, ())
            if in_flight:
                total += size_of(intervals, facts.watermark + 1, facts.head)
            else:
                total += size_of(intervals, facts.floor, facts.watermark)
        return total

    def _store(self, store: str, foreign: int) -> StoreCount:
        kinds = self._kinds[store]
        expected = self._owed(store, in_flight=False)
        accepted = 0
        if store == "websocket":
            accepted = sum(
                size_of(facts.accepted, facts.floor, facts.watermark)
                for facts in self._streams.values()
            )
        lacking = kinds[Kind.MISSING] + sum(kinds[kind] for kind in UNDECIDED)
        return StoreCount(
            expected=expected,
            present=expected - lacking - accepted,
            accepted=accepted,
            in_flight=self._owed(store, in_flight=True),
            foreign=foreign,
            **{kind.value: kinds[kind.value] for kind in Kind},
        )

    def _realtime_count(self, foreign: int) -> StoreCount:
        expected = self._owed("supabase", in_flight=False)
        present = self._realtime["present"] + self._skipped_realtime
        return StoreCount(
            expected=expected,
            present=present,
            missing=max(0, expected - present),
            duplicated=self._realtime["duplicated"],
            altered=self._realtime["altered"],
            in_flight=self._owed("supabase", in_flight=True),
            foreign=foreign,
        )
