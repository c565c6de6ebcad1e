"""The switch, case by case, and its promises under any schedule."""

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from crossfade.core.event import Stream
from crossfade.core.flags import Flags
from crossfade.core.flow import Progress
from crossfade.core.route import (
    REALTIME,
    WEBSOCKET,
    FellBack,
    Switched,
    SwitchFact,
    SwitchFailed,
)
from crossfade.core.switch import Pace, Switch

TOPIC = "critical"
ALL = {TOPIC: None}
PARTITIONS = 4
PACE = Pace(return_ms=5_000, return_max_ms=20_000)


class Streams:
    """Where streams stand; by default one in every partition, delivered up to its head."""

    def __init__(self) -> None:
        self.head = dict.fromkeys(range(PARTITIONS), 10)
        self.next = dict.fromkeys(range(PARTITIONS), 11)

    def __call__(self, topic: str, number: int) -> Sequence[Progress]:
        if not self.head.get(number):
            return []
        stream = Stream("app", 1, topic, number)
        return [Progress(stream, self.next[number], self.head[number])]


def flags(version: int, percent: float, **more: object) -> Flags:
    return Flags(version=version, partitions=PARTITIONS, served={"*": percent}, **more)  # type: ignore[arg-type]


class Bench:
    """A switch with its clock and streams."""

    def __init__(self, pace: Pace = PACE) -> None:
        self.now = 0
        self.streams = Streams()
        self.switch = Switch(pace)
        self.switch.follow(TOPIC, range(PARTITIONS))

    def flags(self, version: int, percent: float, **more: object) -> bool:
        return self.switch.flags(flags(version, percent, **more), self.now, 0.5)

    def step(self, ms: int = 0, random: float = 0.5) -> list[SwitchFact]:
        self.now += ms
        return self.switch.step(self.now, self.streams, random)

    def target(self, number: int) -> str:
        share = Flags(partitions=PARTITIONS, served={"*": 25.0}, version=1)
        return REALTIME if share.serves(TOPIC, number) else WEBSOCKET

    def heard(self, via: str) -> None:
        self.switch.heard(via, ALL, self.now)

    def on(self, via: str) -> set[int]:
        return set(self.switch.serving(via).get(TOPIC, ()))

    def wanted(self, via: str) -> set[int]:
        return set(self.switch.wanted(via).get(TOPIC, ()))

    def to_realtime(self, version: int = 1) -> None:
        self.flags(version, 100)
        self.step()
        self.switch.joined(REALTIME, ALL)
        self.heard(REALTIME)
        self.step()
        assert self.on(REALTIME) == {0, 1, 2, 3}
        for _ in range(3):
            self.step(1_000)
            self.heard(REALTIME)


def test_everything_starts_on_websocket() -> None:
    bench = Bench()
    assert bench.step() == []
    assert bench.on(WEBSOCKET) == bench.wanted(WEBSOCKET) == {0, 1, 2, 3}
    assert bench.wanted(REALTIME) == set()


def test_i3_overlap_proof_cut_drain() -> None:
    bench = Bench()
    bench.flags(1, 100)
    bench.step()
    assert bench.wanted(REALTIME) == bench.wanted(WEBSOCKET) == {0, 1, 2, 3}, "both are open"
    assert bench.switch.applied == 0
    bench.switch.joined(REALTIME, ALL)
    assert bench.step(1_000) == [], "a join acknowledgement alone is not proof"
    bench.heard(REALTIME)
    facts = bench.step(500)
    assert set(facts) == {Switched(TOPIC, number, REALTIME, 1, 1_500) for number in range(4)}
    assert bench.on(REALTIME) == {0, 1, 2, 3}
    assert bench.switch.applied == 1
    assert bench.wanted(WEBSOCKET) == {0, 1, 2, 3}, "drained a little longer"
    bench.heard(REALTIME)
    bench.step(PACE.drain_ms)
    assert bench.wanted(WEBSOCKET) == set()


def test_i3_on_the_way_back_a_join_alone_is_no_proof_either() -> None:
    bench = Bench()
    bench.to_realtime()
    bench.step(PACE.drain_ms)
    bench.heard(REALTIME)
    assert bench.wanted(WEBSOCKET) == set()
    bench.flags(2, 0)
    bench.step()
    bench.switch.joined(WEBSOCKET, ALL)
    assert bench.step(500) == []
    assert bench.on(REALTIME) == {0, 1, 2, 3}
    bench.heard(WEBSOCKET)
    assert {type(fact) for fact in bench.step(500)} == {Switched}
    assert bench.on(WEBSOCKET) == {0, 1, 2, 3}


