"""Writes a journal to a location: only what is new since the last time."""

import fcntl
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from crossfade.adapters.export.location import Location
from crossfade.adapters.export.manifest import (
    MANIFEST,
    File,
    Manifest,
    Part,
    Segment,
    folder_of,
    read_manifest,
)
from crossfade.adapters.export.segments import SegmentWriter
from crossfade.adapters.journal_reader import JournalReader
from crossfade.adapters.stores.journal import SqliteJournalReader
from crossfade.core.event import Stream
from crossfade.core.intervals import Interval, coalesce
from crossfade.core.reconciliation_plan import JournalStream
from crossfade.errors import JournalLocked, JournalUnavailable
from crossfade.ports import Clock

__all__ = ["ALTERED_LIMIT", "Exported", "export_journal"]

SEGMENT_BYTES = 64 * 1024 * 1024
"""A segment is closed at that much content, whatever its number of events."""
ALTERED_LIMIT = 10_000
"""So many changed ranges are told one by one; of older ones, readers compare everything."""

Progress = Callable[[int, int], None]
"""Told how many events are written and how many there are."""


class Exported(NamedTuple):
    """What an export did: events written, segments written, events and segments there are now."""

    folder: str
    number: int
    written_events: int
    written_segments: int
    events: int
    segments: int
    at_us: int


def export_journal(
    journal: Path,
    location: Location,
    *,
    segment_events: int,
    block: int,
    clock: Clock,
    progress: Progress | None = None,
) -> Exported:
    """Export what a journal holds and the location does not hold yet.

    Only reads the journal; its publisher may go on. Segments of ``segment_events`` events are
    written once; what is left is an open segment that the next export writes anew. What the log
    of changes says was altered in the journal is exported again, so that a reconciliation sees
    it. The manifest comes last: an export that is killed changes nothing for readers. Files that
    neither this manifest nor the one before names are removed.

    Raises:
        JournalUnavailable: the journal or the location can not be used, or the journal is
            behind what was exported of it.
        JournalLocked: another export of this journal is running.
    """
    with _alone(journal):
        reader = SqliteJournalReader(journal)
        try:
            return _Export(reader, journal, location, segment_events, block, clock, progress).run()
        finally:
            reader.close()


