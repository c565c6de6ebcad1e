"""A reader's connection to Supabase Realtime, over the official client.

The client stops for good after a longer outage, stays "joined" when its listen task has died,
and never comes back from a closed channel (realtime-py 2.34.1). So it gets no say here: one
attempt has one fresh client that may not reconnect, its callbacks only put into a queue, and
a supervisor that watches data, not states, makes the next attempt with full jitter.

A live frame may be at most 1 MiB: more is refused by the client's WebSocket library.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Self

from realtime import (
    AsyncRealtimeChannel,
    AsyncRealtimeClient,
    RealtimeSubscribeStates,
)
from websockets.exceptions import WebSocketException

from crossfade.adapters.realtime_client import dispose, dispose_channel, is_alive, receive_only
from crossfade.adapters.websocket import readable_events
from crossfade.core.frames import FRAME_VERSION, decode_heads
from crossfade.core.keys import is_opaque
from crossfade.core.route import REALTIME
from crossfade.errors import InvalidEvent
from crossfade.ports import Listener
from crossfade.settings import SupabaseSettings

__all__ = ["CHANNEL_PREFIX", "RealtimeTransport"]

_log = logging.getLogger("crossfade.realtime")
# The client reports every failed attempt by itself; without a handler of the application's
# that would go to standard error.
logging.getLogger("realtime").addHandler(logging.NullHandler())

CHANNEL_PREFIX = "crossfade:"
MAX_CHANNELS = 100
"""Realtime's own limit of a connection; it refuses the joins above."""
OPEN_S = 5.0
"""Longest wait for the connection."""
JOIN_S = 10
"""Longest wait for a join's answer; the server holds back a refusal for 5 s."""
QUEUE_FRAMES = 256
"""Frames that wait while the consumer is behind; above it they are dropped, and fills mend it."""
LOOK_S = 0.25
QUICK = 2
"""So many failures in a row before the pauses grow: whoever is served by Realtime is without
events until it is given up (``subscriber.connect_failures``), and that must not take a second."""
SILENT_FROM_THE_START = 10
"""So many times ``deaf_s`` without any head after joining, and the connection is given up."""
REFUSED_S = 5.0
REFUSED_MAX_S = 60.0

_CLOSED = "closed"
_Status = tuple[str, RealtimeSubscribeStates, Exception | None]


class _Ended(Exception):
    """This attempt is over."""


