"""Faults on purpose, for tests, drills and ``crossfade demo --sabotage``.

Wrappers around any ``ports.EventStore``: the code under test is the real one, only what it
talks to misbehaves, by name and in a way that can be switched on and off.
"""

import asyncio
from collections.abc import Callable, Sequence

from crossfade.core.event import Event, Head, Stream
from crossfade.errors import StoreRejected, StoreUnavailable, StoreUnreachable
from crossfade.ports import EventStore, FillPage, IngestResult

__all__ = ["AlteringStore", "DroppingStore", "FaultyStore"]


class _Wrapper:
    """Passes everything on."""

    def __init__(self, inner: EventStore) -> None:
        self.inner = inner

    @property
    def name(self) -> str:
        return self.inner.name

    async def ingest(self, events: Sequence[Event], *, live: bool = True) -> IngestResult:
        return await self.inner.ingest(events, live=live)

    async def heads(self, heads: Sequence[Head]) -> None:
        await self.inner.heads(heads)

    async def fill(self, stream: Stream, first: int, last: int) -> FillPage:
        return await self.inner.fill(stream, first, last)


class DroppingStore(_Wrapper):
    """Sabotage: drops chosen events on the way to the store and claims that it took them.

    Args:
        drop: which events never reach the store.

    ``dropped`` names them once they were claimed.
    """

    def __init__(self, inner: EventStore, drop: Callable[[Event], bool]) -> None:
        super().__init__(inner)
        self._drop = drop
        self.dropped: list[Event] = []

    async def ingest(self, events: Sequence[Event], *, live: bool = True) -> IngestResult:
        """Store the rest; answer as if all were stored."""
        kept = [event for event in events if not self._drop(event)]
        result = await self.inner.ingest(kept, live=live)
        gone = [event for event in events if self._drop(event)]
        self.dropped.extend(gone)
        return result._replace(inserted=result.inserted + len(gone))


class AlteringStore(_Wrapper):
    """Sabotage: alters chosen events on the way to the store, their checksum left as it was.

    Args:
        alter: the event as the store is to see it (the same event: left alone).
    """

    def __init__(self, inner: EventStore, alter: Callable[[Event], Event]) -> None:
        super().__init__(inner)
        self._alter = alter

    async def ingest(self, events: Sequence[Event], *, live: bool = True) -> IngestResult:
        """Store the altered events."""
        return await self.inner.ingest([self._alter(event) for event in events], live=live)


class FaultyStore(_Wrapper):
    """A store that fails as real ones do.

    Attributes (change them at any time):
        down: refuse every connection.
        failures: so many of the next calls answer with a server error.
        lost_answers: so many of the next ingests are committed, but their answer is lost.
        delay_s: every call takes this much longer.
        hang: calls do not return while it is set.
        poison: events that the store will never take; a batch with one is refused as a whole.
        calls: how many calls there were, of either kind.
        ingests: the size of each ingest that was tried.
    """

    def __init__(self, inner: EventStore) -> None:
        super().__init__(inner)
        self.down = False
        self.failures = 0
        self.lost_answers = 0
        self.delay_s = 0.0
        self.hang = False
        self.poison: Callable[[Event], bool] = lambda _: False
        self.calls = 0
        self.ingests: list[int] = []
        self._under_way = 0
        self.most_under_way = 0

    async def ingest(self, events: Sequence[Event], *, live: bool = True) -> IngestResult:
        """Ingest, unless a fault says otherwise."""
        self.ingests.append(len(events))
        self._under_way += 1
        self.most_under_way = max(self.most_under_way, self._under_way)
        try:
            await self._suffer()
            if any(self.poison(event) for event in events):
                raise StoreRejected("an event violates a constraint of the store")
            result = await self.inner.ingest(events, live=live)
        finally:
            self._under_way -= 1
        if self.lost_answers:
            self.lost_answers -= 1
            raise StoreUnreachable("the connection broke before the answer came")
        return result

    async def heads(self, heads: Sequence[Head]) -> None:
        """Record heads, unless a fault says otherwise."""
        await self._suffer()
        await self.inner.heads(heads)

    async def _suffer(self) -> None:
        self.calls += 1
        if self.down:
            raise StoreUnreachable("connection refused")
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        while self.hang:  # noqa: ASYNC110 - a plain attribute is easier to set in a test
            await asyncio.sleep(0.01)
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("503 service unavailable")
