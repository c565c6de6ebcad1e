"""The publisher's connection to an application's own WebSocket server, in its own format."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from crossfade.core.codec import Codec
from crossfade.core.event import Event
from crossfade.errors import Closed, InvalidEvent, StoreRejected, StoreUnreachable
from crossfade.settings import LegacySettings

__all__ = ["LegacySender", "bearer"]

_log = logging.getLogger("crossfade.legacy")

OPEN_S = 5.0
"""Longest wait for a connection."""


class LegacySender:
    """An async context manager; ``send`` is a ``ports.LegacySend``. It connects when there is
    something to send, and again after each failure: the relay's breaker and pauses decide when.

    Such a server acknowledges nothing. What counts as delivered is what it has read: frames
    and pings arrive in order, so its pong to a ping behind the last frame is the proof
    (RFC 6455 section 5.5.2).
    """

    def __init__(self, settings: LegacySettings, codec: Codec) -> None:
        self._settings = settings
        self._codec = codec
        self._connection: ClientConnection | None = None
        self._open = False

    async def __aenter__(self) -> Self:
        self._open = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open = False
        await self._drop()

    async def send(self, events: Sequence[Event]) -> None:
        """Send one frame an event; returns once the server has read them all.

        Raises:
            StoreUnreachable: no connection, or it broke before the pong: send them again.
            StoreRejected: the codec has no frame for an event.
            Closed: it is not open.
        """
        if not self._open:
            raise Closed("the legacy sender is closed")
        try:
            frames = [self._codec.encode(event) for event in events]
        except InvalidEvent as error:
            raise StoreRejected(f"codec: {error}") from error
        try:
            connection = await self._connected()
            for frame in frames:
                await connection.send(frame)
            await (await connection.ping())
        except (OSError, TimeoutError, WebSocketException) as error:
            await self._drop()
            raise StoreUnreachable(
                f"the server at {self._settings.publish_url}: {_reason(error)}"
            ) from error
        except BaseException:
            # Cut off half-way, by the relay's time-out: what the pong would prove is not known.
            await self._drop()
            raise

    async def _connected(self) -> ClientConnection:
        if self._connection is None:
            self._connection = await connect(
                self._settings.publish_url,
                additional_headers=bearer(self._settings),
                compression=None,
                open_timeout=OPEN_S,
                ping_interval=None,
                close_timeout=1,
                proxy=None,
            )
            _log.info("connected to the server at %s", self._settings.publish_url)
        return self._connection

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(OSError, WebSocketException, asyncio.CancelledError):
                await connection.close()


def bearer(settings: LegacySettings) -> dict[str, str]:
    """The headers that a connection to the application's server gets."""
    token = settings.token.get_secret_value()
    return {"Authorization": f"Bearer {token}"} if token else {}


def _reason(error: Exception) -> str:
    if isinstance(error, ConnectionClosed) and error.rcvd is not None:
        return f"closed with {error.rcvd.code} {error.rcvd.reason}".rstrip()
    return f"{type(error).__name__}: {error}"