class RealtimeTransport:
    """An async context manager; connects while any topic is wanted.

    Args:
        listener: told everything (see ``ports.Listener``).
        deaf_s: without a head for so long, after the first, the connection is given up.
        retry_initial_s, retry_max_s: pauses between attempts, with full jitter.
        queue_frames: see ``QUEUE_FRAMES``.
    """

    def __init__(
        self,
        settings: SupabaseSettings,
        listener: Listener,
        *,
        deaf_s: float = 3.0,
        retry_initial_s: float = 0.2,
        retry_max_s: float = 15.0,
        queue_frames: int = QUEUE_FRAMES,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._url = settings.url.rstrip("/") + "/realtime/v1"
        token = (
            settings.access_token.get_secret_value()
            or settings.service_role_key.get_secret_value()
            or settings.anon_key.get_secret_value()
        )
        # For an opaque key the server takes the role of the connection's key, not of the join's.
        self._key = token if is_opaque(token) else settings.anon_key.get_secret_value() or token
        self._token = token
        self._listener = listener
        self._deaf_s = deaf_s
        self._retry_initial_s = retry_initial_s
        self._retry_max_s = retry_max_s
        self._queue_frames = queue_frames
        self._uniform = uniform
        self._wanted: frozenset[str] = frozenset()
        self._left: frozenset[str] = frozenset()
        self._wake = asyncio.Event()
        self._client: AsyncRealtimeClient | None = None
        self._channels: dict[str, AsyncRealtimeChannel] = {}
        self._joins: set[asyncio.Task[Any]] = set()
        self._joined: set[str] = set()
        self._refused: dict[str, tuple[int, float]] = {}
        self._frames: deque[tuple[str, Any]] = deque()
        self._statuses: deque[_Status] = deque()
        self._heard = False
        self._heads_at = 0.0
        self._task: asyncio.Task[None] | None = None
        self.connections = 0
        """How many connections had a channel joined."""
        self.dropped_frames = 0
        """Frames that found the queue full."""

    @property
    def connected(self) -> bool:
        """Whether any channel is joined."""
        return bool(self._joined)

    @property
    def joined(self) -> frozenset[str]:
        """The topics whose channels are joined."""
        return frozenset(self._joined)

    def want(self, topics: Iterable[str]) -> None:
        """Listen to the channels of these topics, and to no others; at most ``MAX_CHANNELS``.

        The rest is never joined (and so stays on WebSocket), which is logged once.
        """
        named = frozenset(topics)
        kept = [*sorted(named & self._wanted), *sorted(named - self._wanted)]
        left = frozenset(kept[MAX_CHANNELS:])
        if left - self._left:
            _log.error(
                "%d topics are not listened to by Realtime, since a connection holds %d channels",
                len(left),
                MAX_CHANNELS,
            )
        self._left = left
        self._wanted = frozenset(kept[:MAX_CHANNELS])
        self._wake.set()

    async def refresh(self, token: str) -> None:
        """Take a fresh access token: in band where channels are joined, else from the next join."""
        self._token = token
        if self._client is not None:
            await self._client.set_auth(token)

    def start(self) -> None:
        """Begin; what ``__aenter__`` does. ``__aexit__`` ends it."""
        self._task = asyncio.create_task(self._run(), name="realtime-transport")

    async def __aenter__(self) -> Self:
        self.start()
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

    # -- the supervisor ------------------------------------------------------------------------

    async def _run(self) -> None:
        failures = 0
        while True:
            while not self._wanted:
                self._wake.clear()
                await self._wake.wait()
            self._heard = False
            try:
                await self._attempt()
                failures = 0
                continue
            except _Ended as end:
                why = str(end)
            except (OSError, TimeoutError, WebSocketException) as error:
                why = self._reason(error)
            except Exception as error:  # noqa: BLE001 - the client raises bare Exceptions
                _log.debug("an attempt broke", exc_info=True)
                why = self._reason(error)
            failures = 0 if self._heard else failures + 1
            if failures:
                if failures == 1:
                    _log.warning("no connection to Realtime at %s: %s", self._url, why)
                self._listener.failed(REALTIME, why)
            longest = self._retry_initial_s * 2 ** min(max(0, failures - QUICK), 16)
            await asyncio.sleep(self._uniform(0.0, min(longest, self._retry_max_s)))

    async def _attempt(self) -> None:
        """One client, from its connection to its end; returns when nothing is wanted."""
        client = AsyncRealtimeClient(
            self._url, token=self._key, auto_reconnect=False, max_retries=1, timeout=JOIN_S
        )
        self._client = client
        self._frames.clear()
        self._statuses.clear()
        why = _CLOSED
        try:
            await client.set_auth(self._token)
            async with asyncio.timeout(OPEN_S):
                await client.connect()
            await self._listen(client)
        except _Ended as end:
            why = str(end)
            raise
        finally:
            self._client = None
            was_joined, self._joined = bool(self._joined), set()
            self._channels.clear()
            if was_joined:
                self._listener.left(REALTIME, why)
                if why != _CLOSED:
                    _log.warning("lost Realtime at %s: %s", self._url, why)
            joins = list(self._joins)
            for join in joins:
                join.cancel()
            await dispose(client)
            await asyncio.gather(*joins, return_exceptions=True)

    async def _listen(self, client: AsyncRealtimeClient) -> None:
        loop = asyncio.get_running_loop()
        self._heads_at = loop.time()
        while True:
            self._wake.clear()
            while self._statuses:
                self._take_status(*self._statuses.popleft())
            if not is_alive(client):
                raise _Ended("the connection was closed")
            self._check_heads(loop.time())
            await self._match(client)
            if not self._wanted:
                return
            while self._frames:
                started = loop.time()
                await self._listener.room()
                # Time for which nothing was read is no time without heads.
                self._heads_at += loop.time() - started
                self._take_frame(*self._frames.popleft())
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._wake.wait()

    def _check_heads(self, now: float) -> None:
        if not self._joined:
            self._heads_at = now
        patience_s = self._deaf_s * (1 if self._heard else SILENT_FROM_THE_START)
        if now - self._heads_at > patience_s and not self._frames:
            raise _Ended(f"no head for {now - self._heads_at:.1f} s")

    # -- channels --------------------------------------------------------------------------------

    async def _match(self, client: AsyncRealtimeClient) -> None:
        """Join what is wanted, leave what is not."""
        now = asyncio.get_running_loop().time()
        for topic in self._channels.keys() - self._wanted:
            channel = self._channels.pop(topic)
            self._joined.discard(topic)
            self._tell_joined()
            # Not by ``remove_channel``, which closes the client with its last channel.
            async with asyncio.timeout(OPEN_S):
                await channel.unsubscribe()
        for topic in self._wanted - self._channels.keys():
            if self._refused.get(topic, (0, 0.0))[1] <= now:
                self._join(client, topic)

    def _join(self, client: AsyncRealtimeClient, topic: str) -> None:
        channel = client.channel(CHANNEL_PREFIX + topic, receive_only())
        for kind in ("events", "heads"):
            channel.on_broadcast(kind, partial(self._on_broadcast, topic))
        self._channels[topic] = channel
        join = asyncio.create_task(
            channel.subscribe(partial(self._on_status, channel, topic)), name="realtime-join"
        )
        self._joins.add(join)
        join.add_done_callback(self._join_ended)

    def _join_ended(self, join: asyncio.Task[Any]) -> None:
        self._joins.discard(join)
        if not join.cancelled() and join.exception() is not None:
            self._wake.set()  # the connection is gone; ``is_alive`` says so

    def _on_broadcast(self, topic: str, payload: Any) -> None:
        """Called by the client; an exception here would end its listen task."""
        if len(self._frames) >= self._queue_frames:
            self.dropped_frames += 1
            return
        self._frames.append((topic, payload))
        self._wake.set()

    def _on_status(
        self,
        channel: AsyncRealtimeChannel,
        topic: str,
        state: RealtimeSubscribeStates,
        error: Exception | None,
    ) -> None:
        """Called by the client, as above."""
        if self._channels.get(topic) is channel:
            self._statuses.append((topic, state, error))
            self._wake.set()

    def _take_status(
        self, topic: str, state: RealtimeSubscribeStates, error: Exception | None
    ) -> None:
        if state is RealtimeSubscribeStates.SUBSCRIBED:
            if not self._joined:
                self.connections += 1
                self._heads_at = asyncio.get_running_loop().time()
                _log.info("joined Realtime at %s", self._url)
            self._refused.pop(topic, None)
            self._joined.add(topic)
            self._tell_joined()
            return
        client, channel = self._client, self._channels.get(topic)
        if (
            state is RealtimeSubscribeStates.CHANNEL_ERROR
            and topic not in self._joined
            and client is not None
            and channel is not None
            and is_alive(client)
        ):
            self._take_refusal(client, channel, topic, error)
            return
        reason = f": {self._reason(error)}" if error is not None else ""
        raise _Ended(f"channel {topic} is {state.value.lower()}{reason}")

    def _take_refusal(
        self,
        client: AsyncRealtimeClient,
        channel: AsyncRealtimeChannel,
        topic: str,
        error: Exception | None,
    ) -> None:
        """One topic that may not be joined is no reason to leave the others."""
        times, _ = self._refused.get(topic, (0, 0.0))
        pause_s = self._uniform(0.5, 1.0) * min(REFUSED_MAX_S, REFUSED_S * 2 ** min(times, 10))
        until = asyncio.get_running_loop().time() + pause_s
        self._refused[topic] = (times + 1, until)
        del self._channels[topic]
        dispose_channel(client, channel)
        reason = "" if error is None else self._reason(error)
        if times == 0:
            _log.error("Realtime refuses the channel of topic %s: %s", topic, reason)
        self._listener.failed(REALTIME, f"{topic} is refused: {reason}")

    def _tell_joined(self) -> None:
        self._listener.joined(REALTIME, dict.fromkeys(self._joined))

    # -- frames ------------------------------------------------------------------------------------

    def _take_frame(self, topic: str, payload: Any) -> None:
        frame = payload.get("payload") if isinstance(payload, dict) else None
        if topic not in self._channels or not isinstance(frame, dict):
            return
        if frame.get("v") != FRAME_VERSION:
            _log.error(
                "topic %s: a frame of version %r, this side speaks %d",
                topic,
                frame.get("v"),
                FRAME_VERSION,
            )
            return
        if frame.get("kind") == "events":
            self._listener.events(REALTIME, readable_events(frame, "realtime"))
        elif frame.get("kind") == "heads":
            try:
                heads = decode_heads(frame)
            except InvalidEvent as error:
                _log.error("topic %s: %s", topic, error)
                return
            self._heard = True
            self._heads_at = asyncio.get_running_loop().time()
            self._listener.heads(REALTIME, heads, {topic: None})

    def _reason(self, error: Exception) -> str:
        if isinstance(error, TimeoutError) and not str(error):
            return f"no answer in {OPEN_S:g} s"
        text = str(error) or type(error).__name__
        for secret in (self._key, self._token):
            if secret:
                text = text.replace(secret, "…")
        return text[:300]
