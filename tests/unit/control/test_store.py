"""The rollout's rows, on SQLite and on PostgreSQL (I6)."""

import threading
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine, insert, select, text, update

from crossfade.control import schema
from crossfade.control.schema import open_engine
from crossfade.control.store import RolloutStore
from crossfade.core.flags import Flags
from crossfade.core.rollout import Rollout, apply
from crossfade.core.rollout import commands as c
from crossfade.errors import Refused, SettingsError, VersionConflict
from tests.rollouts import a_rollout
from tests.unit.core.rollout.test_apply import FORWARD, Phase, approve, breached, resume

FLAGS = Flags(topics={"orders": "critical"})


@pytest.fixture
def store(engine: Engine) -> RolloutStore:
    found = RolloutStore(engine)
    found.initialise(FLAGS, 1)
    return found


def started(store: RolloutStore, **changes: Any) -> Rollout:
    rollout = replace(a_rollout(), **changes)
    store.start(rollout, (), {"verb": "start"}, 1)
    return rollout


def give(store: RolloutStore, state: Rollout, command: c.Command, now_us: int) -> Rollout:
    new, facts = apply(state, command, now_us)
    store.save(state, new, facts, command.to_json(), now_us)
    return new


def forward(store: RolloutStore, state: Rollout, phase: Phase) -> Rollout:
    now_us = state.since_us
    while state.phase is not phase:
        now_us += 7_000_000
        state = give(store, state, FORWARD[state.phase](state), now_us)
    return state


def test_what_is_saved_is_read_again(store: RolloutStore) -> None:
    assert store.current() == (None, replace(FLAGS, version=1))
    state = forward(store, started(store), Phase.AWAITING_APPROVAL)
    rollout, flags = store.current()
    assert rollout == state
    assert flags.served == {"*": 10}
    assert flags.version > 1
    assert state.evidence_hash is not None
    frozen = store.evidence(state.evidence_hash)
    assert frozen is not None
    assert frozen["hash"] == state.evidence_hash
    assert store.evidence("0" * 64) is None


def test_the_flags_version_rises_only_with_the_flags(store: RolloutStore) -> None:
    state = started(store)
    versions = []
    for phase in (Phase.PREFLIGHT, Phase.RAMPING, Phase.SOAKING):
        state = forward(store, state, phase)
        versions.append(store.current()[1].version)
    assert versions == [2, 3, 3]


def test_i6_a_stale_state_is_not_saved(store: RolloutStore) -> None:
    state = started(store)
    give(store, state, FORWARD[Phase.READY](state), 5)
    before = store.audit(0, 100)
    with pytest.raises(VersionConflict):
        give(store, state, FORWARD[Phase.READY](state), 6)
    assert store.audit(0, 100) == before


def test_i6_of_many_writers_one_wins(store: RolloutStore) -> None:
    state = started(store)
    outcomes: list[str] = []
    ready = threading.Barrier(6)

    def write() -> None:
        ready.wait()
        try:
            give(store, state, FORWARD[Phase.READY](state), 5)
            outcomes.append("won")
        except VersionConflict:
            outcomes.append("lost")

    threads = [threading.Thread(target=write) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcomes) == ["lost"] * 5 + ["won"]
    assert [row["verb"] for row in store.audit(0, 100)] == ["start", "begin"]


def test_writers_that_read_first_queue(store: RolloutStore) -> None:
    """Without SQLite's lock from the begin on, all but one of them would fail at once."""
    failures: list[BaseException] = []
    ready = threading.Barrier(6)

    def write(number: int) -> None:
        ready.wait()
        for step in range(5):
            try:
                store.outrun(10_000 * step + number, 5)
            except Exception as error:  # noqa: BLE001 - collected
                failures.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []
    assert store.current()[1].version > 40_000


def test_i6_one_active_rollout(store: RolloutStore) -> None:
    state = started(store)
    with pytest.raises(Refused, match="another rollout is active"):
        started(store, id="r2")
    state = give(store, state, c.Cancel(actor="x", stage=0, attempt=1, reason="y"), 5)
    started(store, id="r2")
    rollout, _ = store.current()
    assert rollout is not None
    assert rollout.id == "r2"
    # The old one can not come back to life beside it.
    with pytest.raises(Refused, match="another rollout is active"):
        store.save(state, replace(state, version=9, phase=Phase.ROLLED_BACK), (), {}, 6)


def test_i6_the_database_itself_refuses_a_second(engine: Engine, store: RolloutStore) -> None:
    started(store)
    row = {"id": "r2", "version": 1, "active": 1, "document": "{}"}
    with pytest.raises(Exception, match=r"(?i)unique"), engine.begin() as connection:
        connection.execute(insert(schema.rollouts).values(**row))


