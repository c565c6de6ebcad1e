"""Whether a caller may read or write a private topic: asked of the database's own row level
security on ``realtime.messages``, in a transaction that is rolled back, as the real server does.
"""

from typing import Literal, NamedTuple

import psycopg

from crossfade.local.supabase.database import Pool, acting_as
from crossfade.local.supabase.gateway import Identity

__all__ = ["MAX_REPLAY", "Extension", "Replayed", "may_read", "may_write", "replayed"]

MAX_REPLAY = 25

Extension = Literal["broadcast", "presence"]


class Replayed(NamedTuple):
    """A row that is sent again: its content is ``payload``, a JSON text, or ``binary``."""

    id: str
    event: str
    payload: str | None
    binary: bytes | None


async def may_read(
    pool: Pool, identity: Identity, topic: str, extension: Extension = "broadcast"
) -> bool:
    """Whether a probe row of this topic, written by the server, is visible to the caller.

    Raises:
        psycopg.Error, DatabaseGone, NoConnectionFree: it could not be asked.
    """
    return await _probe(pool, identity, topic, extension, "read")


async def may_write(
    pool: Pool, identity: Identity, topic: str, extension: Extension = "broadcast"
) -> bool:
    """Whether the caller could insert a row of this topic.

    Raises:
        psycopg.Error, DatabaseGone, NoConnectionFree: it could not be asked.
    """
    return await _probe(pool, identity, topic, extension, "write")


async def _probe(
    pool: Pool,
    identity: Identity,
    topic: str,
    extension: Extension,
    what: Literal["read", "write"],
) -> bool:
    insert = "insert into realtime.messages (topic, extension) values (%s, %s)"
    async with pool.connection() as connection:
        try:
            async with connection.transaction(force_rollback=True):
                probe = None
                if what == "read":
                    cursor = await connection.execute(insert + " returning id", (topic, extension))
                    probe = await cursor.fetchone()
                async with acting_as(connection, identity, settings={"realtime.topic": topic}):
                    if probe is None:
                        await connection.execute(insert, (topic, extension))
                        return True
                    cursor = await connection.execute(
                        "select 1 from realtime.messages where topic = %s and id = %s",
                        (topic, probe[0]),
                    )
                    return await cursor.fetchone() is not None
        except (
            psycopg.errors.InsufficientPrivilege,
            psycopg.errors.InvalidParameterValue,
            psycopg.errors.UndefinedObject,
        ):
            # No policy lets it, or there is no such role.
            return False


async def replayed(
    pool: Pool, identity: Identity, topic: str, since_ms: int, limit: int
) -> list[Replayed]:
    """The newest private broadcasts of a topic since a time, oldest first.

    Raises:
        psycopg.Error, DatabaseGone, NoConnectionFree: it could not be asked.
    """
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "select id::text, event, payload::text, binary_payload from realtime.messages "
            "where topic = %s and private and extension = 'broadcast' "
            "and (payload is not null or binary_payload is not null) "
            "and inserted_at >= to_timestamp(%s::double precision / 1000) at time zone 'UTC' "
            "order by inserted_at desc limit %s",
            (topic, since_ms, min(limit, MAX_REPLAY)),
        )
        rows = await cursor.fetchall()
    return [Replayed(*row) for row in reversed(rows)]
