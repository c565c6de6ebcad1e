"""How ``crossfade status`` and its relatives look in a terminal."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from crossfade.core.rollout import percent_of
from crossfade.core.statistics import quantile
from crossfade.core.telemetry import Histogram

__all__ = ["audit_table", "incidents_table", "measurements_table", "status_view", "when"]

_VERDICT_STYLES = {"pass": "green", "fail": "bold red", "error": "red", "inconclusive": "yellow"}
_PHASE_STYLES = {
    "rolling_back": "bold red",
    "rolled_back": "red",
    "held": "yellow",
    "completed": "bold green",
    "awaiting_approval": "bold cyan",
}
_BREAKER_STYLES = {"closed": "green", "half_open": "yellow", "open": "bold red"}


def when(at_us: int | None) -> str:
    """Microseconds since 1970 as local time to the second; a dash for None."""
    if at_us is None:
        return "-"
    return datetime.fromtimestamp(at_us / 1e6, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def status_view(status: Mapping[str, Any], url: str) -> RenderableType:
    """Everything that the status document of the control server at ``url`` holds, as tables."""
    parts: list[RenderableType] = [_headline(status)]
    rollout = status["rollout"]
    if status["incident"]:
        parts.append(_incident(status["incident"]))
    if rollout is not None:
        parts.append(_stages(rollout))
    parts.append(_percentages(status["flags"]))
    if status["evidence"] is not None:
        evidence = status["evidence"]
        title = f"evidence since {when(evidence['since_us'])}: {evidence['verdict']}"
        parts.append(measurements_table(evidence, title))
    if status["stores"]:
        parts.append(_stores(status))
    parts.append(_instances(status))
    if status["reconciliation"]:
        parts.append(_reconciliation(status["reconciliation"]))
        if docs := status["reconciliation"].get("data_docs"):
            parts.append(Text(f"what the suites said of it: {url.rstrip('/')}{docs}"))
    return Group(*parts)


def _titled(title: str, table: Table) -> Group:
    # Not the table's own title: that is folded to the table's width.
    return Group(Text(title, style="bold"), table)


def _table(*columns: str) -> Table:
    """A table; a column whose name begins with ``>`` is aligned to the right."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in columns:
        right = name.startswith(">")
        table.add_column(
            name.removeprefix(">"), justify="right" if right else "left", overflow="fold"
        )
    return table


def _headline(status: Mapping[str, Any]) -> Text:
    rollout = status["rollout"]
    if rollout is None:
        return Text("no rollout was started; `crossfade start` starts the plan")
    stage = rollout["stages"][rollout["stage"]]
    line = Text.assemble(
        (rollout["name"], "bold"),
        f": {stage['name']}, stage {rollout['stage'] + 1} of {len(rollout['stages'])}, "
        f"attempt {rollout['attempt']}: ",
        (rollout["phase"], _PHASE_STYLES.get(rollout["phase"], "bold")),
        f" since {when(rollout['since_us'])}",
    )
    deadline_us = rollout["deadline_us"]
    if deadline_us is not None and rollout["phase"] in ("soaking", "awaiting_approval"):
        left_s = max(0.0, (deadline_us - status["at_us"]) / 1e6)
        what = "expires" if rollout["phase"] == "awaiting_approval" else "soaked"
        line.append(f", {what} in {_duration(left_s)}")
    if rollout["reason"]:
        line.append(f"\n  {rollout['reason']}", "yellow")
    if rollout["evidence_hash"]:
        line.append(f"\n  waits for approval of evidence {rollout['evidence_hash'][:12]}", "cyan")
    return line


def _duration(seconds: float) -> str:
    for size, unit in ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def _incident(incident: Mapping[str, Any]) -> Text:
    return Text.assemble(
        ("open incident ", "bold red"),
        f"{incident['id']} since {when(incident['opened_us'])}: {incident['reason']}",
    )


def _stages(rollout: Mapping[str, Any]) -> RenderableType:
    table = _table("stage", ">percent", ">soak", "approved by", "at")
    approvals = {one["stage"]: one for one in rollout["approvals"]}
    for number, stage in enumerate(rollout["stages"]):
        shares = ", ".join(
            f"{value:g} %" if key == "*" else f"{key} {value:g} %"
            for key, value in sorted(stage["percent"].items())
        )
        approval = approvals.get(number)
        here = number == rollout["stage"] and rollout["phase"] != "completed"
        table.add_row(
            ("> " if here else "  ") + stage["name"],
            shares,
            _duration(stage["soak_s"]),
            approval["approver"] if approval else "-",
            when(approval["at_us"]) if approval else "-",
            style="bold" if here else "",
        )
    return _titled("\nstages", table)


def _percentages(flags: Mapping[str, Any]) -> RenderableType:
    table = _table("category", ">served", ">written")
    for category in sorted(set(flags["topics"].values())):
        served, written = (percent_of(flags[key], category) for key in ("served", "written"))
        served = 0.0 if flags["kill"] else served
        table.add_row(category, f"{served:g} %", f"{max(served, written):g} %")
    return _titled(f"\nflags, version {flags['version']}", table)