def test_i6_nothing_is_half_done(store: RolloutStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure at the last statement leaves rollout, flags, audit and incidents as they were."""
    state = forward(store, started(store), Phase.SOAKING)
    before = (store.current(), store.audit(0, 100), store.incidents(10))

    def fail(*_: object) -> None:
        raise RuntimeError("power cut")

    monkeypatch.setattr(store, "_put_flags", fail)
    with pytest.raises(RuntimeError, match="power cut"):
        give(store, state, breached(state), 9)
    assert (store.current(), store.audit(0, 100), store.incidents(10)) == before


def test_every_change_leaves_an_audit_row(store: RolloutStore) -> None:
    state = forward(store, started(store), Phase.AWAITING_APPROVAL)
    give(store, state, approve(state, actor="cli:ada", comment="quiet"), state.since_us + 1)
    rows = store.audit(0, 100)
    assert [row["verb"] for row in rows] == [
        "start",
        "begin",
        "preflight",
        "applied",
        "soaked",
        "reconciled",
        "approve",
    ]
    last = rows[-1]
    assert (last["actor"], last["command"]["comment"]) == ("cli:ada", "quiet")
    assert last["facts"][0]["kind"] == "approved"
    assert [row["version"] for row in rows] == list(range(1, 8))
    assert store.audit(rows[4]["id"], 1) == [rows[5]]


def test_incidents_open_change_and_close(store: RolloutStore) -> None:
    state = forward(store, started(store), Phase.SOAKING)
    state = give(store, state, breached(state), 90)
    (incident,) = store.incidents(10)
    assert incident["id"] == state.incident_id
    assert (incident["opened_us"], incident["closed_us"]) == (90, None)
    assert incident["measurements"][0]["name"] == "breaker"
    assert incident["opened_by"] == "flow-run:x"
    address = {"actor": "flow-run:x", "stage": 0, "attempt": 1}
    state = give(store, state, c.RolledBack(**address, figures={"took_s": 2}), 91)
    state = give(store, state, resume(state), 92)
    (incident,) = store.incidents(10)
    assert (incident["closed_us"], incident["figures"]) == (92, {"took_s": 2})
    assert (incident["root_cause"], incident["fix"]) == ("pool too small", "raised")
    assert store.incident(incident["id"]) == incident
    assert store.incident("nothing") is None


def test_flags_of_the_settings_until_the_first_rollout(store: RolloutStore) -> None:
    assert store.initialise(FLAGS, 2).version == 1
    changed = replace(FLAGS, partitions=8)
    assert store.initialise(changed, 3) == replace(changed, version=2)
    started(store)
    in_force = store.current()[1]
    assert in_force.topics != changed.topics, "those of the plan"
    assert store.initialise(FLAGS, 4) == in_force


def test_a_lost_database_outruns_what_instances_remember(store: RolloutStore) -> None:
    assert store.outrun(17, 5) == replace(FLAGS, version=18)
    assert store.outrun(3, 5).version == 18
    assert [row["verb"] for row in store.audit(0, 9)] == ["outrun"]


def test_opened_again_it_is_all_there(database: str) -> None:
    first = open_engine(database)
    store = RolloutStore(first)
    store.initialise(FLAGS, 1)
    state = forward(store, started(store), Phase.SOAKING)
    first.dispose()
    second = open_engine(database)
    try:
        assert RolloutStore(second).current()[0] == state
    finally:
        second.dispose()


def test_a_later_schema_is_refused_and_left_untouched(database: str) -> None:
    engine = open_engine(database)
    with engine.begin() as connection:
        connection.execute(update(schema.meta).values(value="2"))
    with pytest.raises(SettingsError, match="schema 2 was written by a later version"):
        open_engine(database)
    with engine.begin() as connection:
        assert connection.execute(select(schema.meta.c.value)).scalar() == "2"
    engine.dispose()


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "mysql://x",
        "sqlite:////nowhere/at/all/control.db",
        "postgresql+psycopg://u:hidden-secret@127.0.0.1:1/x",
    ],
)
def test_a_database_that_can_not_be_opened_is_one_line(url: str) -> None:
    with pytest.raises(SettingsError, match=r"control\.database_url: can not be opened") as found:
        open_engine(url)
    assert "\n" not in str(found.value)
    assert "hidden-secret" not in str(found.value)


def test_sqlite_is_durable_and_concurrent(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # what the fixture took away for speed
    engine = open_engine(f"sqlite:///{tmp_path / 'x.db'}")
    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 2
    engine.dispose()
