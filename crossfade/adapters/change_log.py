"""The log of what was changed in a SQLite store after it was written.

Journal and recording write every row once. Triggers note whatever is updated or deleted
afterwards, by whatever program: they live in the file, so a foreign shell fires them too. In
normal operation they hardly ever fire and cost next to nothing. What evades them (editing the
file's bytes, dropping the triggers) is left to the scrub (docs/adr/0015-what-a-seal-says.md).
"""

import sqlite3
from collections.abc import Sequence

__all__ = ["CHANGES_LIMIT", "change_log", "newest_change", "read_changes"]

CHANGES_LIMIT = 10_000
"""More changes than that are not told one by one: everything is compared."""

_TABLE = """CREATE TABLE IF NOT EXISTS changes (
    number INTEGER PRIMARY KEY AUTOINCREMENT, stream_id INTEGER NOT NULL, sequence INTEGER NOT NULL
)"""
_NOTE = "INSERT INTO changes (stream_id, sequence) VALUES ({0}.stream_id, {0}.sequence);"


def change_log(table: str, key: Sequence[str], deleted_if: str = "true") -> list[str]:
    """The statements that make the log of ``table``; harmless when it is there.

    ``deleted_if`` is the condition on which a deleted row is noted (retention's are not). ``key``
    are the primary key's columns: SQLite's REPLACE fires no trigger for the row it takes away, so
    a row is noted before another is inserted in its place.
    """
    taken = f"FROM {table} WHERE " + " AND ".join(f"{column} = new.{column}" for column in key)
    old, new = _NOTE.format("old"), _NOTE.format("new")
    return [
        _TABLE,
        f"CREATE TRIGGER IF NOT EXISTS {table}_updated AFTER UPDATE ON {table} "
        f"BEGIN {old} {new} END",
        f"CREATE TRIGGER IF NOT EXISTS {table}_deleted AFTER DELETE ON {table} "
        f"WHEN {deleted_if} BEGIN {old} END",
        f"CREATE TRIGGER IF NOT EXISTS {table}_replaced BEFORE INSERT ON {table} "
        f"WHEN EXISTS (SELECT 1 {taken}) BEGIN "
        f"INSERT INTO changes (stream_id, sequence) SELECT stream_id, sequence {taken}; {new} END",
    ]


def newest_change(connection: sqlite3.Connection, table: str) -> int | None:
    """The number of the latest change; None when there is no (complete) log."""
    (parts,) = connection.execute(
        "SELECT count(*) FROM sqlite_master WHERE name IN ('changes', ?, ?, ?)",
        (f"{table}_updated", f"{table}_deleted", f"{table}_replaced"),
    ).fetchone()
    if parts != 4:
        return None
    # The counter of its own, so that a log that was emptied does not count from 1 again.
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'changes'").fetchone()
    return int(row[0]) if row else 0


def read_changes(
    connection: sqlite3.Connection, after: int, last: int
) -> list[tuple[int, int]] | None:
    """The (stream number, sequence) pairs noted after number ``after`` up to ``last``.

    None when they can not all be told: too many, the log was emptied, or it is another file.
    """
    if last - after > CHANGES_LIMIT or last < after:
        return None
    found = connection.execute(
        "SELECT stream_id, sequence FROM changes WHERE number > ? AND number <= ?", (after, last)
    ).fetchall()
    return found if len(found) == last - after else None
