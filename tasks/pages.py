"""Markdown pages for people: the approval form's evidence, and the runs' artifacts."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from crossfade.core.trend import Trend, spark
from tasks.control_plane import Step

__all__ = [
    "backfill_page",
    "cell",
    "checks_page",
    "evidence_page",
    "measurement_table",
    "reconciliation_page",
    "rollback_page",
    "stage_name",
    "verdict_mark",
]

_MARKS = {
    "pass": "✅ pass",
    "fail": "❌ fail",
    "inconclusive": "❔ inconclusive",
    "error": "⚠️ error",
}
_SIGNS = {"<=": "≤", ">=": "≥"}
_STORE_FIGURES = (
    "expected",
    "present",
    "missing",
    "duplicated",
    "altered",
    "phantom",
    "out_of_order",
    "in_flight",
    "uncovered",
)
_RARE_FIGURES = ("reserialised", "stale_hash", "late", "accepted")
"""Columns that are shown when one of them is not 0."""
_SHOWN_DISCREPANCIES = 20


def cell(value: Any) -> str:
    """Text that stays within one cell of a markdown table."""
    return str(value).replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")


def stage_name(step: Step) -> str:
    """The plan's name of the step's stage."""
    return str(step.rollout["stages"][step.stage]["name"])


def measurement_table(measurements: Iterable[Mapping[str, Any]]) -> str:
    """Value, limit, n and verdict of each measurement."""
    rows = ["| | value | limit | n | verdict | |", "|---|---:|---:|---:|---|---|"]
    for one in measurements:
        value = "–" if one["value"] is None else f"{one['value']:g} {one['unit']}".strip()
        limit = "–" if one["limit"] is None else f"{one['relation']} {one['limit']:g}"
        cells = (
            one["name"],
            value,
            limit,
            f"{one['n']:,}",
            verdict_mark(one["verdict"]),
            one["detail"],
        )
        rows.append("| " + " | ".join(cell(part) for part in cells) + " |")
    return "\n".join(rows)


def evidence_page(
    step: Step,
    note: str,
    found: Iterable[Trend] = (),
    links: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """What a person sees above the approval form, which is a narrow box that scrolls.

    Args:
        note: why the form is shown again, or "".
        found: how the figures went, drawn as lines of text.
        links: addresses of what tells more, by their names.
    """
    rollout, evidence = step.rollout, step.evidence
    stage = rollout["stages"][step.stage]
    last = step.stage + 1 == len(rollout["stages"])
    following = "the rollout is complete" if last else rollout["stages"][step.stage + 1]["name"]
    lines = [
        f"## {stage['name']} of “{rollout['name']}”: may it pass?",
        "",
        f"**Expires {_time(rollout.get('deadline_us'))}**; then the stage is held.",
        "",
        f"Served by Realtime now: **{_shares(stage['percent'])}**. After it: **{following}**.",
        "",
    ]
    if note:
        lines += [f"> ⚠️ **Your last answer was not accepted:** {note}", ""]
    plan = rollout.get("plan") or {}
    if plan.get("approver_differs"):
        operator = str(rollout.get("operator", "")).rpartition(":")[2]
        lines += [f"By the plan somebody else than **{cell(operator)}** approves.", ""]
    lines += [
        _short_table(evidence.get("measurements", [])),
        "",
        _reconciled_line(evidence.get("reconciliation")),
        "",
        *_drawn(found),
    ]
    if links:
        lines += ["In full: " + " · ".join(f"[{name}]({to})" for name, to in links.items()), ""]
    lines += [
        f"Evidence `{rollout.get('evidence_hash')}`, attempt {step.attempt}, collected from "
        f"{_time(evidence.get('since_us'))} to {_time(evidence.get('at_us'))}.",
        "",
        "The evaluation goes on while you read: if the figures get worse than what stands here, "
        "an approval is refused with the reason, and a breach takes the stage back.",
    ]
    return "\n".join(lines)


def checks_page(checks: Iterable[Mapping[str, Any]], stage: str) -> str:
    """The preflight's checks."""
    return f"## Preflight of {stage}\n\n{measurement_table(checks)}\n"


