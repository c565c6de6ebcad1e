"""Where green ends, and what each line says to do."""

from typing import Any

import pytest

from crossfade.core.doctor import (
    judge_channels,
    judge_clock,
    judge_disk,
    judge_frame_limit,
    judge_keys,
    judge_latency,
    judge_migrations,
    judge_quota,
    judge_timeouts,
    milliseconds,
    traffic_of,
)
from crossfade.core.finding import Finding, Level, exit_status, green, list_or_green, red
from crossfade.core.plans import Traffic, messages_per_s, plan_named
from crossfade.local.keys import make_keys, mint_token, new_secret

SECRET = new_secret()
DAY_S = 86_400.0
NOW_S = 1_700_000_000.0
KEYS = make_keys(SECRET, now_s=NOW_S)
G, A, R = Level.GREEN, Level.AMBER, Level.RED


def token(role: str, lifetime_s: float) -> str:
    return mint_token(SECRET, role, now_s=NOW_S, lifetime_s=lifetime_s)


@pytest.mark.parametrize(
    ("anon", "service", "access", "levels", "words"),
    [
        (KEYS.anon, KEYS.service_role, "", [G, G], "good for 3,650 days"),
        ("sb_publishable_x", "sb_secret_x", "", [G, G], "opaque, service_role"),
        ("sb_secret_x", "sb_secret_x", "", [G, R], "must never reach a browser"),
        (KEYS.anon, KEYS.anon, "", [R, G], "of the role anon, not service_role"),
        ("", "nonsense", "", [R, R], "neither a JSON Web Token"),
        (KEYS.anon, token("service_role", 3 * DAY_S), "", [A, G], "expires in 72.0 hours"),
        (KEYS.anon, token("service_role", -7_200), "", [R, G], "expired 2.0 hours ago"),
        (KEYS.anon, KEYS.service_role, token("authenticated", 60), [G, G, G], "authenticated"),
        (KEYS.anon, KEYS.service_role, token("authenticated", -1), [G, G, R], "expired"),
        (KEYS.anon, KEYS.service_role, KEYS.service_role, [G, G, R], "not authenticated"),
    ],
)
def test_keys(anon: str, service: str, access: str, levels: list[Level], words: str) -> None:
    found = judge_keys(anon, service, access, NOW_S)
    assert [one.level for one in found] == levels
    told = " ".join(f"{one.detail} {one.action}" for one in found)
    assert words in told
    assert not any(key and key in told for key in (anon, service, access))


@pytest.mark.parametrize(
    ("found", "level", "action"),
    [("2", G, ""), ("1", R, "`crossfade supabase migrate`"), ("3", A, "update this installation")],
)
def test_migrations(found: str, level: Level, action: str) -> None:
    line = judge_migrations(found, "2")
    assert (line.level, line.action) == (level, action)


@pytest.mark.parametrize(
    ("text", "ms"),
    [("8s", 8_000), ("900ms", 900), ("3000", 3_000), ("2min", 120_000), ("1h", 3_600_000),
     ("0", 0), ("1.5s", 1_500), ("500us", 0.5)],
)  # fmt: skip
def test_times_of_postgres(text: str, ms: float) -> None:
    assert milliseconds(text) == ms


def test_no_time() -> None:
    with pytest.raises(ValueError, match="'soon' is no time"):
        milliseconds("soon")


@pytest.mark.parametrize(
    ("timeouts", "level"),
    [
        ({"authenticator": "8s", "service_role": None}, G),
        ({"authenticator": "8s", "service_role": "1s"}, R),
        ({"authenticator": "1s", "service_role": "8s"}, G),
        ({"authenticator": "4s"}, A),
        ({"authenticator": "0"}, A),
        ({}, A),
    ],
)
def test_statement_timeouts(timeouts: dict[str, str | None], level: Level) -> None:
    assert judge_timeouts(timeouts, 5_000).level is level


@pytest.mark.parametrize(
    ("line", "level"),
    [
        (judge_clock(900), G),
        (judge_clock(-1_500), A),
        (judge_clock(31_000), R),
        (judge_latency(1_000), G),
        (judge_latency(1_001), A),
        (judge_disk("j", 5_000_000_000), G),
        (judge_disk("j", 4_999_999_999), A),
        (judge_disk("j", 499_999_999), R),
        (judge_frame_limit(None, 3_000_000), G),
        (judge_frame_limit(plan_named("free"), 256_000), G),
        (judge_frame_limit(plan_named("free"), 256_001), R),
        (judge_channels(None, 100), G),
        (judge_channels(plan_named("free"), 101), A),
        (judge_channels(plan_named("free"), 1_000), A),
        (judge_channels(plan_named("free"), 1_001), R),
        (list_or_green("x", [], "fine", "bad", "do"), G),
        (list_or_green("x", list("abcdefg"), "fine", "bad", "do"), R),
    ],
)
def test_borders(line: Finding, level: Level) -> None:
    assert line.level is level
    assert bool(line.action) == (level is not G)


def test_of_many_wrong_things_five_are_named() -> None:
    assert (
        list_or_green("x", list("abcdefg"), "", "bad", "do").detail
        == "bad: a, b, c, d, e and 2 more"
    )


@pytest.mark.parametrize(
    ("plan", "traffic", "percent", "level", "words"),
    [
        ("free", Traffic([10], 5), 100, G, "66 of 100 messages/s at 100 %, 5 of 200 connections"),
        ("free", Traffic([10], 7), 100, A, "88 of 100"),
        ("free", Traffic([10], 9), 100, R, "exceeded from 91 %"),
        ("free", Traffic([10], 9), 90, A, "exceeded from 91 %"),
        ("free", Traffic([10], 9), 91, R, "exceeded from 91 %"),
        ("pro", Traffic([0.001], 501), 100, R, "501 of 500 connections"),
        ("free", Traffic([0], 5), 100, A, "no event rate was measured"),
        ("free", Traffic([], 5), 100, A, "no event rate was measured"),
        (None, Traffic([10], 5), 100, A, "no plan is named"),
    ],
)
def test_quota(
    plan: str | None, traffic: Traffic, percent: float, level: Level, words: str
) -> None:
    found = judge_quota(plan_named(plan) if plan else None, traffic, percent)
    assert (found.level, words in found.detail) == (level, True), found
    assert bool(found.action) == (level is not G)


def report(role: str, live: bool = True, interval_ms: float = 500, **categories: int) -> Any:
    return {
        "live": live,
        "role": role,
        "report": {"interval_ms": interval_ms, "categories": categories},
    }


def test_traffic_is_measured_from_the_live_reports() -> None:
    found = traffic_of(
        [
            report("publisher", critical=5, debug=1),
            report("publisher", critical=10, interval_ms=1_000),
            report("publisher", critical=1_000, live=False),
            report("subscriber", critical=77),
            report("tap"),
            report("subscriber", live=False),
        ],
        batches_per_s=20,
        heads_per_s=1,
        frame_limit_bytes=200_000,
    )
    assert found == Traffic(topics=(20.0, 2.0), subscribers=2, publishers=2, batches_per_s=20)
    assert messages_per_s(found) > 0


def test_exit_status_and_json() -> None:
    amber = Finding(name="a", level=A, detail="d", action="x", value=1.0, unit="ms")
    assert exit_status([green("g", "d"), amber]) == 0
    assert exit_status([green("g", "d"), red("r", "d", "x")]) == 1
    assert exit_status([]) == 0
    assert amber.to_json() == {
        "name": "a", "level": "amber", "detail": "d", "action": "x", "value": 1.0, "unit": "ms",
    }  # fmt: skip
