"""The decisions of ``crossfade doctor``: from what was measured to green, amber or red."""

import re
from collections.abc import Iterable, Mapping
from math import ceil
from typing import Any

from crossfade.core.finding import Finding, Level, green, red
from crossfade.core.keys import read_key
from crossfade.core.plans import (
    READER_CONNECTIONS,
    PlanLimits,
    Traffic,
    exceeded_at,
    messages_per_s,
)

__all__ = [
    "judge_channels",
    "judge_clock",
    "judge_disk",
    "judge_frame_limit",
    "judge_keys",
    "judge_latency",
    "judge_migrations",
    "judge_quota",
    "judge_timeouts",
    "milliseconds",
    "traffic_of",
]

CLOCK_AMBER_MS = 1_000.0
CLOCK_RED_MS = 30_000.0
"""Latencies are measured across clocks; Supabase refuses tokens of a clock that is far ahead."""
CANARY_AMBER_MS = 1_000.0
DISK_AMBER_BYTES = 5_000_000_000
DISK_RED_BYTES = 500_000_000
"""An hour of 300 events/s is about 1 GB in the journal while Supabase is out of reach."""
TIMEOUT_RED_MS = 2_000.0
"""A batch of 5,000 events takes up to a second on a small project."""
QUOTA_AMBER = 0.8
"""Share of a plan's limit above which a burst breaks it."""
EXPIRES_AMBER_S = 7 * 86_400.0


def judge_keys(anon: str, service: str, access_token: str, now_s: float) -> list[Finding]:
    """Whether each key is of its kind and role and still good, by what it says of itself."""
    lines = [
        _key("service_role_key", service, "service_role", now_s),
        _key("anon_key", anon, "anon", now_s),
    ]
    if access_token:
        lines.append(_key("access_token", access_token, "authenticated", now_s))
    return lines


def _key(name: str, key: str, role: str, now_s: float) -> Finding:
    where = "take it from the project's dashboard, API keys"
    if not key:
        return red(name, "missing", f"set supabase.{name}; {where}")
    facts = read_key(key)
    if facts.kind == "unknown":
        return red(name, "neither a JSON Web Token nor an sb_… key", where)
    if facts.role != role:
        danger = "; it must never reach a browser" if facts.role == "service_role" else ""
        return red(name, f"is of the role {facts.role}, not {role}{danger}", where)
    if facts.expires_s is None:
        return green(name, f"{facts.kind}, {role}")
    left_s = facts.expires_s - now_s
    if left_s <= 0:
        return red(name, f"expired {-left_s / 3_600:,.1f} hours ago", where)
    if left_s < EXPIRES_AMBER_S and role != "authenticated":
        return Finding(
            name=name,
            level=Level.AMBER,
            detail=f"expires in {left_s / 3_600:,.1f} hours",
            action="get a new one before the rollout's first week",
        )
    return green(name, f"{facts.kind}, {role}, good for {left_s / 86_400:,.0f} days")


def judge_migrations(found: str, wanted: str) -> Finding:
    """The schema's version against the one that this installation carries."""
    if found == wanted:
        return green("migrations", f"version {found}")
    if found > wanted:
        return Finding(
            name="migrations",
            level=Level.AMBER,
            detail=f"version {found}, later than this installation's {wanted}",
            action="update this installation",
        )
    return red(
        "migrations",
        f"version {found}, this installation needs {wanted}",
        "`crossfade supabase migrate`",
    )


def milliseconds(text: str) -> float:
    """A time in PostgreSQL's notation (``8s``, ``500ms``, ``2min``, ``3000``) in ms; 0 is none.

    Raises:
        ValueError: it is not one.
    """
    units = {"": 1.0, "ms": 1.0, "s": 1_000.0, "min": 60_000.0, "h": 3_600_000.0, "us": 0.001}
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|us|s|min|h)?", text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no time")
    return float(match[1]) * units[match[2] or ""]


def judge_timeouts(timeouts: Mapping[str, str | None], call_ms: float) -> Finding:
    """The server's time-out of a statement of the service role, against the relay's of a call.

    PostgREST gives a statement the caller's own time-out, else its login role's.
    """
    name = "statement_timeout"
    text = timeouts.get("service_role") or timeouts.get("authenticator")
    limit_ms = milliseconds(text) if text else 0.0
    if limit_ms == 0:
        return Finding(
            name=name,
            level=Level.AMBER,
            detail="the service role's statements have no time-out",
            action="alter role authenticator set statement_timeout = '8s'",
        )
    if limit_ms < TIMEOUT_RED_MS:
        return Finding(
            name=name,
            level=Level.RED,
            detail=f"a statement of the service role ends after {limit_ms:,.0f} ms",
            action=f"raise it above {TIMEOUT_RED_MS:,.0f} ms (Supabase's own is 8 s)",
            value=limit_ms,
            unit="ms",
        )
    if limit_ms < call_ms:
        return Finding(
            name=name,
            level=Level.AMBER,
            detail=f"{limit_ms:,.0f} ms, less than relay.timeout_s",
            action=f"set relay.timeout_s to {limit_ms / 1_000:g} or less",
            value=limit_ms,
            unit="ms",
        )
    return green(name, f"{limit_ms:,.0f} ms", limit_ms, "ms")