def reconciliation_page(result: Mapping[str, Any], docs: str = "") -> str:
    """A reconciliation's result (docs/protocol.md, section 8); ``docs``: its Data Docs' address."""
    blocks = result.get("blocks", {})
    stores = result.get("stores", {})
    rare = [one for one in _RARE_FIGURES if any(count.get(one) for count in stores.values())]
    names = (*_STORE_FIGURES, *rare)
    lines = [
        f"## Reconciliation: {verdict_mark(result['verdict'])}",
        "",
        f"{result['checked_events']:,} events checked in {result['duration_ms']:,.0f} ms; "
        f"{blocks.get('checked', 0)} blocks read, {blocks.get('differing', 0)} differ, "
        f"{blocks.get('sealed', 0)} sealed.",
        "",
        "| store | " + " | ".join(name.replace("_", " ") for name in names) + " |",
        "|---|" + "---:|" * len(names),
    ]
    for store, figures in stores.items():
        cells = [f"{int(figures.get(name, 0)):,}" for name in names]
        lines.append(f"| {cell(store)} | " + " | ".join(cells) + " |")
    for store, reason in (result.get("errors") or {}).items():
        lines += ["", f"⚠️ {cell(store)} could not be read: {cell(reason)}"]
    if result.get("suites"):
        lines += ["", "| suite | verdict | expectations | failed |", "|---|---|---:|---|"]
        for suite in result["suites"]:
            failed = cell(", ".join(suite["failed"]))
            verdict = verdict_mark(suite["verdict"])
            lines.append(
                f"| {cell(suite['suite'])} | {verdict} | {suite['expectations']} | {failed} |"
            )
    if docs:
        lines += ["", f"[Great Expectations' pages of the suites]({docs}), which ask for a token."]
    for gap in result.get("gaps", ()):
        who = f"{cell(gap['by'])}: {cell(gap['reason'])}"
        lines += ["", f"Not seen by the tap, accepted by {who} (`{cell(gap['range'])}`)."]
    lines += _discrepancies(result)
    return "\n".join(lines) + "\n"


def rollback_page(figures: Mapping[str, Any], reason: str) -> str:
    """What a rollback took and proved."""
    lines = [f"## Rolled back: {cell(reason)}", "", "| | |", "|---|---:|"]
    for name, value in figures.items():
        if not isinstance(value, Mapping | list):
            lines.append(f"| {cell(name.replace('_', ' '))} | {cell(value)} |")
    lines += ["", measurement_table(figures.get("checks", []))]
    return "\n".join(lines) + "\n"


def backfill_page(figures: Mapping[str, Any], title: str = "Backfill") -> str:
    """What a backfill copied, and what it leaves to a person."""
    shown = ("checked_events", "lacking", "inserted", "skipped", "left", "parked_count")
    lines = [f"## {title} (dry run)" if figures["dry_run"] else f"## {title}", "", "| | |"]
    lines.append("|---|---:|")
    lines += [f"| {name.replace('_', ' ')} | {figures[name]:,} |" for name in shown]
    parked = figures["parked"][:_SHOWN_DISCREPANCIES]
    if parked:
        lines += ["", "For a person:", *(f"- {cell(one)}" for one in parked)]
    return "\n".join(lines) + "\n\n"


def _discrepancies(result: Mapping[str, Any]) -> list[str]:
    found = result.get("discrepancies", [])
    if not found:
        return []
    count = int(result.get("discrepancy_count", len(found)))
    lines = ["", f"### {count:,} discrepancies", ""]
    lines += ["| kind | store | position | type | severity | |", "|---|---|---|---|---|---|"]
    for one in found[:_SHOWN_DISCREPANCIES]:
        names = ("kind", "store", "position", "type", "severity", "detail")
        lines.append("| " + " | ".join(cell(one.get(name, "")) for name in names) + " |")
    if count > _SHOWN_DISCREPANCIES:
        lines += ["", f"The first {_SHOWN_DISCREPANCIES} of {count:,}."]
    return lines


def _short_table(measurements: Iterable[Mapping[str, Any]]) -> str:
    """Without the details, for which the form has no room; the table that is kept has them."""
    rows = ["| | value | limit | n | |", "|---|---:|---:|---:|---|"]
    for one in measurements:
        value = "–" if one["value"] is None else f"{one['value']:g} {one['unit']}".strip()
        limit = (
            "–" if one["limit"] is None else f"{_SIGNS.get(one['relation'], '')} {one['limit']:g}"
        )
        cells = (one["name"].replace("_", " "), value, limit.strip(), f"{one['n']:,}")
        rows.append(
            "| " + " | ".join(cell(part) for part in (*cells, verdict_mark(one["verdict"]))) + " |"
        )
    return "\n".join(rows)


def _drawn(found: Iterable[Trend]) -> list[str]:
    lines = []
    for one in found:
        values = one.values
        figures = f"{min(values):.3g} to {max(values):.3g} {one.unit}" if values else "no figures"
        limit = "" if one.limit is None else f", limit {one.limit:g}"
        lines.append(f"{one.name:<13} {spark(one)}  {figures}{limit}")
    return ["```", *lines, "```", ""] if lines else []


def _reconciled_line(summary: Mapping[str, Any] | None) -> str:
    if summary is None:
        return "No reconciliation counts for this evidence."
    verdict = verdict_mark(str(summary.get("verdict")))
    return (
        f"Reconciliation `{str(summary.get('hash'))[:12]}`: {verdict}, "
        f"{int(summary.get('checked_events') or 0):,} events checked, "
        f"{int(summary.get('discrepancy_count') or 0):,} discrepancies."
    )


def _shares(percent: Mapping[str, float]) -> str:
    return ", ".join(
        f"{share:g} %" if category == "*" else f"{share:g} % of {category}"
        for category, share in percent.items()
    )


def verdict_mark(verdict: str) -> str:
    """A verdict with a sign that is seen at a glance."""
    return _MARKS.get(verdict, verdict)


def _time(time_us: int | None) -> str:
    if time_us is None:
        return "–"
    moment = datetime.fromtimestamp(time_us / 1e6, UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")
