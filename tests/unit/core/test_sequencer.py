"""The sequencer, case by case; ``tests/stateful`` runs it against a model."""

from collections.abc import Iterable, Sequence

import pytest

from crossfade.core.continuity import DeliveryConflict, Lost
from crossfade.core.event import Event, Head, Stream, hash_to_hex
from crossfade.core.flow import Fill
from crossfade.core.sequencer import Fact, Sequencer

STREAM = Stream("app", 1, "critical", 7)
NEWER = STREAM._replace(epoch=2)
OTHER = Stream("app", 1, "critical", 8)
GRACE = 250


def event(sequence: int, stream: Stream = STREAM, salt: int = 0) -> Event:
    return Event(
        id=f"{stream.epoch}-{stream.partition}-{sequence}",
        source=stream.source,
        type="t",
        time_us=sequence,
        subject="",
        category=stream.topic,
        topic=stream.topic,
        partition=stream.partition,
        epoch=stream.epoch,
        sequence=sequence,
        data="{}",
        hash=sequence * 1_000_003 + stream.epoch + salt,
    )


def events(*sequences: int, stream: Stream = STREAM) -> list[Event]:
    return [event(sequence, stream) for sequence in sequences]


def sequences(facts: Iterable[Fact]) -> list[int]:
    return [fact.sequence for fact in facts if isinstance(fact, Event)]


def fill_round(
    sequencer: Sequencer, now_ms: int, pages: Sequence[tuple[list[Event], int | None, int | None]]
) -> list[Fact]:
    """Answer the next fills in turn with ``pages`` of (events, floor, head)."""
    facts: list[Fact] = []
    for page in pages:
        (fill,) = sequencer.tick(now_ms)
        facts += sequencer.filled(fill, *page, now_ms)
    return facts


def test_i2_in_order_events_pass_at_once() -> None:
    sequencer = Sequencer()
    assert sequences(sequencer.receive(events(1, 2, 3), "websocket", 0)) == [1, 2, 3]
    assert sequencer.positions() == {STREAM: 4}
    assert sequencer.holes == sequencer.buffered == 0


def test_i2_a_duplicate_is_dropped_whichever_transport_brings_it() -> None:
    sequencer = Sequencer()
    sequencer.receive(events(1, 2), "websocket", 0)
    assert sequencer.receive(events(1, 2), "realtime", 0) == []
    assert sequences(sequencer.receive(events(2, 3), "websocket", 0)) == [3]
    report = sequencer.continuity()["app"]
    assert report.delivered == 3
    assert report.duplicates == {"realtime": 2, "websocket": 1}


def test_i2_a_late_event_releases_what_waited_behind_it() -> None:
    sequencer = Sequencer()
    assert sequencer.receive(events(3, 2, 5), "realtime", 0) == []
    assert sequences(sequencer.receive(events(1), "websocket", 40)) == [1, 2, 3]
    assert sequences(sequencer.receive(events(4), "realtime", 50)) == [4, 5]
    report = sequencer.continuity()["app"]
    assert report.delivered_by == {"realtime": 4, "websocket": 1}
    assert (report.reordered, report.holes, report.open_holes) == (3, 2, 0)
    assert report.healed_by == {"websocket": 1, "realtime": 1}
    assert report.longest_hole_ms == 50


def test_i2_a_duplicate_in_the_buffer_is_dropped() -> None:
    sequencer = Sequencer()
    sequencer.receive(events(2), "websocket", 0)
    assert sequencer.receive(events(2), "realtime", 0) == []
    assert sequences(sequencer.receive(events(1), "websocket", 0)) == [1, 2]
    assert sequencer.continuity()["app"].duplicates == {"realtime": 1}


def test_another_hash_at_a_position_is_a_conflict_and_the_first_stays() -> None:
    sequencer = Sequencer()
    sequencer.receive(events(1, 3), "websocket", 0)
    forged = [event(1, salt=5), event(3, salt=5)]
    facts = sequencer.receive(forged, "realtime", 0)
    assert facts == [
        DeliveryConflict(event(1).position, event(1).hash, forged[0].hash, "realtime"),
        DeliveryConflict(event(3).position, event(3).hash, forged[1].hash, "realtime"),
    ]
    assert sequencer.receive(events(2), "websocket", 0) == events(2, 3)
    assert sequencer.continuity()["app"].conflicts == 2


