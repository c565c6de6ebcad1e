"""Where sealed blocks are remembered between runs: a small SQLite file of our own."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from crossfade.core.event import Stream
from crossfade.core.reconciliation_plan import Seal
from crossfade.errors import UsageError

__all__ = ["SealStore"]

SEALS_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS streams (
  stream_id INTEGER PRIMARY KEY, source TEXT NOT NULL, epoch INTEGER NOT NULL, topic TEXT NOT NULL,
  partition INTEGER NOT NULL, UNIQUE (source, epoch, topic, partition));
CREATE TABLE IF NOT EXISTS seals (
  stream_id INTEGER NOT NULL, block INTEGER NOT NULL, last INTEGER NOT NULL,
  websocket INTEGER NOT NULL, supabase INTEGER NOT NULL, realtime INTEGER NOT NULL,
  total INTEGER NOT NULL, verified_us INTEGER NOT NULL,
  PRIMARY KEY (stream_id, block)) WITHOUT ROWID;
"""


class SealStore:
    """The seals of one block size; another size drops them all (everything is verified anew).

    Losing the file loses no evidence: the next run compares everything. Two runs may use
    it at once; each writes in one transaction.

    Raises:
        UsageError: not writable, not ours, or of a later version.
    """

    def __init__(self, path: Path, block: int) -> None:
        self._path = path
        with self._translated():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=10.0, isolation_level=None)
        try:
            with self._translated():
                self._prepare(block)
        except BaseException:
            self._connection.close()
            raise

    def load(self) -> dict[Stream, dict[int, Seal]]:
        """Every seal by stream and block number."""
        found: dict[Stream, dict[int, Seal]] = {}
        streams: dict[int, dict[int, Seal]] = {}
        with self._translated():
            for stream_id, *stream in self._connection.execute("SELECT * FROM streams"):
                streams[stream_id] = found[Stream(*stream)] = {}
            for stream_id, block, *values in self._connection.execute("SELECT * FROM seals"):
                seal = Seal(*values)
                streams[stream_id][block] = seal._replace(total=seal.total & (1 << 64) - 1)
        return found

    def save(
        self,
        sealed: Iterable[tuple[Stream, int, Seal]],
        broken: Iterable[tuple[Stream, int]],
    ) -> int:
        """Seal blocks, break other seals; the number of seals there are then."""
        with self._translated(), self._transaction() as connection:
            ids = {
                Stream(*stream): stream_id
                for stream_id, *stream in connection.execute("SELECT * FROM streams")
            }
            connection.executemany(
                "INSERT OR REPLACE INTO seals VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    (self._id(ids, stream), block, *seal._replace(total=_signed(seal.total)))
                    for stream, block, seal in sealed
                ),
            )  # fmt: skip
            connection.executemany(
                "DELETE FROM seals WHERE stream_id = ? AND block = ?",
                ((self._id(ids, stream), block) for stream, block in broken),
            )
            (count,) = connection.execute("SELECT count(*) FROM seals").fetchone()
        return int(count)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _prepare(self, block: int) -> None:
        connection = self._connection
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > SEALS_VERSION:
            raise UsageError(
                f"{self._path}: written by a later version of Crossfade; set reconcile.state to "
                "another file (the next run then compares everything)"
            )
        connection.execute("PRAGMA journal_mode = WAL")
        # Losing the last seals in a power cut only means comparing those blocks again.
        connection.execute("PRAGMA synchronous = NORMAL")
        with self._transaction():
            for statement in _SCHEMA.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {SEALS_VERSION}")
            known = connection.execute("SELECT value FROM meta WHERE key = 'block'").fetchone()
            if known != (str(block),):
                connection.execute("DELETE FROM seals")
                connection.execute("INSERT OR REPLACE INTO meta VALUES ('block', ?)", (str(block),))

    def _id(self, ids: dict[Stream, int], stream: Stream) -> int:
        if stream not in ids:
            cursor = self._connection.execute(
                "INSERT INTO streams (source, epoch, topic, partition) VALUES (?, ?, ?, ?)", stream
            )
            ids[stream] = int(cursor.lastrowid or 0)
        return ids[stream]

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise UsageError(
                f"{self._path}: the state of reconciliations can not be used: {error}; remove the "
                "file or set reconcile.state to another one"
            ) from error


def _signed(total: int) -> int:
    """An unsigned 64-bit sum as SQLite's signed integer."""
    return total - (1 << 64) if total >= 1 << 63 else total
