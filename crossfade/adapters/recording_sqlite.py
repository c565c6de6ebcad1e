"""The tap's recording: every delivery in the order of arrival (docs/protocol.md section 5).

SQLite in WAL mode, written by a thread of its own in batches; the event loop only appends to
a list.
"""

import logging
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from crossfade.adapters.change_log import change_log
from crossfade.core.event import Event, Stream
from crossfade.errors import JournalTooNew, JournalUnavailable

__all__ = ["Recording"]

_log = logging.getLogger("crossfade.tap")

VERSION = 1
JOIN_S = 30.0
"""Longest wait for the last batch at the end."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS streams (
    stream_id INTEGER PRIMARY KEY, source TEXT NOT NULL, epoch INTEGER NOT NULL,
    topic TEXT NOT NULL, partition INTEGER NOT NULL, UNIQUE (source, epoch, topic, partition));
CREATE TABLE IF NOT EXISTS deliveries (
    arrival INTEGER PRIMARY KEY, transport TEXT NOT NULL, stream_id INTEGER NOT NULL,
    sequence INTEGER NOT NULL, id TEXT NOT NULL, type TEXT NOT NULL, time_us INTEGER NOT NULL,
    subject TEXT NOT NULL, category TEXT NOT NULL, data TEXT NOT NULL, checksum INTEGER NOT NULL,
    received_us INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS deliveries_by_stream ON deliveries (transport, stream_id, sequence);
CREATE TABLE IF NOT EXISTS positions (stream_id INTEGER PRIMARY KEY, next INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS coverage (
    transport TEXT NOT NULL, from_us INTEGER NOT NULL, to_us INTEGER NOT NULL);
"""
_INSERT = (
    "INSERT INTO deliveries (transport, stream_id, sequence, id, type, time_us, subject, category,"
    " data, checksum, received_us) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_NEXT = (
    "INSERT INTO positions (stream_id, next) VALUES (?, ?) "
    "ON CONFLICT (stream_id) DO UPDATE SET next = excluded.next"
)
_BEYOND = (
    "SELECT id, source, type, time_us, subject, category, topic, partition, epoch, sequence, data, "
    "checksum FROM positions p JOIN streams s USING (stream_id) JOIN deliveries d "
    "ON d.transport = 'websocket' AND d.stream_id = p.stream_id AND d.sequence >= p.next "
    "ORDER BY s.stream_id, sequence LIMIT ?"
)
_Delivery = tuple[str, Event, int]


