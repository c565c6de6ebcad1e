"""Commands: doctor."""

import asyncio
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from crossfade.cli.calls import print_json
from crossfade.cli.options import JsonOption, SettingsOption, StateOption, settings_for
from crossfade.core.finding import Finding, Level, exit_status
from crossfade.core.plans import Traffic, plan_named
from crossfade.errors import UsageError

__all__ = ["register"]

_COLOURS = {Level.GREEN: "green", Level.AMBER: "yellow", Level.RED: "bold red"}


def register(app: typer.Typer) -> None:
    """Add this module's commands to ``app``."""
    app.command()(doctor)


def doctor(
    settings: SettingsOption = None,
    state: StateOption = None,
    plan: Annotated[
        str | None,
        typer.Option("--plan", help="Of the Supabase project: free, pro, team, …, self-hosted."),
    ] = None,
    rate: Annotated[
        list[float] | None,
        typer.Option(
            "--rate",
            min=0,
            help="Events a second of a topic, instead of measured ones; repeatable.",
        ),
    ] = None,
    subscribers: Annotated[
        int, typer.Option("--subscribers", min=0, help="With --rate: connections that receive.")
    ] = 1,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Only this check; repeatable.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check the Supabase project and this machine before a rollout; a line for each check.

    Sends a canary event through table and Realtime and removes it. The plan's quota is held
    against the rates that the running publishers and subscribers report, or those given.
    Exit status: 0 green or amber, 1 something is red, 2 it could not run.

    Example: crossfade doctor --plan pro --rate 50 --subscribers 20
    """
    from crossfade.doctor import CHECKS, Examination, examine

    unknown = sorted(set(only or ()) - set(CHECKS))
    if unknown:
        raise UsageError(f"--only {', '.join(unknown)}: the checks are {', '.join(CHECKS)}")
    found = settings_for(settings, state)
    traffic = None
    if rate:
        traffic = Traffic(
            topics=tuple(rate),
            subscribers=subscribers,
            batches_per_s=1 / found.relay.poll_s,
            heads_per_s=1 / found.relay.heads_s,
            frame_limit_bytes=found.relay.frame_limit_bytes,
        )
    what = Examination(
        settings=found, plan=None if plan is None else plan_named(plan), traffic=traffic
    )
    lines = asyncio.run(examine(what, only))
    status = exit_status(lines)
    if as_json:
        print_json({"status": status, "checks": [one.to_json() for one in lines]})
    else:
        _show(lines, Console())
    raise typer.Exit(status)


def _show(lines: Sequence[Finding], console: Console) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for one in lines:
        told = Text(_printable(one.detail))
        if one.action and one.level is not Level.GREEN:
            told.append(f"\n→ {_printable(one.action)}", style="italic")
        table.add_row(Text(one.level.value, style=_COLOURS[one.level]), one.name, told)
    console.print(table)
    counts = {level: sum(one.level is level for one in lines) for level in Level}
    console.print(
        ", ".join(f"{count} {level.value}" for level, count in counts.items() if count),
        highlight=False,
    )


def _printable(text: str) -> str:
    """Without anything that a terminal would obey: some of it comes from servers."""
    return "".join(one if one.isprintable() else "\ufffd" for one in text)
