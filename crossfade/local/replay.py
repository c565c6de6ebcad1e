"""Feeds lines of events to a publisher: in order, as fast as told, and honest about how far.

Used by ``crossfade publish`` and by the demo.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from crossfade.errors import InvalidEvent
from crossfade.local.input_lines import InputLine

__all__ = ["LineSource", "Pace", "PublishMany", "replay"]

RUN_EVENTS = 500
"""Most events of one call to the publisher."""
TICK_S = 0.1
"""How often a paced replay publishes."""
_AHEAD = 4 * RUN_EVENTS


class PublishMany(Protocol):
    """What is needed of a publisher."""

    async def publish_many(self, events: Sequence[Mapping[str, Any]], /) -> Sequence[object]:
        """Publish several, in order; returns once all are durable."""
        ...


@dataclass(slots=True)
class Pace:
    """Events a second; None is as fast as it goes. May be changed at any time."""

    rate: float | None = None


class LineSource:
    """Lines read by a thread, at most ``_AHEAD`` ahead, so that a slow pipe blocks nobody.

    Belongs to the event loop that it is made on. The thread is a daemon: one that waits for
    standard input does not keep the process alive.
    """

    def __init__(self, lines: Iterator[InputLine]) -> None:
        self._loop = asyncio.get_running_loop()
        self._lines = lines
        self._room = threading.Semaphore(_AHEAD)
        self._ready: deque[InputLine] = deque()
        self._wake = asyncio.Event()
        self._ended = False
        self._fault: BaseException | None = None
        threading.Thread(target=self._read, name="input-lines", daemon=True).start()

    async def take(self, limit: int) -> list[InputLine]:
        """What is there, up to ``limit``, at least one; empty at the end.

        Raises:
            InvalidEvent: the next line is not an event; everything before it was taken.
        """
        while not self._ready and not self._ended:
            self._wake.clear()
            await self._wake.wait()
        taken = [self._ready.popleft() for _ in range(min(limit, len(self._ready)))]
        for _ in taken:
            self._room.release()
        if not taken and self._fault is not None:
            raise self._fault
        return taken

    def _read(self) -> None:
        fault: BaseException | None = None
        try:
            for line in self._lines:
                self._room.acquire()
                self._loop.call_soon_threadsafe(self._push, line)
        except RuntimeError:
            return  # the loop is closed: nobody waits any more
        except Exception as error:  # noqa: BLE001 - raised by take()
            fault = error
        try:
            self._loop.call_soon_threadsafe(self._end, fault)
        except RuntimeError:
            return

    def _push(self, line: InputLine) -> None:
        self._ready.append(line)
        self._wake.set()

    def _end(self, fault: BaseException | None) -> None:
        self._ended, self._fault = True, fault
        self._wake.set()


async def replay(
    publisher: PublishMany,
    source: LineSource,
    name: str,
    pace: Pace,
    progress: Callable[[int], None],
) -> None:
    """Publish every line, in order.

    Args:
        name: of the input, for errors.
        progress: told how many events are durable, after each run.

    Raises:
        InvalidEvent: a line can not be published; names it. Everything before it is durable.
        JournalUnavailable, Closed: as the publisher.
    """
    published = 0
    due = time.monotonic()
    while True:
        rate = pace.rate
        if rate is not None and (left := due - time.monotonic()) > 0:
            # In slices, since the pace may change meanwhile.
            await asyncio.sleep(min(left, TICK_S))
            continue
        limit = RUN_EVENTS if rate is None else max(1, min(RUN_EVENTS, round(rate * TICK_S)))
        run = await source.take(limit)
        if not run:
            return
        try:
            await publisher.publish_many([line.fields for line in run])
            published += len(run)
        except InvalidEvent:
            # Nothing of the run was journaled: find the line, publish what is before it.
            published += await _up_to_the_fault(publisher, run, name, published, progress)
        progress(published)
        # A tick that came late is made up for, but not a long pause.
        behind = time.monotonic() - 1.0
        due = behind if rate is None else max(due + len(run) / rate, behind)


async def _up_to_the_fault(
    publisher: PublishMany,
    run: Sequence[InputLine],
    name: str,
    published: int,
    progress: Callable[[int], None],
) -> int:
    for done, line in enumerate(run):
        try:
            await publisher.publish_many([line.fields])
        except InvalidEvent as error:
            progress(published + done)
            reason = str(error).removeprefix("event 1: ")
            raise InvalidEvent(f"{name}: line {line.number}: {reason}") from error
    return len(run)
