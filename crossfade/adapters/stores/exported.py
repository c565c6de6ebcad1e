"""Reads journals that their publishers' hosts exported (docs/protocol.md section 9)."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from threading import Lock
from typing import NamedTuple

import orjson

from crossfade.adapters.export.location import Location
from crossfade.adapters.export.manifest import Manifest, Part, Segment, read_manifests
from crossfade.adapters.export.segments import Piece, SegmentFile, read_pieces
from crossfade.adapters.stores.sqlite import fold_rows
from crossfade.core.digest import BlockDigest, merge
from crossfade.core.event import Event, Stream, content_hash, format_time
from crossfade.core.intervals import clip
from crossfade.core.reconciliation_plan import Changes, Extent, JournalStream, Outline, Range
from crossfade.core.reconciliation_rows import Hashes, Row
from crossfade.errors import JournalUnavailable

__all__ = ["ExportedJournals"]

SEGMENTS_HELD = 3
"""Segments whose rows are held at a time; memory does not grow with the export."""
DIGESTS_HELD = 64
"""Segments whose digests are held at a time."""

HASHED = 2_048
"""Rows whose hashes are handed over together."""


class _Place(NamedTuple):
    """A part and where it lies."""

    manifest: Manifest
    segment: Segment
    part: Part
    number: int
    """Of the part in its segment."""


class ExportedJournals:
    """Implements ``ports.JournalReader`` over every journal that was exported to a location.

    Rows are hashed as they are read; every file is held against the manifest's SHA-256. The
    digests beside them answer ``digests`` unless the rows are asked for ``anew``.

    Args:
        max_age_s: the newest epoch of each source has to have been exported within that time
            (seconds) before the cut-off of an outline: else an export that stopped would let
            everything since count as in flight.

    Raises:
        JournalUnavailable: nothing is exported there, or not as a whole.
        JournalTooNew: a later version exported it.
        UsageError: the URL can not be used.
    """

    name = "journal"

    def __init__(self, url: str, *, max_age_s: float) -> None:
        self._location = Location(url)
        self._max_age_us = round(max_age_s * 1e6)
        self._lock = Lock()
        self._open_segment = lru_cache(SEGMENTS_HELD)(self._read_segment)
        self._open_digests = lru_cache(DIGESTS_HELD)(self._read_digests)
        self._read()

    def outline(self, cutoff_us: int, recorded_from_us: int = 0) -> Outline:
        """All journals' streams as they were when each was last exported.

        Raises:
            JournalUnavailable: an export can not be read, or is too old.
        """
        self._read()
        self._check_ages(cutoff_us)
        streams = []
        for manifest in self._manifests:
            for facts in manifest.streams:
                owed = dict(facts.owed)
                if recorded_from_us:
                    first = self._first_since(facts, recorded_from_us)
                    owed["websocket"] = tuple(clip(owed["websocket"], first, facts.head))
                watermark = self._watermark(facts, manifest.at_us, cutoff_us)
                streams.append(replace(facts, owed=owed, watermark=watermark))
        scope = frozenset((one.source, one.epoch) for one in self._manifests)
        return Outline(scope, tuple(sorted(streams, key=lambda one: one.stream)), scope)

    def streams(self) -> list[Extent]:
        """The lowest and highest sequence exported of each stream that has any."""
        return [
            Extent(stream, places[0].part.first, places[-1].part.last)
            for stream, places in self._places.items()
        ]

    def changes(self, since: str) -> Changes:
        """What was altered in the journals after it was exported, since a mark ("" for none)."""
        mark = orjson.dumps(
            {one.folder: [one.export, one.number] for one in self._manifests}
        ).decode()
        if not since:
            return Changes(mark, ())
        try:
            known = dict(orjson.loads(since))
        except (ValueError, TypeError):  # a mark of the journal's file, which was read before
            return Changes(mark, None)
        found: list[Range] = []
        for manifest in self._manifests:
            export, number = known.pop(manifest.folder, (manifest.export, 0))
            if number and not (
                export == manifest.export and manifest.altered_after <= number <= manifest.number
            ):
                return Changes(mark, None)
            found += [
                Range(manifest.streams[place].stream, first, last)
                for at, place, first, last in manifest.altered
                if at > number
            ]
        return Changes(mark, tuple(found))

    def digests(
        self, ranges: Sequence[Range], block: int, *, anew: bool = False
    ) -> Iterator[tuple[Stream, BlockDigest]]:
        """Per range, in order, a digest of each block it touches that holds rows.

        From the digests that were exported, as far as they are of that size and the range does
        not cut them; ``anew``: all from the rows.
        """
        for asked in ranges:
            if anew:
                yield from fold_rows([asked], block, lambda one: self.rows(*one))
                continue
            found: dict[int, BlockDigest] = {}
            for place in self._within(asked):
                for digest in self._digests_of(place, asked, block):
                    number = digest.block
                    found[number] = merge(found[number], digest) if number in found else digest
            for number in sorted(found):
                if found[number].events:
                    yield asked.stream, found[number]

    def rows(self, stream: Stream, first: int, last: int) -> Iterator[Row]:
        """The rows of a range, in order."""
        source, epoch, topic, partition = stream
        for place in self._within(Range(stream, first, last)):
            part = place.part
            low, high = max(first, part.first), min(last, part.last)
            start, end = part.offset, part.offset + part.rows
            if part.rows == part.last - part.first + 1:
                start, end = part.offset + low - part.first, part.offset + high - part.first + 1
            for (
                sequence, id_, type_, time_us, subject, category, data, checksum, at_us,
            ) in self._segment(place).rows(start, end):  # fmt: skip
                if low <= sequence <= high:
                    event = Event(
                        id_, source, type_, time_us, subject, category, topic, partition, epoch,
                        sequence, data, checksum, at_us,
                    )  # fmt: skip
                    yield Row(event, content_hash(event))

    def hashes(self, ranges: Sequence[Range]) -> Iterator[Hashes]:
        """The hashes of the ranges' rows, from their content; some ``HASHED`` rows at a time."""
        for one in ranges:
            rows = self.rows(*one)
            while some := list(islice(rows, HASHED)):
                yield Hashes(
                    one.stream,
                    [row.event.sequence for row in some],
                    [row.hash for row in some],
                    [row.event.sequence for row in some if row.is_stale],
                )

    def rows_of(self, ranges: Sequence[Range]) -> Iterator[Row]:
        """The rows of many ranges, in their order."""
        for one in ranges:
            yield from self.rows(*one)

    def close(self) -> None:
        """Let go of what was read."""
        self._open_segment.cache_clear()
        self._open_digests.cache_clear()

    def _read(self) -> None:
        self._manifests = read_manifests(self._location)
        places: dict[Stream, list[_Place]] = {}
        for manifest in self._manifests:
            for segment in manifest.segments:
                for number, part in enumerate(segment.parts):
                    stream = manifest.streams[part.stream].stream
                    found = _Place(manifest, segment, part, number)
                    places.setdefault(stream, []).append(found)
        for mine in places.values():
            mine.sort(key=lambda place: place.part.first)
        self._places = places

    def _check_ages(self, cutoff_us: int) -> None:
        newest: dict[str, Manifest] = {}
        for one in self._manifests:
            if one.source not in newest or newest[one.source].epoch < one.epoch:
                newest[one.source] = one
        for one in newest.values():
            if one.at_us < cutoff_us - self._max_age_us:
                raise JournalUnavailable(
                    f"{self._location.url}/{one.folder}: last exported at "
                    f"{format_time(one.at_us)}, which proves nothing of what was published since: "
                    "run `crossfade journal export` on its host, or remove the folder when the "
                    "publisher is gone for good (reconcile.journals_age_s)"
                )

    def _within(self, asked: Range) -> list[_Place]:
        return [
            place
            for place in self._places.get(asked.stream, ())
            if place.part.first <= asked.last and asked.first <= place.part.last
        ]

    def _digests_of(self, place: _Place, asked: Range, block: int) -> Iterator[BlockDigest]:
        """Of the blocks' parts in a part that the range touches."""
        part = place.part
        low, high = max(asked.first, part.first), min(asked.last, part.last)
        if block != place.manifest.block:
            yield from self._from_rows(asked.stream, low, high, block)
            return
        for piece in self._pieces(place)[place.number]:
            if piece.low >= low and piece.high <= high:
                yield piece.digest
            elif piece.low <= high and low <= piece.high:
                yield from self._from_rows(
                    asked.stream, max(piece.low, low), min(piece.high, high), block
                )

    def _from_rows(
        self, stream: Stream, first: int, last: int, block: int
    ) -> Iterator[BlockDigest]:
        asked = [Range(stream, first, last)]
        for _, digest in fold_rows(asked, block, lambda one: self.rows(*one)):
            yield digest

    def _watermark(self, facts: JournalStream, exported_us: int, cutoff_us: int) -> int:
        """The last sequence old enough to be judged."""
        if exported_us <= cutoff_us:
            return facts.head
        watermark = facts.head
        for place in reversed(self._places.get(facts.stream, [])):
            if place.part.newest_us <= cutoff_us:
                break
            young = [
                row.event.sequence
                for row in self.rows(facts.stream, place.part.first, place.part.last)
                if row.event.committed_us > cutoff_us
            ]
            watermark = min([watermark, *(sequence - 1 for sequence in young)])
        return watermark

    def _first_since(self, facts: JournalStream, since_us: int) -> int:
        """The first sequence behind the last one committed before ``since_us``."""
        first = facts.floor
        for place in self._places.get(facts.stream, ()):
            if place.part.newest_us < since_us:
                first = place.part.last + 1
                continue
            for row in self.rows(facts.stream, place.part.first, place.part.last):
                if row.event.committed_us >= since_us:
                    return first
                first = row.event.sequence + 1
        return first

    def _segment(self, place: _Place) -> SegmentFile:
        with self._lock:
            return self._open_segment(place.manifest.folder, place.segment.rows)

    def _pieces(self, place: _Place) -> dict[int, list[Piece]]:
        with self._lock:
            return self._open_digests(place.manifest.folder, place.segment.digests)

    def _read_segment(self, folder: str, file: tuple[str, int, str]) -> SegmentFile:
        name, size, sha256 = file
        return SegmentFile(self._location.get_checked(f"{folder}/{name}", size, sha256))

    def _read_digests(self, folder: str, file: tuple[str, int, str]) -> dict[int, list[Piece]]:
        name, size, sha256 = file
        found: dict[int, list[Piece]] = {}
        for piece in read_pieces(self._location.get_checked(f"{folder}/{name}", size, sha256)):
            found.setdefault(piece.part, []).append(piece)
        return found