def test_i3_the_cut_waits_until_the_snapshot_is_delivered() -> None:
    bench = Bench()
    bench.streams.next[2] = 8
    bench.flags(1, 100)
    bench.step()
    bench.heard(REALTIME)
    bench.step(100)
    assert bench.on(REALTIME) == {0, 1, 3}
    bench.streams.head[2] = 99  # what comes after the snapshot is not waited for
    bench.streams.next[2] = 11
    bench.step(100)
    assert bench.on(REALTIME) == {0, 1, 2, 3}


def test_a_head_heard_before_the_overlap_proves_nothing() -> None:
    bench = Bench()
    bench.heard(REALTIME)
    bench.flags(1, 100)
    bench.step()
    assert bench.step(1_000) == []


def test_a_head_proves_only_the_partitions_its_subscription_covers() -> None:
    bench = Bench()
    bench.to_realtime()
    bench.flags(2, 0)
    bench.step()
    bench.switch.heard(WEBSOCKET, {TOPIC: frozenset({1}), "debug": None}, bench.now)
    bench.step()
    assert bench.on(WEBSOCKET) == {1}


def test_a_lost_connection_takes_its_proof_along() -> None:
    bench = Bench()
    bench.streams.next[0] = 5
    bench.flags(1, 100)
    bench.step()
    bench.heard(REALTIME)
    bench.step()
    bench.switch.left(REALTIME)
    bench.streams.next[0] = 11
    bench.step(100)
    assert bench.on(WEBSOCKET) == {0}
    bench.heard(REALTIME)
    bench.step(100)
    assert bench.on(WEBSOCKET) == set()


def test_partitions_without_a_stream_need_a_join_but_no_head() -> None:
    bench = Bench()
    bench.streams.head = dict.fromkeys(range(PARTITIONS), 0)
    bench.flags(1, 100)
    bench.step()
    assert bench.step(100) == []
    bench.switch.joined(REALTIME, ALL)
    moved = [Switched(TOPIC, number, REALTIME, 1, 200) for number in range(PARTITIONS)]
    assert bench.step(100) == moved


def test_i5_one_without_a_stream_waits_for_the_head_that_its_topics_streams_wait_for() -> None:
    bench = Bench()
    bench.streams.head[3] = 0
    bench.flags(1, 100)
    bench.step()
    bench.switch.joined(REALTIME, ALL)
    assert bench.step(100) == [], "were Realtime deaf, nobody would hear its first event"
    bench.heard(REALTIME)
    bench.step()
    assert bench.on(REALTIME) == {0, 1, 2, 3}


def test_one_without_a_stream_does_not_wait_for_those_that_stay() -> None:
    bench = Bench()
    bench.flags(1, 25)
    (cohort,) = [number for number in range(PARTITIONS) if bench.target(number) == REALTIME]
    bench.streams.head[cohort] = 0
    bench.step()
    bench.switch.joined(REALTIME, ALL)
    bench.step()
    assert bench.on(REALTIME) == {cohort}


def test_i5_an_old_proof_does_not_cut() -> None:
    bench = Bench()
    bench.streams.next[1] = 5
    bench.flags(1, 100)
    bench.step()
    bench.switch.joined(REALTIME, ALL)
    bench.heard(REALTIME)
    bench.step()
    assert bench.on(REALTIME) == {0, 2, 3}
    bench.step(PACE.deaf_ms + 1)
    bench.streams.next[1] = 11
    bench.step()
    assert bench.on(REALTIME) == set()


def test_a_move_that_takes_too_long_keeps_the_old_side_and_is_reported() -> None:
    bench = Bench()
    bench.streams.next[1] = 4
    bench.flags(1, 100)
    bench.step()
    bench.step(PACE.timeout_ms - 1)
    assert bench.switch.failures == 0
    bench.switch.heard(REALTIME, {TOPIC: frozenset({1})}, bench.now)
    facts = bench.step(1)
    assert len(facts) == 4
    by_number = {fact.partition: fact for fact in facts if isinstance(fact, SwitchFailed)}
    assert by_number[0].reason == "no head came by realtime"
    assert by_number[1].reason == "what was due did not come"
    assert bench.on(WEBSOCKET) == {0, 1, 2, 3}
    assert bench.wanted(REALTIME) == set()
    assert bench.switch.failures == 4
    assert bench.switch.applied == 1, "applied as far as it can be, and visibly failed"


