"""The status document: one look at everything (docs/protocol.md, section 6)."""

from collections.abc import Iterable, Mapping
from typing import Any

from crossfade.core.evidence import Evidence
from crossfade.core.flags import Flags
from crossfade.core.rollout import Rollout
from crossfade.core.telemetry import Role
from crossfade.core.telemetry_windows import Instance, TelemetryWindows

__all__ = ["MAX_LISTED", "status_document", "store_states"]

MAX_LISTED = 500
"""Most instances that a status lists; those heard of last come first."""

# The worst of several publishers' breakers is shown.
_BREAKERS = ("disabled", "metrics_only", "closed", "half_open", "open", "forced_open")


def status_document(
    *,
    rollout: Rollout | None,
    flags: Flags,
    evidence: Evidence | None,
    windows: TelemetryWindows,
    reconciliation: Mapping[str, Any] | None,
    incident: Mapping[str, Any] | None,
    now_us: int,
) -> dict[str, Any]:
    """The document as JSON values."""
    live = windows.live(now_us)
    latest = sorted(windows.instances.values(), key=lambda one: -one.received_us)[:MAX_LISTED]
    return {
        "at_us": now_us,
        "rollout": None if rollout is None else rollout.to_json(),
        "flags": flags.to_json(),
        "evidence": None if evidence is None else evidence.to_json(),
        "instances": [
            {
                "instance": one.report.instance,
                "role": one.report.role.value,
                "age_ms": (now_us - one.received_us) / 1_000,
                "live": now_us - one.received_us <= windows.live_us,
                "flag_version": one.report.flag_version,
                "report": one.report.to_json(),
            }
            for one in latest
        ],
        "stores": store_states(live),
        "rates": _rates(live),
        "reconciliation": reconciliation,
        "incident": incident,
    }


def store_states(live: Iterable[Instance]) -> dict[str, dict[str, Any]]:
    """Per store: events owed, the oldest's age in ms, the worst breaker, and lag in ms."""
    stores: dict[str, dict[str, Any]] = {}
    for one in live:
        for name, sink in one.report.sinks.items():
            found = stores.setdefault(
                name,
                {"owed": 0, "oldest_owed_ms": 0.0, "breaker": "", "lag_ms": 0.0, "last_error": ""},
            )
            found["owed"] += sink.owed
            found["oldest_owed_ms"] = max(found["oldest_owed_ms"], sink.oldest_owed_ms)
            found["lag_ms"] = found["oldest_owed_ms"]
            found["breaker"] = max(found["breaker"], sink.breaker, key=_badness)
            found["last_error"] = sink.last_error or found["last_error"]
    return stores


def _badness(breaker: str) -> int:
    if not breaker:
        return -1
    return _BREAKERS.index(breaker) if breaker in _BREAKERS else len(_BREAKERS)


def _rates(live: Iterable[Instance]) -> dict[str, float]:
    """Events a second in the last reports: published, and delivered per transport."""
    rates: dict[str, float] = {}
    for one in live:
        seconds = one.report.interval_ms / 1_000
        if seconds <= 0:
            continue
        counts: dict[str, int] = {}
        if one.report.role is Role.PUBLISHER:
            counts["published_per_s"] = sum(one.report.categories.values())
            for name, sink in one.report.sinks.items():
                counts[f"{name}_per_s"] = sink.events
        if one.report.role in (Role.SUBSCRIBER, Role.PAGE):
            for name, transport in one.report.transports.items():
                counts[f"delivered_{name}_per_s"] = transport.delivered
        for name, count in counts.items():
            rates[name] = round(rates.get(name, 0.0) + count / seconds, 3)
    return rates