def test_no_conflict_is_claimed_for_what_this_sequencer_never_saw() -> None:
    sequencer = Sequencer(positions={STREAM: 100})
    assert sequencer.receive([event(99, salt=5)], "websocket", 0) == []
    sequencer.receive(events(*range(100, 600)), "websocket", 0)
    assert sequencer.receive([event(101, salt=5)], "realtime", 0) == [], "older than remembered"
    assert len(sequencer.receive([event(599, salt=5)], "realtime", 0)) == 1


def test_a_buffered_event_opens_a_hole_that_wants_one_fill_after_the_grace() -> None:
    sequencer = Sequencer()
    sequencer.receive(events(1, 5, 9), "websocket", 1_000)
    assert sequencer.tick(1_000 + GRACE - 1) == []
    assert sequencer.tick(1_000 + GRACE) == [Fill(STREAM, 2, 4, "hub")]
    assert sequencer.tick(9_000) == [], "single flight"


def test_a_head_opens_a_hole_up_to_itself() -> None:
    sequencer = Sequencer()
    sequencer.receive(events(1, 2), "websocket", 0)
    sequencer.heads([Head(STREAM, 2)], 0)
    assert sequencer.holes == 0
    sequencer.heads([Head(STREAM, 6)], 10)
    assert sequencer.tick(10 + GRACE) == [Fill(STREAM, 3, 6, "hub")]


def test_a_fill_is_only_for_what_lies_before_the_first_event_that_waits() -> None:
    sequencer = Sequencer()
    sequencer.heads([Head(STREAM, 9)], 0)
    sequencer.receive(events(7), "websocket", 10)
    sequencer.receive(events(4), "websocket", 10)
    assert sequencer.tick(GRACE) == [Fill(STREAM, 1, 3, "hub")]


def test_a_head_of_an_unseen_stream_catches_its_loss() -> None:
    sequencer = Sequencer()
    sequencer.heads([Head(OTHER, 2)], 0)
    (fill,) = sequencer.tick(GRACE)
    facts = sequencer.filled(fill, events(1, 2, stream=OTHER), 1, 2, GRACE)
    assert sequences(facts) == [1, 2]


def test_the_grace_of_a_second_hole_counts_from_its_own_beginning() -> None:
    sequencer = Sequencer()
    sequencer.receive(events(1, 3), "websocket", 0)
    sequencer.receive(events(5), "websocket", 200)
    sequencer.receive(events(2), "realtime", 240)
    assert sequencer.tick(240 + GRACE - 100) == []
    assert sequencer.tick(200 + GRACE) == [Fill(STREAM, 4, 4, "hub")]


def test_a_stream_that_keeps_moving_behind_its_heads_wants_no_fill() -> None:
    sequencer = Sequencer()
    for step in range(1, 40):
        now = step * 100
        sequencer.heads([Head(STREAM, step + 1)], now)
        sequencer.receive(events(step), "realtime", now + 1)
        assert sequencer.tick(now + 1) == []


def test_i2_a_short_page_does_not_advance_by_itself() -> None:
    sequencer = Sequencer()
    sequencer.receive(events(1, 9), "websocket", 0)
    (fill,) = sequencer.tick(GRACE)
    assert sequences(sequencer.filled(fill, events(2, 3), 1, 9, GRACE)) == [2, 3]
    assert sequencer.positions() == {STREAM: 4}
    (again,) = sequencer.tick(GRACE)
    assert again == Fill(STREAM, 4, 8, "hub"), "the rest, from the same source, at once"


def test_an_empty_page_asks_the_next_source_and_then_pauses() -> None:
    sequencer = Sequencer()
    sequencer.receive(events(1, 3), "websocket", 0)
    facts = fill_round(sequencer, 300, [([], 1, 3), ([], 1, 1)])
    assert facts == []
    assert sequencer.tick(300 + 2 * GRACE - 1) == []
    (fill,) = sequencer.tick(300 + 2 * GRACE)
    assert fill == Fill(STREAM, 2, 2, "hub")


