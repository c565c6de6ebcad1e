"""The journal's file: its tables, its version, how it is opened, what its errors mean."""

import os
import sqlite3
import struct
from pathlib import Path

from crossfade.adapters.change_log import change_log
from crossfade.errors import JournalError, JournalTooNew, JournalUnavailable

__all__ = ["BUSY_S", "JOURNAL_VERSION", "create", "open_reader", "open_writer", "unavailable"]

JOURNAL_VERSION = 1
"""``PRAGMA user_version`` of the schema below (docs/protocol.md section 4)."""
BUSY_S = 5.0
"""Longest wait for another process's lock on the file."""

_MAGIC = b"SQLite format 3\x00"
_SCHEMA = """
CREATE TABLE streams (
    stream_id INTEGER PRIMARY KEY, source TEXT NOT NULL, epoch INTEGER NOT NULL,
    topic TEXT NOT NULL, partition INTEGER NOT NULL, head INTEGER NOT NULL,
    floor INTEGER NOT NULL, UNIQUE (source, epoch, topic, partition)
);
CREATE TABLE events (
    stream_id INTEGER NOT NULL, sequence INTEGER NOT NULL, id TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL, time_us INTEGER NOT NULL, subject TEXT NOT NULL,
    category TEXT NOT NULL, data TEXT NOT NULL, checksum INTEGER NOT NULL,
    committed_us INTEGER NOT NULL, PRIMARY KEY (stream_id, sequence)
) WITHOUT ROWID;
CREATE TABLE cursors (
    sink TEXT NOT NULL, stream_id INTEGER NOT NULL, next INTEGER NOT NULL,
    PRIMARY KEY (sink, stream_id)
);
CREATE TABLE routes (
    sink TEXT NOT NULL, stream_id INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER,
    PRIMARY KEY (sink, stream_id, first)
);
CREATE TABLE parked (
    sink TEXT NOT NULL, stream_id INTEGER NOT NULL, sequence INTEGER NOT NULL,
    reason TEXT NOT NULL, at_us INTEGER NOT NULL, PRIMARY KEY (sink, stream_id, sequence)
);
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""

_HELD = "old.sequence >= (SELECT floor FROM streams WHERE stream_id = old.stream_id)"
"""Whether a row that is deleted is one that the journal must still hold."""


def open_writer(path: Path, durability: str) -> sqlite3.Connection:
    """Open for writing, creating an empty file that only its owner can read if there is none.

    Args:
        durability: ``fsync`` (a commit survives the loss of power) or ``os`` (it survives the
            death of the process only).

    Raises:
        JournalTooNew: before anything was touched.
        JournalUnavailable: no folder, no permission, or no journal.
    """
    _check_header(path)
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise JournalUnavailable(f"{path}: cannot be opened: {error.strerror}") from error
    try:
        connection = sqlite3.connect(
            path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
        )
    except sqlite3.Error as error:
        raise unavailable(path, error) from error
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if durability == 'fsync' else 'NORMAL'}")
        # On macOS fsync() alone does not reach the disk; elsewhere this changes nothing.
        connection.execute(f"PRAGMA fullfsync = {int(durability == 'fsync')}")
        connection.execute("PRAGMA journal_size_limit = 67108864")
        _check_version(connection, path)
    except sqlite3.Error as error:
        connection.close()
        raise unavailable(path, error) from error
    except JournalError:
        connection.close()
        raise
    return connection


def create(connection: sqlite3.Connection) -> None:
    """Make what a file lacks of the tables, inside the caller's transaction."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == 0:
        for statement in _SCHEMA.split(";"):
            if statement.strip():
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {JOURNAL_VERSION}")
    # Also in a file that an earlier Crossfade made.
    for statement in change_log("events", ("stream_id", "sequence"), _HELD):
        connection.execute(statement)


def open_reader(path: Path) -> sqlite3.Connection:
    """Open read-only; several processes may, while one writes.

    Raises:
        JournalTooNew, JournalUnavailable: as ``open_writer``, and when there is no file.
    """
    _check_header(path)
    if not path.is_file():
        raise JournalUnavailable(f"{path}: there is no journal")
    try:
        connection = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode=ro",
            uri=True,
            timeout=BUSY_S,
            isolation_level=None,
            check_same_thread=False,
        )
    except sqlite3.Error as error:
        raise unavailable(path, error) from error
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.Error as error:
        connection.close()
        raise unavailable(path, error) from error
    if version != JOURNAL_VERSION:
        connection.close()
        raise _too_new(path, version) if version else JournalUnavailable(f"{path}: no journal yet")
    return connection


def unavailable(path: Path, error: sqlite3.Error) -> JournalUnavailable:
    """SQLite's error, with what to do about it."""
    name = getattr(error, "sqlite_errorname", "") or ""
    advice = "see the cause"
    if name.startswith("SQLITE_FULL"):
        advice = "the disk is full: free some space, then publish again"
    elif name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
        advice = "make the file and its folder writable for this process"
    elif name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        advice = "the file is damaged: keep it for repair, and start a new journal"
    elif name.startswith("SQLITE_IOERR"):
        advice = "the disk failed: check it, then publish again"
    elif name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        advice = f"another process held a lock on it for over {BUSY_S:g} s"
    return JournalUnavailable(f"{path}: {error} ({name or 'sqlite'}); {advice}")


def _check_header(path: Path) -> None:
    """Look at the bytes alone, so that a journal from the future is not even opened."""
    try:
        with path.open("rb") as file:
            header = file.read(100)
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise JournalUnavailable(f"{path}: the folder {path.parent} does not exist") from None
        return
    except OSError as error:
        raise JournalUnavailable(f"{path}: cannot be read: {error.strerror}") from error
    if not header:
        return
    if not header.startswith(_MAGIC) or len(header) < 64:
        raise JournalUnavailable(f"{path}: this file is no journal")
    # https://www.sqlite.org/fileformat.html: the user version is at offset 60, big-endian.
    (version,) = struct.unpack_from(">I", header, 60)
    if version > JOURNAL_VERSION:
        raise _too_new(path, version)


def _check_version(connection: sqlite3.Connection, path: Path) -> None:
    # Again through SQLite, since the newest header may still be in the write-ahead log.
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > JOURNAL_VERSION:
        raise _too_new(path, version)
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if version == 0 and tables:
        raise JournalUnavailable(f"{path}: this is the database of something else, not a journal")


def _too_new(path: Path, version: int) -> JournalTooNew:
    return JournalTooNew(
        f"{path}: written by a later Crossfade (journal version {version}, this one knows "
        f"{JOURNAL_VERSION}); it is left untouched: upgrade Crossfade"
    )
