"""A consumer's effects, as an application keeps them: rows in a database of its own.

``together`` writes position and effect in one transaction (exactly once over crashes);
``apart`` leaves the positions to the subscriber's own file (at least once, never ahead).
"""

import sqlite3
from pathlib import Path

from crossfade.core.event import Event, Stream

__all__ = ["Effects"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS effects (
    number INTEGER PRIMARY KEY, source TEXT, epoch INTEGER, topic TEXT, partition INTEGER,
    sequence INTEGER, id TEXT, type TEXT, time_us INTEGER, subject TEXT, category TEXT,
    data TEXT, checksum INTEGER);
CREATE TABLE IF NOT EXISTS positions (
    source TEXT, epoch INTEGER, topic TEXT, partition INTEGER, next INTEGER,
    PRIMARY KEY (source, epoch, topic, partition));
"""


class Effects:
    """One writer; committed when ``add`` returns."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.executescript(_SCHEMA)

    def add(self, event: Event, *, together: bool) -> None:
        """The effect of one event and, with ``together``, its position."""
        run = self._connection.execute
        run("BEGIN IMMEDIATE")
        run(
            "INSERT INTO effects (source, epoch, topic, partition, sequence, id, type, time_us, "
            "subject, category, data, checksum) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *event.stream, event.sequence, event.id, event.type, event.time_us, event.subject,
                event.category, event.data, event.hash,
            ),
        )  # fmt: skip
        if together:
            run(
                "INSERT INTO positions VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE "
                "SET next = excluded.next",
                (*event.stream, event.sequence + 1),
            )
        run("COMMIT")

    def positions(self) -> dict[Stream, int]:
        """Per stream what is needed next."""
        rows = self._connection.execute(
            "SELECT source, epoch, topic, partition, next FROM positions"
        )
        return {Stream(*stream): following for *stream, following in rows}

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
