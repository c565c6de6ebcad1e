"""The end of a demo for a person: tables in a terminal, the same tables as text elsewhere."""

from collections.abc import Iterator, Sequence

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from crossfade.local.demo_checker import KINDS, HolderResult
from crossfade.local.demo_report import DemoReport, StageRecord

__all__ = ["print_summary"]

_FINDINGS_SHOWN = 10
_COUNTS = {
    "expected": "expected",
    "delivered": "held",
    "missing": "missing",
    "duplicated": "doubled",
    "altered": "altered",
    "out_of_order": "misplaced",
    "unexpected": "foreign",
}
"""The counts of the report, and the shorter words that they have here."""

_FIGURES = ("delivery", "lost", "error_rate", "adoption", "p95")


def print_summary(report: DemoReport, console: Console, *, wrap: bool = False) -> None:
    """Print what the demo found; the last line says what was proven.

    ``wrap`` breaks that line at the console's width instead of leaving it whole for programs.
    """
    for part in _parts(report):
        console.print(part)
        console.print()
    style = "bold green" if report.proven else "bold red"
    console.print(Text(report.conclusion, style=style), soft_wrap=not wrap)


def _parts(report: DemoReport) -> Iterator[RenderableType]:
    yield _holders("what the stores hold", "store", report.stores)
    yield _holders("what the subscribers were handed", "subscriber", report.subscribers)
    yield _stages(report.stages)
    if report.outage is not None:
        yield _outage(report)
    findings = report.findings
    if findings or report.failures:
        lines = [*report.failures, *(str(one) for one in findings[:_FINDINGS_SHOWN])]
        if len(findings) > _FINDINGS_SHOWN:
            lines.append(f"… and {len(findings) - _FINDINGS_SHOWN} more, in the report")
        yield Text("\n".join(lines), style="red")


def _holders(title: str, kind: str, holders: Sequence[HolderResult]) -> Table:
    table = _table(title)
    table.add_column(kind, no_wrap=True)
    for name in _COUNTS.values():
        table.add_column(name, justify="right", no_wrap=True)
    for one in holders:
        counts = one.to_json()
        cells = [
            Text(f"{counts[name]:,}", style="bold red" if name in KINDS and counts[name] else "")
            for name in _COUNTS
        ]
        table.add_row(one.name, *cells)
    return table


def _stages(stages: list[StageRecord]) -> Table:
    table = _table("the weeks")
    for title in ("week", "share", "attempt", "outcome", "approver", "evidence"):
        table.add_column(title, no_wrap=title != "evidence")
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
            one.approver or "–",
            "; ".join(filter(None, (one.verdict, _figures(one), one.reason))),
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
