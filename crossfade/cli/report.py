"""Command: report."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from crossfade.cli.calls import call, console, print_json
from crossfade.cli.options import JsonOption, SettingsOption, StateOption, settings_for
from crossfade.core.success import METRICS, WORDS
from crossfade.errors import UsageError
from crossfade.success_report import collect_report, report_html

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add this module's command to ``app``."""
    app.command()(report)


def report(
    settings: SettingsOption = None,
    state: StateOption = None,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write a self-contained page with charts there.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the success metrics against their targets, week by week.

    Delivery, loss, failed calls, latency, page load, adoption, uptime, support tickets and
    recovery time, with n and the confidence where it is a bound; and what the processes used.

    Example: crossfade report --html report.html
    """
    document, windows = call(settings_for(settings, state), collect_report)
    if html is not None:
        try:
            html.write_text(report_html(document, windows), encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{html}: {error.strerror}") from error
    if as_json:
        print_json(document)
        return
    out = console()
    if document["rollout"] is None:
        out.print("no rollout was started yet; `crossfade start` starts the plan")
        return
    out.print(f"{document['rollout']}: {document['phase'].replace('_', ' ')}", style="bold")
    out.print(_table(document))
    out.print(f"recovery: {_figure(document['recovery'])}")
    out.print(f"incidents: {len(document['incidents'])}")
    if html is not None:
        out.print(f"the page is {html}")


def _table(document: dict[str, Any]) -> Table:
    found = document["weeks"]
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("metric")
    for week in found:
        again = f", attempt {week['attempt']}" if week["attempt"] > 1 else ""
        table.add_column(f"{week['name']}{again}")
    for name in METRICS:
        cells = [_figure(week["measurements"].get(name)) for week in found]
        table.add_row(WORDS[name], *cells)
    table.add_row("approved by", *(week["approver"] or "-" for week in found))
    return table


def _figure(one: dict[str, Any] | None) -> str:
    if one is None:
        return "-"
    value = "no value" if one["value"] is None else f"{one['value']:g} {one['unit']}".strip()
    limit = "" if one["limit"] is None else f" ({one['relation']} {one['limit']:g})"
    return f"{one['verdict']}: {value}{limit}, n={one['n']:,}"
