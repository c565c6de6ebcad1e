"""The report: success metrics against their targets, week by week."""

from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from crossfade.core.success import METRICS, Week, recoveries, weeks
from crossfade.core.verdict import Measurement
from tasks.control_plane import control
from tasks.pages import cell, verdict_mark

__all__ = ["success_page"]

_PAGE = 1_000
_MOST_PAGES = 1_000


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
        rollout = await client.rollout()
        if rollout is None:
            return "# No rollout was started yet\n"
        audit: list[dict[str, Any]] = []
        for _ in range(_MOST_PAGES):
            rows = await client.audit(after=audit[-1]["id"] if audit else 0, limit=_PAGE)
            audit += rows
            if len(rows) < _PAGE:
                break
        incidents = await client.incidents()
    mine = [one for one in incidents if one["rollout_id"] == rollout["id"]]
    return _page(rollout, weeks(rollout, audit), mine)


def _page(rollout: dict[str, Any], found: list[Week], incidents: list[dict[str, Any]]) -> str:
    stage = rollout["stages"][rollout["stage"]]["name"]
    approved = sum(1 for week in found if week.approver)
    lines = [
        f"# “{rollout['name']}” is {rollout['phase'].replace('_', ' ')} at {stage}: "
        f"{approved} of {len(rollout['stages'])} weeks approved",
        "",
    ]
    if found:
        lines += ["| metric | " + " | ".join(_title(week) for week in found) + " |"]
        lines += ["|---|" + "---|" * len(found)]
        for name in METRICS:
            cells = [_figure(week.measurements.get(name)) for week in found]
            lines.append(f"| {name.replace('_', ' ')} | " + " | ".join(cells) + " |")
        approvers = [cell(week.approver or "–") for week in found]
        lines.append("| approved by | " + " | ".join(approvers) + " |")
    else:
        lines.append("No week has come to its gate yet.")
    lines += ["", f"Incidents: {len(incidents)}."]
    for one in incidents:
        state = "closed" if one.get("closed_us") else "**open**"
        cause = f"; root cause: {one['root_cause']}" if one.get("root_cause") else ""
        lines.append(f"- {cell(one.get('reason', ''))} ({state}{cell(cause)})")
    times = recoveries(incidents)
    if times:
        lines += ["", f"Slowest recovery: {max(times) / 1e3:.1f} s of {len(times)}."]
    return "\n".join(lines) + "\n"


def _title(week: Week) -> str:
    again = f", attempt {week.attempt}" if week.attempt > 1 else ""
    return cell(f"{week.name}{again}")


def _figure(one: Measurement | None) -> str:
    if one is None:
        return "–"
    value = "no value" if one.value is None else f"{one.value:g} {one.unit}".strip()
    target = "" if one.limit is None else f" (target {one.relation} {one.limit:g})"
    return cell(f"{verdict_mark(one.verdict)} {value}{target}, n={one.n:,}")
