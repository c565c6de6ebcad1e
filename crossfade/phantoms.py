"""Looks for what stores hold and the journal never did: phantoms beyond its heads."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import islice
from typing import NamedTuple

from crossfade.comparison import Comparison
from crossfade.core.event import Stream
from crossfade.core.reconciliation import Discrepancy
from crossfade.core.reconciliation_plan import JournalStream, Outline
from crossfade.core.reconciliation_rows import Row, phantom

__all__ = ["Beyond", "foreign_streams", "phantoms_in", "places_beyond"]

CHUNK_ROWS = 1_000
"""Rows beyond the journal's head that are looked at together."""


class Beyond(NamedTuple):
    """Sequences that a store shows and the journal's outline did not."""

    store: str
    stream: Stream
    first: int
    last: int


def places_beyond(comparison: Comparison, outline: Outline) -> list[Beyond]:
    """Where a store shows sequences above the journal's head, or streams the journal lacks.

    Beyond the heads of an export nothing is told: the next export says what was published there.
    """
    streams = {facts.stream: facts for facts in outline.streams}
    found = [
        Beyond("journal", facts.stream, facts.head + 1, facts.held)
        for facts in outline.streams
        if facts.held > facts.head
    ]
    for store in comparison.stores[1:]:
        for stream, floor, head in comparison.extents.get(store, ()):
            facts = streams.get(stream)
            if (stream.source, stream.epoch) in outline.open_ended:
                continue
            if facts is not None and head > facts.head:
                found.append(Beyond(store, stream, max(floor, facts.head + 1), head))
            elif facts is None and (stream.source, stream.epoch) in outline.scope:
                found.append(Beyond(store, stream, floor, head))
    return found


def phantoms_in(
    comparison: Comparison,
    place: Beyond,
    streams: Mapping[Stream, JournalStream],
    *,
    takes: Callable[[str], bool],
    exact: Collection[str],
) -> Iterator[Discrepancy]:
    """The rows of a place that the journal, read after them, still does not hold.

    ``takes`` says of a category whether the run looks at it.
    """
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
            if sequence not in journalled and takes(row.event.category):
                yield phantom(row, place.store, facts.head if facts else None, exact)


def foreign_streams(comparison: Comparison, outline: Outline) -> dict[str, int]:
    """Per store, the number of streams of sources and epochs that are not this journal's."""
    return {
        store: sum((one.stream.source, one.stream.epoch) not in outline.scope for one in extents)
        for store, extents in comparison.extents.items()
    }


def _chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    iterator = iter(rows)
    while chunk := list(islice(iterator, CHUNK_ROWS)):
        yield chunk
