"""An incident told in order: what was commanded, what failed, what was compared."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from crossfade.core.event import format_time
from crossfade.core.telemetry_totals import Window

__all__ = ["BEFORE_US", "Entry", "find_incident", "timeline", "timeline_page"]

BEFORE_US = 900_000_000
"""How long before an incident its story begins: 15 minutes."""


class Entry(NamedTuple):
    """One line of the story; ``source`` is ``audit``, ``telemetry`` or ``reconciliation``."""

    at_us: int
    source: str
    what: str

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return self._asdict()


def find_incident(incidents: Iterable[Mapping[str, Any]], name: str) -> Mapping[str, Any] | None:
    """The incident of that id, or whose number within its rollout it is; the newest first."""
    return next(
        (one for one in incidents if name in (one["id"], str(one["id"]).rpartition("-")[2])), None
    )


def timeline(
    incident: Mapping[str, Any],
    audit: Iterable[Mapping[str, Any]],
    windows: Iterable[Window],
    reconciliations: Iterable[Mapping[str, Any]],
    until_us: int,
) -> list[Entry]:
    """Everything between 15 minutes before it opened and its end (or ``until_us``)."""
    from_us = int(incident["opened_us"]) - BEFORE_US
    until_us = int(incident["closed_us"] or until_us)
    found = [
        Entry(int(row["at_us"]), "audit", _command(row))
        for row in audit
        if row["rollout_id"] in (incident["rollout_id"], "")
    ]
    for window in windows:
        found += [Entry(window.to_us, "telemetry", what) for what in _trouble(window)]
    for one in reconciliations:
        count = int(one.get("discrepancy_count", 0))
        what = f"{one.get('trigger', '?')}: {one['verdict']}, {count:,} discrepancies"
        found.append(Entry(int(one["stored_us"]), "reconciliation", what))
    return sorted(one for one in found if from_us <= one.at_us <= until_us)


def timeline_page(incident: Mapping[str, Any], entries: Iterable[Entry]) -> str:
    """The story as markdown."""
    lines = [
        f"# Incident {incident['id']}",
        "",
        f"{incident.get('rollout', '')}, {incident.get('stage_name', '')}, attempt "
        f"{incident.get('attempt', '')}: {incident.get('reason', '')}",
        "",
        f"- opened {format_time(int(incident['opened_us']))} by {incident.get('opened_by', '')}",
    ]
    if incident.get("closed_us"):
        lines += [
            f"- closed {format_time(int(incident['closed_us']))} by {incident.get('closed_by')}",
            f"- root cause: {incident.get('root_cause')}",
            f"- fix: {incident.get('fix')}",
        ]
    else:
        lines.append("- still open: `crossfade resume --root-cause … --fix …` closes it")
    for name, value in sorted((incident.get("figures") or {}).items()):
        if isinstance(value, int | float | str):
            lines.append(f"- {name}: {value}")
    lines += ["", "| when | from | what |", "|---|---|---|"]
    for entry in entries:
        what = entry.what.replace("|", "\\|").replace("\n", " ")
        lines.append(f"| {format_time(entry.at_us)} | {entry.source} | {what} |")
    return "\n".join([*lines, ""])


def _command(row: Mapping[str, Any]) -> str:
    command = row.get("command") or {}
    reason = command.get("reason") or command.get("root_cause") or command.get("comment") or ""
    phases = [fact["detail"] for fact in row.get("facts", ()) if fact["kind"] == "phase"]
    moved = f", {phases[-1]['from']} → {phases[-1]['to']}" if phases else ""
    return f"{row['actor']}: {row['verb']}{moved}" + (f" ({reason})" if reason else "")


def _trouble(window: Window) -> list[str]:
    found = [
        f"{name}: {sink.failures:,} of {sink.calls:,} calls failed"
        for name, sink in window.sinks.items()
        if sink.failures
    ]
    if window.lost:
        found.append(f"{window.lost:,} events were given up by readers")
    return found
