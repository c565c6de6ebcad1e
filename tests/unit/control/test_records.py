"""Reconciliations, telemetry and the outbox, on SQLite and on PostgreSQL."""

from typing import Any

import pytest
from sqlalchemy import Engine

from crossfade.control import records as module
from crossfade.control.records import RecordStore
from crossfade.control.store import RolloutStore
from crossfade.core.flags import Flags
from crossfade.core.telemetry_totals import Window
from crossfade.core.telemetry_windows import Instance
from crossfade.errors import UsageError
from tests.rollouts import SECOND, a_reconciliation, publisher_report
from tests.unit.control.test_store import Phase, breached, forward, give, started


@pytest.fixture
def records(engine: Engine) -> RecordStore:
    return RecordStore(engine)


def window(second: int) -> Window:
    found = Window(second * SECOND, (second + 1) * SECOND)
    found.add(publisher_report(second))
    return found


def test_a_reconciliation_is_stored_once(records: RecordStore) -> None:
    first = records.add_reconciliation(a_reconciliation(), 10 * SECOND)
    assert records.add_reconciliation(a_reconciliation(), 20 * SECOND) == first
    second = records.add_reconciliation(a_reconciliation("fail", at_us=2), 30 * SECOND)
    newest, oldest = records.reconciliations(10)
    assert (newest["hash"], oldest["hash"]) == (second, first)
    assert (oldest["stored_us"], newest["verdict"]) == (10 * SECOND, "fail")
    assert records.reconciliations(1) == [newest]


def test_when_it_began_is_by_our_clock(records: RecordStore) -> None:
    digest = records.add_reconciliation(a_reconciliation(duration_ms=2_500.0, at_us=7), 10 * SECOND)
    found = records.reconciliation(digest)
    assert found is not None
    assert found.began_us == 7_500_000
    assert records.reconciliation("nothing") is None


def test_what_could_not_tell_does_not_replace_what_could(records: RecordStore) -> None:
    assert records.conclusive() is None
    digest = records.add_reconciliation(a_reconciliation(), 1)
    for number, verdict in enumerate(("inconclusive", "error")):
        records.add_reconciliation(a_reconciliation(verdict, at_us=number + 5), 2 + number)
    found = records.conclusive()
    assert found is not None
    assert found.hash == digest
    records.add_reconciliation(a_reconciliation("fail", at_us=9), 9)
    found = records.conclusive()
    assert found is not None
    assert found.verdict == "fail"


@pytest.mark.parametrize(
    "change",
    [{"verdict": "good"}, {"duration_ms": None}, {"stores": 3}, {"discrepancy_count": "x"}],
)
def test_a_malformed_result_is_refused(records: RecordStore, change: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="reconciliation"):
        records.add_reconciliation({**a_reconciliation(), **change}, 1)
    with pytest.raises(UsageError, match="verdict"):
        records.add_reconciliation({}, 1)


def test_telemetry_and_the_last_report_of_each_instance(records: RecordStore) -> None:
    for second in range(3):
        report = publisher_report(second)
        records.add_telemetry([window(second)], [Instance(report, second * SECOND)])
    assert records.windows(SECOND) == [window(1), window(2)]
    assert records.windows(0, 2) == [window(0), window(1)]
    (instance,) = records.instances()
    assert instance == Instance(publisher_report(2), 2 * SECOND)
    records.add_telemetry([], [])


def test_pruned(records: RecordStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_RECONCILIATIONS", 2)
    for second in range(4):
        report = publisher_report(second, f"app-{second}")
        records.add_telemetry([window(second)], [Instance(report, second * SECOND)])
        records.add_reconciliation(a_reconciliation(at_us=second), second)
    records.prune(2 * SECOND)
    assert records.windows(0) == [window(1), window(2), window(3)]
    assert sorted(one.report.instance for one in records.instances()) == ["app-2", "app-3"]
    assert [row["at_us"] for row in records.reconciliations(9)] == [3, 2]


def test_the_outbox_is_emptied_in_order(engine: Engine, records: RecordStore) -> None:
    store = RolloutStore(engine)
    store.initialise(Flags(), 1)
    state = forward(store, started(store), Phase.SOAKING)
    give(store, state, breached(state), 90)
    (event,) = records.undelivered()
    assert (event.name, event.created_us, event.attempts) == ("crossfade.breach", 90, 0)
    assert event.payload["incident_id"] == "r1-1"
    records.settle(event.id, None, "no answer")
    (again,) = records.undelivered()
    assert again.attempts == 1
    records.settle(event.id, 95)
    assert records.undelivered() == []
