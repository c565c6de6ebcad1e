"""Shares the heavy part of a comparison out among workers: hashing content, block by block.

A few blocks are quicker read than handed out, so only what is asked for anew in bulk is shared:
scrubs, backfills, ``--content``. Who works is not said here: threads, processes, a cluster.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, cast

from crossfade.core.digest import BlockDigest, block_last, block_of
from crossfade.core.event import Stream
from crossfade.core.reconciliation_plan import Range
from crossfade.ports import StoreReader

__all__ = ["SHARE_BLOCKS", "Share", "SharedReader", "Work", "digests_as_work", "shareable"]

SHARE_BLOCKS = 256
"""Blocks of a share; with less than two shares nothing is handed out."""

Work = list[list[Any]]
"""Ranges on their way to a worker, or digests on their way back, as JSON values: ``[source,
epoch, topic, partition, first, last]``, and ``[source, …, partition, *BlockDigest]``."""

Share = Callable[[str, Sequence[Work], int], Iterable[Work]]
"""Has the workers hash shares of a store's blocks (its name, the shares' ranges, the blocks'
size); answers each share's digests, in the shares' order."""


class SharedReader:
    """A ``ports.StoreReader`` whose ``digests`` are made by workers where it is worth it.

    Everything else is the reader's own.
    """

    def __init__(self, reader: StoreReader, share: Share, *, blocks: int | None = None) -> None:
        self._reader = reader
        self._share = share
        self._blocks = blocks or SHARE_BLOCKS

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    def digests(
        self, ranges: Sequence[Range], block: int, *, anew: bool = False
    ) -> Iterator[tuple[Stream, BlockDigest]]:
        """As the reader's; hashed by workers when ``anew`` is asked of two shares or more."""
        shares = list(_cut(ranges, block, self._blocks)) if anew else []
        if len(shares) < 2:
            yield from self._reader.digests(ranges, block, anew=anew)
            return
        for answer in self._share(self._reader.name, shares, block):
            for row in answer:
                yield Stream(*row[:4]), BlockDigest(*row[4:])


def shareable(reader: StoreReader, share: Share) -> StoreReader:
    """The reader with its heavy work shared."""
    return cast("StoreReader", SharedReader(reader, share))


def digests_as_work(reader: StoreReader, ranges: Work, block: int) -> Work:
    """What a worker does with a share: the digests of its ranges, hashed anew."""
    asked = [Range(Stream(*row[:4]), row[4], row[5]) for row in ranges]
    return [[*stream, *digest] for stream, digest in reader.digests(asked, block, anew=True)]


def _cut(ranges: Iterable[Range], size: int, limit: int) -> Iterator[Work]:
    """The ranges in shares of ``limit`` blocks at most, cut at the blocks' borders."""
    share: Work = []
    room = limit
    for stream, first, last in ranges:
        start = first
        while start <= last:
            end = min(last, block_last(block_of(start, size) + room - 1, size))
            share.append([*stream, start, end])
            room -= block_of(end, size) - block_of(start, size) + 1
            start = end + 1
            if room <= 0:
                yield share
                share, room = [], limit
    if share:
        yield share
