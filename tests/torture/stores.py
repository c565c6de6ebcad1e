"""The checker: reads every store by itself and says what is missing, doubled or altered.

It shares nothing with the product: plain SQL, and a hash of its own written from
docs/protocol.md. What it compares with is the input that the case gave to the publisher.
"""

import hashlib
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

__all__ = ["Case", "Row", "check", "held_by_tap"]

_Place = tuple[int, str, int, int]
"""Epoch, topic, partition, sequence."""
_TELLS = 5
"""Positions that a finding names."""


class Row(NamedTuple):
    """One event at one position, as a store holds it."""

    epoch: int
    topic: str
    partition: int
    sequence: int
    id: str
    type: str
    time_us: int
    subject: str
    category: str
    data: str
    checksum: int

    @property
    def place(self) -> _Place:
        return self[:4]


class Case(NamedTuple):
    """What to compare.

    ``given`` is the input: id to number. ``may_repeat``: stores whose rows may be there more
    than once, because a receiver without memory (a restarted hub) was sent them again.
    ``pruned``: the journal keeps only what is new, so the table is what others are held to.
    """

    source: str
    given: dict[str, int]
    acknowledged: frozenset[str]
    journal: Path
    tap: Path
    database_url: str
    effects: Path
    poison: frozenset[str] = frozenset()
    may_repeat: frozenset[str] = frozenset()
    pruned: bool = False


def check(case: Case) -> list[str]:
    """Every finding, in words; empty when all stores agree with the input."""
    journal = _journal(case)
    truth_rows = _supabase(case) if case.pruned else journal
    truth = {row.place: row for row in truth_rows}
    found = [*_against_input(case, truth_rows), *_gapless(truth)]
    found += [
        f"the hash of {row.place} is wrong" for row in truth_rows if not _intact(case.source, row)
    ]
    parked = _parked(case.journal)
    if parked != Counter(case.poison):
        found.append(f"parked: {sorted(parked.elements())}, expected {sorted(case.poison)}")
    without_poison = {place: row for place, row in truth.items() if row.id not in case.poison}
    stores: dict[str, tuple[list[Row], dict[_Place, Row]]] = {
        "websocket": (_tap(case), truth),
        "supabase": (_supabase(case), without_poison),
        "subscriber": (_effects(case), truth),
    }
    for name, (rows, expected) in stores.items():
        found += _compare(name, rows, expected, repeats=name in case.may_repeat)
    if case.pruned:
        found += _kept(case.journal, journal, truth)
    return found + _owed(case.journal)


def held_by_tap(path: Path, source: str) -> int:
    """How many positions of a source the tap's recording holds."""
    with closing(_open(path)) as connection:
        (count,) = connection.execute(
            "SELECT count(*) FROM (SELECT DISTINCT s.stream_id, d.sequence FROM deliveries d "
            "JOIN streams s USING (stream_id) WHERE s.source = ? AND d.transport = 'websocket')",
            (source,),
        ).fetchone()
    return int(count)


def _against_input(case: Case, journal: list[Row]) -> list[str]:
    ids = Counter(row.id for row in journal)
    found = []
    if lost := [id_ for id_ in case.acknowledged if not ids[id_]]:
        found.append(f"journal: {len(lost)} acknowledged events are gone: {sorted(lost)[:_TELLS]}")
    if missing := [id_ for id_ in case.given if not ids[id_]]:
        found.append(f"journal: {len(missing)} events are missing: {sorted(missing)[:_TELLS]}")
    if doubled := [id_ for id_, count in ids.items() if count > 1]:
        found.append(f"journal: doubled: {sorted(doubled)[:_TELLS]}")
    for row in journal:
        number = case.given.get(row.id)
        if number is None:
            found.append(f"journal: nobody published {row.id}")
        elif f'"n":{number},' not in row.data:
            found.append(f"journal: {row.id} has another content: {row.data[:60]}")
    return found


def _kept(path: Path, journal: list[Row], truth: dict[_Place, Row]) -> list[str]:
    """Of a pruned journal: everything from the floor on, nothing altered; and it was pruned."""
    with closing(_open(path)) as connection:
        floors = {
            tuple(stream): floor
            for *stream, floor in connection.execute(
                "SELECT epoch, topic, partition, floor FROM streams"
            )
        }
    places = {row.place for row in journal}
    found = [f"journal: {row.place} altered" for row in journal if truth.get(row.place) != row]
    found += [
        f"journal: {place} is gone above the floor"
        for place in sorted(truth.keys() - places)
        if place[3] >= floors.get(place[:3], 1)
    ]
    return found if max(floors.values()) > 1 else [*found, "journal: nothing was pruned"]


