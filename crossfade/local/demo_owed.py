"""What the journal still owes a sink, read from the journal's file (docs/protocol.md section 4)."""

import contextlib
import sqlite3
from collections.abc import Mapping
from pathlib import Path

from crossfade.errors import JournalUnavailable

__all__ = ["backlog", "drained", "event_count", "owed"]

# A route says which sequences a sink is owed, a cursor what of it is done.
_OWED = """
select stream_id, lowest, highest
from (
  select r.stream_id,
         max(r.first, coalesce(c.next, 1)) as lowest,
         min(coalesce(r.last, s.head), s.head) as highest
  from routes r
  join streams s using (stream_id)
  left join cursors c on c.sink = r.sink and c.stream_id = r.stream_id
  where r.sink = ?
)
where highest >= lowest
"""


def owed(journal: Path, sink: str) -> int:
    """How many events the sink is owed now.

    Raises:
        JournalUnavailable: the file can not be read.
    """
    return sum(last - first + 1 for _, first, last in _rows(journal, _OWED, sink))


def backlog(journal: Path, sink: str) -> dict[int, int]:
    """Per stream the last sequence that the sink is owed now.

    Raises:
        JournalUnavailable: the file can not be read.
    """
    found: dict[int, int] = {}
    for stream, _, last in _rows(journal, _OWED, sink):
        found[stream] = max(last, found.get(stream, 0))
    return found


def drained(journal: Path, sink: str, was_owed: Mapping[int, int]) -> bool:
    """Whether everything of an earlier ``backlog`` is done.

    Raises:
        JournalUnavailable: the file can not be read.
    """
    query = "select stream_id, next, 0 from cursors where sink = ?"
    done = {stream: following for stream, following, _ in _rows(journal, query, sink)}
    return all(done.get(stream, 1) > last for stream, last in was_owed.items())


def event_count(journal: Path) -> int:
    """How many events the journal holds.

    Raises:
        JournalUnavailable: the file can not be read.
    """
    return _rows(journal, "select count(*), 0, 0 from events")[0][0]


def _rows(journal: Path, query: str, *arguments: str) -> list[tuple[int, int, int]]:
    try:
        uri = f"{journal.resolve().as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=5)) as connection:
            return list(connection.execute(query, arguments))
    except sqlite3.Error as error:
        raise JournalUnavailable(f"{journal}: can not be read: {error}") from error
