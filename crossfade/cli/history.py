"""Commands: audit, incidents."""

from typing import Annotated

import typer

from crossfade.cli.calls import call, console, print_json
from crossfade.cli.options import JsonOption, SettingsOption, StateOption, settings_for
from crossfade.cli.status_view import audit_table, incidents_table

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add this module's commands to ``app``."""
    for command in (audit, incidents):
        app.command()(command)


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