def test_a_failed_fill_asks_the_next_source_and_the_pause_grows_to_its_limit() -> None:
    sequencer = Sequencer(retry_max_ms=2_000)
    sequencer.receive(events(1, 3), "websocket", 0)
    now, pauses = 300, []
    (fill,) = sequencer.tick(now)
    for _ in range(5):
        assert fill.source == "hub"
        assert sequencer.fill_failed(fill, now) == []
        (fill,) = sequencer.tick(now)
        assert fill.source == "supabase"
        assert sequencer.fill_failed(fill, now) == []
        start, wanted = now, sequencer.tick(now)
        while not wanted:
            now += 50
            wanted = sequencer.tick(now)
        (fill,) = wanted
        pauses.append(now - start)
    assert pauses == [500, 1_000, 2_000, 2_000, 2_000]


def test_a_late_or_foreign_answer_does_not_free_the_fill_in_flight() -> None:
    sequencer = Sequencer(fills=1)
    sequencer.receive(events(1, 3), "websocket", 0)
    sequencer.receive(events(2, stream=OTHER), "websocket", 0)
    (fill,) = sequencer.tick(300)
    assert sequencer.tick(300) == [], "one at once, all streams together"
    stranger = Fill(STREAM, 2, 2, "hub")
    assert sequencer.fill_failed(stranger, 300) == []
    assert sequencer.tick(300) == []
    sequencer.filled(fill, events(2), 1, 3, 310)
    assert sequencer.tick(310) == [Fill(OTHER, 1, 1, "hub")]


def test_i2_lost_only_when_every_source_says_its_floor_is_above() -> None:
    sequencer = Sequencer()
    sequencer.receive(events(1, 10), "websocket", 0)
    facts = fill_round(sequencer, 300, [([], 5, 20), ([], 7, 20)])
    assert facts == [Lost(STREAM, 2, 4, "retention")], "up to the lowest floor"
    assert sequencer.positions() == {STREAM: 5}
    facts = fill_round(sequencer, 300, [([], 12, 20), ([], 13, 20)])
    assert facts == [Lost(STREAM, 5, 9, "retention"), event(10)], "never past what waits"
    report = sequencer.continuity()["app"]
    assert (report.lost_events, report.healed_by) == (8, {"lost": 1})
    assert report.to_json()["lost"][0] == ["app", 1, "critical", 7, 2, 4, "retention"]


@pytest.mark.parametrize(
    "pages",
    [
        pytest.param([([], None, None), ([], 7, 20)], id="the authority knows nothing"),
        pytest.param([([], 1, 20), ([], 7, 20)], id="the authority still holds it"),
        pytest.param([([], 7, 20), ([], 1, 1)], id="the table may get it"),
        pytest.param([([], 7, 20), None], id="a source failed"),
    ],
)
def test_i2_nothing_is_given_up_without_proof(
    pages: list[tuple[list[Event], int | None, int | None] | None],
) -> None:
    sequencer = Sequencer()
    sequencer.receive(events(1, 10), "websocket", 0)
    now = 300
    for _ in range(10):
        for page in pages:
            (fill,) = sequencer.tick(now)
            if page is None:
                assert sequencer.fill_failed(fill, now) == []
            else:
                assert sequencer.filled(fill, *page, now) == []
        now += 10_000
    assert sequencer.positions() == {STREAM: 2}


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(([], None, None), id="a table without the stream"),
        pytest.param((events(6, 7), 1, 20), id="a table with a hole of its own"),
        pytest.param(([], 1, 20), id="a table whose page is empty below its head"),
    ],
)
def test_what_the_journal_dropped_and_the_table_never_had_is_lost(
    page: tuple[list[Event], int | None, int | None],
) -> None:
    sequencer = Sequencer()
    sequencer.receive(events(1, 10), "websocket", 0)
    facts = fill_round(sequencer, 300, [([], 5, 20), page])
    assert facts == [Lost(STREAM, 2, 4, "retention")]


