"""The journal: the publisher's durable truth, in SQLite, written by a thread of its own.

``append`` returns once its events are committed. Requests that arrive while a commit is under
way share the next one (group commit), so that a slow disk costs latency and not throughput.
Above ``queue_events`` waiting events ``append`` itself waits: back-pressure, not memory.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import uuid4

from crossfade.adapters.clock import SystemClock
from crossfade.adapters.journal_books import Books
from crossfade.adapters.journal_reader import JournalReader
from crossfade.adapters.journal_retention import Pruner
from crossfade.adapters.journal_thread import GroupWriter, Request
from crossfade.adapters.journal_writer import GroupResult, Ledger, Routing, Snapshot
from crossfade.core.event import Draft, Event, Head, Stream
from crossfade.core.outbox import Outbox, Span
from crossfade.core.recent import Recent
from crossfade.errors import Closed, InvalidEvent, JournalError, JournalUnavailable
from crossfade.ports import Clock, FillPage
from crossfade.settings import JournalSettings

__all__ = ["Journal"]

FILL_EVENTS = 1_000
"""Largest page of a fill."""


class Journal:
    """Implements ``ports.Journal``; an async context manager, of one event loop.

    Args:
        source: the name of this publisher's streams; an existing journal must be of the same.
        routing: per sink, which partitions it is owed (asked by the writing thread: it must
            be quick and thread-safe).

    Raises, on entry:
        JournalTooNew, JournalLocked, JournalUnavailable, SettingsError: see ``Ledger.open``.
    """

    name = "journal"

    def __init__(
        self,
        settings: JournalSettings,
        *,
        source: str,
        routing: Routing,
        clock: Clock | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        # A new journal's epoch is the second of its birth: should a journal ever be lost, its
        # successor's epoch is higher without anybody having to remember the old one.
        self._epoch = (
            self._clock.now_us() // 1_000_000 if settings.epoch is None else settings.epoch
        )
        self._ledger = Ledger(
            settings.path,
            source=source,
            epoch=self._epoch,
            durability=settings.durability,
            token=uuid4().hex,
            routing=routing,
            pruner=Pruner(settings),
            now_us=self._clock.now_us,
        )
        self._books = Books(tuple(routing))
        self._listeners: list[Callable[[], None]] = []
        self._loop: asyncio.AbstractEventLoop
        self._writer: GroupWriter | None = None
        self._readers = ThreadPoolExecutor(1, "journal-read")
        self._reader: JournalReader
        self._queued = 0
        self._waiters: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._ended: asyncio.Future[None]
        self._fault: JournalError | None = None

    # -- life ----------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._ended = self._loop.create_future()
        try:
            snapshot = await self._loop.run_in_executor(self._readers, self._open)
        except BaseException:
            self._readers.shutdown(wait=False)
            raise
        self.loaded(snapshot)
        self._writer = GroupWriter(self._ledger, self._settings, self)
        self._writer.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Commit what was accepted, write the cursors, give the lease back."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        for _, waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(Closed("the journal is closed"))
        self._waiters.clear()
        await self._loop.run_in_executor(self._readers, self._reader.close)
        self._readers.shutdown(wait=False)
        writer.stop()
        await self._ended

    def _open(self) -> Snapshot:
        snapshot = self._ledger.open()
        try:
            self._reader = JournalReader(self.path)
        except BaseException:
            self._ledger.close()
            raise
        return snapshot

    # -- writing -------------------------------------------------------------------------

    @property
    def path(self) -> Path:
        """The file."""
        return self._settings.path

    @property
    def epoch(self) -> int:
        """The epoch of this journal's streams."""
        return self._epoch

    async def append(self, drafts: Sequence[Draft]) -> list[Event]:
        """Commit ``drafts``, all or none of them, and answer their events in order.

        A draft whose id is already in the journal is not written again: its event is answered.

        Raises:
            InvalidEvent: an id was used before, for another content.
            JournalUnavailable: it is not known whether they are durable. Publishing them
                again with the same ids is safe.
            JournalLocked: another process took the journal over.
            Closed: the journal is closed.
        """
        self._check_open()
        await self._room(len(drafts))
        writer = self._check_open()
        answer: asyncio.Future[list[Event]] = self._loop.create_future()
        writer.submit(Request(drafts, answer))
        return await answer

    def advance(self, sink: str, cursors: Mapping[int, int]) -> None:
        """Everything below ``next`` of these streams is done for ``sink``.

        In force at once; durable with the next commit, or shortly after.
        """
        outbox = self._books.outbox(sink)
        for stream_id, next_ in cursors.items():
            outbox.done(stream_id, next_)
        if self._writer is not None:
            self._writer.note(sink, cursors)

    def park(self, sink: str, event: Event, reason: str) -> None:
        """Set an event aside that ``sink`` will never take, and step over it."""
        stream_id = self._books.stream_id(event.stream)
        if stream_id is None:
            raise JournalUnavailable(f"{self.path}: {event.position} is not of this journal")
        next_ = event.sequence + 1
        self._books.outbox(sink).done(stream_id, next_)
        self._books.parked[sink] += 1
        if self._writer is not None:
            row = (sink, stream_id, event.sequence, reason[:1_000], self._clock.now_us())
            self._writer.note(sink, {stream_id: next_}, [row])

    def unpark(self, sink: str, event: Event, *, taken: bool) -> None:
        """A parked event is given again (it is counted no more, and stays written down), or
        ``taken`` by its sink after all.
        """
        stream_id = self._books.stream_id(event.stream)
        if not taken:
            self._books.parked[sink] -= 1
        elif self._writer is not None and stream_id is not None:
            self._writer.note(sink, {}, unparked=[(sink, stream_id, event.sequence)])

    async def flush(self) -> None:
        """Return when every cursor so far is durable.

        Raises:
            JournalUnavailable, Closed: as ``append``.
        """
        await self.append(())

    # -- reading -------------------------------------------------------------------------

    @property
    def events(self) -> int:
        """How many events were ever committed."""
        return self._books.events

    @property
    def recent(self) -> Recent:
        """The newest events, in memory. Look on this loop only."""
        return self._books.recent

    @property
    def queued(self) -> int:
        """How many events wait to be committed."""
        return self._queued

    def outbox(self, sink: str) -> Outbox:
        """What ``sink`` is owed, now. Read it on this loop only, and do not keep it."""
        return self._books.outbox(sink)

    def parked(self, sink: str) -> int:
        """How many events were set aside for ``sink``."""
        return self._books.parked[sink]

    def stream_id(self, stream: Stream) -> int | None:
        """The journal's number for a stream."""
        return self._books.stream_id(stream)

    def head(self, stream_id: int) -> Head:
        """A stream's last committed sequence and floor."""
        return self._books.head(stream_id)

    def heads(self) -> list[Head]:
        """The last committed sequence and the floor of every stream."""
        return self._books.heads()

    def listen(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` on the loop after each commit; it must not raise or wait."""
        self._listeners.append(listener)

    async def read(self, spans: Sequence[Span], limit: int) -> list[list[Event]]:
        """Per span its first ``limit`` events.

        Raises:
            JournalUnavailable: the file cannot be read.
            Closed: the journal is closed.
        """
        self._check_open()
        reader = self._reader
        return await self._loop.run_in_executor(
            self._readers, lambda: [reader.rows(span, limit) for span in spans]
        )

    async def fill(self, stream: Stream, first: int, last: int) -> FillPage:
        """Implements ``ports.FillSource``."""
        stream_id = self._books.stream_id(stream)
        if stream_id is None:
            return FillPage([], None, None)
        (rows,) = await self.read([Span(stream_id, first, last)], FILL_EVENTS)
        _, head, floor = self._books.head(stream_id)
        return FillPage(rows, floor, head)

    # -- what the writing thread tells (journal_thread.Sponsor) ----------------------------

    def loaded(self, snapshot: Snapshot) -> None:
        self._epoch = snapshot.epoch
        self._books.load(snapshot)
        self._notify()

    def committed(self, group: Sequence[Request], result: GroupResult) -> None:
        self._books.commit(result)
        for request, answer in zip(group, result.answers, strict=True):
            if not request.answer.done():
                if isinstance(answer, InvalidEvent):
                    request.answer.set_exception(answer)
                else:
                    request.answer.set_result(answer)
        self._release(sum(len(request.drafts) for request in group))
        self._notify()

    def pruned(self, floors: Mapping[int, int]) -> None:
        self._books.pruned(floors)
        self._notify()

    def failed(self, group: Sequence[Request], error: JournalError | Closed) -> None:
        for request in group:
            if not request.answer.done():
                # One exception each: a shared one would gather everybody's traceback.
                request.answer.set_exception(type(error)(*error.args))
        self._release(sum(len(request.drafts) for request in group))

    def ended(self, rest: Sequence[Request], *, clean: bool) -> None:
        if not clean:
            self._fault = JournalUnavailable(
                f"{self.path}: its writing thread ended unexpectedly; restart the publisher"
            )
        self.failed(rest, self._fault or Closed("the journal is closed"))
        self._ended.set_result(None)

    # ------------------------------------------------------------------------------------

    def _check_open(self) -> GroupWriter:
        if self._fault is not None:
            raise self._fault
        if self._writer is None:
            raise Closed("the journal is closed")
        return self._writer

    def _notify(self) -> None:
        for listener in self._listeners:
            listener()

    async def _room(self, events: int) -> None:
        if not self._waiters and not self._is_full(events):
            self._queued += events
            return
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiters.append((events, waiter))
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._release(events)
            raise

    def _is_full(self, events: int) -> bool:
        return self._queued > 0 and self._queued + events > self._settings.queue_events

    def _release(self, events: int) -> None:
        self._queued -= events
        while self._waiters:
            wanted, waiter = self._waiters[0]
            if not waiter.done():
                if self._is_full(wanted):
                    return
                self._queued += wanted
                waiter.set_result(None)
            self._waiters.popleft()
