"""Hashing many rows at a time: the same as row by row, whatever the rows hold."""

import sqlite3
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crossfade.adapters.stores import SqliteJournalReader, TapReader
from crossfade.adapters.stores.columns import Columns
from crossfade.adapters.stores.sqlite import fold_rows
from crossfade.core.reconciliation_plan import Range
from tests.reconciliation_data import World, make_event, stream

LOST = stream("critical", 3)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path) as made:
        yield made


def agree(opened: SqliteJournalReader | TapReader, size: int, asked: Range) -> None:
    """Digests and hashes are those that the rows have."""
    by_row = sorted(digest for _, digest in fold_rows([asked], size, lambda one: opened.rows(*one)))
    assert sorted(digest for _, digest in opened.digests([asked], size)) == by_row
    rows = sorted(opened.rows(*asked), key=lambda row: row.event.sequence)
    firsts = {row.event.sequence: row.hash for row in reversed(rows)}
    told = list(opened.hashes([asked]))
    pairs = {at: value for one in told for at, value in zip(one.sequences, one.hashes, strict=True)}
    assert pairs == firsts
    odd = {row.event.sequence for row in rows if row.is_stale or row.disordered}
    odd |= {one.event.sequence for one, other in pairwise(rows)
            if one.event.sequence == other.event.sequence}  # fmt: skip
    assert {at for one in told for at in one.odd} == odd


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    arrivals=st.lists(st.integers(1, 12), max_size=20),
    altered=st.sets(st.integers(1, 12)),
    bounds=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    size=st.integers(1, 9),
    piece=st.integers(1, 9),
)
def test_deliveries_in_any_order_and_number(
    tmp_path_factory: pytest.TempPathFactory,
    arrivals: list[int],
    altered: set[int],
    bounds: tuple[int, int],
    size: int,
    piece: int,
) -> None:
    with (
        World(tmp_path_factory.mktemp("world")) as made,
        pytest.MonkeyPatch.context() as monkeypatch,
    ):
        monkeypatch.setattr("crossfade.adapters.stores.columns.PIECE", piece)
        for sequence in arrivals:
            event = make_event(LOST, sequence)
            if sequence in altered:
                event = event._replace(data="{}")
            made.deliver(event, ["websocket", "realtime"])
        for transport in ("websocket", "realtime"):
            opened = TapReader(made.folder / "tap.db", transport)
            agree(opened, size, Range(LOST, min(bounds), max(bounds)))
            opened.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE {} SET data = 'a' || char(30) || 'b' WHERE sequence = 3",
        "UPDATE {} SET data = char(30) WHERE sequence IN (1, 2)",
        "UPDATE {} SET subject = '\u00e9\u2028' WHERE sequence = 3",
        "UPDATE {} SET checksum = 'none' WHERE sequence = 3",
        "UPDATE {} SET time_us = time_us + 1 WHERE sequence = 3",
    ],
)
def test_damaged_fields_are_hashed_as_they_are(world: World, statement: str) -> None:
    world.publish(LOST, 9)
    for name, table in (("journal", "events"), ("tap", "deliveries")):
        other = sqlite3.connect(world.folder / f"{name}.db")
        other.execute(statement.format(table))
        other.commit()
        other.close()
    journal = SqliteJournalReader(world.folder / "journal.db")
    agree(journal, 4, Range(LOST, 1, 9))
    journal.close()
    tap = TapReader(world.folder / "tap.db", "websocket")
    agree(tap, 4, Range(LOST, 1, 9))
    tap.close()


def test_order_is_judged_up_to_what_follows() -> None:
    held = Columns((1, 2, 3), (7, 8, 9), (7, 8, 9), (4, 6, 5))
    assert held.disordered(None) == [2]
    assert held.disordered(6) == [2]
    assert sorted(held.disordered(1)) == [1, 2, 3]
    assert Columns().disordered(1) == []


def test_columns_are_put_in_order_whatever_order_sqlite_read_them_in() -> None:
    held = Columns((2, 1, 2), (20, 10, 21), (30, 11, 31), (9, 5, 3))
    assert held.in_order == Columns((1, 2, 2), (10, 21, 20), (11, 31, 30), (5, 3, 9))
    assert held.in_order.first_deliveries == Columns((1, 2), (10, 21), (11, 31), (5, 3))
    assert held._replace(arrivals=()).in_order.hashes == (10, 20, 21)
