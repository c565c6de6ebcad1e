from dataclasses import replace

import pytest

from crossfade.core.breaker import Breaker, BreakerPolicy, BreakerState, Outcome, StateChange

OK, FAIL, CUT, REFUSED = Outcome.SUCCESS, Outcome.FAILURE, Outcome.UNREACHABLE, Outcome.REFUSED
MINUTE = 60_000


class Bench:
    """A breaker with its time."""

    def __init__(self, breaker: Breaker | None = None, now_ms: int = 0) -> None:
        self.breaker = breaker or Breaker()
        self.now_ms = now_ms
        self.facts: list[StateChange] = []

    def take(self) -> int | None:
        step = self.breaker.acquire(self.now_ms)
        self.breaker = step.breaker
        self.facts += step.facts
        return step.call

    def end(self, call: int | None, outcome: Outcome, latency_ms: float = 10) -> None:
        assert call is not None
        step = self.breaker.settle(call, outcome, latency_ms, self.now_ms)
        self.breaker = step.breaker
        self.facts += step.facts

    def call(self, outcome: Outcome, latency_ms: float = 10) -> None:
        self.end(self.take(), outcome, latency_ms)

    def minute(self, calls: int, failures: int, latency_ms: float = 10) -> None:
        """One minute of calls, spread over it, the failures last."""
        start = self.now_ms
        for number in range(calls):
            self.now_ms = start + number * MINUTE // calls
            if self.breaker.state is not BreakerState.CLOSED:
                break
            self.call(FAIL if number >= calls - failures else OK, latency_ms)
        self.now_ms = start + MINUTE

    @property
    def state(self) -> BreakerState:
        step = self.breaker.tick(self.now_ms)
        self.breaker = step.breaker
        self.facts += step.facts
        return self.breaker.state


def test_more_than_5_percent_in_each_of_5_minutes_trips() -> None:
    bench = Bench()
    for _ in range(4):
        bench.minute(100, 6)
        assert bench.state is BreakerState.CLOSED
    bench.minute(100, 6)
    assert bench.state is BreakerState.OPEN
    assert bench.facts[-1].before is BreakerState.CLOSED
    assert "6.0%" in bench.facts[-1].reason
    assert "n = 500" in bench.facts[-1].reason


@pytest.mark.parametrize("failures", [1, 2, 5, 7])
def test_exactly_the_limit_does_not_trip(failures: int) -> None:
    policy = BreakerPolicy(failure_rate=failures / 100)
    bench = Bench(Breaker(policy=policy))
    for _ in range(8):
        bench.minute(100, failures)
    assert bench.state is BreakerState.CLOSED


def test_a_limit_that_binary_fractions_miss_is_still_the_limit() -> None:
    # 0.29 * 100 is 28.999999999999996: a product would call 29 of 100 "above 29 %".
    bench = Bench(Breaker(policy=BreakerPolicy(failure_rate=0.29)))
    for _ in range(6):
        bench.minute(100, 29)
    assert bench.state is BreakerState.CLOSED


def test_a_burst_of_half_a_minute_never_trips() -> None:
    bench = Bench()
    for _ in range(3):
        bench.minute(100, 0)
        bench.minute(100, 50)
        bench.minute(100, 0)
    assert bench.state is BreakerState.CLOSED


def test_one_good_minute_in_five_does_not_trip() -> None:
    bench = Bench()
    for minute in range(20):
        bench.minute(100, 0 if minute % 5 == 4 else 60)
    assert bench.state is BreakerState.CLOSED


def test_a_minute_without_calls_is_no_evidence() -> None:
    bench = Bench()
    for minute in range(12):
        bench.minute(0 if minute % 4 == 3 else 100, 60)
    assert bench.state is BreakerState.CLOSED


def test_too_few_calls_are_no_evidence() -> None:
    bench = Bench()
    for _ in range(10):
        bench.minute(3, 2)
    assert bench.state is BreakerState.CLOSED
    bench = Bench(Breaker(policy=BreakerPolicy(minimum_calls=15)))
    for _ in range(5):
        bench.minute(3, 2)
    assert bench.state is BreakerState.OPEN


def test_slow_calls_trip_like_failures() -> None:
    bench = Bench()
    for _ in range(5):
        bench.minute(20, 0, latency_ms=2_001)
    assert bench.state is BreakerState.OPEN
    assert "slow" in bench.facts[-1].reason
    bench = Bench()
    for _ in range(5):
        bench.minute(20, 0, latency_ms=2_000)
    assert bench.state is BreakerState.CLOSED


