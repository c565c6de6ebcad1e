"""Faults of every kind in every store, and what a run must say of each.

They are made behind every back: by SQL on the files and on the table.
"""

import json
import random
import sqlite3
from collections.abc import Callable
from typing import Any, NamedTuple

import psycopg

from benchmarks.reconcile_data import (
    PARTITIONS,
    START_US,
    Scene,
    copy_rows,
    events_of,
    journal_row,
)
from crossfade.core.event import Event, content_hash, format_time

__all__ = ["KINDS", "Fault", "plant"]


class Fault(NamedTuple):
    """What a run must say of a planted fault."""

    kind: str
    store: str
    position: str


def plant(scene: Scene, count: int, seed: int = 7) -> set[Fault]:
    """Spoil ``count`` events, each in one way, behind every back; what must come of it.

    The faults are spread over all kinds, stores and streams, at least 8 events apart.
    """
    chance = random.Random(seed)  # repeatable, not secret
    slots = chance.sample(range(1, scene.events // PARTITIONS // 8 - 1), count)
    found: set[Fault] = set()
    journal, tap = sqlite3.connect(scene.journal), sqlite3.connect(scene.tap)
    with psycopg.connect(scene.database_url) as table:
        stores = _Stores(journal, tap, table)
        for index, slot in enumerate(slots):
            one = KINDS[index % len(KINDS)]
            partition = index % PARTITIONS
            number = (slot * 8 - 1) * PARTITIONS + partition
            event = next(events_of(number, number))
            found |= {
                Fault(kind or one.kind, one.store, position)
                for kind, position in one.spoil(stores, event)
            }
    for connection in (journal, tap):
        connection.commit()
        connection.close()
    return found


class _Stores:
    """The three stores, and what a fault does to an event in one of them."""

    def __init__(
        self, journal: sqlite3.Connection, tap: sqlite3.Connection, table: psycopg.Connection
    ) -> None:
        self._lite = {"journal": (journal, "events"), "websocket": (tap, "deliveries")}
        self._table = table

    def change(self, store: str, event: Event, **fields: Any) -> None:
        names = {"time_us": '"time"', "hash": "checksum"}
        if store == "supabase":
            values = {
                names.get(name, name): format_time(value) if name == "time_us" else value
                for name, value in fields.items()
            }
            assignments = ", ".join(f"{name} = %s" for name in values)
            self._run(f"UPDATE crossfade.events SET {assignments}", event, list(values.values()))
            return
        connection, rows = self._lite[store]
        assignments = ", ".join(f"{'checksum' if n == 'hash' else n} = ?" for n in fields)
        done = connection.execute(
            f"UPDATE {rows} SET {assignments} WHERE stream_id = ? AND sequence = ?",
            (*fields.values(), event.partition + 1, event.sequence),
        )
        _once(done.rowcount)

    def forge(self, store: str, event: Event, **fields: Any) -> None:
        self.change(store, event, **fields, hash=content_hash(event._replace(**fields)))

    def delete(self, store: str, event: Event) -> None:
        if store == "supabase":
            self._run("DELETE FROM crossfade.events", event, [])
            return
        connection, rows = self._lite[store]
        done = connection.execute(
            f"DELETE FROM {rows} WHERE stream_id = ? AND sequence = ?",
            (event.partition + 1, event.sequence),
        )
        _once(done.rowcount)

    def move(self, event: Event) -> str:
        self._run("UPDATE crossfade.events SET partition = partition + 500", event, [])
        return str(event._replace(partition=event.partition + 500).position)

    def add(self, store: str, event: Event) -> None:
        if store == "supabase":
            copy_rows(self._table, [event])
            return
        connection, _ = self._lite[store]
        connection.execute(
            "INSERT INTO deliveries (transport, stream_id, sequence, id, type, time_us, "
            "subject, category, data, checksum, received_us) "
            "VALUES ('websocket',?,?,?,?,?,?,?,?,?,?)",
            journal_row(event),
        )

    def swap(self, event: Event) -> None:
        """The event arrived in the place of its follower, and that in the event's."""
        connection, _ = self._lite["websocket"]
        first, second = (
            connection.execute(
                "SELECT arrival FROM deliveries WHERE transport = 'websocket' AND stream_id = ? "
                "AND sequence = ?", (event.partition + 1, event.sequence + more),
            ).fetchone()[0]
            for more in (0, 1)
        )  # fmt: skip
        for old, new in ((first, -1), (second, first), (-1, second)):
            connection.execute("UPDATE deliveries SET arrival = ? WHERE arrival = ?", (new, old))

    def _run(self, statement: str, event: Event, values: list[Any]) -> None:
        done = self._table.execute(
            f"{statement} WHERE source = %s AND epoch = %s AND topic = %s AND partition = %s "
            "AND sequence = %s",
            [*values, *event.position],
        )
        _once(done.rowcount)


_Where = list[tuple[str, str]]
"""Kinds ("" for that of the planter) and positions that a run must name."""


def _once(rows: int) -> None:
    if rows != 1:
        raise AssertionError(f"a fault touched {rows} rows")


def _changed(store: str, old: str, new: str, *, forged: bool = False) -> "Spoil":
    def spoil(stores: _Stores, event: Event) -> _Where:
        data = event.data.replace(old, new, 1)
        if data == event.data:
            raise AssertionError(f"{old} is not in {event.data}")
        (stores.forge if forged else stores.change)(store, event, data=data)
        return [("", str(event.position))]

    return spoil


def _field(store: str, *, forged: bool, **fields: Any) -> "Spoil":
    def spoil(stores: _Stores, event: Event) -> _Where:
        (stores.forge if forged else stores.change)(store, event, **fields)
        return [("", str(event.position))]

    return spoil


def _missing(store: str) -> "Spoil":
    def spoil(stores: _Stores, event: Event) -> _Where:
        stores.delete(store, event)
        return [("", str(event.position))]

    return spoil


def _moved(stores: _Stores, event: Event) -> _Where:
    return [("", str(event.position)), ("phantom", stores.move(event))]


def _ghost(store: str) -> "Spoil":
    def spoil(stores: _Stores, event: Event) -> _Where:
        ghost = event._replace(sequence=event.sequence + 10**9, id=event.id[:-2] + "01")
        stores.add(store, ghost._replace(hash=content_hash(ghost)))
        return [("", str(ghost.position))]

    return spoil


def _doubled(stores: _Stores, event: Event) -> _Where:
    stores.add("websocket", event)
    return [("", str(event.position))]


def _swapped(stores: _Stores, event: Event) -> _Where:
    stores.swap(event)
    return [("", str(event.position))]


def _reordered(store: str) -> "Spoil":
    def spoil(stores: _Stores, event: Event) -> _Where:
        fields = json.loads(event.data)
        turned = dict(reversed(fields.items()))
        data = json.dumps(turned, separators=(",", ":"), ensure_ascii=False)
        stores.change(store, event, data=data)
        return [("", str(event.position))]

    return spoil


Spoil = Callable[[_Stores, Event], _Where]


class Way(NamedTuple):
    """One way to spoil an event, and the kind of finding that it makes."""

    name: str
    kind: str
    store: str
    spoil: Spoil


def _ways() -> list[Way]:
    ways = []
    for store in ("journal", "websocket", "supabase"):
        ways += [
            Way("a normal form of Unicode", "altered", store,
                _changed(store, "\u00e9", "e\u0301")),
            Way("a digit of a huge integer", "altered", store,
                _changed(store, '"big":1', '"big":2')),
            Way("deep in the nesting", "altered", store, _changed(store, "[[[[", "[[[[9,")),
            Way("a key twice", "altered", store,
                _changed(store, '"ratio":0.5', '"ratio":0.5,"ratio":0.5')),
            Way("a checksum forged", "altered", store,
                _changed(store, '"ratio":0.5', '"ratio":0.6', forged=True)),
            Way("a type", "altered", store, _field(store, forged=False, type="flight.cancelled")),
            Way("a time, forged", "altered", store,
                _field(store, forged=True, time_us=START_US - 1)),
            Way("a number's form", "reserialised", store, _changed(store, "0.5", "0.50")),
            Way("the order of keys", "reserialised", store, _reordered(store)),
            Way("a checksum alone", "stale_hash", store, _field(store, forged=False, hash=12345)),
            Way("deleted", "missing", store, _missing(store)),
        ]  # fmt: skip
    return [
        *ways,
        Way("never published", "phantom", "websocket", _ghost("websocket")),
        Way("never published", "phantom", "supabase", _ghost("supabase")),
        Way("moved to another partition", "missing", "supabase", _moved),
        Way("delivered twice", "duplicated", "websocket", _doubled),
        Way("overtaken", "out_of_order", "websocket", _swapped),
    ]


KINDS = _ways()
"""Every way there is; ``plant`` takes them in turn."""
