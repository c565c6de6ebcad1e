"""Random faults in random stores: a run names exactly those, no more and no fewer (I9)."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossfade.core.event import Event, Position, Stream
from crossfade.core.verdict import Verdict
from crossfade.explain import explain
from tests.reconciliation_data import World, found, make_event, stream

STORES = ("journal", "websocket", "supabase")
ALTERATIONS: dict[str, Any] = {
    "data": '{"delay":-1}',
    "type": "flight.cancelled",
    "time_us": 1,
    "subject": "LGA",
    "category": "debug",
    "id": "somebody-else",
}
STREAMS = {
    # Which streams there are, and whether Supabase is owed them.
    stream("critical", 3): True,
    stream("system", 7): True,
    stream("performance", 1): False,
}
EVENTS = 21
"""Per stream: three blocks of 8, the last one not full."""


@dataclass(frozen=True)
class Fault:
    kind: str
    store: str
    where: Stream
    sequence: int
    field: str = ""
    forged: bool = False

    def expected(self) -> tuple[str, str, str]:
        """What the run must say of it."""
        store = self.store
        if self.kind == "altered" and store == "journal" and self.forged:
            # Two stores that differ, each intact: the journal is the one believed.
            store = "journal" if STREAMS[self.where] else "websocket"
        return self.kind, store, "/".join(str(part) for part in (*self.where, self.sequence))


@st.composite
def faults(draw: st.DrawFn) -> list[Fault]:
    """At most one fault per event; a swap takes two neighbours."""
    chosen: list[Fault] = []
    for where, routed in STREAMS.items():
        stores = STORES if routed else STORES[:2]
        sequence = 1
        while sequence <= EVENTS:
            kind = draw(
                st.sampled_from(
                    [None, None, None, "missing", "altered", "stale_hash", "duplicated",
                     "out_of_order", "uncovered"]
                )
            )  # fmt: skip
            store = draw(st.sampled_from(stores))
            if kind in ("duplicated", "out_of_order", "uncovered"):
                store = "websocket"
            if kind == "out_of_order" and sequence == EVENTS:
                kind = None
            if kind is not None:
                field = draw(st.sampled_from(sorted(ALTERATIONS)))
                chosen.append(Fault(kind, store, where, sequence, field, draw(st.booleans())))
            sequence += 2 if kind == "out_of_order" else 1
        for store in stores:
            if draw(st.booleans()):
                chosen.append(Fault("phantom", store, where, EVENTS + draw(st.integers(1, 40))))
    if draw(st.booleans()):
        chosen.append(Fault("phantom", "websocket", stream("debug", 9), draw(st.integers(1, 99))))
    return chosen


def plant(world: World, fault: Fault, events: dict[tuple[Stream, int], Event]) -> None:
    """Spoil one event in one store."""
    if fault.kind == "phantom":
        ghost = make_event(fault.where, fault.sequence, id=f"ghost-{fault}")
        world.insert_phantom(fault.store, ghost)
        return
    event = events[fault.where, fault.sequence]
    match fault.kind:
        case "missing":
            world.drop(fault.store, event)
        case "altered":
            changes = {fault.field: ALTERATIONS[fault.field]}
            if fault.field == "id":
                changes["id"] = f"other-{fault.where.partition}-{fault.sequence}"
            world.alter(fault.store, event, forged=fault.forged, **changes)
        case "stale_hash":
            world.spoil_checksum(fault.store, event)
        case "duplicated":
            world.deliver(event, ["websocket"])
        case "out_of_order":
            world.swap_arrivals(event, events[fault.where, fault.sequence + 1])
        case "uncovered":
            world.drop("websocket", event)
            world.uncover(event)


def run_with(world: World, planted: list[Fault], **options: Any) -> Any:
    events = {}
    for where, routed in STREAMS.items():
        for event in world.fill(where, EVENTS, routed=routed):
            # Far apart, so that a gap of the tap's connection covers one event alone.
            events[where, event.sequence] = event
    world.journal.execute(
        "UPDATE events SET committed_us = committed_us - stream_id * 1000000000 "
        "- (1000 - sequence) * 10000000"
    )
    world.journal.commit()
    for fault in planted:
        plant(world, fault, events)
    return world.reconcile(**options)


@settings(max_examples=40, deadline=None)
@given(planted=faults())
def test_i9_exactly_the_planted_faults_are_named(planted: list[Fault]) -> None:
    with tempfile.TemporaryDirectory() as folder, World(Path(folder)) as world:
        result = run_with(world, planted)
        assert found(result) == {fault.expected() for fault in planted}
        if not planted:
            assert result.verdict is Verdict.PASS
        by_store = dict.fromkeys(STORES, 0)
        for fault in planted:
            by_store[fault.expected()[1]] += 1
        for name, count in by_store.items():
            assert result.stores[name].discrepancies == count
            missing = sum(
                fault.expected()[:2] in {("missing", name), ("uncovered", name)}
                for fault in planted
            )
            assert result.stores[name].expected - result.stores[name].present == missing


@settings(max_examples=15, deadline=None)
@given(planted=faults(), suspects=st.sampled_from([0, 2_000]))
def test_faults_after_sealing_are_found_by_a_full_run(planted: list[Fault], suspects: int) -> None:
    """Also when rows are not looked at before digests; again; and by runs of other kinds."""
    with (
        tempfile.TemporaryDirectory() as folder,
        World(Path(folder)) as world,
        patch("crossfade.sealing.MAX_SUSPECTS", suspects),
    ):
        clean = run_with(world, [])
        assert clean.verdict is Verdict.PASS
        assert clean.blocks.sealed == clean.blocks.checked == 9
        events = {
            (where, sequence): make_event(where, sequence)
            for where in STREAMS
            for sequence in range(1, EVENTS + 1)
        }
        for fault in planted:
            plant(world, fault, events)
        results = [
            world.reconcile(full=full, content=content)
            for full, content in ((True, False), (True, False), (False, False), (False, True))
        ]
        for result in results:
            assert found(result) == {fault.expected() for fault in planted}
        assert len({result.blocks.differing for result in results}) == 1
        assert len({result.blocks.sealed for result in results}) == 1


@settings(max_examples=15, deadline=None)
@given(planted=faults(), many=st.sampled_from([1, 2, 64]))
def test_a_full_run_finds_in_the_table_what_evaded_its_log(planted: list[Fault], many: int) -> None:
    """Whatever number of sealed blocks is looked at together."""
    planted = [one for one in planted if one.store == "supabase" and one.where in STREAMS]
    with (
        tempfile.TemporaryDirectory() as folder,
        World(Path(folder)) as world,
        patch("crossfade.core.reconciliation_runs.RUN_BLOCKS", many),
        patch("crossfade.vouching.RUN_BLOCKS", many),
    ):
        run_with(world, [])
        for fault in planted:
            if fault.kind == "phantom":
                plant(world, fault, {})
            else:
                event = make_event(fault.where, fault.sequence)
                plant(world, fault, {(fault.where, fault.sequence): event})
        world.supabase.changed.clear()
        result = world.reconcile(full=True)
        assert found(result) == {fault.expected() for fault in planted}
        wrong = {(one.where, (one.sequence - 1) // 8) for one in planted if one.kind != "phantom"}
        assert result.blocks[:2] == (9, len(wrong))


SINGLE = [
    Fault(kind, store, where, sequence, "data", forged)
    for where in (stream("critical", 3), stream("performance", 1))
    for kind, stores, sequence, forgeries in (
        ("missing", STORES, 5, [False]),
        ("altered", STORES, 8, [False, True]),
        ("stale_hash", STORES, 9, [False]),
        ("phantom", STORES, 22, [False]),
        ("duplicated", ["websocket"], 1, [False]),
        ("out_of_order", ["websocket"], 8, [False]),
        ("out_of_order", ["websocket"], 20, [False]),
        ("uncovered", ["websocket"], 21, [False]),
    )
    for store in stores
    for forged in forgeries
    if STREAMS[where] or store != "supabase"
]


@pytest.mark.parametrize("fault", SINGLE, ids=lambda fault: f"{fault.kind}-{fault.store}")
def test_one_fault_alone_is_named_alone(tmp_path: Path, fault: Fault) -> None:
    """Nothing else in its block differs, so nothing else can have led to it."""
    with World(tmp_path) as world:
        assert found(run_with(world, [fault])) == {fault.expected()}


@pytest.mark.parametrize("field", sorted(ALTERATIONS))
def test_the_altered_field_is_named(tmp_path: Path, field: str) -> None:
    with World(tmp_path) as world:
        events = world.fill(stream("critical"), 10)
        world.alter("supabase", events[4], forged=True, **{field: ALTERATIONS[field]})
        (one,) = world.reconcile().discrepancies
        assert one.detail.startswith(f"{field.removesuffix('_us')}: not as in journal")
        assert one.detail.endswith("the checksum was changed with it")


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize(
    "spelled",
    [
        '{"tail":"N0","delay":2}',  # the order of keys
        '{"delay":2.0,"tail":"N0"}',  # the form of numbers
        '{"delay":2e0,"tail":"\\u004e0"}',  # escapes
        '{ "delay": 2, "tail": "N0" }',  # blanks
    ],
)
def test_another_form_of_the_same_json_is_reserialised(
    tmp_path: Path, store: str, spelled: str
) -> None:
    with World(tmp_path) as world:
        events = world.fill(stream("critical"), 3)
        world.alter(store, events[1], forged=False, data=spelled)
        result = world.reconcile()
        assert found(result) == {("reserialised", store, str(events[1].position))}
        assert result.discrepancies[0].detail.startswith("data (reserialised): not as in")
        assert result.stores[store].reserialised == 1
        assert result.verdict is Verdict.FAIL


BIG, DEEP = 2**70, "[" * 40 + "1" + "]" * 40


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (f'{{"big":{BIG}}}', f'{{"big":{BIG + 1}}}'),  # equal as doubles
        (f'{{"big":{BIG}}}', f'{{"big":{float(BIG)!r}}}'),
        ('{"name":"caf\u00e9"}', '{"name":"cafe\u0301"}'),  # equal to the eye
        (f'{{"deep":{DEEP}}}', f'{{"deep":{DEEP.replace("1", "2")}}}'),
        ('{"a":1}', '{"a":1,"a":1}'),  # no JSON that everybody reads alike
        ('{"a":1}', '{"a":true}'),
        ('{"a":1}', '{"a":1}}'),
    ],
    ids=["digits", "rounded", "normal form", "nesting", "a key twice", "a bool", "no JSON"],
)
@pytest.mark.parametrize("forged", [False, True])
def test_what_only_looks_the_same_is_altered(
    tmp_path: Path, store: str, right: str, wrong: str, forged: bool
) -> None:
    with World(tmp_path) as world:
        where = stream("critical")
        world.fill(where, 3)
        events = world.fill(where, 3, data=right)
        world.alter(store, events[1], forged=forged, data=wrong)
        assert found(world.reconcile()) == {("altered", store, str(events[1].position))}


def test_a_row_moved_to_another_partition_is_missing_and_a_phantom(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        (event, *_) = world.fill(stream("critical"), 3)
        world.drop("supabase", event)
        world.supabase.put(event._replace(partition=9))
        assert found(world.reconcile()) == {
            ("missing", "supabase", "app/1/critical/0/1"),
            ("phantom", "supabase", "app/1/critical/9/1"),
        }


DAMAGES = {
    "no UTF-8": "data = CAST(x'7bff7d' AS TEXT)",
    "half a surrogate": "data = CAST(x'22eda08022' AS TEXT)",
    "bytes": "data = x'7b7d'",
    "a number": "data = 7",
    "a time that is none": "time_us = 'yesterday'",
    "a subject in bytes": "subject = x'ff'",
    "a checksum that is none": "checksum = 'abc'",
}


@pytest.mark.parametrize("store", ["journal", "websocket"])
@pytest.mark.parametrize("damage", sorted(DAMAGES))
def test_a_damaged_row_is_a_finding_and_not_the_end(
    tmp_path: Path, store: str, damage: str
) -> None:
    with World(tmp_path) as world:
        world.fill(stream("critical"), 20)
        connection = world.journal if store == "journal" else world.tap
        table = "events" if store == "journal" else "deliveries"
        connection.execute(f"UPDATE {table} SET {DAMAGES[damage]} WHERE sequence = 5")
        connection.commit()
        result = world.reconcile()
        kind = "stale_hash" if "checksum" in damage else "altered"
        assert found(result) == {(kind, store, "app/1/critical/0/5")}
        assert not result.errors
        assert orjson.loads(orjson.dumps(result.to_json()))["discrepancy_count"] == 1
        explained = explain(
            world.settings(),
            Position.parse("app/1/critical/0/5"),
            clock=world.clock,
            readers=world.readers(),
        )
        assert [one.store for one in explained.discrepancies] == [store]
        assert orjson.dumps(explained.to_json())
