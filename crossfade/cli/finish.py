"""Commands: drill, cut-over, decommission."""

import asyncio
from typing import Annotated, Any

import typer

from crossfade.adapters.control import ControlClient
from crossfade.cli.calls import actor_of, call, console, current_rollout, print_json, say
from crossfade.cli.options import (
    AsOption,
    JsonOption,
    SettingsOption,
    StateOption,
    settings_for,
)
from crossfade.drill import DRILL_TIMEOUT_S, run_drill
from crossfade.errors import CrossfadeError
from crossfade.settings import Settings

__all__ = ["register"]

ConfirmOption = Annotated[
    str | None,
    typer.Option("--confirm", help="The rollout's name, typed. Without it: a dry run."),
]


def register(app: typer.Typer) -> None:
    """Add this module's commands to ``app``."""
    app.command()(drill)
    app.command("cut-over")(cut_over)
    app.command()(decommission)


def drill(
    settings: SettingsOption = None,
    state: StateOption = None,
    points: Annotated[
        float | None,
        typer.Option("--points", help="Percentage points to take back; default: the plan's."),
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", help="A category; may be given several times; default: all."),
    ] = None,
    timeout_s: Annotated[
        float, typer.Option("--timeout", min=1.0, help="Seconds to wait for everybody.")
    ] = DRILL_TIMEOUT_S,
    by: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a small cohort back to WebSocket and forward again, and measure how long it took.

    Run again after an interruption it goes on. Ends with 1 when it was slower than the plan's
    drill_recovery_s.

    Example: crossfade drill --points 2
    """
    found = settings_for(settings, state)

    async def work(client: ControlClient) -> dict[str, Any]:
        tell = (lambda _: None) if as_json else typer.echo
        return await run_drill(
            client,
            actor=actor_of(by),
            points=points,
            scope=scope or None,
            timeout_s=timeout_s,
            tell=tell,
        )

    try:
        record = call(found, work)
    except (KeyboardInterrupt, asyncio.CancelledError):
        typer.echo("the drill is still under way; run it again to go on", err=True)
        raise typer.Exit(130) from None
    back_s, forward_s = record["back_ms"] / 1e3, record["forward_ms"] / 1e3
    say(
        as_json,
        record,
        f"drill {'passed' if record['passed'] else 'FAILED'}: {record['points']:g} points were "
        f"back after {back_s:.1f} s, forward after {forward_s:.1f} s",
    )
    if not record["passed"]:
        raise typer.Exit(1)


def cut_over(
    settings: SettingsOption = None,
    state: StateOption = None,
    confirm: ConfirmOption = None,
    by: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make Realtime primary for everything; WebSocket runs on beside it, in reverse.

    Without --confirm nothing is changed: it says what would be, or why it can not.

    Example: crossfade cut-over --confirm realtime
    """
    _end(settings_for(settings, state), "cut_over", confirm, by, as_json)


def decommission(
    settings: SettingsOption = None,
    state: StateOption = None,
    confirm: ConfirmOption = None,
    by: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Switch WebSocket off: the recorded point of no return.

    Without --confirm nothing is changed: it says what would be, or why it can not.

    Example: crossfade decommission --confirm realtime
    """
    _end(settings_for(settings, state), "decommission", confirm, by, as_json)


def _end(settings: Settings, verb: str, confirm: str | None, by: str | None, as_json: bool) -> None:
    rollout = call(settings, current_rollout)
    address = {"stage": rollout["stage"], "attempt": rollout["attempt"], "actor": actor_of(by)}
    name = str(rollout["name"])
    if confirm is None:
        found = call(settings, lambda client: client.preview(verb, confirm=name, **address))
        if as_json:
            print_json(found)
            return
        out = console()
        out.print(f"dry run: {name} would be {found['rollout']['phase'].replace('_', ' ')}")
        for fact in found["facts"]:
            out.print(f"  {fact['kind'].replace('_', ' ')}: {_words(fact['detail'])}")
        out.print(f"nothing was changed; to do it: --confirm {name}")
        return
    done = call(settings, lambda client: client.command(verb, confirm=confirm, **address))
    if done["phase"] not in ("cut_over", "decommissioned"):
        raise CrossfadeError(f"the rollout is {done['phase']}")
    say(as_json, done, f"{name} is {done['phase'].replace('_', ' ')}")


def _words(detail: dict[str, Any]) -> str:
    shown = {key: value for key, value in detail.items() if key != "payload"}
    return ", ".join(f"{key} {value}" for key, value in shown.items())
