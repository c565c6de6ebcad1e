"""The run: watermarks, rechecks, seals, filters, verdicts."""

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from crossfade.core.reconciliation import CRITICAL, WARNING, Reconciliation, SuiteResult
from crossfade.core.reconciliation_plan import Range
from crossfade.core.verdict import Verdict
from crossfade.errors import UsageError
from crossfade.reconcile import Judge, reconcile
from tests.reconciliation_data import NOW_US, SECOND_US, World, found, make_event, stream

LOST = stream("critical", 3)
QUIET = stream("system", 7)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path) as made:
        yield made


# -- what is judged -----------------------------------------------------------------


def test_equal_stores_pass_and_every_event_is_counted(world: World) -> None:
    world.fill(LOST, 20)
    world.fill(QUIET, 30, routed=False)
    result = world.reconcile(trigger="validate")
    assert result.verdict is Verdict.PASS
    assert result.trigger == "validate"
    assert result.checked_events == 50
    assert result.blocks == (7, 0, 7, 2)
    expected = {name: count.expected for name, count in result.stores.items()}
    assert expected == {"journal": 50, "websocket": 50, "supabase": 20, "realtime": 20}
    assert all(count.present == count.expected for count in result.stores.values())
    assert {name: one.expected for name, one in result.categories.items()} == {
        "critical": 20,
        "system": 30,
    }
    assert result.to_json() == Reconciliation.from_json(result.to_json()).to_json()


def test_nothing_published_is_inconclusive(world: World) -> None:
    assert world.reconcile().verdict is Verdict.INCONCLUSIVE


def test_events_in_flight_are_no_alarm(world: World) -> None:
    world.fill(LOST, 10)
    world.publish(LOST, 7, age_s=1.0)  # nobody has them yet
    result = world.reconcile()
    assert result.verdict is Verdict.PASS
    assert result.stores["supabase"].in_flight == result.stores["websocket"].in_flight == 7
    assert result.stores["supabase"].expected == 10
    world.clock.us += 10 * SECOND_US  # now they are old
    assert len(found(world.reconcile())) == 14


def test_a_stream_all_in_flight_is_not_checked(world: World) -> None:
    world.publish(LOST, 5, age_s=0.0)
    result = world.reconcile()
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.checked_events == 0


