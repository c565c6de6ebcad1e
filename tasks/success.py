"""The report: success metrics against their targets, week by week."""

from collections.abc import Mapping
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from crossfade.core.success import METRICS, WORDS
from crossfade.success_report import collect_report
from tasks.control_plane import control
from tasks.pages import cell, verdict_mark

__all__ = ["success_page"]


@task(
    name="success-metrics",
    task_run_name="collect the success metrics",
    retries=3,
    retry_delay_seconds=[2, 5, 10],
    timeout_seconds=300,
    cache_policy=NO_CACHE,
    persist_result=False,
)
async def success_page() -> str:
    """The report as markdown; its first line says how the rollout stands."""
    async with control() as client:
        document, _ = await collect_report(client)
    return _page(document)


def _page(document: Mapping[str, Any]) -> str:
    if document["rollout"] is None:
        return "# No rollout was started yet\n"
    found = document["weeks"]
    approved = sum(1 for week in found if week["approver"])
    lines = [
        f"# “{document['rollout']}” is {document['phase'].replace('_', ' ')} at "
        f"{document['stage']}: {approved} of {document['stages']} weeks approved",
        "",
    ]
    if found:
        lines += ["| metric | " + " | ".join(_title(week) for week in found) + " |"]
        lines += ["|---|" + "---|" * len(found)]
        for name in METRICS:
            cells = [_figure(week["measurements"].get(name)) for week in found]
            lines.append(f"| {WORDS[name]} | " + " | ".join(cells) + " |")
        approvers = [cell(week["approver"] or "–") for week in found]
        lines.append("| approved by | " + " | ".join(approvers) + " |")
    else:
        lines.append("No week has come to its gate yet.")
    incidents = document["incidents"]
    lines += ["", f"Incidents: {len(incidents)}."]
    for one in incidents:
        state = "closed" if one.get("closed_us") else "**open**"
        cause = f"; root cause: {one['root_cause']}" if one.get("root_cause") else ""
        lines.append(f"- {cell(one.get('reason', ''))} ({state}{cell(cause)})")
    lines += ["", f"Recovery: {_figure(document['recovery'])}"]
    if document["usage"]:
        lines += ["", "| week | process | cores, mean | memory, peak | open files, peak |"]
        lines += ["|---|---|---:|---:|---:|"]
        for row in document["usage"]:
            cores = "–" if row["cores"] is None else f"{row['cores']:.3f}"
            memory = f"{row['rss_bytes'] / 1e6:.0f} MB"
            lines.append(
                f"| {row['week']} | {row['role']} | {cores} | {memory} | {row['fds']:.0f} |"
            )
    lines += ["", "The same as a page with charts: `crossfade report --html report.html`."]
    return "\n".join(lines) + "\n"


def _title(week: Mapping[str, Any]) -> str:
    again = f", attempt {week['attempt']}" if week["attempt"] > 1 else ""
    return cell(f"{week['name']}{again}")


def _figure(one: Mapping[str, Any] | None) -> str:
    if one is None:
        return "–"
    value = "no value" if one["value"] is None else f"{one['value']:g} {one['unit']}".strip()
    target = "" if one["limit"] is None else f" (target {one['relation']} {one['limit']:g})"
    return cell(f"{verdict_mark(one['verdict'])} {value}{target}, n={one['n']:,}")