def _gapless(truth: dict[_Place, Row]) -> list[str]:
    heads: dict[tuple[int, str, int], list[int]] = {}
    for epoch, topic, partition, sequence in truth:
        heads.setdefault((epoch, topic, partition), []).append(sequence)
    return [
        f"journal: {stream} is not 1 … {len(numbers)}"
        for stream, numbers in heads.items()
        if sorted(numbers) != list(range(1, len(numbers) + 1))
    ]


def _compare(
    name: str,
    rows: list[Row],
    expected: dict[_Place, Row],
    *,
    repeats: bool,
) -> list[str]:
    found = []
    counts = Counter(row.place for row in rows)
    if missing := sorted(expected.keys() - counts.keys()):
        found.append(f"{name}: {len(missing)} missing: {missing[:_TELLS]}")
    if foreign := sorted(counts.keys() - expected.keys()):
        found.append(f"{name}: {len(foreign)} that it should not have: {foreign[:_TELLS]}")
    doubled = sorted(place for place, count in counts.items() if count > 1)
    if doubled and not repeats:
        found.append(f"{name}: {len(doubled)} doubled: {doubled[:_TELLS]}")
    altered = sorted({row.place for row in rows if expected.get(row.place, row) != row})
    if altered:
        found.append(f"{name}: {len(altered)} altered: {altered[:_TELLS]}")
    if name == "subscriber":
        found += _disorder(rows, repeats=repeats)
    return found


def _disorder(rows: list[Row], *, repeats: bool) -> list[str]:
    """Per stream 1, 2, 3, …; where repeats are allowed it may go back, but never skip."""
    following: dict[tuple[int, str, int], int] = {}
    for row in rows:
        stream = row.place[:3]
        due = following.get(stream, 1)
        if row.sequence > due or (row.sequence < due and not repeats):
            return [f"subscriber: {row.place} was handed over, {due} was due"]
        following[stream] = row.sequence + 1
    return []


def _owed(path: Path) -> list[str]:
    """Nothing is owed once the publisher has drained: its cursors say so."""
    with closing(_open(path)) as connection:
        rows = connection.execute(
            "SELECT c.sink, s.topic, s.partition, c.next, s.head FROM cursors c "
            "JOIN streams s USING (stream_id) WHERE c.next <> s.head + 1"
        ).fetchall()
    return [
        f"journal: {sink} {topic}/{part} is at {next_} of {head}"
        for sink, topic, part, next_, head in rows
    ]


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)


def _rows(path: Path, statement: str, *values: Any) -> list[Row]:
    with closing(_open(path)) as connection:
        return [Row(*row) for row in connection.execute(statement, values)]


def _journal(case: Case) -> list[Row]:
    return _rows(
        case.journal,
        "SELECT s.epoch, s.topic, s.partition, e.sequence, e.id, e.type, e.time_us, e.subject, "
        "e.category, e.data, e.checksum FROM events e JOIN streams s USING (stream_id) "
        "WHERE s.source = ?",
        case.source,
    )


def _tap(case: Case) -> list[Row]:
    return _rows(
        case.tap,
        "SELECT s.epoch, s.topic, s.partition, d.sequence, d.id, d.type, d.time_us, d.subject, "
        "d.category, d.data, d.checksum FROM deliveries d JOIN streams s USING (stream_id) "
        "WHERE s.source = ? AND d.transport = 'websocket' ORDER BY d.arrival",
        case.source,
    )


def _effects(case: Case) -> list[Row]:
    return _rows(
        case.effects,
        "SELECT epoch, topic, partition, sequence, id, type, time_us, subject, category, data, "
        "checksum FROM effects WHERE source = ? ORDER BY number",
        case.source,
    )


def _supabase(case: Case) -> list[Row]:
    with psycopg.connect(case.database_url, autocommit=True) as connection:
        rows = connection.execute(
            "select epoch, topic, partition, sequence, id, type, "
            "(extract(epoch from time) * 1000000)::bigint, subject, category, data, checksum "
            "from crossfade.events where source = %s",
            (case.source,),
        ).fetchall()
        (dead,) = connection.execute(
            "select count(*) from crossfade.dead_letters where source = %s", (case.source,)
        ).fetchone() or (0,)
    if dead:
        raise AssertionError(f"{dead} events of {case.source} are among the dead letters")
    return [Row(*row) for row in rows]


def _parked(path: Path) -> Counter[str]:
    with closing(_open(path)) as connection:
        rows = connection.execute(
            "SELECT e.id FROM parked p JOIN events e USING (stream_id, sequence) "
            "WHERE p.sink = 'supabase'"
        ).fetchall()
    return Counter(id_ for (id_,) in rows)


def _intact(source: str, row: Row) -> bool:
    fields = (
        source, row.epoch, row.topic, row.partition, row.sequence, row.id, row.type, row.time_us,
        row.subject, row.category, row.data,
    )  # fmt: skip
    digest = hashlib.sha256("\x1f".join(map(str, fields)).encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True) == row.checksum
