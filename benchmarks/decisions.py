"""The decision rules against simulated traffic: false trips, time to detect, wrong promotions.

``python -m benchmarks.decisions [--years 5] [--json] [--write docs/decisions.md]``. Chance is
drawn in bulk; every case that might trip a rule is then decided by the library's own functions
(``Breaker``, ``sprt``, ``sustained_above``, ``proportion_upper``), so what is measured is what
runs. Exit statuses: 0 every goal is met, 1 one is missed, 2 wrong usage.
"""

import argparse
import math
import sys
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from crossfade.core.breaker import Breaker, BreakerPolicy, BreakerState, Outcome, SubWindow
from crossfade.core.measurements import sub_windows
from crossfade.core.rollout import Targets
from crossfade.core.statistics import (
    Rate,
    proportion_lower,
    proportion_upper,
    sprt,
    sustained_above,
)
from crossfade.core.verdict import Verdict
from crossfade.relay_policy import breaker_policy
from crossfade.settings import BreakerSettings, RelaySettings

__all__ = ["main"]

YEAR_S = 365 * 86_400
TRUE_ERROR_RATE = 0.005
RATES = (0.1, 1.0, 10.0, 100.0, 1_000.0)
FAILURES = (0.10, 0.50, 1.00)
CALL_S = 0.03
"""One call to a hosted Supabase, in seconds; the relay has one batch under way."""

HEADS_PER_S = 1.0
SEED = 20_131
LONGEST_S = 3_600.0
GOAL_TRIPS = 1.0

TARGETS = Targets()
RELAY = RelaySettings()
Ints = NDArray[np.int64]


class FalseTrips(NamedTuple):
    """Trips per year at a true error rate of 0.5 %, by rule."""

    rate: float
    calls_per_s: float
    naive: float
    sustained: float
    breaker_openings: float
    breaker: float
    latency: float


class Detection(NamedTuple):
    """Seconds from the begin of a failure to the breach: median and worst of the trials."""

    kind: str
    share: float
    rate: float
    median_s: float | None
    worst_s: float | None
    by: str


class Promotion(NamedTuple):
    """How often a stage passes its gate at the soak's end, and within a day of further looks."""

    what: str
    n: int
    first_look: float
    all_looks: float
    goal: str
    met: bool


def calls_per_s(events_per_s: float) -> float:
    """Batches: the relay gathers for ``relay.poll_s`` and has one call under way; and heads."""
    return min(events_per_s, 1.0 / (CALL_S + RELAY.poll_s)) + HEADS_PER_S


# -- false trips --------------------------------------------------------------------------------


def false_trips(rate: float, years: int, rng: np.random.Generator) -> FalseTrips:
    """Every rule that can take a stage back, at a true error rate of 0.5 %."""
    calls = calls_per_s(rate)
    openings, confirmed = _consecutive(calls, years, rng)
    by_rate = _breaker_rate(calls, years, rng)
    sustained, naive = _sustained(calls, years, rng)
    return FalseTrips(
        rate=rate,
        calls_per_s=calls,
        naive=naive,
        sustained=sustained,
        breaker_openings=openings + by_rate,
        breaker=confirmed + by_rate * TRUE_ERROR_RATE,
        latency=_latency(rate, years, rng),
    )


def _consecutive(calls: float, years: int, rng: np.random.Generator) -> tuple[float, float]:
    """All errors are connection failures: three in a row open the breaker; then its probe.

    Openings and confirmed outages a year. Gaps between failures are geometric, so that only
    failures are drawn; each run of three is put through a real breaker.
    """
    expected = calls * YEAR_S * TRUE_ERROR_RATE
    openings = confirmed = 0
    for _ in range(years):
        adjacent = rng.geometric(TRUE_ERROR_RATE, size=round(expected)) == 1
        starts = np.flatnonzero(adjacent[:-1] & adjacent[1:])
        for _start in starts:
            openings += 1
            confirmed += _probe_fails(bool(rng.random() < TRUE_ERROR_RATE))
    return openings / years, confirmed / years