@pytest.mark.parametrize(("slow", "tripped"), [(10, False), (11, True)])
def test_the_share_of_slow_calls_must_be_above_its_limit(slow: int, tripped: bool) -> None:
    bench = Bench()
    for number in range(5 * 20):
        bench.now_ms = number * 3_000
        bench.call(OK, latency_ms=5_000 if number % 20 < slow else 10)
    bench.now_ms = 5 * MINUTE
    assert (bench.state is BreakerState.OPEN) is tripped


def test_three_connection_failures_in_a_row_trip_at_once() -> None:
    bench = Bench()
    for _ in range(2):
        bench.call(CUT)
        bench.now_ms += 20_000
    assert bench.state is BreakerState.CLOSED
    bench.call(CUT)
    assert bench.state is BreakerState.OPEN
    assert bench.facts[-1].reason == "3 consecutive connection failures within 60 s"


def test_three_within_more_than_60_seconds_do_not_trip() -> None:
    bench = Bench()
    for _ in range(6):
        bench.call(CUT)
        bench.now_ms += 30_001
    assert bench.state is BreakerState.CLOSED


@pytest.mark.parametrize("answer", [OK, FAIL, REFUSED])
def test_any_answer_ends_the_row_of_connection_failures(answer: Outcome) -> None:
    bench = Bench()
    for _ in range(4):
        bench.call(CUT)
        bench.call(CUT)
        bench.call(answer)
    assert bench.state is BreakerState.CLOSED


def test_a_refused_call_shows_a_working_sink() -> None:
    bench = Bench()
    for _ in range(6 * 30):
        bench.call(REFUSED)
        bench.now_ms += 2_000
    assert bench.state is BreakerState.CLOSED
    tripped = trip(bench)
    tripped.now_ms = tripped.breaker.until_ms
    tripped.call(REFUSED)
    assert tripped.state is BreakerState.CLOSED


def trip(bench: Bench | None = None) -> Bench:
    bench = bench or Bench()
    for _ in range(3):
        bench.call(CUT)
    assert bench.breaker.state is BreakerState.OPEN
    return bench


def test_an_open_breaker_calls_nothing_until_its_time_and_then_exactly_once() -> None:
    bench = trip()
    bench.now_ms += 4_999
    assert bench.take() is None
    bench.now_ms += 1
    probe = bench.take()
    assert probe is not None
    assert bench.state is BreakerState.HALF_OPEN
    assert bench.take() is None
    bench.end(probe, OK)
    assert bench.state is BreakerState.CLOSED
    assert [fact.after for fact in bench.facts] == [
        BreakerState.OPEN,
        BreakerState.HALF_OPEN,
        BreakerState.CLOSED,
    ]


def test_the_open_time_doubles_up_to_the_cap_and_starts_afresh_after_a_long_peace() -> None:
    bench = trip()
    lengths = []
    for _ in range(8):
        lengths.append(bench.breaker.until_ms - bench.now_ms)
        bench.now_ms = bench.breaker.until_ms
        bench.call(FAIL)
    assert lengths == [5_000, 10_000, 20_000, 40_000, 80_000, 120_000, 120_000, 120_000]
    bench.now_ms = bench.breaker.until_ms
    bench.call(OK)
    # It relapses at once: the time goes on growing.
    trip(bench)
    assert bench.breaker.until_ms - bench.now_ms == 120_000
    bench.now_ms = bench.breaker.until_ms
    bench.call(OK)
    bench.now_ms += 120_001
    trip(bench)
    assert bench.breaker.until_ms - bench.now_ms == 5_000


def test_a_probe_that_hangs_counts_as_failed_and_its_late_answer_is_ignored() -> None:
    bench = trip()
    bench.now_ms = bench.breaker.until_ms
    probe = bench.take()
    bench.now_ms += 9_999
    assert bench.take() is None
    assert bench.state is BreakerState.HALF_OPEN
    bench.now_ms += 1
    assert bench.state is BreakerState.OPEN
    assert bench.breaker.until_ms - bench.now_ms == 10_000
    bench.end(probe, OK)
    assert bench.state is BreakerState.OPEN


def test_a_slow_probe_opens_again() -> None:
    bench = trip()
    bench.now_ms = bench.breaker.until_ms
    bench.call(OK, latency_ms=2_001)
    assert bench.state is BreakerState.OPEN


