"""Reads what a journal commits, as it does, from another process."""

from collections.abc import Mapping
from pathlib import Path

from crossfade.adapters.journal_reader import JournalReader
from crossfade.core.event import Event, Stream

__all__ = ["JournalFollower"]

PAGE_EVENTS = 1_000
BEHIND_EVENTS = 10_000
"""A stream without a position is read from so far behind its head."""


class JournalFollower:
    """Remembers how far it has read each stream. Blocking: use it in a thread, one at a time.

    Args:
        positions: per stream the sequence to begin with; what is older is not wanted.
    """

    def __init__(self, path: Path, positions: Mapping[Stream, int]) -> None:
        self._path = path
        self._next = dict(positions)
        self._reader: JournalReader | None = None

    def new(self) -> list[Event]:
        """Up to a page a stream of what was committed since, in the order of commit.

        Raises:
            JournalUnavailable: there is no journal, or it can not be read.
            JournalTooNew: it is of a later version.
        """
        if self._reader is None:
            self._reader = JournalReader(self._path)
        found: list[Event] = []
        for one in self._reader.streams():
            first = self._next.get(one.stream, max(one.floor, one.head - BEHIND_EVENTS + 1))
            if first <= one.head:
                page = self._reader.read(one.stream, first, one.head, PAGE_EVENTS)
                if page:
                    self._next[one.stream] = page[-1].sequence + 1
                    found += page
        return sorted(found, key=lambda event: event.committed_us)

    def close(self) -> None:
        """Close the file."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
