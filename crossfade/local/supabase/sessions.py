"""What a Realtime client may ask for on its socket: joins, pushes, presence, tokens, the end."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from crossfade.local.supabase.authorize import may_read
from crossfade.local.supabase.change_filters import ChangesError, parse_subscription
from crossfade.local.supabase.change_tables import check_subscription
from crossfade.local.supabase.channels import Channel, Topics
from crossfade.local.supabase.database import Pool
from crossfade.local.supabase.expiry import expel_when_expired
from crossfade.local.supabase.gateway import Gateway, Identity
from crossfade.local.supabase.joins import (
    DATABASE_ERRORS,
    Join,
    JoinRefused,
    check_join,
    unreadable,
)
from crossfade.local.supabase.outbox import Outbox
from crossfade.local.supabase.presence_calls import handle_presence, may_send
from crossfade.local.supabase.quotas import Quotas
from crossfade.local.supabase.tokens import TokenFault
from crossfade.local.supabase.wire import (
    PREFIX,
    Broadcast,
    ClientMessage,
    Version,
    encode_message,
)

__all__ = ["GOING_AWAY", "Limits", "Session", "Shared"]

_LOG = logging.getLogger(__name__)
GOING_AWAY = 1001
_NO_DATABASE = "Realtime was unable to connect to the project database"


@dataclass(frozen=True, slots=True)
class Limits:
    """The real server's delays; ``delay_scale`` shortens the delays for tests."""

    delay_scale: float = 1.0
    refused_handshake_s: float = 2.0
    refused_join_s: float = 5.0
    idle_s: float = 60.0


