"""Three stores in a folder, filled alike, and ways to spoil any event in any of them.

Journal and recording are SQLite files as docs/protocol.md has them; Supabase is a double of
the same protocol (``MemorySupabase``), whose hashes are made from the row as the generated
column's are.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from crossfade.adapters.journal_schema import create
from crossfade.adapters.recording_sqlite import Recording
from crossfade.adapters.stores import SqliteJournalReader, TapReader
from crossfade.adapters.stores.sqlite import fold_rows
from crossfade.core.digest import BlockDigest
from crossfade.core.event import Event, Stream, content_hash
from crossfade.core.reconciliation import Reconciliation
from crossfade.core.reconciliation_plan import Changes, Extent, Range
from crossfade.core.reconciliation_rows import Hashes, Row
from crossfade.errors import StoreUnavailable
from crossfade.ports import StoreReader
from crossfade.reconcile import reconcile
from crossfade.settings import Settings

NOW_US = 1_800_000_000_000_000
SECOND_US = 1_000_000


def stream(topic: str = "system", partition: int = 0) -> Stream:
    return Stream("app", 1, topic, partition)


def make_event(where: Stream, sequence: int, **changes: Any) -> Event:
    """An event with the checksum of its content; ``changes`` override its fields."""
    event = Event(
        id=f"{where.source}-{where.topic}-{where.partition}-{sequence}",
        source=where.source,
        type="flight.departed",
        time_us=1_700_000_000_000_000 + sequence,
        subject="JFK",
        category=where.topic,
        topic=where.topic,
        partition=where.partition,
        epoch=where.epoch,
        sequence=sequence,
        data=f'{{"delay":{sequence},"tail":"N{where.partition}"}}',
        hash=0,
    )._replace(**changes)
    return event._replace(hash=content_hash(event))


class FakeClock:
    """A clock that only moves when told."""

    def __init__(self, now_us: int = NOW_US) -> None:
        self.us = now_us

    def now_us(self) -> int:
        return self.us

    def monotonic_ms(self) -> int:
        return self.us // 1000


@dataclass
class MemorySupabase:
    """Implements ``ports.StoreReader`` from rows in memory, and counts what it was asked."""

    name: str = "supabase"
    events: dict[Stream, dict[int, Event]] = field(default_factory=dict)
    asked: list[Range] = field(default_factory=list)
    broken: str = ""
    """A method (``streams``, ``digests``, ``rows``) that fails."""

    changed: list[Range] = field(default_factory=list)
    """The log of updates and deletes, as the table's triggers keep it."""

    def put(self, event: Event) -> None:
        if event.sequence in self.events.get(event.stream, {}):
            self.changed.append(Range(event.stream, event.sequence, event.sequence))
        self.events.setdefault(event.stream, {})[event.sequence] = event

    def streams(self) -> list[Extent]:
        self._check("streams")
        return [Extent(one, min(held), max(held)) for one, held in self.events.items() if held]

    def changes(self, since: str) -> Changes:
        self._check("changes")
        return Changes(str(len(self.changed)), tuple(self.changed[int(since or 0) :]))

    def digests(
        self, ranges: Sequence[Range], block: int, *, anew: bool = False
    ) -> Iterator[tuple[Stream, BlockDigest]]:
        self._check("digests")
        if block > 1:  # not when single rows are looked for
            self.asked.extend(ranges)
        return fold_rows(ranges, block, lambda asked: self._rows(*asked))

    def rows(self, where: Stream, first: int, last: int) -> Iterator[Row]:
        self._check("rows")
        return self._rows(where, first, last)

    def hashes(self, ranges: Sequence[Range]) -> Iterator[Hashes]:
        self._check("digests")
        for one in ranges:
            rows = list(self._rows(*one))
            yield Hashes(
                one.stream,
                [row.event.sequence for row in rows],
                [row.hash for row in rows],
                {row.event.sequence for row in rows if row.is_stale},
            )

    def rows_of(self, ranges: Sequence[Range]) -> Iterator[Row]:
        for one in ranges:
            yield from self.rows(*one)

    def close(self) -> None:
        pass

    def _rows(self, where: Stream, first: int, last: int) -> Iterator[Row]:
        for sequence, event in sorted(self.events.get(where, {}).items()):
            if first <= sequence <= last:
                value = content_hash(event)
                yield Row(event, value, value)

    def _check(self, method: str) -> None:
        if self.broken == method:
            raise StoreUnavailable(f"{method}: no answer in time")


