"""The reference legacy hub: a WebSocket server with a bounded history (docs/protocol.md).

An application keeps its own server; this one serves the embedded stack, the tests, and as
the statement of what a legacy side must do. ``local.hub_process`` runs it.
"""

import asyncio
import contextlib
import logging
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit
from uuid import uuid4

import orjson
from websockets.asyncio.server import Server, ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed

from crossfade.adapters.clock import SystemClock
from crossfade.core.event import Stream
from crossfade.core.frames import (
    decode_frame,
    decode_heads,
    decode_stream,
    encode_frame,
    events_frame,
    pack,
)
from crossfade.errors import InvalidEvent, PortTaken, StoreUnavailable
from crossfade.local.hub_access import Access, Refusal
from crossfade.local.hub_client import Client
from crossfade.local.hub_frames import (
    Interest,
    parse_interest,
    parse_place,
    parse_positions,
    parse_range,
)
from crossfade.local.hub_history import History
from crossfade.local.hub_publisher import PublisherLink
from crossfade.ports import Clock
from crossfade.settings import WebSocketSettings

__all__ = ["Hub", "address_of"]

_log = logging.getLogger("crossfade.hub")

HELLO_S = 5.0
FILL_S = 5.0
FILLS_AT_ONCE = 8
"""Fills of one client that may wait for the journal; above it the client is not read."""
MAX_CONNECTIONS = 10_000
"""Above it a connection is closed with 1013 (try again later)."""
_ENVELOPE_BYTES = 1_000