class Recording:
    """One writer per file; a context manager.

    Args:
        commit_s: how often a batch is committed.

    Raises (on entering):
        JournalTooNew: a later version wrote the file; it is left untouched.
        JournalUnavailable: it can not be opened, or another tap writes it.
    """

    def __init__(self, path: Path, commit_s: float) -> None:
        self.path = path
        self._commit_s = commit_s
        self._lock = threading.Lock()
        self._pending: list[_Delivery] = []
        self._writing = 0
        self._next: dict[Stream, int] = {}
        self._covered: dict[tuple[str, int], int] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._connection: sqlite3.Connection
        self._stream_ids: dict[Stream, int] = {}
        self.recorded = 0
        """Deliveries committed since it was opened."""

    @property
    def waiting(self) -> int:
        """Deliveries that are not committed yet."""
        return len(self._pending) + self._writing

    def __enter__(self) -> "Recording":
        try:
            self._open()
        except sqlite3.Error as error:
            raise JournalUnavailable(f"{self.path}: {error}") from error
        self._thread = threading.Thread(target=self._run, name="tap-recording")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Commit what is left and close the file. Blocks; use a thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(JOIN_S)
            self._thread = None

    def record(
        self,
        transport: str,
        events: Sequence[Event],
        received_us: int,
        positions: Mapping[Stream, int] | None = None,
    ) -> None:
        """Record deliveries, in this order, and in the same transaction ``positions``: per stream
        the sequence below which nothing is awaited by WebSocket any more.
        """
        with self._lock:
            self._pending.extend((transport, event, received_us) for event in events)
            if positions:
                self._next.update(positions)

    def cover(self, transport: str, from_us: int, to_us: int) -> None:
        """The tap was connected and heard heads from then to then; repeat it to extend it."""
        with self._lock:
            self._covered[transport, from_us] = to_us

    def positions(self) -> dict[Stream, int]:
        """Per stream what is awaited next by WebSocket: the start of a hole if one was open when
        the last tap ended. Only before anything is recorded.
        """
        rows = self._connection.execute(
            "SELECT source, epoch, topic, partition, next FROM positions JOIN streams "
            "USING (stream_id)"
        )
        # A recording of before positions were kept has none.
        return self.ends() | {Stream(*stream): following for *stream, following in rows}

    def ends(self) -> dict[Stream, int]:
        """Per stream what follows the highest recorded by WebSocket, holes or not. Only before
        anything is recorded.
        """
        rows = self._connection.execute(
            "SELECT s.source, s.epoch, s.topic, s.partition, max(d.sequence) + 1 "
            "FROM streams s JOIN deliveries d ON d.transport = 'websocket' "
            "AND d.stream_id = s.stream_id GROUP BY s.stream_id"
        )
        return {Stream(*stream): following for *stream, following in rows}

    def beyond(self, limit: int) -> list[Event]:
        """What is recorded by WebSocket at or above ``positions``, behind a hole, at most
        ``limit``. Only before anything is recorded.
        """
        rows = self._connection.execute(_BEYOND, (limit,)).fetchall()
        return [Event(*row) for row in rows]

    # -- the thread ------------------------------------------------------------------------------

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Handed to the thread once and for all; before that only this one has it.
        connection = sqlite3.connect(
            self.path, timeout=5.0, isolation_level=None, check_same_thread=False
        )
        self._connection = connection
        try:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version > VERSION:
                raise JournalTooNew(
                    f"{self.path}: recording of version {version}, this side writes {VERSION}"
                )
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.executescript(_SCHEMA)
            for statement in change_log("deliveries", ("arrival",)):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {VERSION}")
            self._stream_ids = {
                Stream(*stream): stream_id
                for stream_id, *stream in connection.execute(
                    "SELECT stream_id, source, epoch, topic, partition FROM streams"
                )
            }
        except BaseException:
            connection.close()
            raise

    def _run(self) -> None:
        failures = 0
        while True:
            stopping = self._stop.wait(self._commit_s)
            with self._lock:
                batch, self._pending = self._pending, []
                self._writing = len(batch)
                following, self._next = self._next, {}
                covered, self._covered = self._covered, {}
            try:
                self._commit(batch, following, covered)
                failures = 0
            except sqlite3.Error as error:
                failures += 1
                if failures == 1:
                    _log.error("%s: nothing is recorded for now: %s", self.path, error)
                with self._lock:
                    self._pending = batch + self._pending
                    self._next = {**following, **self._next}
                    self._covered = {**covered, **self._covered}
                if stopping:
                    _log.error("%s: %d deliveries were not recorded", self.path, len(batch))
            finally:
                self._writing = 0
            if stopping:
                self._connection.close()
                return

    def _commit(
        self,
        batch: Sequence[_Delivery],
        following: Mapping[Stream, int],
        covered: Mapping[tuple[str, int], int],
    ) -> None:
        if not batch and not following and not covered:
            return
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.executemany(_INSERT, [self._row(*delivery) for delivery in batch])
            connection.executemany(
                _NEXT, [(self._stream_id(stream), next_) for stream, next_ in following.items()]
            )
            for place, to_us in covered.items():
                self._extend(place, to_us)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            # The streams that the transaction made are gone with it.
            self._stream_ids.clear()
            raise
        self.recorded += len(batch)

    def _row(self, transport: str, event: Event, received_us: int) -> tuple[object, ...]:
        return (
            transport,
            self._stream_id(event.stream),
            event.sequence,
            event.id,
            event.type,
            event.time_us,
            event.subject,
            event.category,
            event.data,
            event.hash,
            received_us,
        )

    def _stream_id(self, stream: Stream) -> int:
        known = self._stream_ids.get(stream)
        if known is None:
            self._connection.execute(
                "INSERT OR IGNORE INTO streams (source, epoch, topic, partition) "
                "VALUES (?, ?, ?, ?)",
                stream,
            )
            (known,) = self._connection.execute(
                "SELECT stream_id FROM streams WHERE source = ? AND epoch = ? AND topic = ? "
                "AND partition = ?",
                stream,
            ).fetchone()
            self._stream_ids[stream] = known
        return known

    def _extend(self, place: tuple[str, int], to_us: int) -> None:
        transport, from_us = place
        changed = self._connection.execute(
            "UPDATE coverage SET to_us = ? WHERE transport = ? AND from_us = ?",
            (to_us, transport, from_us),
        )
        if not changed.rowcount:
            self._connection.execute(
                "INSERT INTO coverage (transport, from_us, to_us) VALUES (?, ?, ?)",
                (transport, from_us, to_us),
            )
