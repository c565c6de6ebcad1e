"""``phx_join``: from a client's configuration and token to a joined channel, or the reason
why not, in the real server's words."""

import time
from dataclasses import dataclass
from typing import Any

import psycopg

from crossfade.local.supabase.authorize import may_read, replayed
from crossfade.local.supabase.database import DatabaseGone, NoConnectionFree, Pool
from crossfade.local.supabase.gateway import Gateway, Identity
from crossfade.local.supabase.tokens import Claims, TokenFault
from crossfade.local.supabase.wire import PREFIX, ClientMessage

__all__ = ["DATABASE_ERRORS", "Join", "JoinRefused", "check_join", "remaining_s", "unreadable"]

DATABASE_ERRORS = (psycopg.Error, DatabaseGone, NoConnectionFree)


class JoinRefused(Exception):
    """A join that is answered with this reason, after a delay."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Join:
    """An accepted join."""

    topic: str
    private: bool
    ack: bool
    receives_own: bool
    replication_ready: bool
    claims: Claims
    replay: list[tuple[str, str, str]]


async def check_join(
    message: ClientMessage, connection_token: str, gateway: Gateway, pool: Pool
) -> Join:
    """What the client may have.

    Args:
        connection_token: the one of the handshake, for joins that bring none.

    Raises:
        JoinRefused: with the reason for the reply.
    """
    topic = message.topic.removeprefix(PREFIX)
    if not topic:
        raise JoinRefused("TopicNameRequired: You must provide a topic name")
    payload = message.payload if isinstance(message.payload, dict) else {}
    config = _mapping(payload.get("config", {}))
    broadcast = _mapping(config.get("broadcast", {}))
    presence = _mapping(config.get("presence", {}))
    private = config.get("private") is True
    if config.get("postgres_changes"):
        raise JoinRefused("NotInStandIn: postgres_changes is not built here; use broadcast")
    if presence.get("enabled"):
        raise JoinRefused("NotInStandIn: presence is not built here")
    token = payload.get("access_token") or payload.get("user_token") or connection_token
    try:
        claims = gateway.check_token(token if isinstance(token, str) else "")
    except TokenFault as fault:
        raise JoinRefused(str(fault)) from None
    replay = _replay(broadcast.get("replay"), private)
    identity = Identity(claims.role, claims.values)
    rows: list[tuple[str, str, str]] = []
    if private:
        try:
            if not await may_read(pool, identity, topic):
                raise JoinRefused(f"Unauthorized: {unreadable(topic)}")
            if replay is not None:
                rows = await replayed(pool, identity, topic, *replay)
        except DATABASE_ERRORS:
            raise JoinRefused(
                "UnableToConnectToProject: Realtime was unable to connect to the project database"
            ) from None
    return Join(
        topic,
        private,
        broadcast.get("ack") is True,
        broadcast.get("self") is True,
        broadcast.get("replication_ready") is True,
        claims,
        rows,
    )


def unreadable(topic: str) -> str:
    """Realtime's sentence for a private topic that the caller may not read."""
    return f"You do not have permissions to read from this Channel topic: {topic}"


def remaining_s(claims: Claims) -> float:
    """Seconds until the token expires."""
    return max(0.0, claims.expires_s - time.time())


def _mapping(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise JoinRefused("UnknownErrorOnChannel: no function clause matching in Access.get/3")
    return value


def _replay(value: Any, private: bool) -> tuple[int, int] | None:
    if value is None:
        return None
    if not private:
        raise JoinRefused("UnableToReplayMessages: Replay is not allowed for public channels")
    since = value.get("since") if isinstance(value, dict) else None
    limit = value.get("limit", 25) if isinstance(value, dict) else None
    if not isinstance(since, int) or not isinstance(limit, int) or limit < 1:
        raise JoinRefused("UnableToReplayMessages: Replay params are not valid")
    return since, limit