def test_earliest_begins_at_the_lowest_floor_without_calling_it_lost() -> None:
    sequencer = Sequencer()
    sequencer.heads([Head(STREAM, 60, 50)], 0)
    facts = fill_round(sequencer, 300, [(events(50, 51), 50, 60), ([], None, None)])
    assert sequences(facts) == [50, 51]
    report = sequencer.continuity()["app"]
    assert (report.skipped, report.lost_events) == (49, 0)
    assert sequencer.tick(300) == [Fill(STREAM, 52, 60, "hub")]


def test_latest_begins_behind_the_first_head_or_at_the_first_event() -> None:
    sequencer = Sequencer(start="latest")
    sequencer.heads([Head(STREAM, 41)], 0)
    assert sequencer.positions() == {STREAM: 42}
    assert sequencer.receive(events(41), "websocket", 0) == []
    assert sequences(sequencer.receive(events(42), "websocket", 0)) == [42]
    assert sequences(sequencer.receive(events(9, stream=OTHER), "websocket", 0)) == [9]


def test_a_stream_born_after_the_start_begins_at_1_even_with_latest() -> None:
    sequencer = Sequencer(start="latest")
    sequencer.meet([Head(STREAM, 3)], 0)
    sequencer.settle()
    assert sequencer.receive(events(2, stream=OTHER), "websocket", 0) == []
    assert sequences(sequencer.receive(events(1, stream=OTHER), "realtime", 0)) == [1, 2]
    assert sequencer.positions() == {STREAM: 4, OTHER: 3}


def test_meeting_heads_opens_no_hole() -> None:
    sequencer = Sequencer()
    sequencer.meet([Head(STREAM, 30)], 0)
    assert sequencer.tick(60_000) == []
    assert sequencer.positions() == {STREAM: 1}


def test_restart_from_positions_neither_repeats_nor_skips() -> None:
    before = Sequencer()
    before.receive(events(1, 2, 3, 5), "websocket", 0)
    after = Sequencer(positions=before.positions())
    assert sequences(after.receive(events(2, 3, 4, 5), "websocket", 0)) == [4, 5]


def test_a_new_epoch_waits_until_the_old_one_is_complete_as_far_as_known() -> None:
    sequencer = Sequencer()
    sequencer.receive(events(1, 3), "websocket", 0)
    assert sequencer.receive(events(1, 2, stream=NEWER), "websocket", 0) == []
    assert sequences(sequencer.receive(events(2), "realtime", 5)) == [2, 3, 1, 2]
    assert sequences(sequencer.receive(events(3, stream=NEWER), "realtime", 5)) == [3]


def test_a_new_epoch_waits_for_the_sealed_head_it_was_met_with() -> None:
    sequencer = Sequencer()
    sequencer.meet([Head(NEWER, 2), Head(STREAM, 2)], 0)
    assert sequencer.receive(events(1, 2, stream=NEWER), "websocket", 0) == []
    assert sequences(sequencer.receive(events(1, 2), "websocket", 9)) == [1, 2, 1, 2]


def test_an_epoch_under_way_does_not_stop_for_late_news_of_the_old_one() -> None:
    sequencer = Sequencer(positions={STREAM: 3, NEWER: 5})
    sequencer.heads([Head(STREAM, 9)], 0)
    assert sequences(sequencer.receive(events(5, stream=NEWER), "websocket", 0)) == [5]
    assert sequencer.tick(GRACE) == [Fill(STREAM, 3, 9, "hub")]


def test_three_epochs_come_out_one_after_the_other() -> None:
    newest = STREAM._replace(epoch=3)
    sequencer = Sequencer()
    sequencer.receive(events(2), "websocket", 0)
    sequencer.receive(events(2, stream=NEWER), "websocket", 0)
    sequencer.receive(events(1, stream=newest), "websocket", 0)
    assert sequences(sequencer.receive(events(1), "websocket", 0)) == [1, 2]
    assert sequencer.positions()[newest] == 1
    assert sequences(sequencer.receive(events(1, stream=NEWER), "websocket", 0)) == [1, 2, 1]


