"""A reader's connection to the legacy hub (docs/protocol.md section 2).

It connects for as long as it is open, with full jitter between attempts, resumes by position,
follows changes of what is wanted without reconnecting, and asks the hub for fills.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from crossfade.core.event import Event, Stream, from_wire
from crossfade.core.frames import decode_events, decode_frame, decode_heads, encode_frame
from crossfade.core.route import WEBSOCKET
from crossfade.core.switch import Coverage
from crossfade.errors import InvalidEvent, StoreUnreachable
from crossfade.ports import FillPage, Listener
from crossfade.settings import WebSocketSettings

__all__ = ["WebSocketTransport", "readable_events"]

_log = logging.getLogger("crossfade.websocket")

OPEN_S = 5.0
"""Longest wait for the connection and for the hub's welcome."""
FILL_S = 8.0
"""Longest wait for a fill; the hub itself waits 5 s for the publisher's journal."""

_CLOSED = "closed"


class _Deaf(Exception):
    """Nothing came for too long."""


class WebSocketTransport:
    """An async context manager; also the ``ports.FillSource`` named ``hub``.

    Args:
        listener: told everything (see ``ports.Listener``).
        role: ``subscriber`` or ``tap``.
        instance: this reader's name, for the hub's log.
        positions: asked at every subscription for what is needed next of each stream.
        deaf_s: without a frame for so long (heads come every second) the connection is
            given up for a new one.
        retry_initial_s, retry_max_s: pauses between attempts, with full jitter.
    """

    name = "hub"

    def __init__(
        self,
        settings: WebSocketSettings,
        listener: Listener,
        *,
        role: str,
        instance: str,
        positions: Callable[[], Mapping[Stream, int]],
        deaf_s: float = 3.0,
        retry_initial_s: float = 0.2,
        retry_max_s: float = 15.0,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._settings = settings
        self._listener = listener
        self._role = role
        self._instance = instance
        self._positions = positions
        self._deaf_s = deaf_s
        self._retry_initial_s = retry_initial_s
        self._retry_max_s = retry_max_s
        self._uniform = uniform
        self._wanted: Coverage | None = {}
        self._changed = asyncio.Event()
        self._connection: ClientConnection | None = None
        self._coverage: Coverage | None = {}
        self._subscriptions: dict[int, Coverage | None] = {}
        self._requests = 0
        self._fills: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._why = "not connected yet"
        self._task: asyncio.Task[None] | None = None
        self._heard = False
        self.connections = 0
        """How many connections the hub has welcomed."""

    @property
    def connected(self) -> bool:
        """Whether the hub has said welcome and the connection stands."""
        return self._connection is not None

    def want(self, partitions: Coverage | None) -> None:
        """Subscribe to these topics and partitions (None: everything), now or once connected."""
        self._wanted = None if partitions is None else dict(partitions)
        self._changed.set()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="websocket-transport")
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

    async def fill(self, stream: Stream, first: int, last: int) -> FillPage:
        """Ask the hub for a page of a stream, from its history or the publisher's journal.

        Raises:
            StoreUnreachable: not connected, or no answer within ``FILL_S``.
        """
        connection = self._connection
        if connection is None:
            raise StoreUnreachable(f"the hub at {self._settings.url}: {self._why}")
        self._requests += 1
        request = self._requests
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._fills[request] = answer
        frame = encode_frame("fill", request=request, **stream._asdict(), first=first, last=last)
        try:
            async with asyncio.timeout(FILL_S):
                await connection.send(frame, text=True)
                page = await answer
        except TimeoutError:
            raise StoreUnreachable(
                f"the hub at {self._settings.url}: no fill within {FILL_S:g} s"
            ) from None
        except ConnectionClosed as error:
            raise StoreUnreachable(f"the hub at {self._settings.url}: {_reason(error)}") from error
        finally:
            del self._fills[request]
        floor, head = page.get("floor"), page.get("head")
        try:
            return FillPage(
                readable_events(page, "fill"),
                None if floor is None else int(floor),
                None if head is None else int(head),
            )
        except (TypeError, ValueError) as error:
            raise StoreUnreachable(f"the hub at {self._settings.url}: fill: {error}") from error

    # -- the task ------------------------------------------------------------------------

    async def _run(self) -> None:
        failures = 0
        try:
            while True:
                self._heard = False
                try:
                    await self._session()
                except (OSError, TimeoutError, WebSocketException, InvalidEvent, _Deaf) as error:
                    # A hub that says welcome and never a head is no better than none.
                    failures = 0 if self._heard else failures + 1
                    self._lost(_reason(error), failures)
                longest = self._retry_initial_s * 2 ** min(failures, 16)
                await asyncio.sleep(self._uniform(0.0, min(longest, self._retry_max_s)))
        finally:
            self._lost(_CLOSED, 0)

    async def _session(self) -> None:
        async with connect(
            self._settings.url,
            compression=None,
            max_size=2 * self._settings.max_frame_bytes,
            open_timeout=OPEN_S,
            ping_interval=10,
            ping_timeout=10,
            close_timeout=1,
            proxy=None,
        ) as connection:
            async with asyncio.timeout(OPEN_S):
                await self._greet(connection)
            self._connection = connection
            self.connections += 1
            _log.info("connected to the hub at %s", self._settings.url)
            self._changed.set()
            following = asyncio.create_task(self._follow(connection), name="websocket-subscribe")
            try:
                await self._read(connection)
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)

    async def _greet(self, connection: ClientConnection) -> None:
        own = self._settings
        token = own.subscriber_token.get_secret_value() or own.token.get_secret_value()
        hello = encode_frame("hello", role=self._role, instance=self._instance, token=token)
        await connection.send(hello, text=True)
        frame = decode_frame(await connection.recv(decode=False))
        if frame["kind"] == "error":
            raise InvalidEvent(f"refused: {frame.get('code')} {frame.get('message')}")
        if frame["kind"] != "welcome":
            raise InvalidEvent(f"the hub said {frame['kind'][:40]!r} before welcome")
        self._listener.met(WEBSOCKET, decode_heads(frame))

    async def _follow(self, connection: ClientConnection) -> None:
        """Subscribe anew whenever something else is wanted."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            self._requests += 1
            wanted = self._wanted
            self._subscriptions[self._requests] = wanted
            rows = [[*stream, following] for stream, following in self._positions().items()]
            frame = encode_frame(
                "subscribe",
                request=self._requests,
                partitions=None if wanted is None else _listed(wanted),
                positions=rows,
            )
            try:
                await connection.send(frame, text=True)
            except ConnectionClosed:
                return  # the reader says why

    async def _read(self, connection: ClientConnection) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._listener.room()
            try:
                async with asyncio.timeout_at(loop.time() + self._deaf_s):
                    raw = await connection.recv(decode=False)
            except TimeoutError:
                raise _Deaf(f"no frame for {self._deaf_s:g} s") from None
            self._take(decode_frame(raw))

    def _take(self, frame: dict[str, Any]) -> None:
        kind = frame["kind"]
        if kind == "events":
            self._listener.events(WEBSOCKET, readable_events(frame, "websocket"))
        elif kind == "heads":
            self._heard = True
            self._listener.heads(WEBSOCKET, decode_heads(frame), self._coverage)
        elif kind == "filled":
            answer = self._fills.get(frame.get("request", 0))
            if answer is not None and not answer.done():
                answer.set_result(frame)
        elif kind == "subscribed":
            self._subscribed(frame)
        elif kind == "error":
            _log.error("the hub says: %s %s", frame.get("code"), frame.get("message"))

    def _subscribed(self, frame: dict[str, Any]) -> None:
        request = frame.get("request")
        if not isinstance(request, int) or request not in self._subscriptions:
            return
        # Answers come in order, so what is older than this one was replaced.
        self._coverage = self._subscriptions[request]
        self._subscriptions = {
            number: wanted for number, wanted in self._subscriptions.items() if number > request
        }
        self._listener.met(WEBSOCKET, decode_heads(frame))
        self._listener.joined(WEBSOCKET, self._coverage)

    def _lost(self, why: str, failures: int) -> None:
        was_connected = self._connection is not None
        self._connection = None
        self._coverage = {}
        self._subscriptions.clear()
        self._why = why
        for answer in self._fills.values():
            if not answer.done():
                answer.set_exception(StoreUnreachable(f"the hub at {self._settings.url}: {why}"))
        if was_connected:
            if why != _CLOSED:
                _log.warning("lost the hub at %s: %s", self._settings.url, why)
            self._listener.left(WEBSOCKET, why)
        if failures:
            if failures == 1:
                _log.warning("no connection to the hub at %s: %s", self._settings.url, why)
            self._listener.failed(WEBSOCKET, why)


def readable_events(frame: Mapping[str, Any], where: str) -> list[Event]:
    """The events of a frame; one that can not be read is logged and left out (a hole mends it)."""
    try:
        return decode_events(frame)
    except InvalidEvent:
        found: list[Event] = []
        for value in frame.get("events") or ():
            try:
                found.append(from_wire(value))
            except InvalidEvent as error:
                _log.error("%s: an event can not be read: %s", where, error)
        return found


def _listed(coverage: Coverage) -> dict[str, list[int] | None]:
    return {
        topic: None if numbers is None else sorted(numbers) for topic, numbers in coverage.items()
    }


def _reason(error: Exception) -> str:
    if isinstance(error, ConnectionClosed) and error.rcvd is not None:
        return f"closed with {error.rcvd.code} {error.rcvd.reason}".rstrip()
    if isinstance(error, TimeoutError) and not str(error):
        return f"no answer in {OPEN_S:g} s"
    return str(error) if isinstance(error, _Deaf) else f"{type(error).__name__}: {error}"