class Hub:
    """The hub; use it as an async context manager.

    Binds the host and port of ``settings.url`` (port 0 takes a free one; ``url`` tells it).

    Raises:
        SettingsError: tokens that do not fit together.
        PortTaken: on entry, when the port is in use.
    """

    def __init__(self, settings: WebSocketSettings, clock: Clock | None = None) -> None:
        self.hub_id = uuid4().hex
        self._settings = settings
        self._clock = clock or SystemClock()
        self._access = Access(settings)
        self._history = History(settings.history_events, settings.history_bytes)
        self._clients: dict[Interest, set[Client]] = {}
        self._links: set[PublisherLink] = set()
        self._publishers: dict[str, PublisherLink] = {}
        self._server: Server | None = None
        self._beat: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where clients connect."""
        if self._server is None:
            return self._settings.url
        host, port = next(iter(self._server.sockets)).getsockname()[:2]
        return address_of(host, port)

    @property
    def clients(self) -> int:
        """How many subscribers and taps are subscribed and keep up."""
        return sum(client.keeps_up for group in self._clients.values() for client in group)

    @property
    def publishers(self) -> int:
        """How many publishers are connected."""
        return len(self._links)

    def figures(self) -> dict[str, float]:
        """What it holds: connections, and the bounded history."""
        return {
            "clients": float(self.clients),
            "publishers": float(self.publishers),
            "history_events": float(self._history.events),
        }

    async def __aenter__(self) -> Self:
        place = urlsplit(self._settings.url)
        try:
            self._server = await serve(
                self._serve,
                place.hostname or "127.0.0.1",
                8765 if place.port is None else place.port,
                compression=None,
                # Twice the limit, so that a frame a little too large is answered with 4413;
                # a grossly larger one is never read and ends with the library's 1009.
                max_size=2 * self._settings.max_frame_bytes,
                open_timeout=HELLO_S,
                ping_interval=10,
                ping_timeout=10,
                close_timeout=3,
            )
        except OSError as error:
            raise PortTaken(f"hub: cannot listen on {self._settings.url}: {error}") from error
        self._beat = asyncio.create_task(self._send_heads(), name="hub-heads")
        _log.info("hub %s listens on %s", self.hub_id, self.url)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._server is None or self._beat is None:
            return
        self._beat.cancel()
        await asyncio.gather(self._beat, return_exceptions=True)
        self._server.close(close_connections=False)
        open_ones = list(self._server.connections)
        await asyncio.gather(*(self._end(one, 1012, "restart") for one in open_ones))
        self._server.close()
        await self._server.wait_closed()

    # -- one connection ----------------------------------------------------------------

    async def _serve(self, connection: ServerConnection) -> None:
        try:
            self._admit(connection)
            role = await self._hello(connection)
            heads = [
                [*head.stream, head.sequence, head.floor]
                for head in self._history.heads(lambda _: True)
            ]
            await connection.send(encode_frame("welcome", hub=self.hub_id, heads=heads), text=True)
            if role == "publisher":
                await self._serve_publisher(connection)
            else:
                await self._serve_client(connection)
        except ConnectionClosed:
            return
        except InvalidEvent as error:
            await self._refuse(connection, Refusal(4400, str(error)))
        except Refusal as refusal:
            await self._refuse(connection, refusal)

    def _admit(self, connection: ServerConnection) -> None:
        if self._server is not None and len(self._server.connections) > MAX_CONNECTIONS:
            raise Refusal(1013, f"the hub serves {MAX_CONNECTIONS} connections already")
        self._access.check_origin(connection)

    async def _hello(self, connection: ServerConnection) -> str:
        try:
            async with asyncio.timeout(HELLO_S):
                frame = self._decode(await connection.recv(decode=False))
        except TimeoutError:
            raise Refusal(4408, f"no hello within {HELLO_S:g} s") from None
        if frame["kind"] != "hello":
            raise Refusal(4400, f"the first frame must be hello, not {frame['kind'][:40]!r}")
        return self._access.role(str(frame.get("token", "")), frame.get("role"))

    def _decode(self, raw: bytes) -> dict[str, Any]:
        limit = self._settings.max_frame_bytes
        if len(raw) > limit:
            raise Refusal(4413, f"frame of {len(raw)} bytes, at most {limit} are allowed")
        return decode_frame(raw)

    async def _refuse(self, connection: ServerConnection, refusal: Refusal) -> None:
        _log.warning("%s: %d %s", connection.remote_address, refusal.code, refusal.message)
        with contextlib.suppress(ConnectionClosed, TimeoutError):
            async with asyncio.timeout(HELLO_S):
                await connection.send(
                    encode_frame("error", code=refusal.code, message=refusal.message), text=True
                )
        await self._end(connection, refusal.code, refusal.message)

    async def _end(self, connection: ServerConnection, code: int, reason: str) -> None:
        # A reason may have at most 123 bytes (RFC 6455 section 5.5).
        short = reason.encode()[:120].decode(errors="ignore")
        try:
            async with asyncio.timeout(HELLO_S):
                await connection.close(code, short)
        except TimeoutError:
            connection.transport.abort()

    # -- publishers --------------------------------------------------------------------

    async def _serve_publisher(self, connection: ServerConnection) -> None:
        link = PublisherLink(connection, FILL_S)
        self._links.add(link)
        try:
            while True:
                frame = self._decode(await connection.recv(decode=False))
                if frame["kind"] == "publish":
                    self._publish(link, frame)
                    answer = encode_frame("published", request=frame.get("request"))
                    await connection.send(answer, text=True)
                elif frame["kind"] == "filled":
                    link.answered(frame)
                else:
                    raise Refusal(4400, f"a publisher may not send {frame['kind'][:40]!r}")
        finally:
            self._links.discard(link)
            link.lost()
            for source in link.sources:
                if self._publishers.get(source) is link:
                    del self._publishers[source]
                    for other in self._links:
                        if source in other.sources:
                            self._publishers[source] = other

    def _publish(self, link: PublisherLink, frame: dict[str, Any]) -> None:
        events = frame.get("events")
        if not isinstance(events, list):
            raise InvalidEvent("publish: events must be a list")
        if frame.get("heads"):
            for head in decode_heads(frame):
                self._own(link, head.stream.source)
                self._history.announce(head)
        batch: list[tuple[Stream, bytes]] = []
        for value in events:
            stream, sequence = parse_place(value)
            self._own(link, stream.source)
            encoded = orjson.dumps(value)
            if self._history.append(stream, sequence, encoded):
                batch.append((stream, encoded))
        for clients in self._clients.values():
            self._offer(clients, batch)

    def _own(self, link: PublisherLink, source: str) -> None:
        # The newest link of a source is the one that answers its fills: an older one is
        # half-open, or its process was replaced.
        if source not in link.sources:
            link.sources.add(source)
            self._publishers[source] = link

    def _offer(self, clients: set[Client], batch: list[tuple[Stream, bytes]]) -> None:
        live = [client for client in clients if client.live]
        if not live:
            return
        wants = live[0].wants
        encoded = [item for stream, item in batch if wants(stream)]
        for run in pack(encoded, self._settings.max_frame_bytes):
            frame = events_frame(run).decode()
            broadcast((client.connection for client in live if client.live), frame)
            for client in live:
                client.check_buffer()

    # -- subscribers and taps ----------------------------------------------------------

    async def _serve_client(self, connection: ServerConnection) -> None:
        client = Client(
            connection,
            self._history,
            self._clock,
            frame_bytes=self._settings.max_frame_bytes,
            buffer_bytes=self._settings.client_buffer_bytes,
        )
        fills = asyncio.Semaphore(FILLS_AT_ONCE)
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    try:
                        frame = self._decode(await connection.recv(decode=False))
                    except ConnectionClosed:
                        break
                    if frame["kind"] == "subscribe":
                        self._subscribe(client, frame)
                    elif frame["kind"] == "fill":
                        await fills.acquire()
                        group.create_task(self._fill(client, frame, fills))
                    else:
                        raise Refusal(4400, f"a client may not send {frame['kind'][:40]!r}")
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        finally:
            self._remove(client)
            await client.aclose()

    def _subscribe(self, client: Client, frame: dict[str, Any]) -> None:
        interest = parse_interest(frame.get("partitions"))
        positions = parse_positions(frame.get("positions"))
        self._remove(client)
        self._clients.setdefault(interest, set()).add(client)
        client.subscribe(frame.get("request"), interest, positions)

    def _remove(self, client: Client) -> None:
        group = self._clients.get(client.interest)
        if group is not None:
            group.discard(client)
            if not group:
                del self._clients[client.interest]

    async def _fill(self, client: Client, frame: dict[str, Any], fills: asyncio.Semaphore) -> None:
        try:
            stream = decode_stream(frame)
            first, last = parse_range(frame)
            page = await self._page(stream, first, last)
            client.send(encode_frame("filled", request=frame.get("request"), **page))
        finally:
            fills.release()

    async def _page(self, stream: Stream, first: int, last: int) -> dict[str, Any]:
        held = self._history.get(stream)
        # Nobody has said where the journal begins: then nothing is known to be gone.
        floor = None if held is None or held.publisher_floor is None else held.floor
        head = None if held is None else held.head
        if held is not None and first >= held.first:
            room = self._settings.max_frame_bytes - _ENVELOPE_BYTES
            items = self._history.read(held, first, last, room)
            return {
                "events": [orjson.Fragment(item) for item in items],
                "floor": floor,
                "head": head,
            }
        link = self._publishers.get(stream.source)
        if link is not None:
            try:
                answer = await link.fill(stream, first, last)
            except StoreUnavailable as error:
                _log.warning("fill of %s from %d: %s", stream, first, error)
            else:
                return {
                    "events": answer.get("events") or [],
                    "floor": answer.get("floor"),
                    "head": answer.get("head"),
                }
        return {"events": [], "floor": floor, "head": head}

    async def _send_heads(self) -> None:
        while True:
            await asyncio.sleep(self._settings.heads_s)
            for clients in list(self._clients.values()):
                for client in list(clients):
                    client.send_heads()


def address_of(host: str, port: int) -> str:
    """Where clients connect that is bound to ``host``, an address of IPv4 or IPv6."""
    return f"ws://[{host}]:{port}" if ":" in host else f"ws://{host}:{port}"