class Shared:
    """What every socket needs, and the list of them."""

    def __init__(
        self, gateway: Gateway, pool: Pool, topics: Topics, quotas: Quotas, limits: Limits
    ) -> None:
        self.gateway = gateway
        self.pool = pool
        self.topics = topics
        self.quotas = quotas
        self.limits = limits
        self.closing = asyncio.Event()
        self.sessions: set[Session] = set()

    async def pause(self, seconds: float) -> None:
        """One of the real server's delays; ends early when the server does."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.closing.wait(), seconds * self.limits.delay_scale)

    def is_full(self, besides: "Session | None" = None) -> bool:
        """Whether no further connection may have channels."""
        most = self.quotas.max_concurrent_users
        users = sum(1 for one in self.sessions if one is not besides and one.channels)
        return most > 0 and users >= most

    def joins_exceed(self) -> bool:
        """Whether there are more joins than the project may have."""
        most = self.quotas.max_joins_per_second
        return self.topics.joins.exceeds(most, time.monotonic())


class Session:
    """The channels of one connection. Messages are handled one after the other, as they came.

    Args:
        token: of the handshake.
        close: closes the connection with a code once everything waiting is written.
    """

    def __init__(
        self,
        shared: Shared,
        token: str,
        version: Version,
        outbox: Outbox,
        close: Callable[[int], None],
    ) -> None:
        self._shared = shared
        self._token = token
        self._version = version
        self._outbox = outbox
        self.close = close
        self.channels: dict[str, Channel] = {}

    async def handle(self, message: ClientMessage, size: int) -> None:
        """Answer one message; what the real server ignores is ignored."""
        channel = self.channels.get(message.topic)
        if message.topic == "phoenix" and message.event == "heartbeat":
            self._reply(message, "ok", {}, None)
        elif message.event == "phx_join" and message.topic.startswith(PREFIX):
            await self._join(message)
        elif message.event == "phx_leave":
            self._leave(message, channel)
        elif channel is None:
            self._reply(message, "error", {"reason": "unmatched topic"}, None)
        elif message.event == "broadcast":
            await self._push(channel, message, size)
        elif message.event == "access_token":
            await self._refresh(channel, message)
        elif message.event == "presence":
            await handle_presence(channel, message, self._shared.topics, self._shared.pool)

    def end(self) -> None:
        """Forget every channel; the connection is gone."""
        for channel in list(self.channels.values()):
            self._forget(channel)

    def disconnect(self) -> None:
        """Ask the client to come back, as the real server does when it is reloaded."""
        for channel in self.channels.values():
            channel.system("Server requested disconnect", status="ok", named=False)
        self.close(1012)

    def _reply(self, message: ClientMessage, status: str, response: Any, join_ref: Any) -> None:
        payload = {"status": status, "response": response}
        self._outbox.put(
            encode_message(
                self._version,
                message.topic,
                "phx_reply",
                payload,
                ref=message.ref,
                join_ref=join_ref,
            )
        )

    async def _join(self, message: ClientMessage) -> None:
        try:
            join = await self._check(message)
        except JoinRefused as refused:
            await self._shared.pause(self._shared.limits.refused_join_s)
            self._reply(message, "error", {"reason": refused.reason}, message.join_ref)
            if refused.closes:
                self.close(GOING_AWAY)
            return
        channel = Channel(
            join.topic,
            join.private,
            message.join_ref,
            self._version,
            self._outbox,
            Identity(join.claims.role, join.claims.values),
            self._forget,
            ack=join.ack,
            receives_own=join.receives_own,
            presence_key=join.presence_key,
            sees_presence=join.sees_presence,
            replayed=frozenset(row.id for row in join.replay),
        )
        former = self.channels.get(message.topic)
        channel.reply(message.ref, "ok", join.answer)
        if former is not None:
            former.end()
        self.channels[message.topic] = channel
        self._shared.topics.add(channel)
        expel_when_expired(channel, join.claims)
        await self._welcome(channel, join)

    async def _check(self, message: ClientMessage) -> Join:
        shared = self._shared
        now_s = time.monotonic()
        if shared.is_full(besides=self):
            raise JoinRefused("ConnectionRateLimitReached: Too many connected users")
        if shared.joins_exceed():
            raise JoinRefused("ClientJoinRateLimitReached: Too many joins per second", closes=True)
        shared.topics.joins.add(now_s)
        if 0 < shared.quotas.max_channels_per_client <= len(self.channels):
            raise JoinRefused("ChannelRateLimitReached: Too many channels")
        return await check_join(
            message,
            self._token,
            shared.gateway,
            shared.pool,
            private_only=shared.quotas.private_only,
        )

    async def _welcome(self, channel: Channel, join: Join) -> None:
        """What follows the reply: replayed broadcasts, presence, changes, replication."""
        for row in join.replay:
            channel.replay(row)
        if channel.sees_presence:
            channel.send("presence_state", self._shared.topics.presence_state(channel))
        if join.changes:
            await self._subscribe(channel, join)
        if join.replication_ready:
            channel.system("Replication connection established", status="ok")

    async def _subscribe(self, channel: Channel, join: Join) -> None:
        try:
            subscriptions = [parse_subscription(params) for params in join.changes]
            async with self._shared.pool.connection() as connection:
                for one in subscriptions:
                    await check_subscription(connection, one, channel.identity)
            if join.plain:
                raise ChangesError("Not built in this stand-in: changes without a configuration")
        except ChangesError as error:
            channel.system(str(error), status="error", extension="postgres_changes")
            return
        except DATABASE_ERRORS:
            channel.system(_NO_DATABASE, status="error", extension="postgres_changes")
            return
        channel.changes = tuple(subscriptions)
        channel.system("Subscribed to PostgreSQL", status="ok", extension="postgres_changes")

    def _leave(self, message: ClientMessage, channel: Channel | None) -> None:
        join_ref = message.join_ref if channel is None else channel.join_ref
        self._reply(message, "ok", {}, join_ref)
        if channel is not None:
            channel.end()

    async def _push(self, channel: Channel, message: ClientMessage, size: int) -> None:
        try:
            if not await may_send(channel, "broadcast", self._shared.pool):
                return  # silent, even with ack, as in the real server
        except DATABASE_ERRORS:
            _LOG.warning("a broadcast was dropped: the database can not be asked")
            return
        if size > self._shared.quotas.max_payload_size_in_kb * 1_000:
            if channel.ack:
                channel.reply(message.ref, "error", "payload_size_exceeded")
            return
        payload = message.payload if isinstance(message.payload, dict) else {}
        if message.binary is None:
            broadcast = Broadcast(channel.topic, channel.private, envelope=payload)
        else:
            broadcast = Broadcast(
                channel.topic, channel.private, payload["event"], message.binary, message.is_json
            )
        sent = self._shared.topics.broadcast(broadcast, channel)
        if sent and channel.ack:
            channel.reply(message.ref, "ok", {})

    async def _refresh(self, channel: Channel, message: ClientMessage) -> None:
        token = message.payload.get("access_token") if isinstance(message.payload, dict) else None
        if not isinstance(token, str) or not token or token.startswith("sb_"):
            return
        try:
            claims = self._shared.gateway.check_token(token)
            identity = Identity(claims.role, claims.values)
            if channel.private and not await may_read(self._shared.pool, identity, channel.topic):
                channel.expel(unreadable(channel.topic))
                return
        except TokenFault as fault:
            channel.expel(fault.message)
            return
        except DATABASE_ERRORS:
            channel.expel(_NO_DATABASE)
            return
        channel.identity = identity
        channel.may_write.clear()
        expel_when_expired(channel, claims)

    def _forget(self, channel: Channel) -> None:
        if channel.expires is not None:
            channel.expires()
        self._shared.topics.remove(channel)
        if self.channels.get(PREFIX + channel.topic) is channel:
            del self.channels[PREFIX + channel.topic]
