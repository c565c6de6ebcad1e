"""How the last reconciliations went, as the trends that ``core.trend`` draws."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from crossfade.core.reconciliation import UNDECIDED
from crossfade.core.trend import Trend

__all__ = ["reconciliation_trends"]


def reconciliation_trends(results: Iterable[Mapping[str, Any]]) -> tuple[Trend, ...]:
    """What differed, what could not be told, what was compared, and how long it took.

    Args:
        results: of docs/protocol.md section 8, in any order. One whose stores could not be read
            says nothing: a gap in what differed.
    """
    found = sorted(results, key=lambda one: int(one["at_us"]))
    return (
        _trend("wrong", "events", found, _wrong, limit=0.0),
        _trend("late or uncovered", "events", found, _undecided),
        _trend("compared", "events", found, lambda one: float(one["checked_events"])),
        _trend("time taken", "s", found, lambda one: float(one["duration_ms"]) / 1_000),
    )


def _trend(
    name: str,
    unit: str,
    results: Sequence[Mapping[str, Any]],
    figure: Callable[[Mapping[str, Any]], float | None],
    limit: float | None = None,
) -> Trend:
    points = tuple((int(one["at_us"]), figure(one)) for one in results)
    return Trend(name=name, unit=unit, points=points, limit=limit)


def _wrong(result: Mapping[str, Any]) -> float | None:
    undecided = _undecided(result)
    return None if undecided is None else float(result["discrepancy_count"]) - undecided


def _undecided(result: Mapping[str, Any]) -> float | None:
    if result.get("errors"):
        return None
    return float(
        sum(
            category.get("kinds", {}).get(kind.value, 0)
            for category in result["categories"].values()
            for kind in UNDECIDED
        )
    )
