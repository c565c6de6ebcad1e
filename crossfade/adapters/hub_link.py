"""The publisher's connection to a legacy hub that speaks the protocol (docs/protocol.md).

``HubLink.send`` is a ``ports.LegacySend``. Beside it the link answers the hub's fills from the
journal, and tells the hub on every connection what was handed over before, so that a hub that
was restarted knows what its subscribers may miss, and later where the journal's floors have risen.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from crossfade.core.event import Event, Head, Stream
from crossfade.core.frames import (
    decode_frame,
    decode_stream,
    encode_event,
    encode_frame,
    json_array,
    pack,
)
from crossfade.errors import InvalidEvent, JournalError, StoreRejected, StoreUnreachable
from crossfade.ports import Journal
from crossfade.settings import WebSocketSettings

__all__ = ["HubLink"]

_log = logging.getLogger("crossfade.hub_link")

OPEN_S = 5.0
"""Longest wait for the connection and for the hub's welcome."""
FILLS_WAITING = 256
"""Fills that may wait for the journal; above it the hub gets no answer and asks again."""
HEADS_PER_FRAME = 5_000
_ENVELOPE_BYTES = 1_000


class HubLink:
    """An async context manager; connects in the background and for as long as it is open.

    Args:
        sink: whose cursors say what was handed over already.
        on_connected: called after each successful connection.
        retry_initial_s, retry_max_s: pauses between attempts, with full jitter.
    """

    def __init__(
        self,
        settings: WebSocketSettings,
        journal: Journal,
        *,
        instance: str,
        url: str | None = None,
        sink: str = "websocket",
        on_connected: Callable[[], None] = lambda: None,
        retry_initial_s: float = 0.1,
        retry_max_s: float = 3.0,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._settings = settings
        self._url = url or settings.url
        self._journal = journal
        self._instance = instance
        self._sink = sink
        self._on_connected = on_connected
        self._retry_initial_s = retry_initial_s
        self._retry_max_s = retry_max_s
        self._uniform = uniform
        self._connection: ClientConnection | None = None
        self._announced: dict[Stream, int] = {}
        self._pending: dict[int, asyncio.Future[None]] = {}
        self._requests = 0
        self._fills: asyncio.Queue[tuple[ClientConnection, dict[str, Any]]] = asyncio.Queue(
            FILLS_WAITING
        )
        self._why = "not connected yet"
        self._task: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        """Whether the hub has said welcome and the connection stands."""
        return self._connection is not None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="hub-link")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection and end the task."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def send(self, events: Sequence[Event]) -> None:
        """Publish ``events`` and return once the hub has queued them for every subscriber.

        Raises:
            StoreUnreachable: no connection, or it broke before the answer: send them again.
            StoreRejected: an event does not fit into a frame.
        """
        limit = self._settings.max_frame_bytes - _ENVELOPE_BYTES
        encoded = [encode_event(event) for event in events]
        longest = max(map(len, encoded), default=0)
        if longest > limit:
            raise StoreRejected(
                f"an event of {longest} bytes does not fit the hub's frames "
                f"(websocket.max_frame_bytes is {self._settings.max_frame_bytes})"
            )
        frames = []
        done = 0
        for run in pack(encoded, limit):
            rows = self._new_streams(events[done : done + len(run)])
            done += len(run)
            fields: dict[str, Any] = {"events": json_array(run)}
            if rows:
                fields["heads"] = rows
            frames.append(fields)
        await self._publish(frames)

    def _new_streams(self, events: Sequence[Event]) -> list[list[Any]]:
        """Floors of streams that this connection has not spoken of, before their first event."""
        rows = []
        for event in events:
            # By number, as in the sequencer: source, epoch, topic, partition.
            if (event[1], event[8], event[6], event[7]) in self._announced:
                continue
            stream = event.stream
            stream_id = self._journal.stream_id(stream)
            if stream_id is not None:
                floor = self._announced[stream] = self._journal.head(stream_id).floor
                rows.append([*stream, event.sequence - 1, floor])
        return rows

    async def _publish(self, frames: Sequence[Mapping[str, Any]]) -> None:
        """Send frames one behind the other, then wait for all answers."""
        connection = self._connection
        if connection is None:
            raise StoreUnreachable(f"the hub at {self._url}: {self._why}")
        loop = asyncio.get_running_loop()
        answers: dict[int, asyncio.Future[None]] = {}
        try:
            for fields in frames:
                self._requests += 1
                answers[self._requests] = self._pending[self._requests] = loop.create_future()
                frame = encode_frame("publish", request=self._requests, **fields)
                await connection.send(frame, text=True)
            await asyncio.gather(*answers.values())
        except ConnectionClosed as error:
            raise StoreUnreachable(f"the hub at {self._url}: {_reason(error)}") from error
        finally:
            for request, answer in answers.items():
                self._pending.pop(request, None)
                # Nobody waits for it any more, so its fault is looked at here.
                if not answer.cancel() and not answer.cancelled():
                    answer.exception()

    # -- the task ------------------------------------------------------------------------

    async def _run(self) -> None:
        failures = 0
        async with asyncio.TaskGroup() as group:
            beside = (
                group.create_task(self._answer_fills(), name="hub-link-fills"),
                group.create_task(self._tell_floors(), name="hub-link-floors"),
            )
            try:
                while True:
                    try:
                        await self._session()
                        failures = 0
                    except (OSError, TimeoutError, WebSocketException, InvalidEvent) as error:
                        was = self._connection is not None
                        failures = 0 if was else failures + 1
                        self._lost(_reason(error))
                    longest = self._retry_initial_s * 2 ** min(failures, 16)
                    await asyncio.sleep(self._uniform(0.0, min(longest, self._retry_max_s)))
            finally:
                self._connection = None  # on purpose: nothing to warn of
                self._lost("the link was closed")
                for task in beside:
                    task.cancel()

    async def _session(self) -> None:
        async with connect(
            self._url,
            compression=None,
            max_size=2 * self._settings.max_frame_bytes,
            open_timeout=OPEN_S,
            ping_interval=5,
            ping_timeout=5,
            close_timeout=1,
            proxy=None,
        ) as connection:
            async with asyncio.timeout(OPEN_S):
                await self._greet(connection)
            self._connection = connection
            self._why = "connected"
            _log.info("connected to the hub at %s", self._url)
            self._on_connected()
            while True:
                self._handle(connection, decode_frame(await connection.recv(decode=False)))

    async def _greet(self, connection: ClientConnection) -> None:
        token = self._settings.token.get_secret_value()
        hello = encode_frame("hello", role="publisher", instance=self._instance, token=token)
        await connection.send(hello, text=True)
        await self._expect(connection, "welcome")
        heads = self._journal.heads()
        rows = [self._handed_over(head) for head in heads]
        self._announced = {head.stream: head.floor for head in heads}
        for start in range(0, len(rows), HEADS_PER_FRAME):
            part = rows[start : start + HEADS_PER_FRAME]
            frame = encode_frame("publish", request=0, events=[], heads=part)
            await connection.send(frame, text=True)
            await self._expect(connection, "published")

    def _handed_over(self, head: Head) -> list[Any]:
        stream_id = self._journal.stream_id(head.stream)
        cursor = 1 if stream_id is None else self._journal.outbox(self._sink).cursor(stream_id)
        return [*head.stream, cursor - 1, head.floor]

    async def _expect(self, connection: ClientConnection, kind: str) -> None:
        while True:
            frame = decode_frame(await connection.recv(decode=False))
            if frame["kind"] == kind:
                return
            self._handle(connection, frame)

    def _handle(self, connection: ClientConnection, frame: dict[str, Any]) -> None:
        if frame["kind"] == "published":
            answer = self._pending.get(frame.get("request", 0))
            if answer is not None and not answer.done():
                answer.set_result(None)
        elif frame["kind"] == "fill":
            try:
                self._fills.put_nowait((connection, frame))
            except asyncio.QueueFull:
                _log.warning("%d fills wait already: one is not answered", FILLS_WAITING)
        elif frame["kind"] == "error":
            _log.error("the hub says: %s %s", frame.get("code"), frame.get("message"))

    async def _tell_floors(self) -> None:
        """Pruning raises floors: a hub that knows them gives up at once what nobody holds."""
        while True:
            await asyncio.sleep(self._settings.heads_s)
            risen = [
                head
                for head in self._journal.heads()
                if self._announced.get(head.stream, head.floor) < head.floor
            ]
            for start in range(0, len(risen), HEADS_PER_FRAME):
                part = risen[start : start + HEADS_PER_FRAME]
                try:
                    rows = [self._handed_over(head) for head in part]
                    await self._publish([{"events": [], "heads": rows}])
                except StoreUnreachable:
                    break  # the next connection's greeting tells all floors
                self._announced.update((head.stream, head.floor) for head in part)

    async def _answer_fills(self) -> None:
        while True:
            connection, frame = await self._fills.get()
            try:
                await connection.send(await self._filled(frame), text=True)
            except (JournalError, InvalidEvent) as error:
                _log.error("a fill was not answered: %s", error)
            except ConnectionClosed:
                continue

    async def _filled(self, frame: dict[str, Any]) -> bytes:
        try:
            first, last = int(frame["first"]), int(frame["last"])
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidEvent(f"fill: first and last: {error}") from error
        page = await self._journal.fill(decode_stream(frame), first, last)
        encoded = [encode_event(event) for event in page.events]
        runs = pack(encoded, self._settings.max_frame_bytes - _ENVELOPE_BYTES)
        return encode_frame(
            "filled",
            request=frame.get("request"),
            events=json_array(runs[0] if runs else ()),
            floor=page.floor,
            head=page.head,
        )

    def _lost(self, why: str) -> None:
        if self._connection is not None:
            _log.warning("lost the hub at %s: %s", self._url, why)
        self._connection = None
        self._why = why
        for answer in self._pending.values():
            if not answer.done():
                answer.set_exception(StoreUnreachable(f"the hub at {self._url}: {why}"))


def _reason(error: Exception) -> str:
    if isinstance(error, ConnectionClosed) and error.rcvd is not None:
        return f"closed with {error.rcvd.code} {error.rcvd.reason}".rstrip()
    if isinstance(error, TimeoutError) and not str(error):
        return f"no answer in {OPEN_S:g} s"
    return f"{type(error).__name__}: {error}"
