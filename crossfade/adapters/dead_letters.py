"""Reads the table's dead letters: what it was offered and did not take."""

from typing import Any

import psycopg

from crossfade.core.event import Position
from crossfade.errors import StoreUnavailable

__all__ = ["dead_letters"]

LIMIT = 1_000
CONNECT_S = 5

_QUERY = """
select source, epoch, topic, partition, sequence, event_id, reason,
       to_char(received_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
from crossfade.dead_letters order by id desc limit %s
"""
_REASONS = {
    "position": "the table holds something else at this position",
    "id": "the table holds something else with this id",
}


def dead_letters(database_url: str) -> list[dict[str, Any]]:
    """The newest ``LIMIT``: ``position``, ``id``, ``reason``, ``at``. Blocks.

    Raises:
        StoreUnavailable: no connection, or no such table.
    """
    try:
        with psycopg.connect(database_url, connect_timeout=CONNECT_S) as connection:
            rows = connection.execute(_QUERY, (LIMIT,)).fetchall()
    except psycopg.Error as error:
        # The driver's message can hold the URL, and with it the password.
        raise StoreUnavailable(
            f"the dead letters can not be read: {type(error).__name__} (supabase.database_url)"
        ) from None
    return [
        {
            "position": str(Position(*row[:5])),
            "id": row[5],
            "reason": _REASONS.get(row[6], row[6]),
            "at": row[7],
        }
        for row in rows
    ]
