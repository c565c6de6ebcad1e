"""Whether a rollback has arrived: a status document in, measurements out.

"Accepted" is not "applied": the flags are lowered in one transaction, and a rollback is
verified once every live instance follows them, no subscriber is left on Realtime, and
WebSocket has what it is owed.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from crossfade.core.telemetry import Role
from crossfade.core.verdict import Measurement, Verdict

__all__ = ["OWED_LIMIT_MS", "arrival", "explain"]

OWED_LIMIT_MS = 1_000.0
"""Events younger than this are on their way to WebSocket, not owed to it."""


def arrival(status: Mapping[str, Any]) -> tuple[Measurement, ...]:
    """How far a rollback is, from the control server's status (docs/protocol.md, section 6).

    Only live instances are waited for.

    Returns:
        ``flags_followed``, ``on_realtime`` (only when nobody is served by Realtime any more:
        a subscriber does not report which topics its partitions belong to) and
        ``websocket_owed``. All PASS: the rollback has arrived.
    """
    flags = status["flags"]
    live = [one for one in status["instances"] if one["live"]]
    found = [_followed(live, int(flags["version"]))]
    if flags.get("kill") or not any(share > 0 for share in flags["served"].values()):
        found.append(_on_realtime(live))
    found.append(_owed(live))
    return tuple(found)


def explain(measurements: Iterable[Measurement]) -> str:
    """One line: what is still waited for; "" when nothing is."""
    return "; ".join(
        f"{one.name}: {one.detail or 'nobody reports it'}"
        for one in measurements
        if one.verdict is not Verdict.PASS
    )


def _followed(live: list[Mapping[str, Any]], version: int) -> Measurement:
    behind = [one for one in live if int(one["flag_version"]) < version]
    return Measurement(
        name="flags_followed",
        value=float(len(behind)) if live else None,
        limit=0.0,
        n=len(live),
        unit="instances behind",
        verdict=_verdict(bool(live), not behind),
        relation="==",
        detail=_names(f"{one['instance']} has {one['flag_version']}" for one in behind),
    )


def _on_realtime(live: list[Mapping[str, Any]]) -> Measurement:
    subscribers = [one for one in live if one["role"] in (Role.SUBSCRIBER, Role.PAGE)]
    left = {str(one["instance"]): _realtime_partitions(one) for one in subscribers}
    still = {name: count for name, count in left.items() if count}
    return Measurement(
        name="on_realtime",
        value=float(sum(still.values())),
        limit=0.0,
        n=len(subscribers),
        unit="partitions",
        # No live subscriber is none on Realtime; the first check asks for a live instance.
        verdict=_verdict(True, not still),
        relation="==",
        detail=_names(f"{name} listens to {count}" for name, count in still.items()),
    )


def _owed(live: list[Mapping[str, Any]]) -> Measurement:
    sinks = {
        str(one["instance"]): one["report"]["sinks"]["websocket"]
        for one in live
        if one["role"] == Role.PUBLISHER and "websocket" in one["report"].get("sinks", {})
    }
    oldest = {name: float(sink["oldest_owed_ms"]) for name, sink in sinks.items()}
    late = {name: age for name, age in oldest.items() if age > OWED_LIMIT_MS}
    return Measurement(
        name="websocket_owed",
        value=max(oldest.values(), default=None),
        limit=OWED_LIMIT_MS,
        n=sum(int(sink["owed"]) for sink in sinks.values()),
        unit="ms",
        verdict=_verdict(bool(sinks), not late),
        detail=_names(f"{name} owes events for {age:.0f} ms" for name, age in late.items()),
    )


def _realtime_partitions(instance: Mapping[str, Any]) -> int:
    window = instance["report"].get("transports", {}).get("realtime", {})
    return int(window.get("partitions", 0))


def _verdict(known: bool, good: bool) -> Verdict:
    if not known:
        return Verdict.INCONCLUSIVE
    return Verdict.PASS if good else Verdict.FAIL


def _names(parts: Iterable[str]) -> str:
    found = list(parts)
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    return ", ".join(found[:5]) + more
