"""The report: the success metrics of a rollout, as a document for machines and as a page."""

from collections.abc import Mapping
from html import escape
from typing import Any

from crossfade.adapters.control import ControlClient
from crossfade.core.event import format_time
from crossfade.core.success import METRICS, WORDS, Week, recoveries, recovery, usage_rows, weeks
from crossfade.core.telemetry_totals import Window
from crossfade.core.trend import chart, trends

__all__ = ["collect_report", "report_html"]

_PAGE = 10_000
_MOST_WINDOWS = 100_000


async def collect_report(client: ControlClient) -> tuple[dict[str, Any], list[Window]]:
    """The report as JSON values, and the telemetry that its charts are drawn from.

    ``{"rollout", "phase", "at_us", "weeks": [{name, attempt, verdict, approver, at_us,
    measurements}], "recovery": measurement, "recoveries_ms", "last_drill", "incidents",
    "usage"}``; ``rollout`` is None before the first one was started.
    """
    status = await client.status()
    rollout = status["rollout"]
    if rollout is None:
        return {"rollout": None, "at_us": status["at_us"], "weeks": [], "incidents": []}, []
    audit: list[dict[str, Any]] = []
    while True:
        rows = await client.audit(after=audit[-1]["id"] if audit else 0, limit=_PAGE)
        audit += rows
        if len(rows) < _PAGE:
            break
    windows: list[Window] = []
    while len(windows) < _MOST_WINDOWS:
        since_us = windows[-1].to_us if windows else int(rollout["started_us"])
        found = [Window.from_json(row) for row in await client.telemetry(since_us, _PAGE)]
        windows += found
        if len(found) < _PAGE:
            break
    incidents = [one for one in await client.incidents() if one["rollout_id"] == rollout["id"]]
    drills = [
        fact["detail"]["back_ms"]
        for row in audit
        if row["rollout_id"] == rollout["id"]
        for fact in row["facts"]
        if fact["kind"] == "drilled"
    ]
    times = [*recoveries(incidents), *drills]
    slowest = recovery(times, float(rollout["plan"].get("drill_recovery_s", 15.0)))
    document = {
        "rollout": rollout["name"],
        "phase": rollout["phase"],
        "stage": rollout["stages"][rollout["stage"]]["name"],
        "stages": len(rollout["stages"]),
        "targets": rollout["stages"][rollout["stage"]]["targets"],
        "at_us": status["at_us"],
        "weeks": [_week(one) for one in weeks(rollout, audit)],
        "recovery": slowest.to_json(),
        "recoveries_ms": times,
        "last_drill": rollout["last_drill"],
        "incidents": incidents,
        "usage": usage_rows(windows),
    }
    return document, windows


def _week(week: Week) -> dict[str, Any]:
    return {
        "name": week.name,
        "attempt": week.attempt,
        "verdict": week.verdict.value,
        "approver": week.approver,
        "at_us": week.at_us,
        "evidence_hash": week.evidence_hash,
        "measurements": {name: one.to_json() for name, one in week.measurements.items()},
    }


_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #111827; max-width: 70rem; margin: 2rem auto;
       padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0; width: 100% }
th, td { text-align: left; padding: .4rem .6rem; border-bottom: 1px solid #e5e7eb;
         vertical-align: top }
small { color: #6b7280; display: block }
.pass { color: #15803d } .fail, .error { color: #b91c1c } .inconclusive { color: #b45309 }
svg { max-width: 100%; height: auto }
"""


def report_html(document: Mapping[str, Any], windows: list[Window]) -> str:
    """The report as one self-contained page; everything in it is escaped."""
    if document["rollout"] is None:
        return _html("Crossfade", "<p>No rollout was started yet.</p>")
    found = document["weeks"]
    approved = sum(1 for week in found if week["approver"])
    title = f"“{document['rollout']}”: {document['phase'].replace('_', ' ')}"
    parts = [
        f"<p>{approved} of {document['stages']} stages approved; now at "
        f"{escape(document['stage'])}. As of {format_time(int(document['at_us']))}.</p>"
    ]
    if found:
        head = "".join(
            f"<th>{escape(week['name'])}<small>attempt {week['attempt']}</small></th>"
            for week in found
        )
        rows = [f"<tr><th>metric</th>{head}</tr>"]
        for name in METRICS:
            cells = "".join(_cell(week["measurements"].get(name)) for week in found)
            rows.append(f"<tr><th>{escape(WORDS[name])}</th>{cells}</tr>")
        approvers = "".join(f"<td>{escape(week['approver'] or '–')}</td>" for week in found)
        rows.append(f"<tr><th>approved by</th>{approvers}</tr>")
        parts.append(f"<h2>Week by week</h2><table>{''.join(rows)}</table>")
    else:
        parts.append("<p>No week has come to its gate yet.</p>")
    parts.append(f"<h2>Recovery</h2><table><tr>{_cell(document['recovery'])}</tr></table>")
    if windows:
        shown = trends(windows, document["targets"])
        parts.append(f"<h2>Over time</h2>{chart(shown, str(document['rollout']))}")
    parts.append(_incidents(document["incidents"]))
    if document["usage"]:
        parts.append(_usage(document["usage"]))
    return _html(title, "\n".join(parts))


def _html(title: str, body: str) -> str:
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body><h1>{escape(title)}</h1>{body}</body></html>\n"
    )


def _cell(one: Mapping[str, Any] | None) -> str:
    if one is None:
        return "<td>–</td>"
    value = "no value" if one["value"] is None else f"{one['value']:g} {one['unit']}".strip()
    target = "" if one["limit"] is None else f"target {one['relation']} {one['limit']:g}, "
    return (
        f'<td><span class="{escape(one["verdict"])}">{escape(value)}</span>'
        f"<small>{escape(target)}n={one['n']:,}</small><small>{escape(one['detail'])}</small></td>"
    )


def _incidents(incidents: list[Mapping[str, Any]]) -> str:
    rows = "".join(
        f"<tr><td>{format_time(int(one['opened_us']))}</td><td>{escape(str(one['reason']))}</td>"
        f"<td>{escape(str(one.get('root_cause') or ('closed' if one['closed_us'] else 'open')))}"
        "</td></tr>"
        for one in incidents
    )
    head = "<tr><th>opened</th><th>reason</th><th>root cause</th></tr>"
    return f"<h2>Incidents: {len(incidents)}</h2>" + (
        f"<table>{head}{rows}</table>" if rows else ""
    )


def _usage(usage: list[Mapping[str, Any]]) -> str:
    rows = "".join(
        f"<tr><td>{escape(one['week'])}</td><td>{escape(one['role'])}</td>"
        f"<td>{'–' if one['cores'] is None else format(one['cores'], '.3f')}</td>"
        f"<td>{one['rss_bytes'] / 1e6:.0f} MB</td><td>{one['fds']:.0f}</td></tr>"
        for one in usage
    )
    head = (
        "<tr><th>week</th><th>process</th><th>cores, mean</th><th>memory, peak</th>"
        "<th>open files, peak</th></tr>"
    )
    return f"<h2>Resources</h2><table>{head}{rows}</table>"