def test_a_hung_call_counts_as_failed_after_its_time_out() -> None:
    bench = Bench()
    calls = [bench.take() for _ in range(3)]
    bench.now_ms += 29_999
    assert bench.state is BreakerState.CLOSED
    bench.now_ms += 1
    assert bench.state is BreakerState.OPEN
    bench.end(calls[0], OK)
    assert bench.state is BreakerState.OPEN


def test_calls_from_before_the_trip_do_not_decide_the_probe() -> None:
    bench = Bench()
    old = bench.take()
    trip(bench)
    bench.now_ms = bench.breaker.until_ms
    probe = bench.take()
    bench.end(old, OK)
    assert bench.state is BreakerState.HALF_OPEN
    bench.end(probe, FAIL)
    assert bench.state is BreakerState.OPEN


def test_a_call_that_was_never_made_is_given_back() -> None:
    bench = trip()
    bench.now_ms = bench.breaker.until_ms
    probe = bench.take()
    assert probe is not None
    bench.breaker = bench.breaker.forget(probe).breaker
    assert bench.state is BreakerState.HALF_OPEN
    bench.call(OK)
    assert bench.state is BreakerState.CLOSED


def test_a_hint_brings_the_probe_forward_and_never_closes_by_itself() -> None:
    bench = trip()
    bench.breaker = bench.breaker.hinted(bench.now_ms)
    assert bench.state is BreakerState.OPEN
    assert bench.take() is not None
    assert bench.take() is None
    assert Breaker().hinted(5) == Breaker()


def test_forced_open_calls_nothing_for_ever() -> None:
    bench = Bench()
    bench.breaker = bench.breaker.set_mode(BreakerState.FORCED_OPEN, 0).breaker
    bench.now_ms = 10**9
    assert bench.take() is None
    bench.breaker = bench.breaker.set_mode(BreakerState.CLOSED, bench.now_ms).breaker
    assert bench.take() is not None


def test_disabled_lets_everything_through_and_remembers_nothing() -> None:
    bench = Bench(Breaker().set_mode(BreakerState.DISABLED, 0).breaker)
    for _ in range(10):
        bench.call(CUT)
    assert bench.state is BreakerState.DISABLED
    assert bench.breaker.sub_windows == ()
    assert bench.breaker.calls == ()


def test_metrics_only_lets_everything_through_and_tells_what_it_saw() -> None:
    bench = Bench(Breaker().set_mode(BreakerState.METRICS_ONLY, 0).breaker)
    for _ in range(3):
        bench.call(CUT)
    assert bench.state is BreakerState.METRICS_ONLY
    assert bench.breaker.sub_windows[-1].calls == 3
    assert "3 consecutive" in (bench.breaker.fault(bench.now_ms) or "")


def test_leaving_a_manual_mode_starts_afresh() -> None:
    bench = trip()
    step = bench.breaker.set_mode(BreakerState.METRICS_ONLY, 5, "drill")
    assert step.facts == (StateChange(BreakerState.OPEN, BreakerState.METRICS_ONLY, 5, "drill"),)
    breaker = step.breaker.set_mode(BreakerState.CLOSED, 6).breaker
    assert (breaker.opened, breaker.sub_windows, breaker.unreachable) == (0, (), ())
    assert breaker.set_mode(BreakerState.CLOSED, 7).facts == ()


@pytest.mark.parametrize("mode", [BreakerState.OPEN, BreakerState.HALF_OPEN])
def test_only_the_breaker_opens_itself(mode: BreakerState) -> None:
    with pytest.raises(ValueError, match="by hand"):
        Breaker().set_mode(mode, 0)


def test_states_are_values() -> None:
    before = Breaker()
    after = before.acquire(0).breaker
    assert before == Breaker()
    assert replace(after, calls=(), next_call=1) == before


def test_probes_that_failed_are_counted_until_it_is_closed() -> None:
    bench = Bench()
    for _ in range(3):
        bench.call(CUT)
    assert (bench.state, bench.breaker.probes_failed) == (BreakerState.OPEN, 0)
    for failed in (1, 2):
        bench.now_ms = bench.breaker.until_ms
        bench.call(FAIL)
        assert (bench.state, bench.breaker.probes_failed) == (BreakerState.OPEN, failed)
    bench.now_ms = bench.breaker.until_ms
    assert bench.take() is not None
    assert bench.breaker.probes_failed == 2, "while the next probe is under way"
    bench.breaker = replace(bench.breaker, calls=())
    bench.call(OK)
    assert (bench.state, bench.breaker.probes_failed) == (BreakerState.CLOSED, 0)
    for _ in range(3):
        bench.call(CUT)
    assert bench.breaker.probes_failed == 0, "a new outage has to be confirmed anew"
