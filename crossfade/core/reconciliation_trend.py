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
            says nothing: a gap in what differed. What an older version did not write is a gap as
            well, and a result without its moment is left out.
    """
    dated = (one for one in results if isinstance(one.get("at_us"), int))
    found = sorted(dated, key=lambda one: int(one["at_us"]))
    return (
        _trend("wrong", "events", found, _wrong, limit=0.0),
        _trend("late or uncovered", "events", found, _undecided),
        _trend("compared", "events", found, lambda one: _figure(one, "checked_events")),
        _trend("time taken", "s", found, _seconds),
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
    count = _figure(result, "discrepancy_count")
    return None if undecided is None or count is None else count - undecided


def _undecided(result: Mapping[str, Any]) -> float | None:
    categories = result.get("categories")
    if result.get("errors") or not isinstance(categories, Mapping):
        return None
    return float(
        sum(
            category.get("kinds", {}).get(kind.value, 0)
            for category in categories.values()
            for kind in UNDECIDED
        )
    )


def _seconds(result: Mapping[str, Any]) -> float | None:
    taken_ms = _figure(result, "duration_ms")
    return None if taken_ms is None else taken_ms / 1_000


def _figure(result: Mapping[str, Any], name: str) -> float | None:
    value = result.get(name)
    return float(value) if isinstance(value, int | float) else None
