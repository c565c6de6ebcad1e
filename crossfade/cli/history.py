"""Commands: audit, incidents, incident show."""

from pathlib import Path
from typing import Annotated

import orjson
import typer

from crossfade.cli.calls import call, console, print_json
from crossfade.cli.options import JsonOption, SettingsOption, StateOption, settings_for
from crossfade.cli.status_view import audit_table, incidents_table
from crossfade.diagnosis import collect, stack_logs, write_bundle

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add this module's commands to ``app``."""
    for command in (audit, incidents):
        app.command()(command)
    group = typer.Typer(help="One incident, with its story and its diagnosis bundle.")
    group.command("show")(show)
    app.add_typer(group, name="incident")


def audit(
    settings: SettingsOption = None,
    state: StateOption = None,
    after: Annotated[int, typer.Option("--after", min=0, help="Rows after this id.")] = 0,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000)] = 100,
    as_json: JsonOption = False,
) -> None:
    """Show who changed the rollout, when, and what came of it.

    Example: crossfade audit --limit 20 --json
    """
    rows = call(settings_for(settings, state), lambda client: client.audit(after, limit))
    if as_json:
        print_json(rows)
    else:
        console().print(audit_table(rows))


def incidents(
    settings: SettingsOption = None,
    state: StateOption = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000)] = 20,
    as_json: JsonOption = False,
) -> None:
    """Show rollbacks: why, when, their root causes and fixes.

    Example: crossfade incidents
    """
    rows = call(settings_for(settings, state), lambda client: client.incidents(limit))
    if as_json:
        print_json(rows)
    else:
        console().print(incidents_table(rows))


def show(
    incident: Annotated[str, typer.Argument(help="Its id, or its number within its rollout.")],
    settings: SettingsOption = None,
    state: StateOption = None,
    bundle: Annotated[
        Path | None,
        typer.Option("--bundle", help="Write everything into this folder (or file, if .zip)."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show an incident's story; with --bundle also write all that helps to find its cause.

    The bundle holds the timeline, figures, telemetry, audit rows, reconciliations with their
    discrepancies, versions, settings and the stack's logs; secrets are masked.

    Example: crossfade incident show 1 --bundle incident-1.zip
    """
    found = settings_for(settings, state)
    logs = stack_logs(state or Path(".crossfade"))
    files = call(found, lambda client: collect(client, found, incident, logs))
    if bundle is not None:
        write_bundle(files, bundle)
    if as_json:
        document = orjson.loads(files["incident.json"])
        story = orjson.loads(files["timeline.json"])
        kept = None if bundle is None else str(bundle)
        print_json({**document, "timeline": story, "bundle": kept})
        return
    typer.echo(files["timeline.md"].decode().rstrip())
    if bundle is not None:
        typer.echo(f"\n{len(files)} files are in {bundle}")