def test_a_failed_move_is_tried_again_and_heals() -> None:
    bench = Bench()
    bench.flags(1, 100)
    bench.step()
    bench.step(PACE.timeout_ms)
    bench.step(PACE.deaf_ms + PACE.return_ms // 2 - 1)
    assert bench.wanted(REALTIME) == set()
    bench.step(1)
    assert bench.wanted(REALTIME) == {0, 1, 2, 3}
    bench.heard(REALTIME)
    bench.step()
    assert (bench.switch.failures, bench.on(REALTIME)) == (0, {0, 1, 2, 3})


def test_the_pause_after_failures_grows_to_its_limit() -> None:
    bench = Bench()
    bench.flags(1, 100)
    bench.step()
    pauses = []
    for _ in range(5):
        bench.step(PACE.timeout_ms, random=0.999)
        start = bench.now
        while not bench.wanted(REALTIME):
            bench.step(500, random=0.999)
        pauses.append(round((bench.now - start - PACE.deaf_ms) / 1_000))
    assert pauses == [5, 10, 20, 20, 20]


def test_stale_flags_are_ignored() -> None:
    bench = Bench()
    assert bench.flags(5, 100)
    assert not bench.flags(5, 0)
    assert not bench.flags(4, 0)
    bench.step()
    assert bench.wanted(REALTIME) == {0, 1, 2, 3}
    assert bench.switch.version == 5


def test_a_command_taken_back_during_the_overlap_ends_it_at_once() -> None:
    bench = Bench()
    bench.flags(1, 100)
    bench.step()
    bench.flags(2, 0)
    assert bench.wanted(REALTIME) == set()
    bench.heard(REALTIME)
    assert bench.step() == []
    assert bench.switch.applied == 2


def test_a_command_taken_back_during_the_drain_moves_back() -> None:
    bench = Bench()
    bench.flags(1, 100)
    bench.step()
    bench.heard(REALTIME)
    bench.step()
    bench.flags(2, 0)
    bench.step(10)
    assert bench.wanted(WEBSOCKET) == bench.wanted(REALTIME) == {0, 1, 2, 3}
    bench.heard(WEBSOCKET)
    bench.step(10)
    assert bench.on(WEBSOCKET) == {0, 1, 2, 3}


def test_moves_are_spread_over_a_random_time() -> None:
    bench = Bench(Pace(spread_ms=1_000))
    bench.flags(1, 100)
    assert bench.step(499) == []
    assert bench.wanted(REALTIME) == set()
    assert bench.switch.applied == 0
    bench.step(1)
    assert bench.wanted(REALTIME) == {0, 1, 2, 3}


def test_a_part_of_the_partitions_moves_and_only_grows() -> None:
    bench = Bench()
    bench.flags(1, 50)
    bench.step()
    bench.heard(REALTIME)
    bench.step()
    first = bench.on(REALTIME)
    assert len(first) == 2
    assert bench.switch.cohort() == {}, "not while it drains"
    bench.heard(REALTIME)
    bench.step(PACE.drain_ms)
    assert bench.switch.cohort() == {TOPIC: frozenset(first)}
    bench.flags(2, 100)
    bench.step()
    bench.heard(REALTIME)
    bench.step()
    assert bench.on(REALTIME) > first


def test_i5_a_deaf_realtime_falls_back_at_once_without_any_flag() -> None:
    bench = Bench()
    bench.to_realtime()
    assert bench.step(PACE.deaf_ms) == []
    (fact,) = bench.step(1)
    assert fact == FellBack(TOPIC, (0, 1, 2, 3), "no head for 3001 ms")
    assert bench.wanted(WEBSOCKET) == bench.on(WEBSOCKET) == {0, 1, 2, 3}
    assert bench.wanted(REALTIME) == set()
    assert bench.switch.fallen_back == 4
    assert bench.switch.applied == 1


def test_once_websocket_is_off_nobody_falls_back_to_it() -> None:
    bench = Bench()
    bench.to_realtime()
    bench.flags(2, 0, decommissioned=True)
    assert bench.step(10 * PACE.deaf_ms) == []
    for _ in range(PACE.connect_failures):
        bench.switch.failed(REALTIME)
    assert bench.step(1) == []
    assert (bench.on(REALTIME), bench.wanted(WEBSOCKET)) == ({0, 1, 2, 3}, set())


def test_i5_failing_connections_fall_back_at_once() -> None:
    bench = Bench()
    bench.to_realtime()
    for _ in range(PACE.connect_failures - 1):
        bench.switch.failed(REALTIME)
    assert bench.step() == []
    bench.switch.failed(REALTIME)
    (fact,) = bench.step()
    assert fact == FellBack(TOPIC, (0, 1, 2, 3), "3 connections in a row failed")


def test_a_join_ends_the_row_of_failures() -> None:
    bench = Bench()
    bench.streams.head = dict.fromkeys(range(PARTITIONS), 0)
    for _ in range(PACE.connect_failures):
        bench.switch.failed(REALTIME)
    bench.flags(1, 100)
    bench.step()
    bench.switch.joined(REALTIME, ALL)
    bench.step()
    assert bench.step() == []
    assert bench.on(REALTIME) == {0, 1, 2, 3}, "none has a stream, so the join is enough"
    for _ in range(PACE.connect_failures):
        bench.switch.failed(REALTIME)
    bench.switch.joined(REALTIME, {})
    assert bench.step() == [FellBack(TOPIC, (0, 1, 2, 3), "3 connections in a row failed")]


def test_i5_failures_of_the_websocket_move_nothing() -> None:
    bench = Bench()
    bench.to_realtime()
    for _ in range(10):
        bench.switch.failed(WEBSOCKET)
    assert bench.step() == []


def test_i5_only_the_deaf_topic_falls_back() -> None:
    bench = Bench()
    bench.switch.follow("debug", range(PARTITIONS))
    bench.flags(1, 100)
    bench.step()
    bench.switch.heard(REALTIME, {TOPIC: None, "debug": None}, bench.now)
    bench.step()
    for _ in range(3):
        bench.heard(REALTIME)
        assert bench.step(1_000) == []
    bench.heard(REALTIME)
    assert bench.step(1) == [FellBack("debug", (0, 1, 2, 3), "no head for 3001 ms")]
    assert bench.on(REALTIME) == {0, 1, 2, 3}


def test_i5_a_rollback_does_not_wait_for_a_dead_realtime() -> None:
    bench = Bench()
    bench.to_realtime()
    bench.flags(2, 0)
    bench.step()
    bench.step(PACE.deaf_ms + 1)
    assert bench.on(WEBSOCKET) == {0, 1, 2, 3}
    assert bench.wanted(REALTIME) == set()
    assert (bench.switch.applied, bench.switch.fallen_back) == (2, 0)


def test_the_kill_flag_moves_everything_back() -> None:
    bench = Bench()
    bench.to_realtime()
    bench.flags(2, 100, kill=True)
    bench.step()
    bench.heard(WEBSOCKET)
    bench.step()
    assert bench.on(WEBSOCKET) == {0, 1, 2, 3}


def test_a_topic_without_streams_is_not_deaf_until_it_has_one() -> None:
    bench = Bench()
    bench.streams.head = dict.fromkeys(range(PARTITIONS), 0)
    bench.flags(1, 100)
    bench.step()
    bench.switch.joined(REALTIME, ALL)
    bench.step()
    assert bench.on(REALTIME) == {0, 1, 2, 3}
    assert bench.step(60_000) == []
    bench.streams.head[1] = 1
    assert bench.step(1_000) == []
    assert bench.step(PACE.deaf_ms) == []
    assert bench.step(1) == [FellBack(TOPIC, (0, 1, 2, 3), "no head for 3001 ms")]


def test_i5_it_comes_back_after_a_pause_that_grows_and_is_proven_again() -> None:
    bench = Bench()
    bench.to_realtime()
    pauses = []
    for _ in range(4):
        while not bench.switch.fallen_back:
            bench.step(100)
        start = bench.now
        while not bench.wanted(REALTIME):
            bench.step(100, random=0.5)
        pauses.append(bench.now - start - PACE.deaf_ms)
        bench.heard(REALTIME)
        bench.step()
        assert bench.on(REALTIME) == {0, 1, 2, 3}
        assert bench.switch.fallen_back == 0
    # The window is the one drawn at the fall: random 0.5 of 5, 10, 20, 20 s.
    assert pauses == [2_500, 5_000, 10_000, 10_000]


def test_new_flags_end_the_pause() -> None:
    bench = Bench()
    bench.to_realtime()
    bench.step(PACE.deaf_ms + 1)
    bench.flags(2, 100)
    bench.step()
    assert bench.wanted(REALTIME) == {0, 1, 2, 3}
    assert bench.switch.applied == 1


def test_partitions_followed_later_take_the_flags_in_force() -> None:
    bench = Bench()
    bench.to_realtime()
    before = bench.switch.revision
    bench.switch.follow("debug", [0])
    assert bench.switch.revision != before
    bench.step()
    assert bench.switch.wanted(REALTIME)["debug"] == frozenset({0})


def test_the_revision_tells_every_change_of_what_is_wanted() -> None:
    bench = Bench()
    seen: dict[int, object] = {}

    def look() -> None:
        wanted = (bench.switch.wanted(WEBSOCKET), bench.switch.wanted(REALTIME))
        assert seen.setdefault(bench.switch.revision, wanted) == wanted

    for version in range(1, 6):
        bench.flags(version, 100 if version % 2 else 0)
        look()
        for ms in (0, 100, 2_500, 2_500, 2_500):
            bench.step(ms)
            look()
            if version != 3:  # that one times out
                bench.heard(REALTIME if version % 2 else WEBSOCKET)
        bench.step(PACE.timeout_ms)
        look()
    assert len(seen) > 5


moves = st.lists(
    st.one_of(
        st.tuples(st.just("flags"), st.sampled_from([0.0, 25.0, 50.0, 100.0])),
        st.tuples(st.just("heard"), st.sampled_from([WEBSOCKET, REALTIME])),
        st.tuples(st.just("left"), st.sampled_from([WEBSOCKET, REALTIME])),
        st.tuples(st.just("failed"), st.sampled_from([WEBSOCKET, REALTIME])),
        st.tuples(st.just("publish"), st.integers(0, 3)),
        st.tuples(st.just("deliver"), st.integers(0, 3)),
        st.tuples(st.just("step"), st.sampled_from([0, 100, 1_500, 4_000, 25_000])),
    ),
    max_size=80,
)


@settings(max_examples=150, deadline=None)
@given(moves, st.floats(0, 0.999))
def test_i3_i5_make_before_break_under_any_schedule(
    schedule: list[tuple[str, object]], random: float
) -> None:
    bench = Bench()
    switch, streams = bench.switch, bench.streams
    version = 0
    # Written down independently of the switch: what each side has shown since it was opened.
    opened: dict[tuple[str, int], int] = {}
    proofs: dict[tuple[str, int], int] = {}
    silent_since = 0
    for verb, value in schedule:
        if verb == "flags":
            version += 1
            bench.flags(version, value)  # type: ignore[arg-type]
        elif verb == "heard":
            bench.heard(value)  # type: ignore[arg-type]
            silent_since = bench.now if value == REALTIME else silent_since
            for number in range(PARTITIONS):
                if number in bench.wanted(value):  # type: ignore[arg-type]
                    proofs[value, number] = bench.now  # type: ignore[index]
        elif verb == "left":
            switch.left(value)  # type: ignore[arg-type]
            for number in range(PARTITIONS):
                if number not in bench.on(value):  # type: ignore[arg-type]
                    proofs.pop((value, number), None)  # type: ignore[call-overload]
        elif verb == "failed":
            switch.failed(value)  # type: ignore[arg-type]
        elif verb == "publish":
            streams.head[value] += 1  # type: ignore[index]
        elif verb == "deliver":
            streams.next[value] = streams.head[value] + 1  # type: ignore[index]
        else:
            before = bench.on(REALTIME)
            facts = bench.step(value, random)  # type: ignore[arg-type]
            fallen = [fact for fact in facts if isinstance(fact, FellBack)]
            if before and bench.now - silent_since > PACE.deaf_ms:
                assert fallen, "Realtime is deaf, and nobody went back"
                assert not bench.on(REALTIME)
            for fact in facts:
                if isinstance(fact, Switched):
                    place = (fact.to, fact.partition)
                    assert proofs.get(place, -1) >= opened[place], "believed without proof"
        for via in (WEBSOCKET, REALTIME):
            assert bench.on(via) <= bench.wanted(via), "the believed side is always open"
            for number in range(PARTITIONS):
                if number not in bench.wanted(via):
                    opened.pop((via, number), None)
                    proofs.pop((via, number), None)
                else:
                    opened.setdefault((via, number), bench.now)
        assert bench.on(WEBSOCKET) | bench.on(REALTIME) == {0, 1, 2, 3}
        assert not bench.on(WEBSOCKET) & bench.on(REALTIME)
        assert switch.applied <= max(version, 0)

    version += 1
    bench.flags(version, 50)
    for number in range(PARTITIONS):
        streams.next[number] = streams.head[number] + 1
    for _ in range(30):
        bench.heard(WEBSOCKET)
        bench.heard(REALTIME)
        bench.step(1_000)
    served = {n for n in range(PARTITIONS) if flags(version, 50).serves(TOPIC, n)}
    assert bench.on(REALTIME) == bench.wanted(REALTIME) == served
    assert bench.wanted(WEBSOCKET) == {0, 1, 2, 3} - served
    assert switch.applied == version
    assert switch.failures == switch.fallen_back == 0
