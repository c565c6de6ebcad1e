"""The tap's connection to an application's own WebSocket server, as one of its clients.

Such a server has no heads, no history and no fills. That the connection is heard is proven
by pongs, which arrive behind every frame sent before them; what was sent while it was not
connected is not covered, and nobody says that it was lost.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from crossfade.adapters.journal_follower import JournalFollower
from crossfade.adapters.legacy_send import OPEN_S, bearer
from crossfade.core.codec import Codec, Received
from crossfade.core.event import Event, Stream
from crossfade.core.recognition import Recogniser
from crossfade.core.route import WEBSOCKET
from crossfade.core.switch import Coverage
from crossfade.errors import InvalidEvent, JournalError, StoreUnreachable
from crossfade.ports import FillPage, Listener
from crossfade.settings import LegacySettings

__all__ = ["LegacyReader"]

_log = logging.getLogger("crossfade.legacy")

PING_S = 1.0
UNKNOWN_S = 2.0
"""How long a frame waits for the journal to hold its event; the next ones wait behind it."""
LOGGED = 20
"""Frames of one kind that are logged; all are counted."""


class LegacyReader:
    """An async context manager; connects for as long as it is open, with full jitter.

    Args:
        listener: told of events and of coverage.
        journal: read (never written) to find positions, unless the codec carries stamps.
        positions: per stream what is needed next.
        deaf_s: a ping that is not answered for so long ends the connection.
        retry_initial_s, retry_max_s: pauses between attempts.
    """

    def __init__(
        self,
        settings: LegacySettings,
        codec: Codec,
        listener: Listener,
        *,
        journal: Path,
        positions: Mapping[Stream, int],
        deaf_s: float = 3.0,
        retry_initial_s: float = 0.2,
        retry_max_s: float = 15.0,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._settings = settings
        self._codec = codec
        self._listener = listener
        self._recogniser = Recogniser(codec)
        self._journal = JournalFollower(journal, positions)
        self._deaf_s = deaf_s
        self._retry_initial_s = retry_initial_s
        self._retry_max_s = retry_max_s
        self._uniform = uniform
        self._task: asyncio.Task[None] | None = None
        self._patience_s = UNKNOWN_S
        self.connections = 0
        """How many connections were made."""
        self.unknown = 0
        """Frames that are no event of this journal, or not any more."""

    name = "legacy"

    def want(self, partitions: Coverage | None) -> None:
        """Such a server sends each client what it sends: nothing can be asked for."""

    async def fill(self, stream: Stream, first: int, last: int) -> FillPage:
        """It keeps no history.

        Raises:
            StoreUnreachable: always.
        """
        raise StoreUnreachable(f"the server at {self._settings.listen_url} keeps no history")

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="legacy-reader")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        await asyncio.to_thread(self._journal.close)

    async def _run(self) -> None:
        failures = 0
        while True:
            made = self.connections
            try:
                await self._session()
            except (OSError, TimeoutError, WebSocketException) as error:
                failures = 0 if self.connections > made else failures + 1
                if failures <= 1:
                    _log.warning(
                        "no connection to the server at %s: %s", self._settings.listen_url, error
                    )
            finally:
                if self.connections > made:
                    self._listener.left(WEBSOCKET, "the connection ended")
            longest = self._retry_initial_s * 2 ** min(failures, 16)
            await asyncio.sleep(self._uniform(0.0, min(longest, self._retry_max_s)))

    async def _session(self) -> None:
        async with connect(
            self._settings.listen_url,
            additional_headers=bearer(self._settings),
            compression=None,
            max_size=self._settings.max_frame_bytes,
            open_timeout=OPEN_S,
            ping_interval=None,
            close_timeout=1,
            proxy=None,
        ) as connection:
            self.connections += 1
            _log.info("connected to the server at %s", self._settings.listen_url)
            self._listener.joined(WEBSOCKET, None)
            pinging = asyncio.create_task(self._ping(connection), name="legacy-ping")
            try:
                async for frame in connection:
                    await self._take(frame)
                    await self._listener.room()
            finally:
                pinging.cancel()
                await asyncio.gather(pinging, return_exceptions=True)

    async def _ping(self, connection: ClientConnection) -> None:
        with suppress(ConnectionClosed):
            while True:
                try:
                    async with asyncio.timeout(self._deaf_s + UNKNOWN_S):
                        await (await connection.ping())
                except TimeoutError:
                    _log.warning("no pong from the server at %s", self._settings.listen_url)
                    await connection.close()
                    return
                self._listener.heads(WEBSOCKET, (), None)
                await asyncio.sleep(PING_S)

    async def _take(self, frame: str | bytes) -> None:
        events: list[Event] = []
        for received in self._decoded(frame):
            try:
                event = await self._recognised(received)
            except InvalidEvent as error:
                self._unknown(f"a frame can not be read: {error}")
                continue
            if event is None:
                self._unknown(f"a frame is of no event in the journal: {received!r:.200}")
            else:
                events.append(event)
        if events:
            self._listener.events(WEBSOCKET, events)

    def _decoded(self, frame: str | bytes) -> Sequence[Received]:
        try:
            return self._codec.decode(frame)
        except InvalidEvent as error:
            self._unknown(f"a frame can not be read: {error}")
        except Exception:  # noqa: BLE001 - another's code: one frame must not end the tap
            _log.exception("the codec broke on a frame")
            self.unknown += 1
        return ()

    async def _recognised(self, received: Received) -> Event | None:
        event = self._recogniser.recognise(received)
        if event is not None or not self._recogniser.needs_journal:
            return event
        loop = asyncio.get_running_loop()
        until = loop.time() + self._patience_s
        while True:
            await self._learn()
            event = self._recogniser.recognise(received)
            if event is not None:
                self._patience_s = UNKNOWN_S
                return event
            if loop.time() >= until:
                # A stretch of foreign frames must not cost this long each.
                self._patience_s = PING_S / 20
                return None
            await asyncio.sleep(PING_S / 20)

    async def _learn(self) -> None:
        try:
            events = await asyncio.to_thread(self._journal.new)
        except JournalError as error:
            _log.warning("no positions for now: %s", error)
            return
        for event in events:
            try:
                self._recogniser.learn(event)
            except InvalidEvent as error:
                _log.warning("%s has no frame: %s", event.position, error)

    def _unknown(self, what: str) -> None:
        self.unknown += 1
        if self.unknown <= LOGGED:
            _log.warning("%s", what)