def measurements_table(evidence: Mapping[str, Any], title: str) -> RenderableType:
    """Every measurement with verdict, value, limit and n; what is missing has its own row."""
    table = _table("measurement", "verdict", ">value", ">limit", ">n", "detail")
    names = {one["name"] for one in evidence["measurements"]}
    for one in evidence["measurements"]:
        limit = (
            "-" if one["limit"] is None else f"{one['relation']} {one['limit']:,g} {one['unit']}"
        )
        table.add_row(
            one["name"],
            _verdict(one["verdict"]),
            "-" if one["value"] is None else f"{one['value']:,.4g} {one['unit']}",
            limit,
            f"{one['n']:,}",
            one["detail"],
        )
    for name in evidence["required"]:
        if name not in names:
            table.add_row(name, _verdict("inconclusive"), "-", "-", "0", "not measured yet")
    return _titled("\n" + title, table)


def _verdict(verdict: str) -> Text:
    return Text(verdict.upper(), style=_VERDICT_STYLES.get(verdict, ""))


def _stores(status: Mapping[str, Any]) -> RenderableType:
    table = _table("store", "breaker", ">owed", ">lag", ">written", "last error")
    for name, one in sorted(status["stores"].items()):
        rate = status["rates"].get(f"{name}_per_s", 0.0)
        table.add_row(
            name,
            Text(one["breaker"] or "-", style=_BREAKER_STYLES.get(one["breaker"], "red")),
            f"{one['owed']:,} events",
            f"{one['lag_ms']:,.0f} ms",
            f"{rate:,.1f} /s",
            one["last_error"],
        )
    return _titled("\nstores", table)


def _instances(status: Mapping[str, Any]) -> RenderableType:
    table = _table("instance", "role", ">seen", ">flags", "transports", ">p95")
    version = status["flags"]["version"]
    for one in status["instances"]:
        behind = one["flag_version"] != version
        transports, latencies = [], []
        for name, window in sorted(one["report"]["transports"].items()):
            state = "up" if window["connected"] else "down"
            transports.append(f"{name} {state}, {window['partitions']} partitions")
            p95 = quantile(Histogram(window["latency_ms"]["counts"]), 0.95)
            latencies.append("-" if p95 is None else f"{p95:,.0f} ms")
        table.add_row(
            one["instance"],
            one["role"],
            f"{one['age_ms'] / 1_000:.1f} s ago",
            Text(str(one["flag_version"]), style="yellow" if behind else ""),
            "\n".join(transports),
            "\n".join(latencies),
            style="" if one["live"] else "dim",
        )
    if not status["instances"]:
        table.add_row("none reports", "", "", "", "", "")
    return _titled("\ninstances", table)


def _reconciliation(result: Mapping[str, Any]) -> RenderableType:
    title = (
        f"\nlast reconciliation, {when(result['stored_us'])} ({result.get('trigger', '-')}): "
        f"{result['verdict']}, {result.get('checked_events', 0):,} events checked, "
        f"{result['discrepancy_count']:,} discrepancies"
    )
    counts = ("expected", "present", "missing", "duplicated", "altered", "phantom", "out_of_order")
    table = _table("store", *(f">{name}" for name in counts))
    for name, store in sorted(result["stores"].items()):
        table.add_row(name, *(f"{store.get(count, 0):,}" for count in counts))
    return _titled(title, table)


def audit_table(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Audit rows: who did what, and what came of it."""
    table = _table(">id", "at", "actor", "verb", ">stage", "came of it")
    for row in rows:
        stage = row["command"].get("stage")
        table.add_row(
            str(row["id"]),
            when(row["at_us"]),
            row["actor"],
            row["verb"],
            "-" if stage is None else f"{stage + 1}",
            "; ".join(_fact(fact) for fact in row["facts"]),
        )
    return _titled("audit", table)


def _fact(fact: Mapping[str, Any]) -> str:
    detail = fact["detail"]
    match fact["kind"]:
        case "phase":
            return f"{detail['from']} → {detail['to']}"
        case "flags":
            shares = ", ".join(f"{key} {share:g} %" for key, share in detail["served"].items())
            return f"served {shares or 'nobody'}"
        case "approved":
            return f"approved by {detail['approver']}"
        case "gap_accepted":
            return f"not seen by the tap, accepted: {detail['range']} ({detail['reason']})"
        case "evidence":
            return f"evidence {detail['hash'][:12]} frozen"
        case "event":
            return f"event {detail['name']}"
        case "incident_opened" | "incident_changed" | "incident_closed":
            return f"incident {detail.get('incident_id', '')} {fact['kind'].split('_')[1]}".strip()
        case kind:
            return str(kind)


def incidents_table(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Incidents: what happened, and what was found and mended."""
    table = _table("incident", "opened", "closed", "stage", "reason", "root cause, fix")
    for row in rows:
        mended = " / ".join(row[key] for key in ("root_cause", "fix") if row.get(key))
        table.add_row(
            row["id"],
            when(row["opened_us"]),
            when(row["closed_us"]) if row["closed_us"] else Text("open", style="bold red"),
            f"{row['stage_name']}, attempt {row['attempt']}",
            row["reason"],
            mended or "-",
        )
    return _titled("incidents", table)
