"""One client's WebSocket: handshake, joins, pushes, heartbeats, tokens, the end."""

import asyncio
import contextlib
import json
import logging
from dataclasses import dataclass
from typing import Any

from starlette.responses import JSONResponse
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from crossfade.local.supabase.authorize import may_read, may_write
from crossfade.local.supabase.channels import Channel, Topics
from crossfade.local.supabase.database import Pool
from crossfade.local.supabase.gateway import Gateway, Identity
from crossfade.local.supabase.joins import (
    DATABASE_ERRORS,
    JoinRefused,
    check_join,
    remaining_s,
    unreadable,
)
from crossfade.local.supabase.outbox import Outbox
from crossfade.local.supabase.tokens import Claims, TokenFault
from crossfade.local.supabase.wire import (
    PREFIX,
    Broadcast,
    ClientMessage,
    Version,
    decode,
    encode_reply,
)

__all__ = ["Limits", "RealtimeSocket", "Sockets"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """The real server's delays and limits; ``delay_scale`` shortens the delays for tests."""

    delay_scale: float = 1.0
    refused_handshake_s: float = 2.0
    refused_join_s: float = 5.0
    idle_s: float = 60.0
    max_channels: int = 100
    max_payload_bytes: int = 3_000_000


class Sockets:
    """What every socket needs, and the list of them."""

    def __init__(self, gateway: Gateway, pool: Pool, topics: Topics, limits: Limits) -> None:
        self.gateway = gateway
        self.pool = pool
        self.topics = topics
        self.limits = limits
        self.closing = asyncio.Event()
        self.open: set[RealtimeSocket] = set()

    async def pause(self, seconds: float) -> None:
        """One of the real server's delays; ends early when the server does."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.closing.wait(), seconds * self.limits.delay_scale)

    async def endpoint(self, websocket: WebSocket) -> None:
        """``/realtime/v1/websocket``."""
        await RealtimeSocket(websocket, self).serve()


class RealtimeSocket:
    """The life of one connection. Messages are handled one after the other, as they came."""

    def __init__(self, websocket: WebSocket, shared: Sockets) -> None:
        self._websocket = websocket
        self._shared = shared
        self._outbox = Outbox()
        self._channels: dict[str, Channel] = {}
        self._token = websocket.query_params.get("apikey", "")
        self._version: Version = (
            "2.0.0" if websocket.query_params.get("vsn", "1.0.0").startswith("2") else "1.0.0"
        )
        self._close_code = 1000

    async def serve(self) -> None:
        """Until either side closes."""
        refusal = self._refusal()
        if refusal is not None:
            await self._shared.pause(self._shared.limits.refused_handshake_s)
            await self._websocket.send_denial_response(JSONResponse({"error": refusal}, 401))
            return
        await self._websocket.accept()
        self._shared.open.add(self)
        writer = asyncio.create_task(self._write(), name="realtime socket writer")
        try:
            await self._read()
        finally:
            self._shared.open.discard(self)
            for channel in list(self._channels.values()):
                self._forget(channel)
            self._outbox.close()
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writer
            if self._websocket.application_state is WebSocketState.CONNECTED:
                with contextlib.suppress(RuntimeError, WebSocketDisconnect):
                    await self._websocket.close(self._close_code)

    def close(self, code: int) -> None:
        """End the connection from the server's side once everything waiting is written."""
        self._close_code = code
        self._outbox.close()

    def _refusal(self) -> str | None:
        if not self._token:
            return "API key is missing"
        try:
            self._shared.gateway.check_token(self._token)
        except TokenFault as fault:
            return "Token has expired" if fault.expired else fault.message
        return None

    async def _write(self) -> None:
        """Writes what waits; at the end of the outbox it closes the socket."""
        try:
            while (frame := await self._outbox.take()) is not None:
                if isinstance(frame, bytes):
                    await self._websocket.send_bytes(frame)
                else:
                    await self._websocket.send_text(frame)
            if self._outbox.overflowed:
                _LOG.warning("a Realtime client reads too slowly; its socket is closed")
            await self._websocket.close(self._close_code)
        except (WebSocketDisconnect, RuntimeError):
            # The client is gone; the reader notices by itself.
            return

    async def _read(self) -> None:
        while True:
            try:
                received = await asyncio.wait_for(
                    self._websocket.receive(), self._shared.limits.idle_s
                )
            except TimeoutError:
                return  # no heartbeat: closed with 1000
            if received["type"] != "websocket.receive":
                return
            raw: str | bytes = received.get("text") or received.get("bytes") or ""
            message = decode(raw, self._version)
            if message is not None:
                await self._handle(message, len(raw))

    async def _handle(self, message: ClientMessage, size: int) -> None:
        channel = self._channels.get(message.topic)
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
            channel.reply(message.ref, "error", {"reason": "NotInStandIn: no presence here"})
        # Anything else the real server ignores, too.

    def _reply(self, message: ClientMessage, status: str, response: Any, join_ref: Any) -> None:
        payload = {"status": status, "response": response}
        self._outbox.put(
            encode_reply(
                self._version,
                message.topic,
                "phx_reply",
                payload,
                ref=message.ref,
                join_ref=join_ref,
            )
        )

    async def _join(self, message: ClientMessage) -> None:
        shared = self._shared
        try:
            if len(self._channels) >= shared.limits.max_channels:
                raise JoinRefused("ChannelRateLimitReached: Too many channels")
            join = await check_join(message, self._token, shared.gateway, shared.pool)
        except JoinRefused as refused:
            await shared.pause(shared.limits.refused_join_s)
            self._reply(message, "error", {"reason": refused.reason}, message.join_ref)
            return
        channel = Channel(
            join.topic,
            join.private,
            message.join_ref,
            self._version,
            self._outbox,
            Identity(join.claims.role, join.claims.values),
            ack=join.ack,
            receives_own=join.receives_own,
        )
        former = self._channels.get(message.topic)
        channel.reply(message.ref, "ok", {"postgres_changes": []})
        if former is not None:
            self._end(former)
        self._channels[message.topic] = channel
        shared.topics.add(channel)
        self._watch_expiry(channel, join.claims)
        for key, event, text in join.replay:
            meta = {"id": key, "replayed": True}
            payload = {
                "event": event, "meta": meta, "payload": json.loads(text), "type": "broadcast"
            }  # fmt: skip
            channel.send("broadcast", payload)
        if join.replication_ready:
            channel.system("Replication connection established", status="ok")

    def _leave(self, message: ClientMessage, channel: Channel | None) -> None:
        join_ref = message.join_ref if channel is None else channel.join_ref
        self._reply(message, "ok", {}, join_ref)
        if channel is not None:
            self._end(channel)

    async def _push(self, channel: Channel, message: ClientMessage, size: int) -> None:
        if channel.private and channel.may_write is None:
            try:
                channel.may_write = await may_write(
                    self._shared.pool, channel.identity, channel.topic
                )
            except DATABASE_ERRORS:
                _LOG.warning("a broadcast was dropped: the database can not be asked")
                return
        if channel.private and not channel.may_write:
            return  # silent, even with ack, as in the real server
        if size > self._shared.limits.max_payload_bytes:
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
        self._shared.topics.broadcast(broadcast, channel)
        if channel.ack:
            channel.reply(message.ref, "ok", {})

    async def _refresh(self, channel: Channel, message: ClientMessage) -> None:
        token = message.payload.get("access_token") if isinstance(message.payload, dict) else None
        if not isinstance(token, str) or not token or token.startswith("sb_"):
            return
        try:
            claims = self._shared.gateway.check_token(token)
            identity = Identity(claims.role, claims.values)
            if channel.private and not await may_read(self._shared.pool, identity, channel.topic):
                self._expel(channel, unreadable(channel.topic))
                return
        except TokenFault as fault:
            self._expel(channel, fault.message)
            return
        except DATABASE_ERRORS:
            self._expel(channel, "Realtime was unable to connect to the project database")
            return
        channel.identity = identity
        channel.may_write = None
        self._watch_expiry(channel, claims)

    def _watch_expiry(self, channel: Channel, claims: Claims) -> None:
        if channel.expiry is not None:
            channel.expiry.cancel()
        # The loop's clock can not wait for ever; what lies beyond a day is looked at then.
        left = remaining_s(claims)
        loop = asyncio.get_running_loop()
        if left > 86_400:
            channel.expiry = loop.call_later(86_400, self._watch_expiry, channel, claims)
        else:
            channel.expiry = loop.call_later(
                left, self._expel, channel, "Token has expired 0 seconds ago"
            )

    def _expel(self, channel: Channel, message: str) -> None:
        channel.system(message, status="error")
        self._end(channel)

    def _end(self, channel: Channel) -> None:
        channel.send("phx_close", {}, ref=channel.join_ref)
        self._forget(channel)

    def _forget(self, channel: Channel) -> None:
        if channel.expiry is not None:
            channel.expiry.cancel()
        self._shared.topics.remove(channel)
        if self._channels.get(PREFIX + channel.topic) is channel:
            del self._channels[PREFIX + channel.topic]