def _probe_fails(fails: bool) -> bool:
    breaker = Breaker(policy=policy())
    for at_ms in (0, 10, 20):
        step = breaker.acquire(at_ms)
        assert step.call is not None
        breaker = step.breaker.settle(step.call, Outcome.UNREACHABLE, 1.0, at_ms).breaker
    if breaker.state is not BreakerState.OPEN:
        raise AssertionError("three connection failures did not open the breaker")
    step = breaker.acquire(breaker.until_ms)
    assert step.call is not None
    outcome = Outcome.UNREACHABLE if fails else Outcome.SUCCESS
    breaker = step.breaker.settle(step.call, outcome, 1.0, breaker.until_ms + 1).breaker
    return breaker.probes_failed > 0


def _breaker_rate(calls: float, years: int, rng: np.random.Generator) -> float:
    """The breaker's own "> 5 % in each of five minutes"."""
    rule = policy()
    width_s = rule.sub_window_ms / 1_000
    n, failures = _windows(calls, width_s, years, rng)
    above = (n > 0) & (failures > rule.failure_rate * n)
    trips = 0
    for at in _runs(above, rule.sub_windows):
        rows = range(at, at + rule.sub_windows)
        found = Breaker(
            policy=rule,
            sub_windows=tuple(
                SubWindow(k, int(n[row]), int(failures[row])) for k, row in enumerate(rows)
            ),
        ).fault(rule.sub_windows * rule.sub_window_ms)
        trips += found is not None
    return trips / years


def _sustained(calls: float, years: int, rng: np.random.Generator) -> tuple[float, float]:
    """The control server's rule, looked at as each telemetry window closes; and the naive one."""
    count, width_s = sub_windows(TARGETS.error_for_s)
    n, failures = _windows(calls, width_s / 2, years, rng)
    pair_n, pair_failures = n[:-1] + n[1:], failures[:-1] + failures[1:]
    above = pair_failures > TARGETS.error_rate * pair_n
    looks = len(above) - 2 * (count - 1)
    every = np.ones(looks, dtype=bool)
    for part in range(count):
        every &= above[2 * part : 2 * part + looks]
    trips, last = 0, -math.inf
    for at in np.flatnonzero(every):
        rates = [
            Rate(int(pair_failures[at + 2 * part]), int(pair_n[at + 2 * part]))
            for part in range(count)
        ]
        if _broken(rates) and at - last > 2 * count:
            trips, last = trips + 1, float(at)
    total_n = np.convolve(n, np.ones(2 * count, dtype=np.int64), "valid")
    total = np.convolve(failures, np.ones(2 * count, dtype=np.int64), "valid")
    naive = total > TARGETS.error_rate * total_n
    entered = int(np.count_nonzero(naive[1:] & ~naive[:-1]))
    return trips / years, entered / years


def _broken(rates: list[Rate]) -> bool:
    """As ``measurements.error_rate_sustained`` concludes."""
    pooled = Rate(sum(one.failures for one in rates), sum(one.n for one in rates))
    healthy, broken = TARGETS.error_rate / 10, TARGETS.error_rate
    return (
        pooled.n > 0
        and sustained_above(rates, TARGETS.error_rate)
        and sprt(pooled, healthy=healthy, broken=broken) is Verdict.FAIL
    )


def _latency(rate: float, years: int, rng: np.random.Generator) -> float:
    """Both transports alike, long-tailed (log-normal, sigma 1, p95 of 150 ms), independent.

    Worse than real: the same events are measured, so that their latencies go together.
    """
    count, width_s = sub_windows(TARGETS.latency_for_s)
    per_window = round(rate * width_s)
    if per_window < 20:
        return 0.0
    windows = round(years * YEAR_S / width_s)
    rank = math.ceil(0.95 * per_window)
    # The p95 of n is the order statistic of that rank: its quantile is Beta distributed.
    draws = rng.beta(rank, per_window - rank + 1, size=(2, windows))
    from scipy.special import ndtri

    p95 = 150.0 * np.exp(ndtri(draws) - ndtri(0.95))
    above = (p95[0] > TARGETS.latency_ratio * p95[1]) & (p95[0] > TARGETS.latency_floor_ms)
    return sum(1 for _ in _runs(above, count)) / years