class World:
    """The three stores of one publisher. Use it as a context manager."""

    def __init__(self, folder: Path, *, now_us: int = NOW_US) -> None:
        self.folder = folder
        self.clock = FakeClock(now_us)
        self.supabase = MemorySupabase()
        self.journal = _connect(folder / "journal.db")
        create(self.journal)
        self.journal.execute("INSERT INTO meta VALUES ('source', 'app'), ('epoch', '1')")
        self.journal.commit()
        with Recording(folder / "tap.db", commit_s=1.0):
            pass  # makes the tables
        self.tap = _connect(folder / "tap.db")
        self.cover("websocket", 0, now_us)
        self.cover("realtime", 0, now_us)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.journal.close()
        self.tap.close()

    def settings(self, **options: Any) -> Settings:
        """Settings for this world; ``options`` are fields of the reconcile section."""
        section = {
            "block": 8, "grace_s": 5.0, "rechecks": 1, "recheck_s": 0.5, "scrub_blocks": 0,
            "state": self.folder / "seals.db", **options,
        }  # fmt: skip
        return Settings.model_validate(
            {
                "journal": {"path": self.folder / "journal.db"},
                "tap": {"path": self.folder / "tap.db"},
                "reconcile": section,
            }
        )

    def readers(self) -> dict[str, StoreReader]:
        return {
            "journal": SqliteJournalReader(self.folder / "journal.db"),
            "websocket": TapReader(self.folder / "tap.db", "websocket"),
            "realtime": TapReader(self.folder / "tap.db", "realtime"),
            "supabase": self.supabase,
        }

    def reconcile(self, *, options: dict[str, Any] | None = None, **given: Any) -> Reconciliation:
        """One run over these stores; rechecks do not wait."""
        given.setdefault("sleep", lambda seconds: None)
        given.setdefault("readers", self.readers())
        given.setdefault("judge", lambda result: ())  # the evidence's sample is for a judge
        return reconcile(self.settings(**(options or {})), clock=self.clock, **given)

    # -- filling ---------------------------------------------------------------

    def publish(
        self,
        where: Stream,
        count: int,
        *,
        age_s: float = 60.0,
        to: Sequence[str] = (),
        owed: Sequence[str] = (),
        **changes: Any,
    ) -> list[Event]:
        """Commit events and deliver them to the stores ``to`` names.

        The publisher's cursors count them as delivered, except to those that ``owed`` names.
        """
        stream_id, head = self._journal_stream(where)
        events = [make_event(where, head + 1 + offset, **changes) for offset in range(count)]
        committed_us = self.clock.us - round(age_s * SECOND_US)
        self.journal.executemany(
            "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [(stream_id, e.sequence, e.id, e.type, e.time_us, e.subject, e.category, e.data,
              e.hash, committed_us + e.sequence) for e in events],
        )  # fmt: skip
        self.journal.execute(
            "UPDATE streams SET head = ? WHERE stream_id = ?", (head + count, stream_id)
        )
        for sink in {"websocket", "supabase"} - set(owed):
            self.journal.execute(
                "INSERT OR REPLACE INTO cursors VALUES (?, ?, ?)",
                (sink, stream_id, head + count + 1),
            )
        self.journal.commit()
        for event in events:
            self.deliver(event, to)
        return events

    def deliver(self, event: Event, to: Sequence[str]) -> None:
        """Hand an event to stores other than the journal, as it is."""
        for store in to:
            if store == "supabase":
                self.supabase.put(event)
            else:
                self._record(store, event)
        self.tap.commit()

    def route(self, where: Stream, first: int = 1, last: int | None = None) -> None:
        """Supabase is owed these sequences of a stream."""
        stream_id, _ = self._journal_stream(where)
        self.journal.execute(
            "INSERT INTO routes VALUES ('supabase', ?, ?, ?)", (stream_id, first, last)
        )
        self.journal.commit()

    def fill(
        self, where: Stream, count: int, *, routed: bool = True, **changes: Any
    ) -> list[Event]:
        """Events that every store has as it should; ``changes`` override their fields."""
        if routed:
            if not self._routed(where):
                self.route(where)
            return self.publish(where, count, to=("websocket", "realtime", "supabase"), **changes)
        return self.publish(where, count, to=("websocket",), **changes)

    def cover(self, transport: str, from_us: int, to_us: int) -> None:
        self.tap.execute("INSERT INTO coverage VALUES (?, ?, ?)", (transport, from_us, to_us))
        self.tap.commit()

    # -- spoiling --------------------------------------------------------------

    def drop(self, store: str, event: Event) -> None:
        """The event is not in this store any more."""
        if store == "supabase":
            del self.supabase.events[event.stream][event.sequence]
            self.supabase.changed.append(Range(event.stream, event.sequence, event.sequence))
        elif store == "journal":
            self._on_journal("DELETE FROM events", event)
        else:
            self._on_tap("DELETE FROM deliveries", store, event)

    def alter(self, store: str, event: Event, *, forged: bool, **changes: Any) -> None:
        """Other content; ``forged`` gives it the checksum that fits."""
        changed = event._replace(**changes)
        if forged:
            changed = changed._replace(hash=content_hash(changed))
        self.put(store, changed)

    def spoil_checksum(self, store: str, event: Event) -> None:
        """The right content beside a wrong checksum."""
        self.put(store, event._replace(hash=event.hash ^ 0x55))

    def put(self, store: str, event: Event) -> None:
        """Overwrite what a store holds at this event's position."""
        if store == "supabase":
            self.supabase.put(event)
            return
        values = (event.id, event.type, event.time_us, event.subject, event.category, event.data,
                  event.hash)  # fmt: skip
        fields = "id = ?, type = ?, time_us = ?, subject = ?, category = ?, data = ?, checksum = ?"
        if store == "journal":
            self._on_journal(f"UPDATE events SET {fields}", event, values)
        else:
            self._on_tap(f"UPDATE deliveries SET {fields}", store, event, values)

    def insert_phantom(self, store: str, event: Event) -> None:
        """An event that was never published."""
        if store == "journal":
            stream_id, _ = self._journal_stream(event.stream)
            self.journal.execute(
                "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 1)",
                (stream_id, event.sequence, event.id, event.type, event.time_us, event.subject,
                 event.category, event.data, event.hash),
            )  # fmt: skip
            self.journal.commit()
        else:
            self.deliver(event, [store])

    def swap_arrivals(self, one: Event, other: Event, transport: str = "websocket") -> None:
        """Both arrived in each other's place."""
        first, second = (
            self._on_tap("SELECT arrival FROM deliveries", transport, event).fetchone()[0]
            for event in (one, other)
        )
        for old, new in ((first, -1), (second, first), (-1, second)):
            self.tap.execute("UPDATE deliveries SET arrival = ? WHERE arrival = ?", (new, old))
        self.tap.commit()

    def uncover(self, event: Event) -> None:
        """Cut the tap's connection around the moment this event was committed."""
        at_us = self._on_journal("SELECT committed_us FROM events", event).fetchone()[0]
        (start, end) = self.tap.execute(
            "SELECT from_us, to_us FROM coverage WHERE transport = 'websocket' "
            "AND from_us <= ? AND to_us >= ?", (at_us, at_us),
        ).fetchone()  # fmt: skip
        self.tap.execute("DELETE FROM coverage WHERE transport = 'websocket' AND from_us = ?",
                         (start,))  # fmt: skip
        self.cover("websocket", start, at_us - 2 * SECOND_US)
        self.cover("websocket", at_us + 2 * SECOND_US, end)

    # -- private ---------------------------------------------------------------

    def _journal_stream(self, where: Stream) -> tuple[int, int]:
        return _stream_row(self.journal, where, ", head, floor", ", 0, 1", "stream_id, head")

    def _routed(self, where: Stream) -> bool:
        stream_id, _ = self._journal_stream(where)
        return bool(
            self.journal.execute(
                "SELECT 1 FROM routes WHERE stream_id = ? AND last IS NULL", (stream_id,)
            ).fetchone()
        )

    def _record(self, transport: str, event: Event) -> None:
        (stream_id,) = _stream_row(self.tap, event.stream, "", "", "stream_id")
        self.tap.execute(
            "INSERT INTO deliveries (transport, stream_id, sequence, id, type, time_us, subject, "
            "category, data, checksum, received_us) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (transport, stream_id, event.sequence, event.id, event.type, event.time_us,
             event.subject, event.category, event.data, event.hash, self.clock.us),
        )  # fmt: skip

    def _on_journal(self, statement: str, event: Event, values: Sequence[Any] = ()) -> Any:
        stream_id, _ = self._journal_stream(event.stream)
        cursor = self.journal.execute(
            f"{statement} WHERE stream_id = ? AND sequence = ?",
            (*values, stream_id, event.sequence),
        )
        if not statement.startswith("SELECT"):
            assert cursor.rowcount == 1
            self.journal.commit()
        return cursor

    def _on_tap(
        self, statement: str, transport: str, event: Event, values: Sequence[Any] = ()
    ) -> Any:
        (stream_id,) = _stream_row(self.tap, event.stream, "", "", "stream_id")
        cursor = self.tap.execute(
            f"{statement} WHERE transport = ? AND stream_id = ? AND sequence = ?",
            (*values, transport, stream_id, event.sequence),
        )
        if not statement.startswith("SELECT"):
            assert cursor.rowcount == 1
            self.tap.commit()
        return cursor


def found(result: Reconciliation) -> set[tuple[str, str, str]]:
    """The discrepancies as (kind, store, position)."""
    named = [(one.kind.value, one.store, one.position) for one in result.discrepancies]
    assert len(named) == len(set(named)) == result.discrepancy_count
    return set(named)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = OFF")
    return connection


def _stream_row(
    connection: sqlite3.Connection, where: Stream, columns: str, values: str, wanted: str
) -> Any:
    query = (
        f"SELECT {wanted} FROM streams "
        "WHERE source = ? AND epoch = ? AND topic = ? AND partition = ?"
    )
    row = connection.execute(query, where).fetchone()
    if row is None:
        connection.execute(
            f"INSERT INTO streams (source, epoch, topic, partition{columns}) "
            f"VALUES (?, ?, ?, ?{values})",
            where,
        )
        row = connection.execute(query, where).fetchone()
    return row
