"""The circuit breaker in front of each sink: a frozen state, and one function per event.

States and manual modes are resilience4j's (https://resilience4j.readme.io/docs/circuitbreaker).
The difference is what trips it: a rate must be *strictly* above its limit in *every*
sub-window of the window, so that a burst shorter than the window never trips it, while a
sink that cannot be reached at all trips it within a few calls. In HALF_OPEN exactly one
call, the probe, is under way, and it is waited for a finite time.

Times are milliseconds of a clock that never goes back.
"""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NamedTuple

__all__ = [
    "Breaker",
    "BreakerPolicy",
    "BreakerState",
    "Outcome",
    "StateChange",
    "Step",
    "SubWindow",
]


class BreakerState(StrEnum):
    """CLOSED lets calls through, OPEN none, HALF_OPEN one; the other three are set by hand."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    FORCED_OPEN = "forced_open"
    DISABLED = "disabled"
    METRICS_ONLY = "metrics_only"


_MANUAL = (BreakerState.FORCED_OPEN, BreakerState.DISABLED, BreakerState.METRICS_ONLY)


class Outcome(StrEnum):
    """How a call ended. REFUSED: the sink answered that it will never take this call's
    content; that is the content's fault and counts as a working sink."""

    SUCCESS = "success"
    REFUSED = "refused"
    FAILURE = "failure"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerPolicy:
    """The limits; the defaults are the migration strategy's.

    ``call_ms`` is after how long a call under way counts as failed (the caller's own
    time-out is expected to be shorter); ``half_open_ms`` is the same for the probe.
    ``open_ms`` doubles with each opening that follows within ``open_max_ms``, up to that.
    """

    failure_rate: float = 0.05
    window_ms: int = 300_000
    sub_windows: int = 5
    minimum_calls: int = 20
    slow_call_ms: float = 2_000.0
    slow_rate: float = 0.5
    consecutive_unreachable: int = 3
    unreachable_window_ms: int = 60_000
    open_ms: int = 5_000
    open_max_ms: int = 120_000
    half_open_ms: int = 10_000
    call_ms: int = 30_000

    @property
    def sub_window_ms(self) -> int:
        return max(1, self.window_ms // self.sub_windows)


class StateChange(NamedTuple):
    """A fact for telemetry and the log."""

    before: BreakerState
    after: BreakerState
    at_ms: int
    reason: str


class SubWindow(NamedTuple):
    """Calls that ended in one sub-window; ``number`` is its time divided by its length."""

    number: int
    calls: int = 0
    failures: int = 0
    slow: int = 0


class _Call(NamedTuple):
    number: int
    deadline_ms: int


class Step(NamedTuple):
    """What a function answers: the new state, the call that may be made (or None), facts."""

    breaker: "Breaker"
    call: int | None = None
    facts: tuple[StateChange, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """The state. ``until_ms`` is when an open breaker lets its probe through.

    ``probes_failed`` counts the probes that failed since it was last closed: an opening that a
    probe confirmed is an outage, one by itself may be chance (docs/decisions.md).
    """

    policy: BreakerPolicy = field(default_factory=BreakerPolicy)
    state: BreakerState = BreakerState.CLOSED
    until_ms: int = 0
    opened: int = 0
    probes_failed: int = 0
    closed_at_ms: int = 0
    sub_windows: tuple[SubWindow, ...] = ()
    unreachable: tuple[int, ...] = ()
    calls: tuple[_Call, ...] = ()
    next_call: int = 1

    def acquire(self, now_ms: int) -> Step:
        """Ask for a call. Its number must be given back to ``settle``; None: call nothing."""
        breaker, _, facts = self.tick(now_ms)
        if breaker.state is BreakerState.OPEN and now_ms >= breaker.until_ms:
            breaker, facts = breaker._enter(
                BreakerState.HALF_OPEN, now_ms, "its open time is over: one probe", facts
            )
        if breaker.state in (BreakerState.OPEN, BreakerState.FORCED_OPEN):
            return Step(breaker, None, facts)
        if breaker.state is BreakerState.HALF_OPEN and breaker.calls:
            return Step(breaker, None, facts)
        wait_ms = (
            self.policy.half_open_ms
            if breaker.state is BreakerState.HALF_OPEN
            else self.policy.call_ms
        )
        number = breaker.next_call
        calls = breaker.calls
        if breaker.state is not BreakerState.DISABLED:
            calls = (*calls, _Call(number, now_ms + wait_ms))
        return Step(replace(breaker, calls=calls, next_call=number + 1), number, facts)

    def settle(self, call: int, outcome: Outcome, latency_ms: float, now_ms: int) -> Step:
        """Report how a call ended. One that was given up, or outlived a trip, is ignored."""
        breaker, _, facts = self.tick(now_ms)
        if all(one.number != call for one in breaker.calls):
            return Step(breaker, None, facts)
        calls = tuple(one for one in breaker.calls if one.number != call)
        breaker, facts = replace(breaker, calls=calls)._count(outcome, latency_ms, now_ms, facts)
        return Step(breaker, None, facts)

    def tick(self, now_ms: int) -> Step:
        """Let time pass: calls that hang count as failed, full sub-windows are judged."""
        breaker: Breaker = self
        facts: tuple[StateChange, ...] = ()
        late = tuple(one for one in self.calls if now_ms >= one.deadline_ms)
        for one in late:
            if one in breaker.calls:
                calls = tuple(other for other in breaker.calls if other is not one)
                latency_ms = float(self.policy.call_ms)
                breaker, facts = replace(breaker, calls=calls)._count(
                    Outcome.UNREACHABLE, latency_ms, now_ms, facts
                )
        if breaker.state is BreakerState.CLOSED and (reason := breaker.fault(now_ms)):
            breaker, facts = breaker._open(now_ms, reason, facts)
        return Step(breaker, None, facts)

    def set_mode(self, mode: BreakerState, now_ms: int, reason: str = "by hand") -> Step:
        """Set FORCED_OPEN, DISABLED or METRICS_ONLY, or CLOSED to end any of them afresh.

        Raises:
            ValueError: for OPEN and HALF_OPEN, which only the breaker itself enters.
        """
        if mode not in (*_MANUAL, BreakerState.CLOSED):
            raise ValueError(f"{mode} cannot be set by hand")
        if mode is self.state:
            return Step(self)
        breaker, facts = self._enter(mode, now_ms, reason, ())
        return Step(replace(breaker, opened=0), None, facts)

    def forget(self, call: int) -> Step:
        """Give a call back that was never made; a probe is then free to be asked for again."""
        calls = tuple(one for one in self.calls if one.number != call)
        return Step(replace(self, calls=calls))

    def hinted(self, now_ms: int) -> "Breaker":
        """Somebody saw the sink work: an open breaker lets its probe through now."""
        if self.state is not BreakerState.OPEN:
            return self
        return replace(self, until_ms=min(self.until_ms, now_ms))

    def fault(self, now_ms: int) -> str | None:
        """Why it should be open, or None. In METRICS_ONLY this is what would have tripped it."""
        policy = self.policy
        recent = [
            at_ms for at_ms in self.unreachable if now_ms - at_ms <= policy.unreachable_window_ms
        ]
        if len(recent) >= policy.consecutive_unreachable:
            return (
                f"{len(recent)} consecutive connection failures within "
                f"{policy.unreachable_window_ms / 1000:g} s"
            )
        newest = now_ms // policy.sub_window_ms
        full = [one for one in self.sub_windows if newest - policy.sub_windows <= one.number]
        full = [one for one in full if one.number < newest and one.calls]
        calls = sum(one.calls for one in full)
        if len(full) < policy.sub_windows or calls < policy.minimum_calls:
            return None
        # A quotient is compared, not a product: k/n is the double nearest to the limit that
        # was written as such, so that "strictly above" holds at the limit itself.
        failing = min(one.failures / one.calls for one in full)
        slow = min(one.slow / one.calls for one in full)
        span = f"in each of {len(full)} x {policy.sub_window_ms / 1000:g} s, n = {calls}"
        if failing > policy.failure_rate:
            return f"failures {failing:.1%} or more, limit {policy.failure_rate:.1%}, {span}"
        if slow > policy.slow_rate:
            return f"slow calls {slow:.1%} or more, limit {policy.slow_rate:.1%}, {span}"
        return None

    def _count(
        self, outcome: Outcome, latency_ms: float, now_ms: int, facts: tuple[StateChange, ...]
    ) -> tuple["Breaker", tuple[StateChange, ...]]:
        good = outcome in (Outcome.SUCCESS, Outcome.REFUSED)
        if self.state is BreakerState.HALF_OPEN:
            if not good:
                return self._open(now_ms, f"the probe failed: {outcome}", facts)
            if latency_ms > self.policy.slow_call_ms and self.policy.slow_rate < 1:
                return self._open(now_ms, f"the probe was slow: {latency_ms:.0f} ms", facts)
            return self._enter(BreakerState.CLOSED, now_ms, "the probe succeeded", facts)
        number = now_ms // self.policy.sub_window_ms
        kept = [one for one in self.sub_windows if number - self.policy.sub_windows <= one.number]
        if not kept or kept[-1].number != number:
            kept.append(SubWindow(number))
        last = kept[-1]
        kept[-1] = SubWindow(
            number,
            last.calls + 1,
            last.failures + (not good),
            last.slow + (latency_ms > self.policy.slow_call_ms),
        )
        unreachable: tuple[int, ...] = ()
        if outcome is Outcome.UNREACHABLE:
            unreachable = (*self.unreachable, now_ms)[-self.policy.consecutive_unreachable :]
        breaker = replace(self, sub_windows=tuple(kept), unreachable=unreachable)
        if breaker.state is BreakerState.CLOSED and (reason := breaker.fault(now_ms)):
            return breaker._open(now_ms, reason, facts)
        return breaker, facts

    def _open(
        self, now_ms: int, reason: str, facts: tuple[StateChange, ...]
    ) -> tuple["Breaker", tuple[StateChange, ...]]:
        policy = self.policy
        relapse = (
            self.state is BreakerState.HALF_OPEN or now_ms - self.closed_at_ms <= policy.open_max_ms
        )
        opened = self.opened + 1 if relapse else 1
        probes_failed = self.probes_failed + (self.state is BreakerState.HALF_OPEN)
        # The exponent is capped so that it never outgrows a float; the cap in time comes first.
        open_ms = min(policy.open_max_ms, policy.open_ms * 2 ** min(opened - 1, 32))
        breaker, facts = self._enter(BreakerState.OPEN, now_ms, reason, facts)
        opened_breaker = replace(
            breaker, opened=opened, probes_failed=probes_failed, until_ms=now_ms + open_ms
        )
        return opened_breaker, facts

    def _enter(
        self, state: BreakerState, now_ms: int, reason: str, facts: tuple[StateChange, ...]
    ) -> tuple["Breaker", tuple[StateChange, ...]]:
        closed_at_ms = now_ms if state is BreakerState.CLOSED else self.closed_at_ms
        unproven = state in (*_MANUAL, BreakerState.CLOSED)
        breaker = replace(
            self,
            state=state,
            closed_at_ms=closed_at_ms,
            probes_failed=0 if unproven else self.probes_failed,
            sub_windows=(),
            unreachable=(),
            calls=(),
        )
        return breaker, (*facts, StateChange(self.state, state, now_ms, reason))