def _windows(
    calls: float, width_s: float, years: int, rng: np.random.Generator
) -> tuple[Ints, Ints]:
    """Calls and failures of each window."""
    windows = round(years * YEAR_S / width_s)
    n = rng.poisson(calls * width_s, size=windows)
    return n, rng.binomial(n, TRUE_ERROR_RATE)


def _runs(flags: NDArray[np.bool_], length: int) -> Iterator[int]:
    """Where runs of ``length`` begin; the next one begins after the last."""
    every = np.ones(len(flags) - length + 1, dtype=bool)
    for part in range(length):
        every &= flags[part : len(flags) - length + 1 + part]
    last = -length
    for at in np.flatnonzero(every):
        if at >= last + length:
            last = int(at)
            yield last


# -- time to detect -----------------------------------------------------------------------------


@lru_cache
def policy() -> BreakerPolicy:
    """The breaker's policy with the settings' defaults, as the relay makes it."""
    return breaker_policy(BreakerSettings(), RELAY.timeout_s)


def detections(kind: str, share: float, rate: float, trials: int, seed: int) -> Detection:
    """How long until the breaker's outage or the sustained error rate is a breach."""
    rng = np.random.default_rng(seed)
    found = [_detect(kind, share, rate, rng) for _ in range(trials)]
    told = sorted(at for at, _ in found if at is not None)
    if len(told) < trials:
        return Detection(kind, share, rate, None, None, f"not within {LONGEST_S / 60:.0f} min")
    rules = [by for _, by in found]
    by = max(set(rules), key=rules.count)
    return Detection(kind, share, rate, told[len(told) // 2], told[-1], by)


def _detect(
    kind: str, share: float, rate: float, rng: np.random.Generator
) -> tuple[float | None, str]:
    """The relay's loop with a real breaker, ten healthy minutes and then a failure."""
    outcome = Outcome.UNREACHABLE if kind == "unreachable" else Outcome.FAILURE
    breaker = Breaker(policy=policy())
    count, width_s = sub_windows(TARGETS.error_for_s)
    half_s = width_s / 2
    starts_s = 600.0 + float(rng.uniform(0, width_s))
    gap_s = 1.0 / calls_per_s(rate)
    n: dict[int, int] = {}
    failed: dict[int, int] = {}
    now_s, in_a_row, look_s = 0.0, 0, 1.0
    while now_s < starts_s + LONGEST_S:
        now_ms = round(now_s * 1_000)
        step = breaker.acquire(now_ms)
        breaker = step.breaker
        pause_s = gap_s
        if step.call is not None:
            bad = rng.random() < (share if now_s >= starts_s else TRUE_ERROR_RATE)
            ended = outcome if bad else Outcome.SUCCESS
            breaker = breaker.settle(step.call, ended, CALL_S * 1e3, now_ms).breaker
            window = int(now_s // half_s)
            n[window] = n.get(window, 0) + 1
            failed[window] = failed.get(window, 0) + bad
            in_a_row = in_a_row + 1 if bad else 0
            if bad and breaker.state is BreakerState.CLOSED:
                longest = min(RELAY.retry_initial_s * 2 ** (in_a_row - 1), RELAY.retry_max_s)
                pause_s = CALL_S + float(rng.uniform(0.0, longest))
        else:
            pause_s = max(0.001, (breaker.until_ms - now_ms) / 1_000)
        if breaker.probes_failed and now_s >= starts_s:
            return now_s - starts_s, "breaker"
        now_s += pause_s
        # The monitor looks every second; sub-windows are made of closed telemetry windows.
        while look_s <= now_s:
            if look_s > starts_s and _trips(n, failed, int(look_s // half_s), count):
                return look_s - starts_s, "error rate"
            look_s += 1.0
    return None, ""


def _trips(n: dict[int, int], failed: dict[int, int], window: int, count: int) -> bool:
    rates = []
    for part in range(count, 0, -1):
        numbers = (window - 2 * part, window - 2 * part + 1)
        rates.append(
            Rate(sum(failed.get(k, 0) for k in numbers), sum(n.get(k, 0) for k in numbers))
        )
    return _broken(rates)


# -- promotion ----------------------------------------------------------------------------------


def promotions(trials: int, rng: np.random.Generator) -> list[Promotion]:
    """Stages that should not pass, and stages that should."""
    wrong = 1 - TARGETS.confidence
    cases = [
        ("error rate at its limit, 5 %", 0.05, 20_000, wrong, False),
        ("error rate a little above, 5.5 %", 0.055, 20_000, wrong, False),
        ("error rate of 10 %", 0.10, 500, wrong, False),
        ("healthy, 0.5 %", TRUE_ERROR_RATE, 500, 0.99, True),
    ]
    found = [
        _promotion(name, share, n, goal, good, trials, rng) for name, share, n, goal, good in cases
    ]
    for name, missing, n, good in (
        ("delivery of 99.9 %, just at its target", 0.001, 20_000, False),
        ("delivery of 99.8 %", 0.002, 5_000, False),
        ("nothing missing", 0.0, 2_999, True),
    ):
        goal = 0.99 if good else wrong
        found.append(_promotion(name, missing, n, goal, good, trials, rng, delivery=True))
    return found


def _promotion(
    name: str,
    share: float,
    n: int,
    goal: float,
    good: bool,
    trials: int,
    rng: np.random.Generator,
    *,
    delivery: bool = False,
) -> Promotion:
    """The first look at the soak's end (a week), then one an hour for a day (``stall_s``)."""
    looks = [n + round(n * hour / (7 * 24)) for hour in range(25)]
    most = [_most_failures(size, delivery) for size in looks]
    counts = rng.binomial(n, share, size=trials)
    passed = counts <= most[0]
    first = float(passed.mean())
    for before, after, limit in zip(looks, looks[1:], most[1:], strict=False):
        counts = counts + rng.binomial(after - before, share, size=trials)
        passed |= counts <= limit
    last = float(passed.mean())
    # Three standard errors: what chance alone may add to the limit.
    slack = 3 * math.sqrt(goal * (1 - goal) / trials)
    met = first >= goal - slack if good else first <= goal + slack and last <= 2 * goal + slack
    return Promotion(name, n, first, last, f"{'≥' if good else '≤'} {goal:.0%}", met)


@lru_cache(maxsize=10_000)
def _most_failures(n: int, delivery: bool) -> int:
    """Most failures of ``n`` with which the gate passes; -1 when none does."""

    def passes(failures: int) -> bool:
        if delivery:
            return proportion_lower(n - failures, n, TARGETS.confidence) >= TARGETS.delivery
        return proportion_upper(failures, n, TARGETS.confidence) <= TARGETS.error_rate

    low, high = -1, n
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if passes(middle) else (low, middle - 1)
    return low


# -- the page -----------------------------------------------------------------------------------


def measure(years: int, trials: int) -> dict[str, Any]:
    """All three tables."""
    began = time.perf_counter()
    rng = np.random.default_rng(SEED)
    trips = [false_trips(rate, years, rng) for rate in RATES]
    _tell(f"false trips: {time.perf_counter() - began:.0f} s")
    times = [
        detections(kind, share, rate, trials, SEED + number)
        for number, (kind, share, rate) in enumerate(
            (kind, share, rate)
            for kind in ("refused with an error", "unreachable")
            for share in FAILURES
            for rate in RATES[1:]
        )
    ]
    _tell(f"time to detect: {time.perf_counter() - began:.0f} s")
    gates = promotions(20_000, rng)
    _tell(f"promotions: {time.perf_counter() - began:.0f} s")
    met = all(one.sustained + one.breaker + one.latency < GOAL_TRIPS for one in trips) and all(
        one.met for one in gates
    )
    return {
        "years": years,
        "trials": trials,
        "false_trips": [one._asdict() for one in trips],
        "detection": [one._asdict() for one in times],
        "promotion": [one._asdict() for one in gates],
        "goals_met": met,
    }


def page(found: dict[str, Any]) -> str:
    """The tables as markdown."""
    lines = [
        "# The decision rules, simulated",
        "",
        "Made by `python -m benchmarks.decisions --write docs/decisions.md`; do not edit.",
        "Chance is drawn in bulk, and every case that might trip a rule is decided by the",
        "library's own functions with the settings' defaults. One call to Supabase takes "
        f"{CALL_S * 1e3:.0f} ms;",
        f"the relay gathers for {RELAY.poll_s * 1e3:.0f} ms, so that even 1,000 events/s are "
        f"{calls_per_s(1_000):.1f} calls/s, heads included.",
        "",
        "## False trips a year",
        "",
        f"At a true error rate of {TRUE_ERROR_RATE:.1%}, {found['years']} simulated years. The "
        f"goal is fewer than {GOAL_TRIPS:g} for the last three rules together.",
        "",
        "| events/s | calls/s | naive: more than 5 % of 5 min | breaker opens "
        "| **error rate, 5 × 1 min** | **breaker, probe failed** | **latency ratio** |",
        "|--:|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {one['rate']:,g} | {one['calls_per_s']:.1f} | {one['naive']:,.1f} "
        f"| {one['breaker_openings']:,.1f} | {one['sustained']:.2f} | {one['breaker']:.2f} "
        f"| {one['latency']:.2f} |"
        for one in found["false_trips"]
    ]
    lines += [
        "",
        "“Breaker opens” is the worst case that every error is a connection failure and the",
        "next call fails independently: three in a row then happen by chance. Opening is cheap:",
        "events wait in the journal for the first probe. Taking everybody back on it is not,",
        "so the guardrail waits until that probe failed as well.",
        "",
        "## Time to detect",
        "",
        f"Seconds from the failure's begin to the breach, {found['trials']} trials each: median "
        "(worst).",
        "",
        "| calls fail | share | " + " | ".join(f"{rate:,g} events/s" for rate in RATES[1:]) + " |",
        "|---|--:|" + "--:|" * len(RATES[1:]),
    ]
    rows: dict[tuple[str, float], list[str]] = {}
    for one in found["detection"]:
        told = (
            one["by"]
            if one["median_s"] is None
            else f"{one['median_s']:.0f} ({one['worst_s']:.0f}), {one['by']}"
        )
        rows.setdefault((one["kind"], one["share"]), []).append(told)
    lines += [
        f"| {kind} | {share:.0%} | " + " | ".join(cells) + " |"
        for (kind, share), cells in rows.items()
    ]
    lines += [
        "",
        "“5 % for 5 minutes” is meant as it is said: an answered error takes about five minutes,",
        "however bad it is. Nothing is lost meanwhile, and subscribers do not wait for it: one",
        "that hears no head goes back to WebSocket by itself within seconds.",
        "",
        "## Promotion",
        "",
        "The share of stages that pass their gate at the end of a week's soak, and at that or one",
        "of 24 hourly looks more (a gate without a conclusion looks again for `stall_s`). The goal",
        "is that of the exact bound at the first look, and twice that for all looks together: a",
        "truth just at the limit gains from looking again, one that is beyond it does not.",
        "",
        "| truth | n | first look | all looks | goal | |",
        "|---|--:|--:|--:|--:|---|",
    ]
    lines += [
        f"| {one['what']} | {one['n']:,} | {one['first_look']:.2%} | {one['all_looks']:.2%} "
        f"| {one['goal']} | {'met' if one['met'] else '**missed**'} |"
        for one in found["promotion"]
    ]
    return "\n".join([*lines, ""])


def _tell(text: str) -> None:
    sys.stderr.write(text + "\n")


def main(arguments: list[str] | None = None) -> int:
    """Simulate, print the page or JSON, and keep it if asked."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.decisions",
        description="False trips a year, time to detect, and wrong promotions, simulated.",
        epilog="example: python -m benchmarks.decisions --write docs/decisions.md",
    )
    parser.add_argument("--years", type=int, default=30, help="simulated years (default 30)")
    parser.add_argument("--trials", type=int, default=15, help="failures each (default 15)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--write", type=Path, help="write the page there as well")
    options = parser.parse_args(arguments)
    if options.years < 1 or options.trials < 1:
        parser.error("--years and --trials must be at least 1")
    found = measure(options.years, options.trials)
    text = page(found)
    if options.write is not None:
        options.write.write_text(text, encoding="utf-8")
    if options.json:
        sys.stdout.write(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        sys.stdout.write(text)
    return 0 if found["goals_met"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
