"""What the demo's checker reads: the input file, the three stores, the subscribers' recordings.

Every reader goes to the store itself: the journal's and the tap's SQLite files, the table over
PostgreSQL, the file that a subscriber wrote. None asks the publisher, the relay or the control
server anything.
"""

import contextlib
import gzip
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import psycopg

from crossfade.core.canonical import parse_json
from crossfade.core.event import Event, from_wire
from crossfade.errors import InvalidEvent, JournalUnavailable, StoreUnavailable
from crossfade.local.demo_checker import Expected, expected_event

__all__ = [
    "read_input",
    "read_journal",
    "read_recording",
    "read_supabase",
    "read_tap",
    "routed_ids",
]

_EVENT_COLUMNS = (
    "e.id, s.source, e.type, e.time_us, e.subject, e.category, s.topic, s.partition, s.epoch, "
    "e.sequence, e.data, e.checksum"
)


def read_input(path: Path, limit: int | None = None) -> list[Expected]:
    """The first ``limit`` events of an input file (all by default); ``.gz`` is understood.

    Raises:
        InvalidEvent: a line is not an event with an id; names the line.
        OSError: the file can not be read.
    """
    found: list[Expected] = []
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rb") as lines:
        for number, line in enumerate(lines, start=1):
            if limit is not None and len(found) >= limit:
                break
            try:
                found.append(expected_event(number, parse_json(line)))
            except (KeyError, TypeError, AttributeError) as error:
                raise InvalidEvent(f"{path}: line {number}: no event: {error!r}") from error
    return found


def read_journal(path: Path) -> list[Event]:
    """Every event of a publisher's journal, by stream and sequence.

    Raises:
        JournalUnavailable: the file can not be read.
    """
    return _read_sqlite(
        path,
        f"select {_EVENT_COLUMNS} from events e join streams s using (stream_id) "  # noqa: S608
        "order by e.stream_id, e.sequence",
    )


def read_tap(path: Path, transport: str) -> list[Event]:
    """Every delivery that the tap recorded from a transport, in the order of arrival.

    Raises:
        JournalUnavailable: the file can not be read.
    """
    return _read_sqlite(
        path,
        f"select {_EVENT_COLUMNS} from deliveries e join streams s using (stream_id) "  # noqa: S608
        "where e.transport = ? order by e.arrival",
        transport,
    )


def read_supabase(database_url: str) -> list[Event]:
    """Every event of the table, by stream and sequence, over PostgreSQL itself.

    Raises:
        StoreUnavailable: no answer.
    """
    query = (
        "select id::text, source, type, (extract(epoch from time) * 1000000)::bigint, subject, "
        "category, topic, partition, epoch, sequence, data, checksum from crossfade.events "
        "order by source, epoch, topic, partition, sequence"
    )
    try:
        with psycopg.connect(database_url, connect_timeout=10) as connection:
            return [Event(*row) for row in connection.execute(query)]
    except psycopg.Error as error:
        raise StoreUnavailable(f"supabase: the table can not be read: {error}") from error


def read_recording(path: Path) -> list[Event]:
    """What a subscriber was handed, in order, from the file that it wrote.

    A last line without its end is left out: the subscriber was cut off while writing.

    Raises:
        InvalidEvent: another line is not a wire event; names the line.
    """
    return [from_wire(value) for value in _recorded(path)]


def routed_ids(journal: Path, sink: str, from_us: int | None) -> set[str]:
    """The ids that a sink must hold: what its routes cover, and all committed from ``from_us`` on.

    Raises:
        JournalUnavailable: the file can not be read.
    """
    query = (
        "select e.id from events e where e.committed_us >= ? or exists ("
        "select 1 from routes r where r.sink = ? and r.stream_id = e.stream_id "
        "and e.sequence >= r.first and (r.last is null or e.sequence <= r.last))"
    )
    never = 1 << 62
    rows = _query_sqlite(journal, query, never if from_us is None else from_us, sink)
    return {str(row[0]) for row in rows}


def _recorded(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                yield orjson.loads(line)
            except ValueError as error:
                raise InvalidEvent(f"{path}: line {number}: {error}") from error


def _read_sqlite(path: Path, query: str, *arguments: Any) -> list[Event]:
    return [Event(*row) for row in _query_sqlite(path, query, *arguments)]


def _query_sqlite(path: Path, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
    try:
        uri = f"{path.resolve().as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=10)) as connection:
            return list(connection.execute(query, arguments))
    except sqlite3.Error as error:
        raise JournalUnavailable(f"{path}: can not be read: {error}") from error
