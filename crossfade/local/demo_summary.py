"""The end of a demo for a person: tables in a terminal, the same tables as text elsewhere."""

from collections.abc import Iterator
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from crossfade.local.demo_checker import KINDS, HolderResult
from crossfade.local.demo_report import DemoReport, StageRecord

__all__ = ["print_summary"]

_FINDINGS_SHOWN = 10
_FIGURES = ("delivery", "lost", "error_rate", "adoption", "p95")


def print_summary(report: DemoReport, console: Console) -> None:
    """Print what the demo found; the last line says what was proven."""
    for part in _parts(report):
        console.print(part)
        console.print()
    style = "bold green" if report.proven else "bold red"
    console.print(Text(report.conclusion, style=style), soft_wrap=True)


def _parts(report: DemoReport) -> Iterator[RenderableType]:
    yield _holders("what the stores hold", report.stores, {})
    yield _holders("what the subscribers were handed", report.subscribers, report.follows)
    yield _stages(report.stages)
    if report.outage is not None:
        yield _outage(report)
    findings = report.findings
    if findings or report.failures:
        lines = [*report.failures, *(str(one) for one in findings[:_FINDINGS_SHOWN])]
        if len(findings) > _FINDINGS_SHOWN:
            lines.append(f"… and {len(findings) - _FINDINGS_SHOWN} more, in the report")
        yield Text("\n".join(lines), style="red")


def _holders(title: str, holders: Any, follows: dict[str, str]) -> Table:
    table = _table(title)
    table.add_column(title.split()[2].removesuffix("s"))
    if follows:
        table.add_column("follows")
    for name in ("expected", "delivered", *KINDS):
        table.add_column(name.replace("_", " "), justify="right")
    one: HolderResult
    for one in holders:
        counts = one.to_json()
        bad = {name for name in KINDS if counts[name]}
        cells = [
            Text(f"{counts[name]:,}", style="bold red" if name in bad else "")
            for name in ("expected", "delivered", *KINDS)
        ]
        middle = [follows.get(one.name, "")] if follows else []
        table.add_row(one.name, *middle, *cells)
    return table


def _stages(stages: list[StageRecord]) -> Table:
    table = _table("the weeks")
    for title in ("week", "share", "attempt", "outcome", "verdict", "evidence", "approver"):
        table.add_column(title)
    for one in stages:
        share = ", ".join(
            f"{percent:g} %" if category == "*" else f"{category} {percent:g} %"
            for category, percent in one.percent.items()
        )
        style = "green" if one.outcome == "approved" else "red"
        table.add_row(
            one.name,
            share,
            str(one.attempt),
            Text(one.outcome, style=style),
            one.verdict,
            _figures(one) or one.reason,
            one.approver or "–",
        )
    return table


def _figures(one: StageRecord) -> str:
    measurements = (one.evidence or {}).get("measurements", [])
    parts = []
    for found in measurements:
        if found["name"].startswith(_FIGURES) and found["value"] is not None:
            limit = "" if found["limit"] is None else f" {found['relation']} {found['limit']:g}"
            parts.append(f"{found['name']} {found['value']:.4g}{limit} (n={found['n']})")
    return "; ".join(parts)


def _outage(report: DemoReport) -> Table:
    outage = report.outage
    assert outage is not None  # noqa: S101 - the caller asked
    table = _table(f"the outage in {outage.week}")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for title, value in (
        ("Supabase was gone", _seconds(outage.duration_s)),
        ("start → breaker open", _seconds(outage.breaker_open_s)),
        ("start → flag applied everywhere", _seconds(outage.flag_applied_s)),
        ("start → rollback verified", _seconds(outage.rollback_verified_s)),
        ("published meanwhile", _count(outage.published_during)),
        ("handed to subscribers meanwhile", _count(sum(outage.delivered_during.values()))),
        ("owed to Supabase at its end", _count(outage.owed_at_end)),
        ("end → all drained", _seconds(outage.drain_s)),
        ("start → rollout resumed", _seconds(outage.resumed_s)),
    ):
        table.add_row(title, value)
    return table


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f} s"


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"
