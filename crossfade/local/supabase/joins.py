"""``phx_join``: from a client's configuration and token to a joined channel, or the reason
why not, in the real server's words."""

import uuid
from dataclasses import dataclass
from typing import Any

import psycopg

from crossfade.local.supabase.authorize import Replayed, may_read, replayed
from crossfade.local.supabase.change_filters import number_of
from crossfade.local.supabase.database import DatabaseGone, NoConnectionFree, Pool
from crossfade.local.supabase.gateway import Gateway, Identity
from crossfade.local.supabase.tokens import Claims, TokenFault
from crossfade.local.supabase.wire import PREFIX, ClientMessage

__all__ = ["DATABASE_ERRORS", "Join", "JoinRefused", "check_join", "unreadable"]

DATABASE_ERRORS = (psycopg.Error, DatabaseGone, NoConnectionFree)


class JoinRefused(Exception):
    """A join that is answered with this reason, after a delay; ``closes``: the connection too."""

    def __init__(self, reason: str, *, closes: bool = False) -> None:
        self.reason = reason
        self.closes = closes
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
    replay: list[Replayed]
    presence_key: str
    sees_presence: bool
    changes: tuple[dict[str, Any], ...]
    plain: bool
    """Whether it came without a configuration, the older form."""

    @property
    def answer(self) -> dict[str, Any]:
        """The content of the reply."""
        numbered = [{"id": number_of(params), **params} for params in self.changes]
        return {"postgres_changes": numbered}


async def check_join(
    message: ClientMessage,
    connection_token: str,
    gateway: Gateway,
    pool: Pool,
    *,
    private_only: bool = False,
) -> Join:
    """What the client may have.

    Args:
        connection_token: the one of the handshake, for joins that bring none.
        private_only: whether the project refuses public channels.

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
    plain = "config" not in payload
    if private_only and not private:
        raise JoinRefused("PrivateOnly: This project only allows private channels")
    token = payload.get("access_token") or payload.get("user_token") or connection_token
    if isinstance(token, str) and token.startswith("sb_"):
        token = connection_token
    try:
        claims = gateway.check_token(token if isinstance(token, str) else "")
    except TokenFault as fault:
        raise JoinRefused(str(fault)) from None
    replay = _replay(broadcast.get("replay"), private)
    identity = Identity(claims.role, claims.values)
    rows: list[Replayed] = []
    sees_presence = presence.get("enabled") is True
    if private:
        try:
            if not await may_read(pool, identity, topic):
                raise JoinRefused(f"Unauthorized: {unreadable(topic)}")
            sees_presence = sees_presence and await may_read(pool, identity, topic, "presence")
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
        str(presence.get("key") or uuid.uuid1()),
        sees_presence,
        _changes(config, topic, plain=plain),
        plain,
    )


def unreadable(topic: str) -> str:
    """Realtime's sentence for a private topic that the caller may not read."""
    return f"You do not have permissions to read from this Channel topic: {topic}"


def _mapping(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise JoinRefused("UnknownErrorOnChannel: no function clause matching in Access.get/3")
    return value


def _changes(config: dict[str, Any], topic: str, *, plain: bool) -> tuple[dict[str, Any], ...]:
    """What is asked of ``postgres_changes``; without any configuration the topic names it."""
    if plain:
        return (dict(zip(("schema", "table", "filter"), topic.split(":", 2), strict=False)),)
    asked = config.get("postgres_changes")
    return tuple(one for one in asked if isinstance(one, dict)) if isinstance(asked, list) else ()


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
