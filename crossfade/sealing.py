"""The seals of a run: what need not be compared, what is sealed anew, what is broken.

A seal says that a block agreed in all three stores, read from their content, and that no store
has changed it since: each keeps a log of changes (docs/adr/0015-what-a-seal-says.md).
"""

from collections.abc import Collection, Iterable, Mapping
from types import TracebackType
from typing import Self

from crossfade.adapters.stores.seals import SealStore
from crossfade.comparison import Compared, Comparison
from crossfade.core.digest import block_last
from crossfade.core.event import Stream
from crossfade.core.gaps import Gap
from crossfade.core.intervals import Interval, all_or_none, clip, runs_of
from crossfade.core.reconciliation_plan import (
    Block,
    JournalStream,
    Plan,
    Range,
    Seal,
    Seals,
    plan_blocks,
)
from crossfade.settings.operation import ReconcileSettings

__all__ = ["Sealing", "known_gaps"]

MAX_SUSPECTS = 2_000
"""With more, all of which can not be wrong, digests are the cheaper look."""


def known_gaps(options: ReconcileSettings) -> list[Gap]:
    """The gaps that a person has accepted; none when there is no state yet.

    Raises:
        UsageError: the state file can not be used.
    """
    if not options.state.is_file():
        return []
    store = SealStore(options.state, options.block)
    try:
        return store.gaps()
    finally:
        store.close()


class Sealing:
    """Plans one run's blocks by the seals and keeps what it proves. A context manager.

    Args:
        enabled: whether all three stores are compared; without, no seal is read or written.

    Raises (on entering):
        UsageError: the state file can not be used.
    """

    def __init__(self, options: ReconcileSettings, at_us: int, *, enabled: bool) -> None:
        self._options = options
        self._at_us = at_us
        self._enabled = enabled
        self._store: SealStore | None = None
        self._seals = Seals()
        self._plan: Plan = Plan((), frozenset(), 0, {})
        self.marks: Mapping[str, str] = {}
        """Per store, where its log of changes stood before anything else of it was read."""
        self._owed: dict[Stream, Mapping[str, tuple[Interval, ...]]] = {}
        self._sealed: dict[Block, Seal] = {}
        self.vouched: Mapping[Block, Seal] = {}
        """Blocks that a full run compares by their seals: nothing in them changed since."""
        self.suspects: frozenset[Block] = frozenset()
        """Blocks older than a sealed one and not sealed: something in them changed or was wrong."""
        self.scrubbed: frozenset[Block] = frozenset()
        """Sealed blocks whose turn it is: their content is hashed anew in every store."""
        self.skipped_realtime = 0
        """Events of skipped blocks that Realtime had delivered."""

    def __enter__(self) -> Self:
        if self._enabled:
            self._store = SealStore(self._options.state, self._options.block)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._store is not None:
            self._store.close()

    def plan(
        self,
        comparison: Comparison,
        streams: Collection[JournalStream],
        *,
        full: bool,
        content: bool,
    ) -> Plan:
        """The blocks to compare. Reads the stores' logs of changes, before anything else of them.

        ``full`` takes all; ``content`` as well, and trusts no seal.
        """
        changed: tuple[Range, ...] | None = ()
        if self._store is not None:
            self._seals = self._store.load(0 if content else self._options.scrub_blocks)
            since = self._store.marks() if self._seals.streams else None
            changed, self.marks = comparison.read_changes(since)
        size = self._options.block
        self._plan = plan_blocks(streams, self._seals, size, full=full or content, changed=changed)
        self._owed = {
            facts.stream: {
                store: tuple(clip(intervals, facts.floor, facts.watermark))
                for store, intervals in facts.owed.items()
            }
            for facts in streams
        }
        known = self._seals_of(self._plan.blocks)
        turn = {(stream, number) for stream, number in self._seals.oldest}
        self.scrubbed = frozenset(
            block for block in self._plan.sealed if (block.stream, block.number) in turn
        )
        facts_of = {facts.stream: facts for facts in streams}
        if full and not content:
            self.vouched = {
                block: seal
                for block, seal in known.items()
                if block in self._plan.sealed
                and block not in self.scrubbed
                and self._is_whole(block, facts_of[block.stream])
            }
        newest = {
            stream: max([last for _, last in one.runs] + list(one.growing), default=0)
            for stream, one in self._seals.streams.items()
        }
        suspects = frozenset(
            block
            for block in self._plan.blocks
            if block.number < newest.get(block.stream, 0)
            and block not in self._plan.sealed
            and self._is_whole(block, facts_of[block.stream])
        )
        self.suspects = suspects if len(suspects) <= MAX_SUSPECTS else frozenset()
        everything = sum(
            self._seals.streams[stream].realtime for stream in facts_of
            if stream in self._seals.streams
        )  # fmt: skip
        void = sum(
            seal.realtime
            for stream, runs in self._plan.dirty.items()
            for seal in self._seals_in(stream, runs)
        )
        read = sum(
            seal.realtime
            for block, seal in known.items()
            if not _within(block.number, self._plan.dirty.get(block.stream, ()))
        )
        self.skipped_realtime = max(0, everything - void - read)
        return self._plan

    def agreed(self, one: Compared) -> None:
        """A block turned out right; one that only its seal vouched for keeps that seal."""
        if one.vouched or one.block in self.vouched:
            return
        live = one.digests.get("realtime")
        self._sealed[one.block] = Seal(
            one.block.last,
            live.events if live else 0,
            one.digests["journal"].total,
            self._at_us,
        )

    def save(self, wrong: Iterable[Block], *, trusted: bool = True) -> int:
        """Keep the new seals and break those of blocks that differ; how many there are then.

        Without ``trusted`` (the suites deny the comparison) seals are broken only, those of
        every block that was compared among them.
        """
        if self._store is None:
            return 0
        broken = [(block.stream, block.number, block.number) for block in wrong]
        for stream, runs in self._plan.dirty.items():
            broken += [(stream, first, last) for first, last in runs]
        if not trusted:
            broken += [(block.stream, block.number, block.number) for block in self._plan.blocks]
            self._sealed.clear()
        sealed = [(block.stream, block.number, seal) for block, seal in self._sealed.items()]
        return self._store.save(sealed, broken, self._owed, self.marks)

    def _is_whole(self, block: Block, facts: JournalStream) -> bool:
        """Whether a seal's sum is what each store must have: all of the block, or nothing."""
        _, number, first, last = block
        size = self._options.block
        return (
            last == block_last(number, size)
            and last - first + 1 == size
            and all_or_none(facts.owed["websocket"], first, last) is True
            and all_or_none(facts.owed["supabase"], first, last) is not None
        )

    def _seals_of(self, blocks: Iterable[Block]) -> dict[Block, Seal]:
        """The seals of blocks that have one."""
        if self._store is None:
            return {}
        numbers: dict[Stream, dict[int, Block]] = {}
        for block in blocks:
            numbers.setdefault(block.stream, {})[block.number] = block
        found: dict[Block, Seal] = {}
        for stream, mine in numbers.items():
            for first, last in runs_of(sorted(mine)):
                seals = self._store.seals_of(stream, first, last)
                found.update((mine[number], seal) for number, seal in seals.items())
        return found

    def _seals_in(self, stream: Stream, runs: Iterable[Interval]) -> Iterable[Seal]:
        if self._store is None:
            return
        for first, last in runs:
            yield from self._store.seals_of(stream, first, last).values()


def _within(number: int, runs: Iterable[Interval]) -> bool:
    return any(first <= number <= last for first, last in runs)