class _Export:
    def __init__(
        self,
        reader: SqliteJournalReader,
        journal: Path,
        location: Location,
        segment_events: int,
        block: int,
        clock: Clock,
        progress: Progress | None,
    ) -> None:
        self._reader = reader
        self._journal = journal
        self._location = location
        self._limit = segment_events
        self._block = block
        self._clock = clock
        self._progress = progress
        self._written = 0
        self._total = 0

    def run(self) -> Exported:
        with JournalReader(self._journal) as facts:
            meta = facts.meta()
        if "source" not in meta or "epoch" not in meta:
            raise JournalUnavailable(f"{self._journal}: no publisher has opened this journal yet")
        source, epoch = meta["source"], int(meta["epoch"])
        folder = folder_of(source, epoch)
        before = read_manifest(self._location, folder)
        old = before if before is not None and before.block == self._block else None
        # In this order: what is committed before the moment is in the outline, and what is altered
        # after the mark is told by the next export.
        changes = self._reader.changes(old.mark if old else "")
        if changes.ranges is None:
            old = None
        number = before.number + 1 if before else 1
        at_us = self._clock.now_us()
        streams = self._streams(old)
        places = {facts.stream: place for place, facts in enumerate(streams)}
        altered = [
            (number, places[one.stream], one.first, one.last)
            for one in changes.ranges or ()
            if old is not None and one.stream in places
        ]
        kept, pending = _sorted_out(old, streams, [one[1:] for one in altered])
        written = list(self._write(folder, number, streams, pending))
        known = [*(old.altered if old else ()), *altered]
        excess = known[:-ALTERED_LIMIT]
        manifest = Manifest(
            source=source,
            epoch=epoch,
            export=old.export if old else uuid.uuid4().hex,
            number=number,
            at_us=at_us,
            block=self._block,
            mark=changes.mark,
            streams=self._with_floors(streams),
            segments=(*kept, *written),
            altered=tuple(known[len(excess) :]),
            altered_after=max(old.altered_after if old else number, *(one[0] for one in excess), 0),
        )
        self._location.put(f"{folder}/{MANIFEST}", manifest.to_bytes())
        self._remove_unnamed(folder, manifest, before)
        return Exported(
            folder,
            number,
            self._written,
            len(written),
            sum(part.rows for one in manifest.segments for part in one.parts),
            len(manifest.segments),
            at_us,
        )

    def _streams(self, old: Manifest | None) -> list[JournalStream]:
        """The journal's streams, those that were exported before in their places."""
        outline = self._reader.outline(self._clock.now_us())
        fresh = {facts.stream: facts for facts in outline.streams}
        streams = []
        for facts in old.streams if old else ():
            now = fresh.pop(facts.stream, None)
            if now is None or now.head < facts.head:
                raise JournalUnavailable(
                    f"{self._journal}: {facts.stream} was exported up to {facts.head} and ends "
                    f"at {now.head if now else 0} now: this is an older copy of the journal; give "
                    "a journal that was restored another epoch, or export it elsewhere"
                )
            streams.append(now)
        return [*streams, *fresh.values()]

    def _with_floors(self, streams: Sequence[JournalStream]) -> tuple[JournalStream, ...]:
        """With the floors of now: retention may have taken rows while they were exported."""
        floors = {one.stream: one.floor for one in self._reader.outline(0).streams}
        return tuple(
            replace(one, floor=max(one.floor, min(floors.get(one.stream, 1), one.head + 1)))
            for one in streams
        )

    def _write(
        self,
        folder: str,
        number: int,
        streams: Sequence[JournalStream],
        pending: Sequence[tuple[int, Interval]],
    ) -> Iterator[Segment]:
        self._total = sum(last - first + 1 for _, (first, last) in pending)
        writer = SegmentWriter(self._block)
        parts: list[Part] = []
        count = 0

        def finish(*, closed: bool) -> Segment:
            nonlocal writer, parts, count
            count += 1
            name = f"{number:08d}-{count:05d}"
            rows, digests = writer.files()
            segment = Segment(
                File.of(f"{name}.parquet", rows),
                File.of(f"{name}.digests.parquet", digests),
                closed,
                tuple(parts),
            )
            self._location.put(f"{folder}/{segment.rows.name}", rows)
            self._location.put(f"{folder}/{segment.digests.name}", digests)
            self._written += writer.rows
            if self._progress:
                self._progress(self._written, self._total)
            writer, parts = SegmentWriter(self._block), []
            return segment

        for place, (first, last) in pending:
            while first <= last:
                part = self._add(writer, place, streams[place].stream, first, last)
                parts.append(part)
                first = part.last + 1
                if self._is_full(writer):
                    yield finish(closed=True)
        if parts:
            yield finish(closed=False)

    def _add(
        self, writer: SegmentWriter, place: int, stream: Stream, first: int, last: int
    ) -> Part:
        """As much of the range as the segment takes."""
        offset = writer.rows
        oldest = newest = 0
        writer.begin(first)
        for row in self._reader.rows(stream, first, last):
            writer.add(row)
            at_us = row.event.committed_us
            oldest = min(oldest or at_us, at_us)
            newest = max(newest, at_us)
            if self._is_full(writer):
                last = row.event.sequence
                break
        writer.end(last)
        return Part(place, first, last, offset, writer.rows - offset, oldest, newest)

    def _is_full(self, writer: SegmentWriter) -> bool:
        return writer.rows >= self._limit or writer.bytes >= SEGMENT_BYTES

    def _remove_unnamed(self, folder: str, new: Manifest, before: Manifest | None) -> None:
        named = {
            f"{folder}/{file.name}"
            for manifest in (new, before)
            if manifest is not None
            for one in manifest.segments
            for file in (one.rows, one.digests)
        }
        for name in self._location.find(f"{folder}/*.parquet"):
            if name not in named:
                self._location.remove(name)


def _sorted_out(
    old: Manifest | None,
    streams: Sequence[JournalStream],
    altered: Sequence[tuple[int, int, int]],
) -> tuple[list[Segment], list[tuple[int, Interval]]]:
    """The segments that stay, and the ranges to write: (place of the stream, first and last)."""
    kept: list[Segment] = []
    ranges: dict[int, list[Interval]] = {}
    exported = {place: facts.floor - 1 for place, facts in enumerate(streams)}
    grew = old is None or any(
        new.head > was.head for new, was in zip(streams, old.streams, strict=False)
    )
    grew = grew or (old is not None and len(streams) > len(old.streams))
    for one in old.segments if old else ():
        live = [part for part in one.parts if part.last >= streams[part.stream].floor]
        for part in one.parts:
            exported[part.stream] = max(exported[part.stream], part.last)
        touched = any(
            part.stream == place and part.first <= last and first <= part.last
            for part in live
            for place, first, last in altered
        )
        if not live:
            continue
        if not touched and (one.is_closed or not grew):
            kept.append(one)
            continue
        for part in live:
            ranges.setdefault(part.stream, []).append((part.first, part.last))
    for place, facts in enumerate(streams):
        if facts.head > exported[place]:
            ranges.setdefault(place, []).append((exported[place] + 1, facts.head))
    pending = [
        (place, interval)
        for place in sorted(ranges)
        for interval in coalesce(ranges[place], streams[place].floor, streams[place].head)
    ]
    return kept, pending


@contextmanager
def _alone(journal: Path) -> Iterator[None]:
    """One export of a journal at a time; the lock dies with its process."""
    place = journal.with_name(journal.name + ".export.lock")
    try:
        lock = os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise JournalUnavailable(f"{place}: cannot be opened: {error.strerror}") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise JournalLocked(f"{journal}: another export of it is running") from None
        yield
    finally:
        os.close(lock)
