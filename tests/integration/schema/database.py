"""A migrated database, and calls as an API role."""

import json
from typing import Any

import psycopg

from crossfade.core.event import Event, to_wire


class Database:
    """One connection as the owner, and calls as an API role."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.connection = psycopg.connect(url, autocommit=True)

    def __enter__(self) -> "Database":
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def empty(self) -> None:
        """Remove every row."""
        # Cheaper than truncate for a few rows.
        for table in ("crossfade.events", "crossfade.heads", "crossfade.dead_letters"):
            self.connection.execute(f"delete from {table}")
        self.connection.execute("delete from realtime.messages")

    def one(self, query: str, *parameters: Any) -> Any:
        row = self.connection.execute(query, parameters or None).fetchone()
        return None if row is None else row[0]

    def call(self, function: str, *, role: str = "service_role", **arguments: Any) -> Any:
        named = ", ".join(f"{name} => %({name})s" for name in arguments)
        values = {
            name: json.dumps(value) if isinstance(value, list) else value
            for name, value in arguments.items()
        }
        with self.connection.transaction():
            self.connection.execute(f"set local role {role}")
            row = self.connection.execute(f"select public.{function}({named})", values).fetchone()
        assert row is not None
        return row[0]

    def ingest(self, events: list[Event], **options: Any) -> Any:
        batch = [to_wire(event) for event in events]
        return self.call("crossfade_ingest_v1", batch=batch, **options)

    def frames(self) -> list[tuple[str, str, Any, int]]:
        return self.connection.execute(
            "select topic, event, payload, octet_length(payload::text) "
            "from realtime.messages "
            "order by inserted_at, topic, payload -> 'events' -> 0 -> 'sequence'"
        ).fetchall()
