"""The reconciliation bench's data: journal, recording and table with the same events.

Events are about 300 bytes each, in ``PARTITIONS`` streams.
"""

import multiprocessing
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from crossfade.adapters.journal_schema import create
from crossfade.adapters.recording_sqlite import Recording
from crossfade.core.event import Event, Stream, content_hash, format_time

__all__ = [
    "PARTITIONS",
    "START_US",
    "Scene",
    "append",
    "copy_rows",
    "events_of",
    "fill",
    "journal_row",
]

PARTITIONS = 16
SOURCE = "bench"
START_US = 1_750_000_000_000_000
APART_US = 50
"""Between two commits: 20,000 events a second."""
_BATCH = 20_000
_GOLDEN = 0x9E37_79B9_7F4A_7C15
"""Odd, so that no two numbers mix to the same (Fibonacci hashing: 2^64 over the golden ratio)."""


class Scene(NamedTuple):
    """Where the filled stores are."""

    journal: Path
    tap: Path
    database_url: str
    events: int

    @property
    def now_us(self) -> int:
        """A moment at which every event is old enough to be judged."""
        return START_US + self.events * APART_US + 60_000_000


def events_of(first: int, last: int) -> Iterator[Event]:
    """The events of the numbers ``first`` to ``last`` (from 0), in the order of commit."""
    for number in range(first, last + 1):
        sequence, partition = divmod(number, PARTITIONS)
        committed_us = START_US + number * APART_US
        data = (
            f'{{"altitude":{number % 41000},"callsign":"CFD{number:08d}","big":{2**70 + number},'
            f'"note":"caf\u00e9 {number % 97}","path":[[[[{number % 7}]]]],"ratio":0.5,'
            f'"remarks":"{"x" * (60 + number % 40)}"}}'
        )
        event = Event(
            _id(number, committed_us), SOURCE, "flight.departed", committed_us,
            f"key{partition}", "critical", "critical", partition, 1, sequence + 1, data, 0,
            committed_us,
        )  # fmt: skip
        yield event._replace(hash=content_hash(event))


def _id(number: int, at_us: int) -> str:
    """A UUID version 7 whose random part is the event's number, well mixed.

    As a publisher's ids are: in the order of time, spread evenly within a millisecond. A rival
    that halves the range of ids again and again finds it filled evenly.
    """
    when, mixed = at_us // 1000, f"{number * _GOLDEN & (1 << 64) - 1:016x}"
    return f"{when >> 16:08x}-{when & 0xFFFF:04x}-7{mixed[:3]}-8{mixed[3:6]}-{mixed[6:]}00"


def stream(partition: int) -> Stream:
    """The stream of a partition."""
    return Stream(SOURCE, 1, "critical", partition)


def fill(
    folder: Path, database_url: str, count: int, told: Callable[[int], None] = lambda _: None
) -> Scene:
    """Write ``count`` events (rounded to full partitions) into all three stores."""
    count -= count % PARTITIONS
    scene = Scene(folder / "journal.db", folder / "tap.db", database_url, count)
    journal, tap = _open(scene)
    # In a process of its own: making ten million rows takes minutes.
    table = multiprocessing.get_context("spawn").Process(
        target=_fill_table, args=(database_url, count)
    )
    table.start()
    for start in range(0, count, _BATCH):
        batch = list(events_of(start, min(start + _BATCH, count) - 1))
        _write_files(journal, tap, batch)
        told(start + len(batch))
    for partition in range(PARTITIONS):
        for target in (journal, tap):
            extra = (count // PARTITIONS, 1) if target is journal else ()
            marks = ",".join("?" * (5 + len(extra)))
            target.execute(
                f"INSERT INTO streams VALUES ({marks})",
                (partition + 1, *stream(partition), *extra),
            )
        for sink in ("websocket", "supabase"):
            journal.execute(
                "INSERT INTO cursors VALUES (?,?,?)",
                (sink, partition + 1, count // PARTITIONS + 1),
            )
        journal.execute("INSERT INTO routes VALUES ('supabase', ?, 1, NULL)", (partition + 1,))
    tap.execute("INSERT INTO coverage VALUES ('websocket', 0, ?)", (scene.now_us + 10**12,))
    for target in (journal, tap):
        target.commit()
        target.execute("PRAGMA journal_mode = WAL")  # as its writer leaves it
        target.close()
    table.join()
    if table.exitcode:
        raise SystemExit(f"filling the table failed: exit status {table.exitcode}")
    return scene


def _fill_table(database_url: str, count: int) -> None:
    with psycopg.connect(database_url) as table:
        for start in range(0, count, _BATCH):
            copy_rows(table, list(events_of(start, min(start + _BATCH, count) - 1)))
    with psycopg.connect(database_url, autocommit=True) as table:
        table.execute("vacuum analyze crossfade.events")


def _open(scene: Scene) -> tuple[sqlite3.Connection, sqlite3.Connection]:
    with Recording(scene.tap, commit_s=1.0):
        pass  # makes the tables
    journal, tap = sqlite3.connect(scene.journal), sqlite3.connect(scene.tap)
    for connection in (journal, tap):
        # Nothing of a half-made file is kept, so nothing needs to be undone.
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
    create(journal)
    journal.execute("INSERT INTO meta VALUES ('source', ?), ('epoch', '1')", (SOURCE,))
    return journal, tap


def journal_row(event: Event) -> tuple[Any, ...]:
    return (
        event.partition + 1, event.sequence, event.id, event.type, event.time_us, event.subject,
        event.category, event.data, event.hash, event.committed_us,
    )  # fmt: skip


def copy_rows(table: psycopg.Connection, batch: list[Event]) -> None:
    with (
        table.cursor() as cursor,
        cursor.copy(
            "COPY crossfade.events (source, epoch, topic, partition, sequence, id, type, "
            '"time", subject, category, data, checksum) FROM STDIN'
        ) as copy,
    ):
        for event in batch:
            copy.write_row(
                (
                    event.source, event.epoch, event.topic, event.partition, event.sequence,
                    event.id, event.type, format_time(event.time_us), event.subject,
                    event.category, event.data, event.hash,
                )
            )  # fmt: skip


def append(scene: Scene, after: int, count: int) -> None:
    """Commit ``count`` more events into all three stores, as ``after`` were before."""
    journal, tap = sqlite3.connect(scene.journal), sqlite3.connect(scene.tap)
    start = scene.events + after
    count -= count % PARTITIONS
    batch = list(events_of(start, start + count - 1))
    with psycopg.connect(scene.database_url) as table:
        copy_rows(table, batch)
    _write_files(journal, tap, batch)
    head = (start + count) // PARTITIONS
    journal.execute("UPDATE streams SET head = ?", (head,))
    journal.execute("UPDATE cursors SET next = ?", (head + 1,))
    for target in (journal, tap):
        target.commit()
        target.close()


def _write_files(journal: sqlite3.Connection, tap: sqlite3.Connection, batch: list[Event]) -> None:
    journal.executemany("INSERT INTO events VALUES (?,?,?,?,?,?,?,?,?,?)", map(journal_row, batch))
    tap.executemany(
        "INSERT INTO deliveries (transport, stream_id, sequence, id, type, time_us, subject, "
        "category, data, checksum, received_us) VALUES ('websocket',?,?,?,?,?,?,?,?,?,?)",
        map(journal_row, batch),
    )
