"""Commands: supabase migrate, down, retain, quota."""

import asyncio
import re
import sys
import time
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn
from rich.table import Table

from crossfade.cli.calls import print_json, say
from crossfade.cli.options import JsonOption, SettingsOption, StateOption, settings_for
from crossfade.core.plans import (
    PLANS,
    Traffic,
    exceeded_at,
    frames_per_s,
    messages_per_s,
    most_subscribers,
)
from crossfade.errors import UsageError
from crossfade.settings import Settings

__all__ = ["register"]

CONFIRMATION = "drop crossfade"
_UNITS_S = {"m": 60.0, "h": 3_600.0, "d": 86_400.0}


def register(app: typer.Typer) -> None:
    """Add this module's commands to ``app``."""
    group = typer.Typer(
        name="supabase",
        help="A Supabase project's schema: apply it, take it back, remove old events; quotas.",
        no_args_is_help=True,
        context_settings=app.info.context_settings,
    )
    for command in (migrate, down, retain, quota):
        group.command()(command)
    app.add_typer(group)


def migrate(
    settings: SettingsOption = None,
    state: StateOption = None,
    print_sql: Annotated[
        bool, typer.Option("--print", help="Print the SQL for a SQL editor; connect to nothing.")
    ] = False,
    status: Annotated[
        bool, typer.Option("--status", help="Say which migrations are applied; change nothing.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Apply every file, also those that are recorded.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Apply the schema to the project's database; what is there already is left as it is.

    The database's URL is read from SUPABASE_DB_URL or supabase.database_url, never from an
    option, where every user of the machine could see its password. Take the direct connection
    or the session pooler (port 5432). Versions are recorded as `supabase db push` does.
    Exit status of --status: 0 everything is applied, 1 something is missing.

    Example: SUPABASE_DB_URL=postgresql://… crossfade supabase migrate
    """
    from crossfade.adapters.migrations import apply_migrations, as_script, find_migrations

    if print_sql:
        sys.stdout.write(as_script())
        return
    url = _database_url(settings_for(settings, state))
    if status:
        raise typer.Exit(_show_status(url, as_json))
    applied = apply_migrations(url, again=again)
    names = {one.version: one.path.name for one in find_migrations()}
    lines = [f"applied {names[version]}" for version in applied]
    say(as_json, {"applied": applied}, "\n".join(lines) or "nothing to do: all are applied")


def down(
    settings: SettingsOption = None,
    state: StateOption = None,
    confirm: Annotated[
        str | None,
        typer.Option("--confirm", help=f"Do not ask; must be the words {CONFIRMATION!r}."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Remove the schema and with it every event, head and dead letter of the project.

    Asks for the words "drop crossfade". Objects of others that depend on the tables make it
    fail, and then nothing is removed.

    Example: crossfade supabase down --confirm "drop crossfade"
    """
    from crossfade.adapters.migrations import revert_migrations

    url = _database_url(settings_for(settings, state))
    if confirm is None:
        if not sys.stdin.isatty():
            raise UsageError(f'down: not confirmed; give --confirm "{CONFIRMATION}"')
        typer.echo("This removes every event that Supabase holds for Crossfade.", err=True)
        confirm = typer.prompt(f'Type "{CONFIRMATION}" to go on', err=True)
    if confirm.strip() != CONFIRMATION:
        raise UsageError(f'down: not confirmed; the words are "{CONFIRMATION}"')
    reverted = revert_migrations(url)
    line = f"removed {len(reverted)} migrations" if reverted else "nothing to do: none was applied"
    say(as_json, {"reverted": reverted}, line)


def retain(
    older_than: Annotated[
        str, typer.Option("--older-than", help="An age such as 30d, 12h or 90m.")
    ],
    settings: SettingsOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove old events from the table, as far as the publishers' journals have let go of them.

    What a journal still holds stays, since reconciliation expects it here (journal.retention_s),
    and so does the newest event of each stream. Repeat it from a schedule.

    Example: crossfade supabase retain --older-than 30d
    """
    from crossfade.retention import retain as run

    age_s = _age_s(older_than)
    found = settings_for(settings, state)
    before_us = time.time_ns() // 1_000 - round(age_s * 1e6)
    bar = Progress(
        SpinnerColumn(),
        TextColumn("removed {task.completed:,.0f} events"),
        console=Console(stderr=True),
        transient=True,
        disable=as_json or not sys.stderr.isatty(),
    )
    with bar:
        task = bar.add_task("", total=None)
        done = asyncio.run(
            run(found.supabase, before_us, progress=lambda n: bar.update(task, completed=n))
        )
    document = {
        "removed": done.events,
        "floors": [[*stream, floor] for stream, floor in sorted(done.floors.items())],
    }
    line = f"removed {done.events:,} events of {len(done.floors):,} streams"
    say(as_json, document, line)


def quota(
    rate: Annotated[
        list[float],
        typer.Option("--rate", min=0, help="Events a second of a topic; once for each topic."),
    ],
    subscribers: Annotated[
        int, typer.Option("--subscribers", min=0, help="Connections that receive every topic.")
    ] = 1,
    event_bytes: Annotated[
        float, typer.Option("--event-bytes", min=1, help="Mean size of an event.")
    ] = 600.0,
    publishers: Annotated[int, typer.Option("--publishers", min=1)] = 1,
    settings: SettingsOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what an event rate costs of each Supabase plan; needs no project.

    A frame counts once when it is sent and once for each subscriber that gets it. Batches and
    heads a second come from relay.poll_s and relay.heads_s.

    Example: crossfade supabase quota --rate 50 --rate 5 --subscribers 20
    """
    relay = settings_for(settings, state).relay
    traffic = Traffic(
        topics=tuple(rate),
        subscribers=subscribers,
        event_bytes=event_bytes,
        publishers=publishers,
        batches_per_s=1 / relay.poll_s,
        frame_limit_bytes=relay.frame_limit_bytes,
        heads_per_s=1 / relay.heads_s,
    )
    rows = [
        {
            "plan": plan.name,
            "messages_per_s": plan.messages_per_s,
            "used": messages_per_s(traffic) / plan.messages_per_s,
            "exceeded_at_percent": exceeded_at(traffic, plan.messages_per_s),
            "most_subscribers": most_subscribers(traffic, plan),
            "connections": plan.connections,
            "connections_exceeded": subscribers > plan.connections,
        }
        for plan in PLANS.values()
    ]
    if as_json:
        print_json(
            {
                "frames_per_s": frames_per_s(traffic),
                "messages_per_s": messages_per_s(traffic),
                "plans": rows,
            }
        )
        return
    typer.echo(
        f"{frames_per_s(traffic):,.1f} frames/s and {messages_per_s(traffic):,.1f} messages/s "
        "at 100 %, at most"
    )
    Console().print(_quota_table(rows))


def _quota_table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("plan")
    for title in ("messages/s", "used at 100 %", "exceeded from", "most subscribers"):
        table.add_column(title, justify="right")
    for row in rows:
        border = row["exceeded_at_percent"]
        exceeded = "never" if border is None else f"{border} %"
        if row["connections_exceeded"]:
            exceeded = "connections"
        table.add_row(
            row["plan"],
            f"{row['messages_per_s']:,}",
            f"{100 * row['used']:,.0f} %",
            exceeded,
            f"{row['most_subscribers']:,}",
        )
    return table


def _show_status(url: str, as_json: bool) -> int:
    from crossfade.adapters.migrations import applied_versions, find_migrations

    applied = set(applied_versions(url))
    ours = find_migrations()
    missing = [one.version for one in ours if one.version not in applied]
    foreign = sorted(applied - {one.version for one in ours})
    document = {
        "applied": [one.version for one in ours if one.version in applied],
        "missing": missing,
        "others": foreign,
    }
    lines = [
        f"{'missing' if one.version in missing else 'applied'}  {one.path.name}" for one in ours
    ]
    if foreign:
        lines.append(f"and {len(foreign)} migrations of others")
    say(as_json, document, "\n".join(lines))
    return 1 if missing else 0


def _database_url(settings: Settings) -> str:
    url = settings.supabase.database_url.get_secret_value()
    if not url:
        raise UsageError(
            "supabase.database_url is missing: set SUPABASE_DB_URL to the project's connection "
            "string (dashboard: Connect, direct connection or session pooler), or print the SQL "
            "with `crossfade supabase migrate --print`"
        )
    return url


def _age_s(text: str) -> float:
    match = re.fullmatch(r"(\d+)([mhd])", text.strip())
    if match is None or int(match[1]) == 0:
        raise UsageError(f"--older-than {text}: must be an age such as 30d, 12h or 90m")
    return int(match[1]) * _UNITS_S[match[2]]
