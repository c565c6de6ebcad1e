"""One writer per journal: a lock that dies with its process, and a token that fences.

The lock (``flock`` on a file beside the journal) is what excludes: the kernel drops it when
its holder dies in any way, so a lock that can be taken means that the former holder is gone.
The lease in ``meta`` says who holds it, and its token is checked in every transaction: should
two processes ever both believe to be the writer (a deleted lock file, a file system without
locks), the older one is fenced off before it can commit anything more.
"""

import fcntl
import os
import socket
import sqlite3
from pathlib import Path
from typing import Any

import orjson

from crossfade.errors import JournalLocked, JournalUnavailable

__all__ = ["Lease"]


class Lease:
    """The right to write one journal."""

    def __init__(self, path: Path, token: str, now_us: int) -> None:
        self._path = path
        self._token = token
        self._text = orjson.dumps(
            {
                "pid": os.getpid(),
                "host": socket.gethostname(),
                "started_us": now_us,
                "token": token,
            }
        ).decode()
        self._lock: int | None = None

    def lock(self) -> None:
        """Take the lock, or learn that a live process has it.

        Raises:
            JournalLocked: naming the holder by pid and host.
            JournalUnavailable: the lock file cannot be made.
        """
        place = self._path.with_name(self._path.name + ".lock")
        try:
            lock = os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise JournalUnavailable(f"{place}: cannot be opened: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(lock, 1_000, 0)
            os.close(lock)
            raise self._locked(_parse(holder)) from None
        except OSError as error:
            os.close(lock)
            raise JournalUnavailable(f"{place}: cannot be locked: {error.strerror}") from error
        os.truncate(lock, 0)
        os.pwrite(lock, self._text.encode(), 0)
        self._lock = lock

    def take(self, connection: sqlite3.Connection) -> dict[str, Any] | None:
        """Write the lease, inside the caller's transaction; answers a dead holder's, if any."""
        row = connection.execute("SELECT value FROM meta WHERE key = 'lease'").fetchone()
        connection.execute(
            "INSERT INTO meta VALUES ('lease', ?) ON CONFLICT (key) DO UPDATE SET value = ?",
            (self._text, self._text),
        )
        return _parse(row[0]) if row is not None and row[0] else None

    def check(self, connection: sqlite3.Connection) -> None:
        """Verify inside the caller's transaction that the lease is still ours.

        Raises:
            JournalLocked: another process took the journal over.
        """
        row = connection.execute("SELECT value FROM meta WHERE key = 'lease'").fetchone()
        if row is None or row[0] != self._text:
            raise self._locked(_parse(row[0]) if row is not None else {})

    def give_back(self, connection: sqlite3.Connection) -> None:
        """Clear the lease if it is ours: a clean end."""
        connection.execute(
            "UPDATE meta SET value = '' WHERE key = 'lease' AND value = ?", (self._text,)
        )

    def unlock(self) -> None:
        """Let the next writer in."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _locked(self, holder: dict[str, Any]) -> JournalLocked:
        return JournalLocked(
            f"{self._path}: the process {holder.get('pid', '?')} on {holder.get('host', '?')} "
            "writes this journal; stop it first, or give this publisher a journal of its own"
        )


def _parse(text: str | bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}