def test_the_end_of_an_epoch_whose_journal_is_gone_is_lost_after_some_rounds() -> None:
    sequencer = Sequencer()
    sequencer.receive(events(1), "websocket", 0)
    sequencer.heads([Head(STREAM, 3), Head(NEWER, 1)], 0)
    facts: list[Fact] = []
    now = 300
    for _ in range(3):
        assert facts == []
        facts = fill_round(sequencer, now, [([], 1, 1), ([], None, None)])
        now += 10_000
    assert facts == [Lost(STREAM, 2, 3, "superseded")]
    (fill,) = sequencer.tick(now)
    assert fill.stream == NEWER


def test_an_epoch_that_goes_on_is_never_superseded() -> None:
    sequencer = Sequencer()
    sequencer.receive(events(1), "websocket", 0)
    sequencer.heads([Head(STREAM, 3)], 0)
    for now in range(300, 100_000, 10_000):
        assert fill_round(sequencer, now, [([], 1, 1), ([], None, None)]) == []


def test_i10_a_full_buffer_drops_the_highest_and_remembers_it() -> None:
    sequencer = Sequencer(buffer_events=3)
    sequencer.receive(events(6, 5, 7), "websocket", 0)
    assert sequencer.receive(events(4), "websocket", 0) == []
    assert sequencer.buffered == 3
    assert sequencer.continuity()["app"].evicted == 1
    assert sequences(sequencer.receive(events(1, 2, 3), "websocket", 0)) == [1, 2, 3, 4, 5, 6]
    # 7 was dropped: nothing but the memory of it opens this hole.
    assert sequencer.tick(GRACE) == [Fill(STREAM, 7, 7, "hub")]


def test_i10_an_event_above_a_full_buffer_is_not_taken_but_remembered() -> None:
    sequencer = Sequencer(buffer_events=2)
    sequencer.receive(events(2, 3), "websocket", 0)
    assert sequencer.receive(events(9), "websocket", 0) == []
    assert sequencer.buffered == 2
    assert sequences(sequencer.receive(events(1), "websocket", 0)) == [1, 2, 3]
    assert sequencer.tick(GRACE) == [Fill(STREAM, 4, 9, "hub")]


def test_i10_one_stream_can_not_take_the_way_out_of_another() -> None:
    sequencer = Sequencer(buffer_events=2)
    sequencer.receive(events(2, 3), "websocket", 0)
    assert sequencer.receive(events(2, stream=OTHER), "websocket", 0) == []
    assert sequencer.buffered == 2
    assert sequences(sequencer.receive(events(1, stream=OTHER), "websocket", 0)) == [1]
    assert Fill(OTHER, 2, 2, "hub") in sequencer.tick(GRACE)


def test_i10_what_is_remembered_of_heads_is_bounded() -> None:
    sequencer = Sequencer()
    for step in range(1, 1_000):
        sequencer.heads([Head(STREAM, step)], step)
    assert sequencer.tick(2_000) == [Fill(STREAM, 1, 999, "hub")]
    assert sequencer.progress("critical", 7) == [(STREAM, 1, 999)]


def test_the_rolling_hash_is_the_sum_over_what_was_delivered() -> None:
    sequencer = Sequencer()
    sequencer.receive(events(1, 2, 4), "websocket", 0)
    expected = sum(one.hash for one in events(1, 2))
    assert sequencer.continuity()["app"].rolling_hash == hash_to_hex(expected)


def test_continuity_is_per_source_and_shows_what_stands_open() -> None:
    foreign = STREAM._replace(source="web")
    sequencer = Sequencer()
    sequencer.receive(events(1, 3), "websocket", 100)
    sequencer.receive(events(1, stream=foreign), "realtime", 100)
    reports = sequencer.continuity(now_ms=400)
    assert set(reports) == {"app", "web"}
    assert (reports["app"].open_holes, reports["app"].longest_hole_ms) == (1, 300)
    assert (reports["app"].streams, reports["app"].buffered) == (1, 1)
    assert (reports["web"].open_holes, reports["web"].delivered) == (0, 1)
