"""A plan against recorded telemetry, made by the real windows from real reports."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from crossfade.core.rehearsal import NOT_REHEARSED, rehearse
from crossfade.core.rollout import Plan
from crossfade.core.telemetry import Role
from crossfade.core.telemetry_totals import Window
from crossfade.core.telemetry_windows import TelemetryWindows
from crossfade.core.verdict import Verdict
from tests.rollouts import SECOND, a_plan, publisher_report, reader_report


def recorded(seconds: int, failures: Callable[[int], int] = lambda _: 0) -> list[Window]:
    """What a control server keeps of ``seconds`` seconds of one publisher, reader and tap."""
    windows = TelemetryWindows(0, width_us=SECOND, keep_us=10**12, live_us=5 * SECOND)
    for second in range(1, seconds + 1):
        at_us = second * SECOND
        sink = {"calls": 20, "failures": failures(second), "events": 400}
        reports = [
            publisher_report(at_us, sink=sink),
            reader_report(at_us),
            reader_report(at_us, "tap", Role.TAP),
        ]
        for report in reports:
            windows.add(report, at_us)
    windows.cut((seconds + 1) * SECOND)
    return windows.take_unsaved()


def sustained() -> Plan:
    """Weeks whose error rate must be above its limit in each of five times two seconds."""
    plan = a_plan()
    targets = replace(plan.stages[0].targets, error_for_s=10.0)
    return replace(plan, stages=tuple(replace(one, targets=targets) for one in plan.stages))


def test_a_healthy_recording_passes_every_stage_and_says_when() -> None:
    found = rehearse(a_plan(), recorded(20))
    assert [one.stage for one in found] == ["week-1", "week-2", "week-3"]
    for one in found:
        assert (one.verdict, one.breach) == (Verdict.PASS, None)
        assert one.enough_after_s is not None
        assert 0 < one.enough_after_s < 20
        assert {each.name for each in one.measurements}.isdisjoint(NOT_REHEARSED)
        assert one.events_by_soak_end == pytest.approx(400 * 6, rel=0.1)


def test_a_bad_spell_would_have_taken_it_back_and_when() -> None:
    (one, *_) = rehearse(sustained(), recorded(40, lambda s: 12 if 15 <= s < 30 else 0))
    assert one.verdict is Verdict.FAIL
    assert one.breach is not None
    assert "error_rate_sustained" in one.breach
    assert one.breach_after_s is not None
    assert 22 <= one.breach_after_s <= 27, "once it was above the limit for its 10 s"


def test_a_burst_shorter_than_the_rule_would_not() -> None:
    (one, *_) = rehearse(sustained(), recorded(30, lambda s: 20 if 10 <= s < 16 else 0))
    assert one.breach is None


def test_too_short_a_recording_is_no_pass() -> None:
    quiet = [Window(0, SECOND)]
    (one, *_) = rehearse(a_plan(), quiet)
    assert one.verdict is Verdict.INCONCLUSIVE
    assert one.enough_after_s is None


def test_nothing_recorded_is_no_rehearsal() -> None:
    with pytest.raises(ValueError, match="nothing was recorded"):
        rehearse(a_plan(), [])


def test_it_is_json() -> None:
    (one, *_) = rehearse(a_plan(), recorded(20))
    document = one.to_json()
    assert document["verdict"] == "pass"
    assert document["not_rehearsed"] == list(NOT_REHEARSED)
