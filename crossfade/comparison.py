"""Compares stores through their readers: digests first, rows of what differs.

The shell around ``core.reconciliation_plan`` and ``core.reconciliation_rows``; used by
reconciliation and by backfill.
"""

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from types import TracebackType
from typing import Self, TypeVar, cast

from crossfade.adapters.stores import SqliteJournalReader, SupabaseReader, TapReader
from crossfade.core.agreement import agreement
from crossfade.core.digest import BlockDigest, block_of
from crossfade.core.event import Stream
from crossfade.core.intervals import Interval
from crossfade.core.reconciliation import STORES
from crossfade.core.reconciliation_plan import (
    Block,
    Extent,
    JournalStream,
    Outline,
    Range,
    Seal,
    abreast,
    whole_ranges,
)
from crossfade.core.reconciliation_rows import BlockFindings
from crossfade.digesting import Digesting, read_digests
from crossfade.drilling import Drill
from crossfade.errors import JournalError, JournalUnavailable, StoreError
from crossfade.ports import JournalReader, RecordingReader, StoreReader
from crossfade.settings import Settings
from crossfade.vouching import Vouching

__all__ = ["Compared", "Comparison", "Progress", "covered_by", "open_readers"]

Progress = Callable[[str, int, int], None]
"""Told a phase, how much of it is done and how much there is; never by two threads at once."""

SLICE_BLOCKS = 4_000
"""Blocks that are asked for together; the digests of two slices are held at a time."""
_WORKERS = 4

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Compared:
    """One block (or a run of sealed ones) after comparison.

    ``digests`` holds, per store, what it has; ``agrees`` whether they are as they must be.
    ``findings`` are those of a block that does not agree, None when its rows were not read
    because nothing in it changed since they were. ``vouched`` is not 0 when it stands for so many
    sealed blocks at once, whose seals were held against the table.
    """

    block: Block
    digests: Mapping[str, BlockDigest]
    agrees: bool
    findings: BlockFindings | None = None
    vouched: int = 0

    @property
    def is_wrong(self) -> bool:
        """Whether there are discrepancies (a difference alone can be history copied on top)."""
        if self.findings is None:
            return not self.agrees
        return bool(self.findings.discrepancies)


def open_readers(
    settings: Settings, names: Iterable[str]
) -> tuple[dict[str, StoreReader], dict[str, str]]:
    """Readers of the stores named (``journal``, ``websocket``, ``realtime``, ``supabase``).

    Returns:
        The readers, and the errors of those that could not be opened.
    """
    makers: dict[str, Callable[[], StoreReader]] = {
        "journal": lambda: _open_journal(settings),
        "websocket": lambda: TapReader(settings.tap.path, "websocket"),
        "realtime": lambda: TapReader(settings.tap.path, "realtime"),
        "supabase": lambda: SupabaseReader(settings.supabase),
    }
    readers: dict[str, StoreReader] = {}
    errors: dict[str, str] = {}
    for name in names:
        try:
            readers[name] = makers[name]()
        except (StoreError, JournalError) as error:
            errors[name] = str(error)
    return readers, errors


def _open_journal(settings: Settings) -> JournalReader:
    section = settings.reconcile
    if not section.journals:
        return SqliteJournalReader(settings.journal.path)
    # Only here: Parquet and object stores are an extra, and take a while to import.
    try:
        from crossfade.adapters.stores.exported import ExportedJournals
    except ImportError as error:
        raise JournalUnavailable(
            f"exported journals need the extra: pip install 'crossfade[export]' ({error})"
        ) from error
    return ExportedJournals(section.journals, max_age_s=section.journals_age_s)


def covered_by(coverage: Sequence[Interval], margin_us: int) -> Callable[[int], bool]:
    """Whether the tap was connected from a commit time until ``margin_us`` after it.

    The margin leaves out what was on its way just as the connection broke.
    """
    starts = [start for start, _ in coverage]

    def covered(at_us: int) -> bool:
        index = bisect_right(starts, at_us) - 1
        return index >= 0 and at_us + margin_us <= coverage[index][1]

    return covered


