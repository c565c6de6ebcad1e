"""Opening somebody else's SQLite file for reading only."""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from crossfade.adapters.change_log import newest_change, read_changes
from crossfade.core.digest import BlockDigest, DigestFold, block_of
from crossfade.core.event import Stream
from crossfade.core.reconciliation_plan import Changes, Range
from crossfade.core.reconciliation_rows import Row
from crossfade.errors import CrossfadeError

__all__ = ["BUSY_TIMEOUT_S", "changes_of", "fold_rows", "open_read_only", "read_rows", "translated"]

BUSY_TIMEOUT_S = 5.0
"""Longest wait for a writer's lock (a WAL reader hardly ever waits)."""


def open_read_only(path: Path, error: type[CrossfadeError]) -> sqlite3.Connection:
    """Open an existing database read-only; its writer may go on.

    The connection may be used by several threads (SQLite is built serialised).

    Raises:
        CrossfadeError: of the kind ``error``: the file is missing or no database.
    """
    if not path.is_file():
        raise error(f"{path}: no such file")
    with translated(path, error):
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro",
            uri=True,
            timeout=BUSY_TIMEOUT_S,
            check_same_thread=False,
            isolation_level=None,
        )
        connection.execute("PRAGMA query_only = 1")
        connection.execute("SELECT count(*) FROM sqlite_schema")
    return connection


@contextmanager
def translated(path: Path, error: type[CrossfadeError]) -> Iterator[None]:
    """Turn SQLite's errors into ``error``, naming the file."""
    try:
        yield
    except sqlite3.Error as fault:
        raise error(f"{path}: {fault}") from fault


def changes_of(
    connection: sqlite3.Connection, table: str, since: str, ids: Callable[[], Mapping[Stream, int]]
) -> Changes:
    """What the log of ``table`` tells since the mark ``since`` ("" for none: nothing yet).

    ``ids`` reads the streams; called after the log, so that it knows all that the log names.
    """
    newest = newest_change(connection, table)
    if newest is None:
        return Changes("", None)
    if not since:
        return Changes(str(newest), ())
    if not since.isdecimal():  # a mark of an export, which the settings named before
        return Changes(str(newest), None)
    pairs = read_changes(connection, int(since), newest)
    if pairs is None:
        return Changes(str(newest), None)
    streams = {stream_id: stream for stream, stream_id in ids().items()}
    touched = {(streams[one], sequence) for one, sequence in pairs if one in streams}
    return Changes(str(newest), tuple(Range(where, at, at) for where, at in sorted(touched)))


def read_rows(
    connection: sqlite3.Connection, query: str, parameters: Sequence[object]
) -> Iterator[tuple[Any, ...]]:
    """The rows of a query whose order is fixed; text that is no UTF-8 is shown with escapes.

    Such a row has then not the content that its hash says, which is what is to be found out;
    sqlite3 by itself would end the whole query there.
    """
    done = 0
    try:
        for row in connection.execute(query, parameters):
            yield row
            done += 1
    except sqlite3.OperationalError as error:
        if "decode" not in str(error).lower():
            raise
        connection.text_factory = lambda text: text.decode(errors="backslashreplace")
        yield from islice(connection.execute(query, parameters), done, None)


def fold_rows(
    ranges: Iterable[Range], size: int, read: Callable[[Range], Iterable[Row]]
) -> Iterator[tuple[Stream, BlockDigest]]:
    """Digests of ranges from their rows: one for each block that a range touches and holds rows of.

    ``read`` gives a range's rows with equal sequences next to each other, in order of
    arrival. Only a block's sums are held, never its rows.
    """
    for asked in ranges:
        for number, rows in groupby(
            read(asked), key=lambda row: block_of(row.event.sequence, size)
        ):
            fold = DigestFold(number)
            previous = 0
            for row in rows:
                sequence = row.event.sequence
                if row.is_stale:
                    fold.stale += 1
                if sequence == previous:
                    fold.repeated += 1
                    continue
                previous = sequence
                fold.add(sequence, row.hash)
                if row.disordered:
                    fold.disordered += 1
            yield asked.stream, fold.digest()
