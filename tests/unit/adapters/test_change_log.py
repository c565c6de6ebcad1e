"""What a foreign shell may do to a row that is sealed, and that the log tells of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from crossfade.core.reconciliation_plan import Range
from tests.reconciliation_data import World, found, stream

LOST = stream("critical", 3)
_OTHER_DATA = {
    "events": "stream_id, sequence, id, type, time_us, subject, category, '{}', checksum, "
    "committed_us",
    "deliveries": "arrival, transport, stream_id, sequence, id, type, time_us, subject, category, "
    "'{}', checksum, received_us",
}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path) as made:
        yield made


@pytest.mark.parametrize(("store", "table"), [("journal", "events"), ("websocket", "deliveries")])
def test_a_row_that_is_replaced_is_told(world: World, store: str, table: str) -> None:
    events = world.fill(LOST, 24)
    assert world.reconcile().blocks.sealed == 3
    reader = world.readers()[store]
    mark = reader.changes("").mark
    connection = world.journal if store == "journal" else world.tap
    where = "sequence = 13" + (" AND transport = 'websocket'" if table == "deliveries" else "")
    connection.execute(
        f"REPLACE INTO {table} SELECT {_OTHER_DATA[table]} FROM {table} WHERE {where}"
    )
    connection.commit()
    told = reader.changes(mark).ranges
    assert told is not None
    assert set(told) == {Range(LOST, 13, 13)}
    reader.close()
    assert found(world.reconcile()) == {("altered", store, str(events[12].position))}


def test_a_row_that_takes_anothers_place_is_told_with_it(world: World) -> None:
    world.fill(LOST, 8)
    world.fill(stream("system", 1), 8)
    arrival = "(SELECT min(arrival) FROM deliveries WHERE sequence = 2)"
    reader = world.readers()["websocket"]
    mark = reader.changes("").mark
    world.tap.execute(
        f"REPLACE INTO deliveries SELECT {arrival}, transport, stream_id, 7, id, type, time_us, "
        "subject, category, data, checksum, received_us FROM deliveries WHERE sequence = 5 LIMIT 1"
    )
    world.tap.commit()
    told = reader.changes(mark).ranges
    assert told is not None
    assert set(told) == {Range(LOST, 2, 2), Range(LOST, 7, 7)}
    reader.close()


def test_writing_as_ever_tells_nothing(world: World) -> None:
    world.fill(LOST, 40)
    for connection in (world.journal, world.tap):
        assert connection.execute("SELECT count(*) FROM changes").fetchone() == (0,)
