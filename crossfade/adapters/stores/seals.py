"""Where sealed blocks are remembered between runs: a small SQLite file of our own."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from crossfade.core.event import Stream
from crossfade.core.gaps import Gap
from crossfade.core.intervals import Interval
from crossfade.core.reconciliation_plan import Range, Seal, SealedStream, Seals
from crossfade.errors import UsageError

__all__ = ["SealStore"]

Owed = Mapping[str, tuple[Interval, ...]]

SEALS_VERSION = 2
_OLD = ("meta", "streams", "seals")
"""Tables of version 1, whose seals do not say since when the stores' changes are known."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS marks (store TEXT PRIMARY KEY, mark TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS streams (
  stream_id INTEGER PRIMARY KEY, source TEXT NOT NULL, epoch INTEGER NOT NULL, topic TEXT NOT NULL,
  partition INTEGER NOT NULL, owed TEXT NOT NULL DEFAULT '{}',
  UNIQUE (source, epoch, topic, partition));
CREATE TABLE IF NOT EXISTS seals (
  stream_id INTEGER NOT NULL, block INTEGER NOT NULL, last INTEGER NOT NULL,
  realtime INTEGER NOT NULL, total INTEGER NOT NULL, verified_us INTEGER NOT NULL,
  PRIMARY KEY (stream_id, block)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS gaps (
  number INTEGER PRIMARY KEY, source TEXT NOT NULL, epoch INTEGER NOT NULL, topic TEXT NOT NULL,
  partition INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
  by TEXT NOT NULL, reason TEXT NOT NULL, at_us INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS seals_by_age ON seals (verified_us);
"""
# Consecutive blocks less their rank are the same number: the usual way to find islands.
_RUNS = """
SELECT stream_id, min(block), max(block) FROM (
  SELECT stream_id, block,
         block - row_number() OVER (PARTITION BY stream_id ORDER BY block) AS island
  FROM seals WHERE last = (block + 1) * :size)
GROUP BY stream_id, island ORDER BY 1, 2
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
        self._block = block
        with self._translated():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=10.0, isolation_level=None)
        try:
            with self._translated():
                self._prepare(block)
        except BaseException:
            self._connection.close()
            raise

    def load(self, oldest: int) -> Seals:
        """What is sealed, and the ``oldest`` seals (by when they were verified)."""
        with self._translated(), self._transaction() as connection:
            ids = {
                stream_id: (Stream(*stream), _owed_from(owed))
                for stream_id, *stream, owed in connection.execute("SELECT * FROM streams")
            }
            size = {"size": self._block}
            runs: dict[int, list[Interval]] = {}
            for stream_id, first, last in connection.execute(_RUNS, size):
                runs.setdefault(stream_id, []).append((first, last))
            growing: dict[int, dict[int, int]] = {}
            for stream_id, block, last in connection.execute(
                "SELECT stream_id, block, last FROM seals WHERE last <> (block + 1) * :size", size
            ):
                growing.setdefault(stream_id, {})[block] = last
            realtime = dict(
                connection.execute("SELECT stream_id, sum(realtime) FROM seals GROUP BY stream_id")
            )
            scrub = connection.execute(
                "SELECT stream_id, block FROM seals ORDER BY verified_us, stream_id, block LIMIT ?",
                (oldest,),
            ).fetchall()
        return Seals(
            {
                stream: SealedStream(
                    tuple(runs.get(stream_id, ())),
                    growing.get(stream_id, {}),
                    owed,
                    realtime.get(stream_id, 0),
                )
                for stream_id, (stream, owed) in ids.items()
            },
            tuple((ids[stream_id][0], block) for stream_id, block in scrub),
        )

    def marks(self) -> dict[str, str]:
        """Per store, up to where its changes were looked at."""
        with self._translated():
            return dict(self._connection.execute("SELECT store, mark FROM marks"))

    def seals_of(self, stream: Stream, first: int, last: int) -> dict[int, Seal]:
        """The seals of the blocks ``first`` to ``last`` of a stream."""
        with self._translated():
            rows = self._connection.execute(
                "SELECT block, last, realtime, total, verified_us FROM seals WHERE stream_id = "
                "(SELECT stream_id FROM streams WHERE source = ? AND epoch = ? AND topic = ? "
                "AND partition = ?) AND block BETWEEN ? AND ?",
                (*stream, first, last),
            )
            return {
                block: Seal(end, realtime, total & (1 << 64) - 1, verified_us)
                for block, end, realtime, total, verified_us in rows
            }

    def save(
        self,
        sealed: Iterable[tuple[Stream, int, Seal]],
        broken: Iterable[tuple[Stream, int, int]],
        owed: Mapping[Stream, Owed],
        marks: Mapping[str, str],
    ) -> int:
        """Break the seals of runs of blocks, then seal blocks; the number of seals there are then.

        Args:
            broken: streams with the first and last block of a run.
            owed: per stream what each store was expected to hold when that was compared.
            marks: per store, up to where its changes were looked at.
        """
        with self._translated(), self._transaction() as connection:
            ids = {
                Stream(*stream): stream_id
                for stream_id, *stream in connection.execute(
                    "SELECT stream_id, source, epoch, topic, partition FROM streams"
                )
            }
            connection.executemany(
                "DELETE FROM seals WHERE stream_id = ? AND block BETWEEN ? AND ?",
                ((self._id(ids, stream), first, last) for stream, first, last in broken),
            )
            connection.executemany(
                "INSERT OR REPLACE INTO seals VALUES (?, ?, ?, ?, ?, ?)",
                (
                    (self._id(ids, stream), block, *seal._replace(total=_signed(seal.total)))
                    for stream, block, seal in sealed
                ),
            )
            connection.executemany(
                "UPDATE streams SET owed = ? WHERE stream_id = ?",
                ((json.dumps(value), self._id(ids, stream)) for stream, value in owed.items()),
            )
            connection.executemany("INSERT OR REPLACE INTO marks VALUES (?, ?)", marks.items())
            (count,) = connection.execute("SELECT count(*) FROM seals").fetchone()
        return int(count)

    def gaps(self) -> list[Gap]:
        """The gaps that were accepted, in the order in which they were."""
        with self._translated():
            rows = self._connection.execute(
                "SELECT source, epoch, topic, partition, first, last, by, reason, at_us "
                "FROM gaps ORDER BY number"
            )
            return [
                Gap(
                    range=Range(Stream(*row[:4]), row[4], row[5]),
                    by=row[6],
                    reason=row[7],
                    at_us=row[8],
                )
                for row in rows
            ]

    def accept(self, gaps: Iterable[Gap]) -> None:
        """Keep more accepted gaps; nothing ever removes one."""
        with self._translated(), self._transaction() as connection:
            connection.executemany(
                "INSERT INTO gaps (source, epoch, topic, partition, first, last, by, reason, at_us)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    (*gap.range.stream, *gap.range[1:], gap.by, gap.reason, gap.at_us)
                    for gap in gaps
                ),
            )

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
            if version == 1:
                for table in _OLD:
                    connection.execute(f"DROP TABLE {table}")
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


def _owed_from(text: str) -> dict[str, tuple[Interval, ...]]:
    return {
        store: tuple((first, last) for first, last in intervals)
        for store, intervals in json.loads(text).items()
    }


def _signed(total: int) -> int:
    """An unsigned 64-bit sum as SQLite's signed integer."""
    return total - (1 << 64) if total >= 1 << 63 else total
