"""Command: breaker."""

from getpass import getuser
from typing import Annotated

import typer

from crossfade.cli.calls import call, say
from crossfade.cli.options import JsonOption, SettingsOption, StateOption, settings_for
from crossfade.errors import UsageError

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add this module's command to ``app``."""
    app.command()(breaker)


def breaker(
    sink: Annotated[str, typer.Argument(help="application, websocket or supabase.")],
    mode: Annotated[
        str,
        typer.Argument(
            help="forced_open: nothing is called; disabled: everything is, whatever fails; "
            "metrics_only: the same, and rates are counted; closed: by itself again."
        ),
    ],
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept in the audit log.")] = "",
    by: Annotated[
        str | None, typer.Option("--as", help="Who you are; default: your login name.")
    ] = None,
    settings: SettingsOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Set the breakers of a sink by hand, in every publisher; what is kept back stays owed.

    Example: crossfade breaker supabase forced_open --reason "maintenance until 14:00"
    """
    if not reason.strip():
        raise UsageError("--reason: say why the breaker is set by hand")
    found = settings_for(settings, state)
    wanted = mode.replace("-", "_")
    answer = call(
        found,
        lambda client: client.set_breaker(sink, wanted, reason, f"cli:{by or getuser()}"),
    )
    line = f"breakers of {sink}: {wanted}, with flags of version {answer['version']}"
    say(as_json, answer, line)