def judge_clock(skew_ms: float) -> Finding:
    """This machine's clock against the database's; positive when this one is ahead."""
    detail = f"{abs(skew_ms):,.0f} ms {'ahead of' if skew_ms >= 0 else 'behind'} the database"
    level = (
        Level.RED
        if abs(skew_ms) > CLOCK_RED_MS
        else Level.AMBER
        if abs(skew_ms) > CLOCK_AMBER_MS
        else Level.GREEN
    )
    action = "" if level is Level.GREEN else "let NTP set this machine's clock"
    return Finding(
        name="clock", level=level, detail=detail, action=action, value=skew_ms, unit="ms"
    )


def judge_latency(latency_ms: float) -> Finding:
    """How long the canary took from its call to its frame."""
    slow = latency_ms > CANARY_AMBER_MS
    return Finding(
        name="canary",
        level=Level.AMBER if slow else Level.GREEN,
        detail=f"through table and Realtime in {latency_ms:,.0f} ms",
        action="take a project in a nearer region, or a higher latency target" if slow else "",
        value=latency_ms,
        unit="ms",
    )


def judge_disk(path: str, free_bytes: int) -> Finding:
    """What is free where the journal is."""
    level = (
        Level.RED
        if free_bytes < DISK_RED_BYTES
        else Level.AMBER
        if free_bytes < DISK_AMBER_BYTES
        else Level.GREEN
    )
    return Finding(
        name="disk",
        level=level,
        detail=f"{free_bytes / 1e9:,.1f} GB free for {path}",
        action="" if level is Level.GREEN else "free some: an outage of Supabase fills the journal",
        value=float(free_bytes),
        unit="bytes",
    )


def traffic_of(
    instances: Iterable[Mapping[str, Any]],
    *,
    batches_per_s: float,
    heads_per_s: float,
    frame_limit_bytes: int,
) -> Traffic:
    """The traffic at 100 %, from the reports of the live instances of a status document.

    A category's rate stands for its topic's: a topic of its own makes the estimate too low only
    by its heads.
    """
    rates: dict[str, float] = {}
    publishers = subscribers = 0
    for one in instances:
        if not one["live"]:
            continue
        if one["role"] != "publisher":
            subscribers += 1
            continue
        publishers += 1
        report = one["report"]
        seconds = float(report["interval_ms"]) / 1_000
        for category, count in report["categories"].items():
            rates[category] = rates.get(category, 0.0) + (count / seconds if seconds > 0 else 0.0)
    return Traffic(
        topics=tuple(rates[name] for name in sorted(rates)),
        subscribers=subscribers,
        publishers=max(1, publishers),
        batches_per_s=batches_per_s,
        heads_per_s=heads_per_s,
        frame_limit_bytes=frame_limit_bytes,
    )


def judge_quota(plan: PlanLimits | None, traffic: Traffic, percent: float = 100.0) -> Finding:
    """The plan's messages and connections against what was measured, or given.

    Red when the plan is exceeded at ``percent`` or less; amber when it would be at more.
    """
    name = "quota"
    if plan is None:
        return Finding(
            name=name,
            level=Level.AMBER,
            detail="no plan is named",
            action="set relay.plan, or give --plan (free, pro, team, …, self-hosted)",
        )
    if not any(traffic.topics):
        return Finding(
            name=name,
            level=Level.AMBER,
            detail=f"{plan.name}: no event rate was measured",
            action="start the application with its Publisher, or give --rate and --subscribers",
        )
    used = messages_per_s(traffic)
    border = exceeded_at(traffic, plan.messages_per_s)
    detail = (
        f"{plan.name}: {used:,.0f} of {plan.messages_per_s:,} messages/s at 100 %, "
        f"{traffic.subscribers:,} of {plan.connections:,} connections"
    )
    level, action = Level.GREEN, ""
    if border is not None:
        level = Level.RED if border <= percent else Level.AMBER
        detail += f"; exceeded from {border} %"
        action = (
            f"stay below {border} %, take a larger plan, fewer subscribers, or a larger "
            "relay.poll_s"
        )
    elif traffic.subscribers > plan.connections:
        level, action = Level.RED, "take a larger plan"
    elif max(used / plan.messages_per_s, traffic.subscribers / plan.connections) > QUOTA_AMBER:
        level, action = (
            Level.AMBER,
            "a burst breaks it: take a larger plan or a larger relay.poll_s",
        )
    return Finding(
        name=name, level=level, detail=detail, action=action, value=used, unit="messages/s"
    )


def judge_frame_limit(plan: PlanLimits | None, limit_bytes: int) -> Finding:
    """``relay.frame_limit_bytes`` against the plan's size of a broadcast."""
    if plan is not None and limit_bytes > plan.broadcast_bytes:
        return red(
            "frame_limit",
            f"frames of {limit_bytes:,} bytes; {plan.name} takes {plan.broadcast_bytes:,}",
            f"set relay.frame_limit_bytes to {plan.broadcast_bytes * 9 // 10} or less",
        )
    return green("frame_limit", f"{limit_bytes:,} bytes")


def judge_channels(plan: PlanLimits | None, topics: int) -> Finding:
    """A reader joins a channel per topic, and opens a connection for every so many of them."""
    a_connection = 100 if plan is None else plan.channels_per_connection
    wanted = ceil(topics / a_connection)
    what = f"{topics:,} topics, {a_connection} channels a connection"
    advice = "fewer topics, more partitions each: events are chosen by key, not by topic"
    if wanted > READER_CONNECTIONS:
        return red("channels", f"{what}; a reader opens {READER_CONNECTIONS} at most", advice)
    if wanted > 1:
        detail = f"{what}: who reads all of them opens {wanted}, and the plan counts each"
        return Finding(name="channels", level=Level.AMBER, detail=detail, action=advice)
    return green("channels", f"{topics:,} of {a_connection} channels a connection", float(topics))