class Comparison:
    """The readers of a run, and what it knows of them.

    A store that fails is named in ``errors`` and left out from then on; a journal that
    fails raises, since nothing can be held against it. Close it (it is a context manager).
    """

    def __init__(
        self,
        readers: Mapping[str, StoreReader],
        *,
        size: int,
        exact: Sequence[str],
        progress: Progress | None = None,
    ) -> None:
        self.errors: dict[str, str] = {}
        self.extents: dict[str, list[Extent]] = {}
        self.coverage: tuple[Interval, ...] = ()
        self._readers = dict(readers)
        self._size = size
        self._exact = tuple(exact)
        self._progress = progress
        self._progress_lock = Lock()
        self._done = self._total = 0
        self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="crossfade-reconcile")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        for reader in self._readers.values():
            reader.close()

    @property
    def stores(self) -> tuple[str, ...]:
        """The stores that are compared and could be read so far, the journal first."""
        return tuple(name for name in STORES if name in self._readers and name not in self.errors)

    def report(self, phase: str, done: int, total: int) -> None:
        """Tell the progress callback."""
        if self._progress:
            with self._progress_lock:
                self._progress(phase, done, total)

    def _advance(self, blocks: int) -> None:
        self._done += blocks
        self.report("compare", self._done, self._total)

    def read_outline(self, cutoff_us: int, recorded_from_us: int) -> Outline:
        """Read which streams every store holds, and the journal's outline *after* them.

        An event is journalled before it is sent (I1), so whatever another store shows that
        the later outline lacks is no event still on its way.

        Raises:
            JournalError: the journal can not be read.
        """
        others = [name for name in self._usable() if name != "journal"]
        waiting = {name: self._pool.submit(self._readers[name].streams) for name in others}
        self.report("outline", 0, 1)
        for name, future in waiting.items():
            found = self._settle(name, future)
            if found is not None:
                self.extents[name] = found
        if "websocket" in self.stores:
            recording = cast("RecordingReader", self._readers["websocket"])
            self.coverage = self._settle("websocket", self._pool.submit(recording.coverage)) or ()
        outline = self.journal.outline(cutoff_us, recorded_from_us)
        self.report("outline", 1, 1)
        return outline

    def read_changes(
        self, since: Mapping[str, str] | None
    ) -> tuple[tuple[Range, ...] | None, dict[str, str]]:
        """What was changed in the stores since these marks (None: nothing was compared before).

        Returns:
            The ranges (None: it can not be told, anything may have changed), and the new marks.

        Raises:
            JournalError: the journal can not be read.
        """
        waiting = {
            name: self._pool.submit(self._readers[name].changes, (since or {}).get(name, ""))
            for name in self._usable()
        }
        found: list[Range] = []
        marks: dict[str, str] = {}
        known = True
        for name, future in waiting.items():
            answer = self._settle(name, future)
            # A store that was not there before (realtime, say) can have no say in old seals.
            if answer is None or answer.ranges is None or (since and name not in since):
                known = False
            else:
                found.extend(answer.ranges)
            if answer is not None:
                marks[name] = answer.mark
        return (tuple(found) if known else None), marks

    @property
    def journal(self) -> JournalReader:
        """The journal's reader."""
        return cast("JournalReader", self._readers["journal"])

    def reader(self, name: str) -> StoreReader:
        """The reader of a store."""
        return self._readers[name]

    def compare(
        self,
        blocks: Sequence[Block],
        streams: Mapping[Stream, JournalStream],
        covered: Callable[[int], bool],
        seen: Mapping[Block, Mapping[str, BlockDigest]] | None = None,
        *,
        vouched: Mapping[Block, Seal] | None = None,
        anew: Collection[Block] | None = (),
        suspects: Collection[Block] = (),
    ) -> Iterator[Compared]:
        """Compare blocks in every store: by digest, and row by row where digests differ.

        Suspects come first; last, a run of blocks at a time, what seals vouch for.

        Args:
            covered: whether the tap was connected at a commit time.
            seen: digests of blocks already found wrong: while they stay as they are, their
                rows are not read again.
            vouched: seals that stand for what the journal and the tap hold of their blocks.
            anew: blocks that Supabase too hashes from the content; None for all.
            suspects: whole blocks, owed as a whole or not at all, that are likely wrong: their
                rows are looked at without asking for digests first.

        Raises:
            JournalError: the journal can not be read.
        """
        self._done, self._total = 0, len(blocks)
        vouched = vouched if vouched and "supabase" in self.stores else {}
        # The table adds up what the seals vouch for, while the rest is read.
        vouching = vouched and Vouching(
            self._readers["supabase"], self._pool, self._settle, self.extents.get("supabase", ()),
            vouched, streams, self._size,
        )  # fmt: skip
        yield from self._look([block for block in blocks if block in suspects], streams, covered)
        rest = [block for block in blocks if block not in vouched and block not in suspects]
        yield from self._compare(rest, streams, covered, seen, {}, anew)
        if not vouching:
            return
        doubtful: list[Block] = []
        for run, digests, agrees in vouching.answered():
            if agrees:
                held = {name: digests[name] for name in self._usable()}
                yield Compared(run.block, held, True, vouched=len(run.blocks))
                self._advance(len(run.blocks))
            else:
                doubtful += run.blocks
        yield from self._compare(doubtful, streams, covered, seen, vouched, anew)

    def _look(
        self,
        blocks: Sequence[Block],
        streams: Mapping[Stream, JournalStream],
        covered: Callable[[int], bool],
    ) -> Iterator[Compared]:
        """Suspects, by the hashes of their rows."""
        if not blocks:
            return
        live = self._settle("realtime", self._pool.submit(
            read_digests, self._readers["realtime"], list(whole_ranges(blocks)), self._size,
            anew=True,
        )) if "realtime" in self._usable() else None  # fmt: skip
        drill = Drill(self._readers, self._pool, self._settle, self._size, self._exact)
        for block, digests, findings in drill.look(blocks, self.stores, streams, covered):
            held = {name: [digest] for name, digest in digests.items()}
            if live is not None:
                held["realtime"] = live.get((block.stream, block.number), [])
            whole, agree = agreement(block, streams[block.stream], held, held)
            yield Compared(block, whole, agree, None if agree else findings)
            self._advance(1)

    def _compare(
        self,
        blocks: Sequence[Block],
        streams: Mapping[Stream, JournalStream],
        covered: Callable[[int], bool],
        seen: Mapping[Block, Mapping[str, BlockDigest]] | None,
        vouched: Mapping[Block, Seal],
        anew: Collection[Block] | None,
    ) -> Iterator[Compared]:
        digesting = Digesting(
            self._readers, self._pool, self._settle, self._size, self.extents, vouched
        )
        drill = Drill(self._readers, self._pool, self._settle, self._size, self._exact)
        if not vouched:
            blocks = abreast(blocks, self._size)
        parts = [
            blocks[start : start + SLICE_BLOCKS] for start in range(0, len(blocks), SLICE_BLOCKS)
        ]
        asked = [digesting.ask(self._usable(), part, streams, anew) for part in parts[:1]]
        for number, part in enumerate(parts):
            # The stores read the next slice while this one is compared.
            for following in parts[number + 1 : number + 2]:
                asked.append(digesting.ask(self._usable(), following, streams, anew))
            digests = digesting.answered(asked.pop(0), part)
            differing: list[tuple[Block, dict[str, BlockDigest]]] = []
            for block in part:
                held = {name: one[block.stream, block.number] for name, one in digests.items()
                        if (block.stream, block.number) in one}  # fmt: skip
                whole, agree = agreement(block, streams[block.stream], held, self._usable())
                if agree or (seen and seen.get(block) == whole):
                    yield Compared(block, whole, agree)
                else:
                    differing.append((block, whole))
            self._advance(len(part) - len(differing))
            for block, whole, findings in drill.compare(differing, streams, covered):
                yield Compared(block, whole, False, findings)
                self._advance(1)

    def unchanged(
        self,
        seen: Mapping[Block, Mapping[str, BlockDigest]],
        since: Mapping[str, str],
    ) -> frozenset[Block]:
        """Those of the blocks in ``seen`` that still are as they were, without reading rows.

        By the table's digests, and the logs of changes of the others since the marks. (A log does
        not know what is inserted into a journal's hole: whoever must be sure compares.)

        Raises:
            JournalError: the journal can not be read.
        """
        changed, _ = self.read_changes(since)
        if changed is None or "supabase" not in self.stores:
            return frozenset()
        touched = {
            (one.stream, number)
            for one in changed
            for number in range(block_of(one.first, self._size), block_of(one.last, self._size) + 1)
        }
        quiet = [block for block in seen if (block.stream, block.number) not in touched]
        ranges = list(whole_ranges(sorted(quiet)))
        held = self._settle(
            "supabase",
            self._pool.submit(
                read_digests, self._readers["supabase"], ranges, self._size, anew=False
            ),
        )
        if held is None:
            return frozenset()
        return frozenset(
            block
            for block in quiet
            if held.get((block.stream, block.number), [BlockDigest(block.number)])
            == [seen[block]["supabase"]]
        )

    def _usable(self) -> list[str]:
        return [name for name in self._readers if name not in self.errors]

    def _settle(self, name: str, answer: "Future[_Result]") -> _Result | None:
        """What a reader answers; its failure is noted, and answered with None."""
        try:
            return answer.result()
        except (StoreError, JournalError) as error:
            if name == "journal":
                raise
            self.errors[name] = str(error)
            return None
