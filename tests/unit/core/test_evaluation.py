"""A table from facts to verdicts: what the instances tell, and what is concluded from it."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossfade.core.evaluation import StoredReconciliation, evaluate, snapshot, window_width_us
from crossfade.core.evidence import Evidence, breach
from crossfade.core.measurements import sub_windows
from crossfade.core.rollout import Rollout, Targets
from crossfade.core.telemetry import Report, Role
from crossfade.core.telemetry_windows import TelemetryWindows
from crossfade.core.verdict import Verdict
from tests.rollouts import (
    SECOND,
    TARGETS,
    a_plan,
    a_reconciliation,
    a_rollout,
    latencies,
    publisher_report,
    reader_report,
)

BASE_US = 100 * SECOND
FLAGS = 2


@dataclass
class World:
    """Ten seconds of a healthy soak; a test changes what it is about."""

    publisher: dict[str, Any] = field(default_factory=dict)
    subscriber: dict[str, Any] = field(default_factory=dict)
    tap: dict[str, Any] = field(default_factory=dict)
    pages: list[dict[str, Any]] = field(default_factory=list)
    roles: tuple[str, ...] = ("publisher", "subscriber", "tap")
    seconds: int = 10
    result: dict[str, Any] | None = field(default_factory=a_reconciliation)
    began_us: int = BASE_US + SECOND
    targets: Targets = TARGETS
    percent: float = 10.0

    def rollout(self) -> Rollout:
        stage = replace(a_plan().stages[0], targets=self.targets, percent={"*": self.percent})
        return replace(a_rollout(BASE_US, stages=(stage,)), evidence_since_us=BASE_US)

    def reports(self, second: int) -> list[Report]:
        found = []
        if "publisher" in self.roles:
            found.append(publisher_report(second, **self.publisher))
        if "subscriber" in self.roles:
            found.append(reader_report(second, **self.subscriber))
        if "tap" in self.roles:
            found.append(reader_report(second, "tap", Role.TAP, **self.tap))
        for number, page in enumerate(self.pages):
            found.append(reader_report(second, f"browser-{number}", Role.PAGE, **page))
        return found

    def evidence(self, until_s: int | None = None) -> Evidence:
        windows = TelemetryWindows(
            BASE_US,
            width_us=window_width_us([self.targets]),
            keep_us=60 * SECOND,
            live_us=5 * SECOND,
        )
        end_s = self.seconds if until_s is None else until_s
        for second in range(1, self.seconds + 1):
            for report in self.reports(second):
                windows.add(report, BASE_US + second * SECOND)
        now_us = BASE_US + end_s * SECOND
        found = snapshot(windows, self.targets, FLAGS, now_us)
        stored = None
        if self.result is not None:
            stored = StoredReconciliation(hash="h", began_us=self.began_us, document=self.result)
        return evaluate(self.rollout(), found, stored, now_us)


def test_a_healthy_soak_passes_every_measurement() -> None:
    evidence = World().evidence()
    assert evidence.explain(Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE) == ""
    assert evidence.verdict is Verdict.PASS
    assert breach(evidence) == ()
    names = {one.name for one in evidence.measurements}
    assert set(evidence.required) <= names
    assert {"error_rate_sustained", "latency_ratio_sustained", "p95_websocket"} <= names


P, F, I = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE  # noqa: E741
SLOW = {"latency_ms": latencies(400.0, 200)}
TOO_SLOW = {"latency_ms": latencies(600.0, 200)}
FEW = {"latency_ms": latencies(600.0, 1)}


@pytest.mark.parametrize(
    ("change", "name", "verdict"),
    [
        # applied
        ({"subscriber": {"flag_version": 1}}, "applied", I),
        ({"subscriber": {"flag_version": 3}}, "applied", I),
        ({"roles": ()}, "applied", I),
        # coverage: nobody to hear of is no proof of harm, but no pass either
        ({"roles": ("publisher",)}, "coverage", I),
        ({"roles": ("subscriber", "tap")}, "coverage", I),
        ({"roles": ("publisher", "tap")}, "coverage", P),
        # events
        ({"publisher": {"sink": {"events": 5}}}, "events", P),
        ({"publisher": {"sink": {"events": 4}}}, "events", I),
        ({"publisher": {"sinks": {}}}, "events", I),
        # error rate of the whole soak: exact bounds at n = 200
        ({"publisher": {"sink": {"failures": 0}}}, "error_rate", P),
        ({"publisher": {"sink": {"failures": 1}}}, "error_rate", I),
        ({"publisher": {"sink": {"failures": 4}}}, "error_rate", F),
        ({"publisher": {"sink": {"calls": 1}}}, "error_rate", I),
        ({"publisher": {"sink": {"calls": 0}}}, "error_rate", I),
        ({"publisher": {"sinks": {}}}, "error_rate", I),
        # and of the last seconds
        ({"publisher": {"sink": {"failures": 10}}}, "error_rate_sustained", F),
        ({"publisher": {"sink": {"failures": 1}}}, "error_rate_sustained", P),
        # breaker
        ({"publisher": {"sink": {"breaker": "open", "probes_failed": 1}}}, "breaker", F),
        # one opening may be chance: its first probe decides
        ({"publisher": {"sink": {"breaker": "open"}}}, "breaker", I),
        ({"publisher": {"sink": {"breaker": "half_open", "probes_failed": 1}}}, "breaker", F),
        ({"publisher": {"sink": {"breaker": "forced_open"}}}, "breaker", F),
        ({"publisher": {"sink": {"breaker": "half_open"}}}, "breaker", P),
        ({"publisher": {"sinks": {}}}, "breaker", I),
        # lost
        ({"subscriber": {"totals": {"lost": 1}}}, "lost", F),
        ({"tap": {"totals": {"lost": 1}}}, "lost", F),
        ({"subscriber": {"totals": {}}, "tap": {"totals": {}}}, "lost", I),
        # latency at subscribers
        ({"subscriber": {"realtime": TOO_SLOW}}, "p95_realtime", F),
        ({"subscriber": {"realtime": SLOW}}, "p95_realtime", P),
        ({"subscriber": {"realtime": FEW}}, "p95_realtime", I),
        ({"roles": ("publisher", "tap")}, "p95_realtime", I),
        ({"subscriber": {"websocket": TOO_SLOW}}, "p95_websocket", P),
        # latency against WebSocket, on the same events: only the tap has both
        ({"tap": {"realtime": SLOW}}, "latency_ratio", F),
        ({"tap": {"realtime": SLOW, "websocket": SLOW}}, "latency_ratio", P),
        ({"tap": {"websocket": {"latency_ms": latencies(2.0, 200)}}}, "latency_ratio", P),
        ({"tap": {"websocket": FEW}}, "latency_ratio", I),
        ({"roles": ("publisher", "subscriber")}, "latency_ratio", I),
        ({"tap": {"realtime": SLOW}}, "latency_ratio_sustained", F),
        # adoption
        ({"subscriber": {"websocket": {"cohort": 10}}}, "adoption", P),
        ({"subscriber": {"websocket": {"cohort": 11}}}, "adoption", F),
        ({"subscriber": {"realtime": {"cohort": 0}}}, "adoption", I),
        ({"roles": ("publisher", "tap")}, "adoption", I),
        # reconciliation
        ({"result": a_reconciliation("fail", discrepancy_count=1)}, "reconciliation", F),
        ({"result": a_reconciliation("error")}, "reconciliation", Verdict.ERROR),
        ({"result": a_reconciliation("inconclusive")}, "reconciliation", I),
        ({"result": a_reconciliation(checked_events=0)}, "reconciliation", I),
        # delivery, with the exact bound for a target of 98 %
        ({"result": a_reconciliation(supabase={"missing": 3})}, "delivery", P),
        ({"result": a_reconciliation(supabase={"missing": 4})}, "delivery", I),
        ({"result": a_reconciliation(supabase={"missing": 14})}, "delivery", F),
        ({"result": a_reconciliation(supabase={"expected": 148})}, "delivery", I),
        ({"result": a_reconciliation(supabase={"expected": 149})}, "delivery", P),
        ({"result": a_reconciliation(supabase={"expected": 0})}, "delivery", I),
    ],
)
def test_facts_to_verdict(change: dict[str, Any], name: str, verdict: Verdict) -> None:
    evidence = World(**change).evidence()
    found = evidence.get(name)
    assert found is not None
    assert found.verdict is verdict, found
    expected = {P: {P}, F: {F}, I: {I, F}, Verdict.ERROR: {Verdict.ERROR}}[verdict]
    if verdict is not P:
        assert evidence.verdict in expected


@pytest.mark.parametrize("verdict", ["fail", "error", "pass"])
def test_a_reconciliation_from_before_this_attempt_is_not_evidence(verdict: str) -> None:
    world = World(result=a_reconciliation(verdict), began_us=BASE_US - 1)
    evidence = world.evidence()
    assert evidence.get("reconciliation") is None
    assert evidence.verdict is Verdict.INCONCLUSIVE
    assert evidence.soak_verdict is Verdict.PASS
    assert breach(evidence) == ()


def test_a_reconciliation_that_does_not_tell_of_supabase_is_inconclusive() -> None:
    evidence = World(result={**a_reconciliation(), "stores": {"journal": {}}}).evidence()
    assert evidence.get("delivery") is None
    assert "delivery: not measured" in evidence.explain(Verdict.INCONCLUSIVE)
    assert evidence.verdict is Verdict.INCONCLUSIVE


def test_i7_silence_passes_nothing() -> None:
    evidence = World(roles=(), result=None).evidence()
    assert all(one.verdict is Verdict.INCONCLUSIVE for one in evidence.measurements)
    assert evidence.verdict is Verdict.INCONCLUSIVE
    assert breach(evidence) == ()


def test_i7_silence_after_a_good_soak_does_not_pass_for_long() -> None:
    world = World(seconds=30)
    assert world.evidence(until_s=31).verdict is Verdict.PASS
    silent = world.evidence(until_s=40)
    assert silent.verdict is Verdict.INCONCLUSIVE
    for name in ("applied", "coverage", "breaker"):
        found = silent.get(name)
        assert found is not None
        assert found.verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        ({"publisher": {"sink": {"breaker": "open", "probes_failed": 1}}}, {"breaker"}),
        ({"publisher": {"sink": {"failures": 10}}}, {"error_rate_sustained"}),
        ({"tap": {"realtime": SLOW}}, {"latency_ratio_sustained"}),
        ({"subscriber": {"totals": {"lost": 1}}}, {"lost"}),
        ({"result": a_reconciliation("fail")}, {"reconciliation"}),
        # What holds a stage but does not call for a rollback:
        ({"subscriber": {"realtime": TOO_SLOW}}, set()),
        ({"subscriber": {"websocket": {"cohort": 100}}}, set()),
        ({"result": a_reconciliation("error")}, set()),
        ({"result": a_reconciliation(supabase={"missing": 14})}, set()),
        ({"publisher": {"sink": {"failures": 10, "calls": 10}}, "seconds": 2}, set()),
    ],
)
def test_what_calls_for_a_rollback(change: dict[str, Any], broken: set[str]) -> None:
    assert {one.name for one in breach(World(**change).evidence())} == broken


def test_a_breaker_that_was_open_before_this_attempt_is_not_its_evidence() -> None:
    windows = TelemetryWindows(0, width_us=SECOND, keep_us=60 * SECOND, live_us=5 * SECOND)
    windows.add(publisher_report(1, sink={"breaker": "open", "probes_failed": 1}), BASE_US - 1)
    windows.begin(BASE_US, BASE_US)
    found = snapshot(windows, TARGETS, FLAGS, BASE_US + SECOND)
    evidence = evaluate(World().rollout(), found, None, BASE_US + SECOND)
    breaker = evidence.get("breaker")
    assert breaker is not None
    assert breaker.verdict is Verdict.INCONCLUSIVE
    windows.add(publisher_report(2, sink={"breaker": "open", "probes_failed": 1}), BASE_US + SECOND)
    found = snapshot(windows, TARGETS, FLAGS, BASE_US + SECOND)
    assert breach(evaluate(World().rollout(), found, None, BASE_US + SECOND))


def test_a_burst_is_not_five_minutes() -> None:
    """Every call fails for 20 of the last 25 s, none in the last 5 s."""
    targets = replace(TARGETS, error_for_s=25.0)
    world = World(seconds=30, targets=targets)
    calm, burst = {"sink": {"failures": 0}}, {"sink": {"failures": 20}}

    class Burst(World):
        def reports(self, second: int) -> list[Report]:
            self.publisher = burst if second <= 25 else calm
            return super().reports(second)

    evidence = Burst(seconds=30, targets=targets).evidence()
    sustained = evidence.get("error_rate_sustained")
    assert sustained is not None
    assert sustained.verdict is Verdict.PASS
    total = evidence.get("error_rate")
    assert total is not None
    assert total.verdict is Verdict.FAIL, "it still does not promote"
    assert world.evidence().verdict is Verdict.PASS


def test_a_shadow_stage_is_judged_without_subscribers_figures() -> None:
    evidence = World(percent=0.0, roles=("publisher", "tap")).evidence()
    assert evidence.verdict is Verdict.PASS
    assert evidence.get("adoption") is None
    assert "p95_realtime" not in evidence.required


def a_page(load_ms: float, latency_ms: float = 40.0) -> dict[str, Any]:
    window = {"latency_ms": latencies(latency_ms, 200)}
    return {"resources": {"dashboard.load": load_ms}, "realtime": window}


def test_slow_tabs_hold_nothing_beside_a_good_subscriber() -> None:
    evidence = World(pages=[a_page(300.0, 9_000.0)] * 4).evidence()
    assert evidence.verdict is Verdict.PASS
    assert evidence.get("dashboard.load") is None


def test_a_product_of_pages_only_is_judged_by_them() -> None:
    roles = ("publisher", "tap")
    good = World(roles=roles, pages=[a_page(300.0)]).evidence()
    assert good.verdict is Verdict.PASS
    slow = World(roles=roles, pages=[a_page(300.0, 9_000.0)]).evidence()
    found = slow.get("p95_realtime")
    assert found is not None
    assert found.verdict is Verdict.FAIL


def test_what_a_page_lost_is_lost() -> None:
    evidence = World(pages=[{**a_page(300.0), "totals": {"lost": 1}}]).evidence()
    assert [one.name for one in breach(evidence)] == ["lost"]


@pytest.mark.parametrize(
    ("loads_ms", "value", "verdict"),
    [
        ([300.0, 300.0, 400.0, 2_000.0, 9_000.0], 2_000.0, Verdict.PASS),
        ([300.0, 300.0, 400.0, 2_001.0, 9_000.0], 2_001.0, Verdict.FAIL),
        ([300.0] * 7 + [9_000.0], 300.0, Verdict.PASS),
    ],
)
def test_most_pages_must_load_in_time(
    loads_ms: list[float], value: float, verdict: Verdict
) -> None:
    evidence = World(pages=[a_page(load) for load in loads_ms]).evidence()
    found = evidence.get("dashboard.load")
    assert found is not None
    assert (found.value, found.verdict, found.n) == (value, verdict, len(loads_ms))
    # It can hold a stage, and never takes one back.
    assert evidence.verdict is verdict
    assert breach(evidence) == ()


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_leaving_any_required_measurement_out_never_passes(data: st.DataObject) -> None:
    evidence = World().evidence()
    left_out = data.draw(st.sets(st.sampled_from(evidence.required), min_size=1))
    kept = tuple(one for one in evidence.measurements if one.name not in left_out)
    renamed = tuple(replace(one, name=one.name + "s") for one in evidence.measurements)
    assert replace(evidence, measurements=kept).verdict is not Verdict.PASS
    assert replace(evidence, measurements=renamed).verdict is not Verdict.PASS


@pytest.mark.parametrize(
    ("for_s", "count", "width_s"),
    [(300.0, 5, 60.0), (600.0, 5, 120.0), (10.0, 5, 2.0), (3.0, 1, 3.0), (0.5, 1, 0.5)],
)
def test_sub_windows_follow_the_rule(for_s: float, count: int, width_s: float) -> None:
    assert sub_windows(for_s) == (count, width_s)


def test_windows_are_half_the_shortest_sub_window() -> None:
    assert window_width_us([Targets()]) == 30 * SECOND
    assert window_width_us([Targets(), TARGETS]) == 1_500_000
    assert window_width_us([replace(TARGETS, error_for_s=0.1)]) == SECOND
    assert window_width_us([]) == 30 * SECOND
