"""One connection of the reference hub: what it subscribed to, and how it is fed."""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import Any

from websockets.asyncio.server import ServerConnection, broadcast
from websockets.exceptions import ConnectionClosed

from crossfade.core.event import Head, Stream
from crossfade.core.frames import encode_frame, events_frame, heads_frame, pack
from crossfade.local.hub_frames import Interest
from crossfade.local.hub_history import History
from crossfade.ports import Clock

__all__ = ["CLOSE_SLOW", "Client"]

CLOSE_SLOW = 4429
_log = logging.getLogger("crossfade.hub")
_CATCH_UP_BYTES = 200_000
_HEADS_PER_FRAME = 5_000
_CLOSE_S = 5.0


class Client:
    """A subscriber or tap.

    While it catches up it is fed from the history, with back-pressure; from the moment it
    stands at every head it is fed live, and closed when its write buffer passes the limit.
    """

    def __init__(
        self,
        connection: ServerConnection,
        history: History,
        clock: Clock,
        *,
        frame_bytes: int,
        buffer_bytes: int,
    ) -> None:
        self.connection = connection
        self.interest: Interest = frozenset()
        self.live = False
        self._topics: dict[str, frozenset[int] | None] | None = {}
        self._history = history
        self._clock = clock
        self._frame_bytes = frame_bytes
        self._buffer_bytes = buffer_bytes
        self._cursors: dict[Stream, int] = {}
        self._catching_up: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    @property
    def keeps_up(self) -> bool:
        """False from the moment it is being closed for being too slow."""
        return self._closing is None

    def wants(self, stream: Stream) -> bool:
        """Whether its subscription covers ``stream``."""
        if self._topics is None:
            return True
        numbers = self._topics.get(stream.topic, frozenset())
        return numbers is None or stream.partition in numbers

    def subscribe(self, request: Any, interest: Interest, positions: Mapping[Stream, int]) -> None:
        """Replace the subscription; answers, then feeds history, then goes live.

        A stream without a position starts at its head: only what comes from now on.
        """
        self.interest = interest
        self._topics = None if interest is None else dict(interest)
        self.live = False
        heads = self._history.heads(self.wants)
        self._cursors = {
            head.stream: positions.get(head.stream, head.sequence + 1) for head in heads
        }
        rows = [[*head.stream, head.sequence, head.floor] for head in heads]
        self.send(encode_frame("subscribed", request=request, heads=rows))
        if self._catching_up is None or self._catching_up.done():
            self._catching_up = asyncio.create_task(self._catch_up(), name="hub-catch-up")

    def send(self, frame: bytes) -> None:
        """Queue one frame without waiting; a client above its limit is closed."""
        if self._closing is not None:
            return
        broadcast((self.connection,), frame.decode())
        self.check_buffer()

    def send_heads(self) -> None:
        """Queue the heads; while catching up, those of what it was given so far."""
        heads: Iterable[Head] = self._history.heads(self.wants)
        if not self.live:
            heads = [
                head._replace(
                    sequence=min(head.sequence, self._cursors.get(head.stream, head.floor) - 1)
                )
                for head in heads
            ]
        rows = list(heads)
        at_us = self._clock.now_us()
        for start in range(0, max(1, len(rows)), _HEADS_PER_FRAME):
            self.send(heads_frame(rows[start : start + _HEADS_PER_FRAME], at_us))

    def check_buffer(self) -> None:
        """Close the client if it does not read fast enough; it resumes by position."""
        waiting = self.connection.transport.get_write_buffer_size()
        if waiting > self._buffer_bytes and self._closing is None:
            self.live = False
            _log.warning(
                "slow client %s: %d bytes wait, limit %d: closed with %d",
                self.connection.remote_address,
                waiting,
                self._buffer_bytes,
                CLOSE_SLOW,
            )
            self._closing = asyncio.create_task(self._close_slow(), name="hub-close-slow")

    async def aclose(self) -> None:
        """End this client's own tasks."""
        tasks = [task for task in (self._catching_up, self._closing) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _close_slow(self) -> None:
        try:
            async with asyncio.timeout(_CLOSE_S):
                await self.connection.close(CLOSE_SLOW, "too slow: come back and resume")
        except TimeoutError:
            # The library waits for its buffer to empty before it starts its own deadline.
            self.connection.transport.abort()

    async def _catch_up(self) -> None:
        try:
            while self._closing is None:
                chunk = self._collect()
                if not chunk:
                    self.live = True
                    self.send_heads()
                    return
                for run in pack(chunk, self._frame_bytes):
                    await self.connection.send(events_frame(run), text=True)
        except ConnectionClosed:
            return

    def _collect(self) -> list[bytes]:
        found: list[bytes] = []
        budget = _CATCH_UP_BYTES
        for held in self._history.streams():
            if budget <= 0:
                break
            if not self.wants(held.stream):
                continue
            # A stream born after the subscription is wanted from its beginning.
            first = max(self._cursors.get(held.stream, held.first), held.first)
            items = self._history.read(held, first, held.head, budget)
            self._cursors[held.stream] = first + len(items)
            found.extend(items)
            budget -= sum(map(len, items))
        return found
