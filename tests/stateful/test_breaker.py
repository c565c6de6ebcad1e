"""The breaker against a model that remembers every call and judges them anew each time."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from crossfade.core.breaker import Breaker, BreakerPolicy, BreakerState, Outcome

POLICY = BreakerPolicy(
    failure_rate=0.3,
    window_ms=3_000,
    sub_windows=3,
    minimum_calls=4,
    slow_call_ms=100,
    slow_rate=0.6,
    consecutive_unreachable=3,
    unreachable_window_ms=700,
    open_ms=200,
    open_max_ms=900,
    half_open_ms=300,
    call_ms=400,
)
SUB_MS = 1_000
GOOD = (Outcome.SUCCESS, Outcome.REFUSED)


class BreakerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker(policy=POLICY)
        self.now_ms = 0
        self.under_way: dict[int, int] = {}
        # The model: every call that ended since the breaker last closed.
        self.ended: list[tuple[int, Outcome, bool]] = []
        self.state = BreakerState.CLOSED
        self.opened_at_ms = 0
        self.open_ms = 0
        self.manual = False

    def model_fault(self) -> bool:
        row = []
        for at_ms, outcome, _ in reversed(self.ended):
            if outcome is not Outcome.UNREACHABLE:
                break
            row.append(at_ms)
        row = [at_ms for at_ms in row[:3] if self.now_ms - at_ms <= 700]
        if len(row) >= 3:
            return True
        newest = self.now_ms // SUB_MS
        windows = [
            [one for one in self.ended if one[0] // SUB_MS == number]
            for number in range(newest - 3, newest)
        ]
        if any(not one for one in windows) or sum(map(len, windows)) < 4:
            return False
        return all(
            sum(outcome not in GOOD for _, outcome, _ in one) > 0.3 * len(one) for one in windows
        ) or all(sum(slow for _, _, slow in one) > 0.6 * len(one) for one in windows)

    def follow(self, facts: tuple[object, ...]) -> None:
        """Let the model pass the time too: expire hung calls, judge."""
        for fact in facts:
            assert fact.before is not fact.after  # type: ignore[attr-defined]
            assert fact.at_ms == self.now_ms  # type: ignore[attr-defined]

    def expire(self) -> None:
        wait_ms = 300 if self.state is BreakerState.HALF_OPEN else 400
        for number, started in list(self.under_way.items()):
            if number in self.under_way and self.now_ms >= started + wait_ms:
                del self.under_way[number]
                self.ends(Outcome.UNREACHABLE, True)
        if self.state is BreakerState.CLOSED and self.model_fault():
            self.trip()

    def ends(self, outcome: Outcome, slow: bool) -> None:
        if self.state is BreakerState.HALF_OPEN:
            if outcome in GOOD and not slow:
                self.state = BreakerState.CLOSED
                self.ended, self.under_way = [], {}
            else:
                self.trip()
        elif self.state is BreakerState.CLOSED:
            self.ended.append((self.now_ms, outcome, slow))
            if self.model_fault():
                self.trip()
        elif self.state is BreakerState.METRICS_ONLY:
            self.ended.append((self.now_ms, outcome, slow))

    def trip(self) -> None:
        self.state = BreakerState.OPEN
        self.opened_at_ms = self.now_ms
        self.ended, self.under_way = [], {}

    @rule(pause_ms=st.sampled_from([0, 1, 50, 199, 200, 350, 400, 700, 1_000]))
    def wait(self, pause_ms: int) -> None:
        self.now_ms += pause_ms
        step = self.breaker.tick(self.now_ms)
        self.breaker = step.breaker
        self.expire()
        self.follow(step.facts)

    @rule()
    def acquire(self) -> None:
        step = self.breaker.acquire(self.now_ms)
        self.breaker = step.breaker
        self.expire()
        if self.state is BreakerState.OPEN:
            assert self.open_ms_is_allowed()
            if self.now_ms >= self.breaker.until_ms or step.call is not None:
                self.state = BreakerState.HALF_OPEN
                self.under_way = {}
        if self.state is BreakerState.HALF_OPEN:
            assert (step.call is None) == bool(self.under_way), "exactly one probe"
        elif self.state in (BreakerState.OPEN, BreakerState.FORCED_OPEN):
            assert step.call is None
        else:
            assert step.call is not None
        if step.call is not None and self.state is not BreakerState.DISABLED:
            self.under_way[step.call] = self.now_ms

    def open_ms_is_allowed(self) -> bool:
        length = self.breaker.until_ms - self.opened_at_ms
        return length in (200, 400, 800, 900) or self.state is not BreakerState.OPEN

    @precondition(lambda self: self.under_way)
    @rule(
        data=st.data(),
        outcome=st.sampled_from([*Outcome, Outcome.FAILURE, Outcome.UNREACHABLE]),
        latency_ms=st.sampled_from([1.0, 100.0, 101.0]),
    )
    def settle(self, data: st.DataObject, outcome: Outcome, latency_ms: float) -> None:
        number = data.draw(st.sampled_from(sorted(self.under_way)))
        step = self.breaker.settle(number, outcome, latency_ms, self.now_ms)
        self.breaker = step.breaker
        del self.under_way[number]
        self.ends(outcome, latency_ms > 100)

    @rule(number=st.integers(0, 40))
    def settle_something_unknown(self, number: int) -> None:
        if number not in self.under_way:
            step = self.breaker.settle(number, Outcome.UNREACHABLE, 1.0, self.now_ms)
            assert step.breaker == self.breaker.tick(self.now_ms).breaker
            self.breaker = step.breaker

    @rule(
        mode=st.sampled_from(
            [
                BreakerState.FORCED_OPEN,
                BreakerState.DISABLED,
                BreakerState.METRICS_ONLY,
                BreakerState.CLOSED,
            ]
        )
    )
    def by_hand(self, mode: BreakerState) -> None:
        step = self.breaker.set_mode(mode, self.now_ms)
        assert bool(step.facts) == (mode is not self.state)
        if mode is not self.state:
            self.ended, self.under_way = [], {}
        self.breaker = step.breaker
        self.state = mode

    @invariant()
    def agrees(self) -> None:
        assert self.breaker.state is self.state
        assert {one.number for one in self.breaker.calls} == set(self.under_way)
        assert len(self.breaker.sub_windows) <= POLICY.sub_windows + 1
        assert len(self.breaker.unreachable) <= POLICY.consecutive_unreachable


BreakerMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestBreaker = BreakerMachine.TestCase
