"""Whether a rollback has arrived: a status document in, measurements out.

"Accepted" is not "applied": the flags are lowered in one transaction, and a rollback is
verified once every live instance follows them, no subscriber is left on Realtime, and
WebSocket has what it is owed.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from crossfade.core.flags import Flags
from crossfade.core.routing import cohort
from crossfade.core.telemetry import Role, from_bits
from crossfade.core.verdict import Measurement, Verdict

__all__ = ["OWED_LIMIT_MS", "arrival", "explain"]

OWED_LIMIT_MS = 1_000.0
"""Events younger than this are on their way to WebSocket, not owed to it."""


def arrival(status: Mapping[str, Any]) -> tuple[Measurement, ...]:
    """How far a rollback is, from the control server's status (docs/protocol.md, section 6).

    Only live instances are waited for.

    Returns:
        ``flags_followed``, ``on_realtime`` (partitions that are still there and should not
        be), ``besides`` (partitions that left although the flags serve them, other than
        those that fell back by themselves) and ``websocket_owed``. All PASS: the rollback
        has arrived, and nobody else moved. A subscriber that does not tell its partitions
        topic by topic is judged only once nobody is served by Realtime.
    """
    flags = Flags.from_json(status["flags"])
    live = [one for one in status["instances"] if one["live"]]
    readers = [one for one in live if one["role"] in (Role.SUBSCRIBER, Role.PAGE)]
    served = not flags.kill and any(share > 0 for share in flags.served.values())
    found = [_followed(live, flags.version), _on_realtime(readers, flags, served)]
    if served:
        found.append(_besides(readers, flags))
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


def _on_realtime(readers: list[Mapping[str, Any]], flags: Flags, served: bool) -> Measurement:
    left: dict[str, int] = {}
    for one in readers:
        told = _serving(one, "realtime")
        if told:
            left[str(one["instance"])] = sum(
                len(numbers - _cohort(flags, topic)) for topic, numbers in told.items()
            )
        elif not served:
            left[str(one["instance"])] = _realtime_partitions(one)
    still = {name: count for name, count in left.items() if count}
    return Measurement(
        name="on_realtime",
        value=float(sum(still.values())),
        limit=0.0,
        n=len(readers),
        unit="partitions",
        # No live subscriber is none on Realtime; the first check asks for a live instance.
        verdict=_verdict(True, not still),
        relation="==",
        detail=_names(f"{name} listens to {count}" for name, count in still.items()),
    )


def _besides(readers: list[Mapping[str, Any]], flags: Flags) -> Measurement:
    """Who left Realtime without being asked to."""
    moved: dict[str, int] = {}
    for one in readers:
        count = sum(
            len(numbers & _cohort(flags, topic))
            for topic, numbers in _serving(one, "websocket").items()
        )
        totals = one["report"].get("totals", {})
        by_itself = int(totals.get("fallen_back", 0)) + int(totals.get("switch_failed", 0))
        if count > by_itself:
            moved[str(one["instance"])] = count - by_itself
    return Measurement(
        name="besides",
        value=float(sum(moved.values())),
        limit=0.0,
        n=len(readers),
        unit="partitions",
        verdict=_verdict(True, not moved),
        relation="==",
        detail=_names(f"{name} left {count} that it keeps" for name, count in moved.items()),
    )


def _cohort(flags: Flags, topic: str) -> frozenset[int]:
    return cohort(flags.salt, topic, flags.partitions, flags.served_percent(topic))


def _serving(instance: Mapping[str, Any], via: str) -> dict[str, frozenset[int]]:
    window = instance["report"].get("transports", {}).get(via, {})
    return {topic: from_bits(bits) for topic, bits in window.get("serving", {}).items()}


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