def test_what_arrives_between_rechecks_is_no_finding(world: World) -> None:
    world.route(LOST)
    late = world.publish(LOST, 20, to=("websocket", "realtime"))
    slept: list[float] = []

    def arrive(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 2:
            world.deliver(late[4], ["supabase"])
            return
        for event in late:
            if event.sequence != 5:
                world.deliver(event, ["supabase"])

    result = world.reconcile(options={"rechecks": 3, "recheck_s": 0.25}, sleep=arrive)
    assert result.verdict is Verdict.PASS
    assert slept == [0.25, 0.25]  # agreed after the second: no third
    assert result.blocks.sealed == 3


def test_only_what_survives_the_rechecks_is_a_finding(world: World) -> None:
    world.route(LOST)
    late = world.publish(LOST, 20, to=("websocket",))
    rounds = []

    def arrive(_: float) -> None:
        rounds.append(len(rounds))
        for event in late[:19]:
            world.deliver(event, ["supabase"])

    result = world.reconcile(options={"rechecks": 2}, sleep=arrive)
    assert found(result) == {("missing", "supabase", str(late[19].position))}
    assert len(rounds) == 2
    assert result.blocks == (3, 1, 2, 1)


def test_between_the_first_and_the_last_look_nothing_is_read_of_what_stays_as_it_is(
    world: World,
) -> None:
    events = world.fill(LOST, 24)
    world.drop("supabase", events[0])
    world.drop("supabase", events[9])
    readers = world.readers()
    asked: list[list[Range]] = []
    read = readers["journal"].digests
    readers["journal"].digests = lambda ranges, *rest, **options: (  # type: ignore[method-assign]
        asked.append(list(ranges)) or read(ranges, *rest, **options)
    )
    slept: list[float] = []

    def arrive(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 2:
            world.deliver(events[0], ["supabase"])

    result = world.reconcile(options={"rechecks": 4}, readers=readers, sleep=arrive)
    assert found(result) == {("missing", "supabase", str(events[9].position))}
    whole, first, second = Range(LOST, 1, 8), Range(LOST, 9, 16), Range(LOST, 17, 24)
    # All of it; what arrived; and, at the last look, what is still wrong.
    assert asked == [[whole, first, second], [whole], [first]]


def test_a_block_that_changed_is_read_again_at_once(world: World) -> None:
    """Its digest differs for good (history copied on top), but nothing in it is wrong any more."""
    early = world.publish(LOST, 4, to=("websocket",))
    world.route(LOST, 5)
    events = world.publish(LOST, 4, to=("websocket", "supabase"))
    world.deliver(early[0], ["supabase"])
    world.drop("supabase", events[0])
    slept: list[float] = []

    def arrive(seconds: float) -> None:
        slept.append(seconds)
        world.deliver(events[0], ["supabase"])

    result = world.reconcile(options={"rechecks": 5}, sleep=arrive)
    assert (result.verdict, len(slept)) == (Verdict.PASS, 1)


def test_what_the_journal_drops_meanwhile_is_no_finding(world: World) -> None:
    events = world.fill(LOST, 12)
    world.drop("supabase", events[0])
    world.drop("websocket", events[9])

    def drop(_: float) -> None:
        world.journal.execute("DELETE FROM events WHERE sequence <= 4")
        world.journal.execute("UPDATE streams SET floor = 5")
        world.journal.commit()

    result = world.reconcile(sleep=drop)
    assert found(result) == {("missing", "websocket", "app/1/critical/3/10")}


def test_new_events_during_rechecks_are_neither_phantoms_nor_missing(world: World) -> None:
    events = world.fill(LOST, 10)
    world.drop("supabase", events[0])

    def go_on(_: float) -> None:
        world.fill(LOST, 5)
        world.publish(LOST, 3, age_s=0.0, to=("supabase",))

    result = world.reconcile(options={"rechecks": 2}, sleep=go_on)
    assert found(result) == {("missing", "supabase", str(events[0].position))}


def test_a_phantom_that_the_journal_turns_out_to_hold_is_none(world: World) -> None:
    """Stores are read before the journal, so this takes a journal that was restored meanwhile."""
    world.fill(LOST, 10)
    world.insert_phantom("supabase", make_event(LOST, 11))

    def restore(_: float) -> None:
        if world.journal.execute("SELECT max(sequence) FROM events").fetchone() == (10,):
            world.publish(LOST, 1)

    assert world.reconcile(sleep=restore).verdict is Verdict.PASS


# -- what is expected ----------------------------------------------------------------


def test_supabase_is_owed_the_routes_only(world: World) -> None:
    world.publish(LOST, 10, to=("websocket",))
    world.route(LOST, 11, 20)
    world.publish(LOST, 10, to=("websocket", "supabase"))
    world.publish(LOST, 5, to=("websocket",))
    world.route(LOST, 26)
    events = world.publish(LOST, 7, to=("websocket", "supabase"))
    result = world.reconcile()
    assert result.verdict is Verdict.PASS
    assert result.stores["supabase"].expected == result.stores["supabase"].present == 17
    world.drop("supabase", events[0])
    assert found(world.reconcile(full=True)) == {("missing", "supabase", "app/1/critical/3/26")}


def test_history_copied_beyond_the_routes_is_welcome_if_it_is_right(world: World) -> None:
    early = world.publish(LOST, 10, to=("websocket",))
    world.route(LOST, 11)
    world.publish(LOST, 10, to=("websocket", "supabase"))
    for event in early[:7]:
        world.deliver(event, ["supabase"])
    slept: list[float] = []
    result = world.reconcile(sleep=slept.append)
    assert (result.verdict, slept) == (Verdict.PASS, [])
    assert result.blocks.sealed == 3
    assert result.stores["supabase"].expected == 10
    world.alter("supabase", early[2], forged=True, subject="LGA")
    assert found(world.reconcile(full=True)) == {("altered", "supabase", "app/1/critical/3/3")}


def test_a_whole_copy_agrees_by_its_digest(world: World) -> None:
    """After a backfill of everything no row has to be read to see that it is right."""
    early = world.publish(LOST, 10, to=("websocket", "supabase"))
    world.route(LOST, 11)
    world.publish(LOST, 10, to=("websocket", "supabase"))
    result = world.reconcile()
    assert (result.verdict, result.blocks) == (Verdict.PASS, (3, 0, 3, 1))
    assert result.stores["supabase"].expected == 10
    world.alter("supabase", early[2], forged=True, subject="LGA")
    assert found(world.reconcile(full=True)) == {("altered", "supabase", "app/1/critical/3/3")}


def test_what_the_journal_dropped_is_not_compared(world: World) -> None:
    events = world.fill(LOST, 20)
    for event in events[:10]:
        world.drop("journal", event)
    world.journal.execute("UPDATE streams SET floor = 11")
    world.journal.commit()
    world.drop("websocket", events[3])
    result = world.reconcile()
    assert result.verdict is Verdict.PASS
    assert result.checked_events == 10


def test_a_journal_that_lost_its_newest_rows_is_missing_them(world: World) -> None:
    events = world.fill(LOST, 10)
    world.drop("journal", events[9])
    assert found(world.reconcile()) == {("missing", "journal", "app/1/critical/3/10")}


def test_a_corrupt_head_is_an_error_not_a_million_missing(world: World) -> None:
    world.fill(LOST, 10)
    world.journal.execute("UPDATE streams SET head = 1000000000000")
    world.journal.commit()
    result = world.reconcile()
    assert result.verdict is Verdict.ERROR
    assert "corrupt" in result.errors["journal"]


def test_other_publishers_streams_are_counted_and_left_alone(world: World) -> None:
    world.fill(LOST, 10)
    world.supabase.put(make_event(LOST._replace(source="other"), 1))
    world.supabase.put(make_event(LOST._replace(epoch=0), 1))
    result = world.reconcile()
    assert result.verdict is Verdict.PASS
    assert result.stores["supabase"].foreign == 2
    assert result.stores["websocket"].foreign == 0


def test_what_the_publisher_still_owes_is_late_not_lost(world: World) -> None:
    world.route(LOST)
    world.publish(LOST, 3, to=("websocket", "supabase"))
    events = world.publish(LOST, 5, to=("websocket",), owed=("supabase",))
    result = world.reconcile()
    assert found(result) == {("late", "supabase", str(event.position)) for event in events}
    assert result.verdict is Verdict.INCONCLUSIVE
    supabase = result.stores["supabase"]
    assert (supabase.expected, supabase.present, supabase.missing, supabase.late) == (8, 3, 0, 5)
    assert result.blocks.sealed == 0
    # Should the publisher skip one, it is missing at once.
    world.deliver(events[4], ["supabase"])
    world.journal.execute("UPDATE cursors SET next = 6 WHERE sink = 'supabase'")
    world.journal.commit()
    result = world.reconcile()
    assert result.verdict is Verdict.FAIL
    assert (result.stores["supabase"].missing, result.stores["supabase"].late) == (2, 2)


def test_a_publisher_that_never_sent_anything_owes_it_all(world: World) -> None:
    world.route(LOST)
    world.publish(LOST, 3, owed=("supabase", "websocket"))
    assert {one.kind for one in world.reconcile().discrepancies} == {"late"}


def test_the_detail_says_what_the_publisher_thinks_of_it(world: World) -> None:
    world.route(LOST)
    world.publish(LOST, 2, to=("websocket",))
    world.publish(LOST, 2, to=("websocket",), owed=("supabase",))
    world.journal.execute("INSERT INTO parked VALUES ('supabase', 1, 4, 'too large', 0)")
    world.journal.commit()
    result = world.reconcile()
    assert {(one.kind.value, one.position[-1], one.detail) for one in result.discrepancies} == {
        ("missing", "1", "the publisher counts it as delivered"),
        ("missing", "2", "the publisher counts it as delivered"),
        ("late", "3", "the publisher still owes it"),
        ("missing", "4", "refused: too large"),
    }


# -- coverage --------------------------------------------------------------------------


def test_uncovered_events_are_inconclusive_not_lost(world: World) -> None:
    events = world.fill(LOST, 10)
    world.drop("websocket", events[4])
    world.uncover(events[4])
    result = world.reconcile()
    assert found(result) == {("uncovered", "websocket", "app/1/critical/3/5")}
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.stores["websocket"].present == 9
    assert result.blocks.sealed == 1  # the other block; an uncovered one is never sealed


def test_events_recorded_in_spite_of_a_gap_are_covered(world: World) -> None:
    events = world.fill(LOST, 10)  # the tap resumed by position and got them later
    world.uncover(events[4])
    assert world.reconcile().verdict is Verdict.PASS


def test_a_tap_that_joined_later_is_not_owed_what_came_before(world: World) -> None:
    old = world.publish(QUIET, 10, age_s=3600.0)
    world.publish(QUIET, 10, to=("websocket",))
    assert world.reconcile().stores["websocket"].missing == 10
    since = datetime.fromtimestamp((NOW_US - 1800 * SECOND_US) / 1e6, UTC)
    result = world.reconcile(options={"websocket_since": since})
    assert result.verdict is Verdict.PASS
    assert result.stores["websocket"].expected == 10
    assert result.stores["journal"].expected == 20
    assert old[0].sequence == 1


# -- verdicts ---------------------------------------------------------------------------


def test_one_critical_discrepancy_fails(world: World) -> None:
    events = world.fill(LOST, 2_000)
    world.drop("supabase", events[1_000])
    result = world.reconcile(options={"block": 500})
    assert result.verdict is Verdict.FAIL
    assert result.discrepancies[0].severity == CRITICAL


def test_other_categories_have_a_tolerance(world: World) -> None:
    events = world.fill(QUIET, 2_000)
    world.fill(LOST, 1)
    for event in events[:2]:
        world.drop("supabase", event)
    options = {"block": 500}
    result = world.reconcile(options=options)
    assert result.verdict is Verdict.PASS  # 2 of 2,000 are the default's 0.1 %
    assert {one.severity for one in result.discrepancies} == {WARNING}
    assert world.reconcile(options={**options, "tolerance": 0.0}).verdict is Verdict.FAIL
    assert world.reconcile(options={**options, "exact": ["system"]}).verdict is Verdict.FAIL
    world.drop("websocket", events[5])
    assert world.reconcile(options=options).verdict is Verdict.FAIL
    looser = {**options, "tolerances": {"system": 0.002}}
    assert world.reconcile(options=looser).verdict is Verdict.PASS
    tighter = {**options, "tolerance": 0.5, "tolerances": {"system": 0.0}}
    assert world.reconcile(options=tighter).verdict is Verdict.FAIL


def test_a_tolerance_is_of_a_category_that_there_is_and_need_not_be_exact(world: World) -> None:
    with pytest.raises(UsageError, match="unknown category sistem"):
        world.reconcile(options={"tolerances": {"sistem": 0.1}})
    with pytest.raises(ValueError, match="critical: in exact"):
        world.settings(tolerances={"critical": 0.1})


def test_critical_discrepancies_are_named_first_and_all_are_counted(world: World) -> None:
    world.route(QUIET)
    world.publish(QUIET, 1_500, to=("websocket",))
    events = world.fill(stream("critical", 49), 10)
    world.drop("supabase", events[0])
    result = world.reconcile(options={"block": 256})
    assert result.discrepancy_count == 1_501
    assert len(result.discrepancies) == 1_000
    assert result.discrepancies[0].severity == CRITICAL
    assert result.stores["supabase"].missing == 1_501
    assert result.categories["system"].kinds == {"missing": 1_500}


@pytest.mark.parametrize("method", ["streams", "digests", "rows"])
def test_a_store_that_does_not_answer_is_an_error_and_the_rest_is_compared(
    world: World, method: str
) -> None:
    events = world.fill(QUIET, 1_200)
    world.drop("supabase", events[3])
    world.alter("supabase", events[5], forged=True, data="{}")  # a row that has to be looked at
    world.supabase.broken = method
    result = world.reconcile()
    assert result.verdict is Verdict.ERROR
    assert result.errors == {"supabase": f"{method}: no answer in time"}
    assert "supabase" not in result.stores
    assert result.stores["websocket"].present == 1_200
    assert result.blocks.sealed == 0
    world.drop("websocket", events[9])
    world.drop("websocket", events[99])
    world.supabase.broken = method
    assert world.reconcile().verdict is Verdict.FAIL  # FAIL outweighs ERROR


def test_missing_files_are_errors_that_name_them(world: World, tmp_path: Path) -> None:
    world.fill(LOST, 3)
    settings = world.settings()
    elsewhere = settings.model_copy(
        update={"tap": settings.tap.model_copy(update={"path": tmp_path / "no-tap.db"})}
    )
    result = reconcile(elsewhere, clock=world.clock, sleep=lambda _: None)
    assert result.verdict is Verdict.ERROR
    assert "no-tap.db: no such file" in result.errors["websocket"]
    assert "set supabase.url" in result.errors["supabase"]
    gone = settings.model_copy(
        update={"journal": settings.journal.model_copy(update={"path": tmp_path / "gone.db"})}
    )
    result = reconcile(gone, clock=world.clock)
    assert result.verdict is Verdict.ERROR
    assert "gone.db" in result.errors["journal"]
    assert result.stores == {}


# -- seals --------------------------------------------------------------------------------


def test_sealed_blocks_are_not_read_again(world: World) -> None:
    world.fill(LOST, 20)
    world.fill(QUIET, 20)
    assert world.reconcile().blocks.sealed == 6
    world.supabase.asked.clear()
    world.fill(LOST, 5)
    result = world.reconcile()
    assert world.supabase.asked == [Range(LOST, 17, 25)]  # the open block and the new one
    assert result.checked_events == 9
    assert result.stores["supabase"].present == 45
    assert result.stores["realtime"].present == 45
    assert result.blocks == (2, 0, 7, 1)


def test_a_block_that_differs_is_not_sealed_and_stays_a_finding(world: World) -> None:
    events = world.fill(LOST, 20)
    world.drop("supabase", events[0])
    first = world.reconcile()
    assert first.blocks == (3, 1, 2, 1)
    second = world.reconcile()
    assert found(second) == found(first)
    assert second.blocks == (1, 1, 2, 1)
    world.deliver(events[0], ["supabase"])
    third = world.reconcile()
    assert (third.verdict, third.blocks.sealed) == (Verdict.PASS, 3)


def test_a_block_whose_expectation_changed_is_opened(world: World) -> None:
    world.publish(LOST, 8, to=("websocket",))
    assert world.reconcile().verdict is Verdict.PASS
    world.route(LOST, 1)  # now its history is owed as well
    result = world.reconcile()
    assert result.stores["supabase"].missing == 8


def test_the_scrub_goes_round_and_breaks_seals(world: World) -> None:
    events = world.fill(LOST, 40)  # five blocks
    options = {"scrub_blocks": 2}
    world.reconcile(options=options)
    world.alter("supabase", events[39], forged=True, data="{}")  # in the last block to come round
    world.supabase.changed.clear()  # by somebody who evades the log
    seen = []
    for _ in range(3):
        world.clock.us += SECOND_US
        world.supabase.asked.clear()
        result = world.reconcile(options=options)
        seen.append(tuple(range_.first for range_ in world.supabase.asked[:1]))
    assert seen == [(1,), (17,), (1,)]
    assert found(result) == {("altered", "supabase", "app/1/critical/3/40")}
    assert result.blocks.sealed == 4
    world.clock.us += SECOND_US
    assert world.reconcile(options={"scrub_blocks": 0}).discrepancy_count == 1  # open again


@pytest.mark.parametrize("store", ["journal", "websocket", "supabase"])
@pytest.mark.parametrize("what", ["alter", "drop", "duplicate"])
def test_what_is_changed_behind_our_back_opens_its_block(
    world: World, store: str, what: str
) -> None:
    events = world.fill(LOST, 40)
    assert world.reconcile().blocks.sealed == 5
    kind = {"alter": "altered", "drop": "missing", "duplicate": "duplicated"}[what]
    if what == "alter":
        world.alter(store, events[2], forged=False, data="{}")
    elif what == "drop":
        world.drop(store, events[2])
    else:
        store = "websocket"
        world.deliver(events[2], [store])
    for _ in range(2):  # and it stays a finding
        result = world.reconcile()
        assert found(result) == {(kind, store, "app/1/critical/3/3")}
        assert result.blocks == (1, 1, 4, 1)
    assert world.reconcile(full=True).blocks == (5, 1, 4, 1)


def without_log(world: World, statement: str) -> None:
    """Change the recording as somebody does who takes the triggers away meanwhile."""
    triggers = world.tap.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
    ).fetchall()
    for name, _ in triggers:
        world.tap.execute(f"DROP TRIGGER {name}")
    world.tap.execute(statement)
    for _, sql in triggers:
        world.tap.execute(sql)
    world.tap.commit()


def test_a_content_run_trusts_no_seal_and_no_log(world: World) -> None:
    world.fill(LOST, 20)
    world.reconcile()
    without_log(world, "UPDATE deliveries SET data = '{}' WHERE sequence = 3")
    assert world.reconcile(full=True).discrepancy_count == 0
    result = world.reconcile(content=True)
    assert result.full
    assert result.checked_events == 20
    assert found(result) == {("altered", "websocket", "app/1/critical/3/3")}
    assert world.reconcile().blocks == (1, 1, 2, 1)  # its seal is broken


def test_without_a_log_of_changes_no_seal_counts(world: World) -> None:
    world.fill(LOST, 20)
    world.reconcile()
    world.tap.execute("DROP TRIGGER deliveries_updated")
    world.tap.execute("UPDATE deliveries SET data = '{}' WHERE sequence = 3")
    world.tap.commit()
    result = world.reconcile()
    assert result.checked_events == 20
    assert found(result) == {("altered", "websocket", "app/1/critical/3/3")}


def test_a_full_run_reads_the_tables_digests_and_takes_the_others_from_the_seals(
    world: World,
) -> None:
    events = world.fill(LOST, 20)
    world.reconcile()
    world.alter("supabase", events[9], forged=True, data="{}")
    world.supabase.changed.clear()  # the table's log is evaded: its hashes are not
    readers = world.readers()
    asked: list[Range] = []
    read = readers["journal"].digests
    readers["journal"].digests = lambda ranges, *rest, **options: (  # type: ignore[method-assign]
        asked.extend(ranges) or read(ranges, *rest, **options)
    )
    world.supabase.asked.clear()
    result = world.reconcile(full=True, readers=readers, options={"rechecks": 1})
    assert found(result) == {("altered", "supabase", "app/1/critical/3/10")}
    # What is sealed, as one run; the growing block; and block by block what differs.
    assert sorted(world.supabase.asked)[:2] == [Range(LOST, 1, 16), Range(LOST, 1, 16)]
    assert Range(LOST, 17, 20) in world.supabase.asked
    assert set(asked) == {Range(LOST, 17, 20)}


def test_a_full_run_finds_a_stale_checksum_that_evaded_the_tables_log(world: World) -> None:
    """The sums agree: only that the row's checksum is not its hash tells of it."""
    events = world.fill(LOST, 40)
    world.reconcile()
    world.spoil_checksum("supabase", events[12])
    world.supabase.changed.clear()
    result = world.reconcile(full=True)
    assert found(result) == {("stale_hash", "supabase", "app/1/critical/3/13")}
    assert result.blocks == (5, 1, 4, 1)


@pytest.mark.parametrize("suspects", [0, 2_000])
@pytest.mark.parametrize("store", ["journal", "websocket", "supabase"])
def test_a_block_that_changed_and_changed_back_agrees_and_is_sealed_again(
    world: World, store: str, suspects: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crossfade.sealing.MAX_SUSPECTS", suspects)
    events = world.fill(LOST, 20)
    world.reconcile()
    world.alter(store, events[2], forged=True, data="{}")
    world.alter(store, events[2], forged=True, data=events[2].data)
    result = world.reconcile()
    assert result.blocks == (1, 0, 3, 1)
    assert result.discrepancy_count == 0
    assert result.stores["realtime"].present == 20
    assert world.reconcile().blocks.checked == 0


@pytest.mark.parametrize("store", ["journal", "websocket", "supabase"])
@pytest.mark.parametrize("full", [False, True])
def test_a_checksum_that_was_changed_is_all_that_is_wrong_of_a_sealed_block(
    world: World, store: str, full: bool
) -> None:
    events = world.fill(LOST, 20)
    world.reconcile()
    world.spoil_checksum(store, events[2])
    for _ in range(2):
        result = world.reconcile(full=full)
        assert found(result) == {("stale_hash", store, "app/1/critical/3/3")}
        assert result.blocks.differing == 1


@pytest.mark.parametrize("suspects", [0, 2_000])
def test_what_realtime_delivered_of_a_wrong_block_counts_once(
    world: World, suspects: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crossfade.sealing.MAX_SUSPECTS", suspects)
    events = world.fill(LOST, 20)
    world.deliver(events[3], ["realtime"])  # again
    world.drop("realtime", events[4])
    world.reconcile()
    world.alter("supabase", events[2], forged=True, data="{}")
    for full in (False, True):
        live = world.reconcile(full=full).stores["realtime"]
        assert (live.present, live.duplicated, live.altered) == (19, 1, 0)


def test_the_rows_of_a_block_that_changed_are_looked_at_without_its_digests(
    world: World,
) -> None:
    events = world.fill(LOST, 20)
    world.reconcile()
    world.alter("supabase", events[2], forged=True, data="{}")
    for _ in range(2):  # when its seal is void, and when it has none any more
        readers = world.readers()
        asked: list[Range] = []
        read = readers["websocket"].digests
        readers["websocket"].digests = lambda ranges, *rest, **options: (  # type: ignore[method-assign]
            asked.extend(ranges) or read(ranges, *rest, **options)  # noqa: B023
        )
        result = world.reconcile(full=True, readers=readers, options={"rechecks": 1})
        assert found(result) == {("altered", "supabase", "app/1/critical/3/3")}
        # The block that grows; the last look reads what differs again whatever was seen.
        assert asked[:1] == [Range(LOST, 17, 20)]


def test_sealed_blocks_that_are_looked_at_together_count_one_by_one(world: World) -> None:
    world.fill(LOST, 40)
    world.reconcile()
    result = world.reconcile(full=True)
    assert result.evidence is not None
    assert {
        (rollup.store, rollup.blocks, rollup.expected, rollup.held)
        for rollup in result.evidence.rollups
    } == {(store, 5, 40, 40) for store in ("journal", "websocket", "supabase")}
    assert result.blocks == (5, 0, 5, 1)


def test_a_seal_that_counts_keeps_its_age(world: World) -> None:
    """A full run reads no content of sealed blocks, so their turn in the scrub stays."""
    world.fill(LOST, 16)
    world.reconcile()
    ages = "SELECT block, verified_us FROM seals ORDER BY block"
    with sqlite3.connect(world.folder / "seals.db") as seals:
        before = seals.execute(ages).fetchall()
        world.clock.us += SECOND_US
        world.reconcile(full=True)
        assert seals.execute(ages).fetchall() == before
        world.reconcile(content=True)
        assert {age for _, age in seals.execute(ages)} == {world.clock.us}
    seals.close()


def judging(verdict: Verdict) -> Judge:
    return lambda result: [SuiteResult(suite="shape", verdict=verdict, expectations=1)]


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.ERROR])
def test_nothing_is_sealed_when_the_suites_deny_what_was_found_right(
    world: World, verdict: Verdict
) -> None:
    world.fill(LOST, 20)
    result = world.reconcile(judge=judging(verdict))
    assert (result.verdict, result.blocks.sealed) == (verdict, 0)
    assert result.suites[0].suite == "shape"
    assert world.reconcile(judge=judging(Verdict.PASS)).blocks.sealed == 3
    # And seals that were compared again are broken.
    assert world.reconcile(full=True, judge=judging(verdict)).blocks.sealed == 0
    assert world.reconcile().checked_events == 20


def test_a_discrepancy_that_fails_a_suite_keeps_its_own_block_open_only(world: World) -> None:
    events = world.fill(LOST, 20)
    world.drop("supabase", events[0])
    result = world.reconcile(judge=judging(Verdict.FAIL))
    assert (result.verdict, result.blocks) == (Verdict.FAIL, (3, 1, 2, 1))


def test_suites_that_lack_evidence_do_not_unseal(world: World) -> None:
    world.fill(LOST, 20)
    result = world.reconcile(judge=judging(Verdict.INCONCLUSIVE))
    assert (result.verdict, result.blocks.sealed) == (Verdict.INCONCLUSIVE, 3)


def test_another_block_size_drops_the_seals(world: World) -> None:
    world.fill(LOST, 20)
    world.reconcile()
    assert world.reconcile(options={"block": 10}).blocks == (2, 0, 2, 1)


def test_an_incomplete_comparison_seals_nothing(world: World) -> None:
    world.fill(LOST, 20)
    result = world.reconcile(stores=("websocket",))
    assert set(result.stores) == {"journal", "websocket"}
    assert (result.verdict, result.blocks.sealed) == (Verdict.PASS, 0)
    assert not (world.folder / "seals.db").exists()
    assert world.reconcile().blocks.checked == 3


def test_a_state_file_that_is_none_is_refused(world: World) -> None:
    world.fill(LOST, 3)
    (world.folder / "seals.db").write_text("no database at all, just a text of some length" * 9)
    with pytest.raises(UsageError, match=r"seals\.db: the state of reconciliations"):
        world.reconcile()


# -- options --------------------------------------------------------------------------------


def test_a_category_alone(world: World) -> None:
    lost = world.fill(LOST, 10)
    quiet = world.fill(QUIET, 10)
    world.drop("supabase", lost[0])
    world.drop("supabase", quiet[0])
    world.insert_phantom("supabase", make_event(QUIET, 99))
    world.insert_phantom("supabase", make_event(stream("critical", 40), 1))
    result = world.reconcile(categories=("critical",))
    assert found(result) == {
        ("missing", "supabase", "app/1/critical/3/1"),
        ("phantom", "supabase", "app/1/critical/40/1"),
    }
    assert result.checked_events == 10


def test_unknown_names_are_refused(world: World) -> None:
    with pytest.raises(UsageError, match=r"unknown category of reconcile.exact: critcal"):
        world.reconcile(options={"exact": ["critcal"]})
    with pytest.raises(UsageError, match="unknown store realtime"):
        world.reconcile(stores=("realtime",))
    with pytest.raises(UsageError, match="unknown category nonsense"):
        world.reconcile(categories=("nonsense",))


def test_progress_reaches_its_end(world: World) -> None:
    world.fill(LOST, 40)
    seen: dict[str, tuple[int, int]] = {}
    world.reconcile(progress=lambda phase, done, total: seen.update({phase: (done, total)}))
    assert seen == {"outline": (1, 1), "compare": (5, 5), "seal": (1, 1)}


def test_realtime_is_counted_and_never_judged(world: World) -> None:
    events = world.fill(LOST, 20)
    world.drop("realtime", events[3])
    world.deliver(events[4], ["realtime"])
    world.swap_arrivals(events[6], events[7], "realtime")
    world.alter("realtime", events[5], forged=False, data="{}")
    result = world.reconcile()
    assert result.verdict is Verdict.PASS
    live = result.stores["realtime"]
    assert (live.expected, live.present, live.missing) == (20, 19, 1)
    assert (live.duplicated, live.altered) == (1, 1)


def test_the_rollups_are_what_the_stores_hold(world: World) -> None:
    events = world.fill(LOST, 20)
    world.drop("supabase", events[3])
    world.alter("websocket", events[12], forged=False, data="{}")
    evidence = world.reconcile().evidence
    assert evidence is not None
    rows = {row.store: row for row in evidence.rollups}
    assert {name: (row.blocks, row.expected, row.held) for name, row in rows.items()} == {
        "journal": (3, 20, 20),
        "websocket": (3, 20, 20),
        "supabase": (3, 20, 19),
    }
    whole = sum(event.hash for event in events) % 2**64
    assert {row.expected_total for row in rows.values()} == {whole}
    assert rows["journal"].held_total == whole
    assert rows["supabase"].held_total == (whole - events[3].hash) % 2**64
    assert rows["websocket"].held_total not in (whole, rows["supabase"].held_total)


def test_the_sample_is_of_the_newest_judged_events(world: World) -> None:
    world.fill(LOST, 400)
    world.fill(QUIET, 30)
    world.publish(QUIET, 5, age_s=0.0)
    evidence = world.reconcile(options={"block": 256}).evidence
    assert evidence is not None
    sampled = {(event.stream, event.sequence) for event in evidence.sample}
    assert sampled == {(LOST, n) for n in range(151, 401)} | {(QUIET, n) for n in range(1, 31)}
    assert evidence.topics["critical"] == "critical"
    assert evidence.stores == ("journal", "websocket", "supabase")
