"""Holds the table against what seals vouch for, a run of blocks at a time.

The table's digests are asked for at once and looked at when the rest of a comparison is done.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future

from crossfade.core.digest import BlockDigest, merge, same_content
from crossfade.core.event import Stream
from crossfade.core.reconciliation_plan import Block, Extent, JournalStream, Seal, whole_ranges
from crossfade.core.reconciliation_runs import RUN_BLOCKS, SealedRun, sealed_runs
from crossfade.digesting import read_digests
from crossfade.drilling import Settle
from crossfade.ports import StoreReader

__all__ = ["Vouching"]

_Digests = dict[tuple[Stream, int], list[BlockDigest]]


class Vouching:
    """Blocks that a full run compares by their seals.

    Args:
        extents: which streams the table holds; it is not asked for others.
        vouched: seals that stand for what journal and tap hold of their blocks.
        size: sequences a block.
    """

    def __init__(
        self,
        table: StoreReader,
        pool: Executor,
        settle: Settle,
        extents: Sequence[Extent],
        vouched: Mapping[Block, Seal],
        streams: Mapping[Stream, JournalStream],
        size: int,
    ) -> None:
        self._settle = settle
        self._runs = sealed_runs(vouched, streams)
        held = {extent.stream for extent in extents}
        ranges = list(
            whole_ranges(block for run in self._runs for block in run.blocks if run.stream in held)
        )
        self._asked: Future[_Digests] = pool.submit(
            read_digests, table, ranges, size * RUN_BLOCKS, anew=False
        )

    def answered(self) -> Iterator[tuple[SealedRun, dict[str, BlockDigest], bool]]:
        """Each run, what every store has of it, and whether the table has what it must.

        When the table can not be read, it is left out of what the stores have.
        """
        held = self._settle("supabase", self._asked)
        for run in self._runs:
            live = BlockDigest(run.number, run.realtime)
            digests = {"journal": run.held, "websocket": run.held, "realtime": live}
            if held is None:
                yield run, digests, True
                continue
            table = BlockDigest(run.number)
            for part in held.get((run.stream, run.number), ()):
                table = merge(table, part)
            agrees = same_content(table, run.owed) and table.is_clean
            yield run, digests | {"supabase": table}, agrees
