"""Commands: status, start, approve, reject, rollback, resume, cancel."""

import asyncio
import sys
import time
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Annotated, Any

import orjson
import typer
from rich.live import Live

from crossfade.adapters.control import ControlClient
from crossfade.cli import finish, history, report
from crossfade.cli.calls import actor_of, call, console, current_rollout, name_of, print_json, say
from crossfade.cli.options import AsOption, JsonOption, SettingsOption, StateOption, settings_for
from crossfade.cli.status_view import measurements_table, status_view
from crossfade.control.auth import Approval, approval_code
from crossfade.core.rollout.commands import DECISIONS
from crossfade.errors import ControlDenied, ControlUnavailable, CrossfadeError, Refused, UsageError
from crossfade.settings import Settings

__all__ = ["register"]

INTERRUPTED = 130
WATCH_S = 1.0


def register(app: typer.Typer) -> None:
    """Add this module's commands to ``app``."""
    for command in (status, start, approve, reject, rollback, resume, cancel):
        app.command()(command)
    finish.register(app)
    history.register(app)
    report.register(app)


def status(
    settings: SettingsOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show it anew every second.")] = False,
) -> None:
    """Show the rollout, its evidence, the stores and the instances.

    Every measurement is shown with value, limit and n.

    Example: crossfade status --watch
    """
    found = settings_for(settings, state)
    if watch:
        raise typer.Exit(_watch(found, as_json))
    document = call(found, lambda client: client.status())
    if as_json:
        print_json(document)
    else:
        console().print(status_view(document, found.control.url))


def start(
    settings: SettingsOption = None,
    state: StateOption = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Default: the name in the settings.")
    ] = None,
    by: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start a rollout of the plan in the settings; its first stage is then ready.

    Nothing is served yet: the first week's flow raises the flags after its preflight.

    Example: crossfade start --settings crossfade.toml
    """
    found = settings_for(settings, state)
    plan = found.rollout.model_dump(mode="json")
    rollout = call(
        found, lambda client: client.start(name or found.rollout.name, plan, actor_of(by))
    )
    stages = ", ".join(stage["name"] for stage in rollout["stages"])
    say(as_json, rollout, f"rollout {rollout['name']} ({rollout['id']}) is ready: {stages}")


def approve(
    settings: SettingsOption = None,
    state: StateOption = None,
    comment: Annotated[str, typer.Option("--comment", help="Why it may go on.")] = "",
    tickets: Annotated[
        int, typer.Option("--tickets", min=0, help="Support tickets since the stage began.")
    ] = 0,
    evidence: Annotated[
        str | None,
        typer.Option("--evidence", help="Hash (or its beginning) that you looked at."),
    ] = None,
    code: Annotated[
        bool,
        typer.Option("--code", help="Approve nothing; print the code for Prefect's form."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    by: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Approve the evidence of the stage that waits, and let the next one start.

    The server evaluates anew and refuses when the evidence got worse meanwhile. --code proves in
    Prefect's form that the approver decides, where the plan separates the roles: it is made
    from the approver's token (control.approver_token), and good for this evidence with this
    name (--as) and number of tickets only: fill in the same.

    Example: crossfade approve --comment "quiet week" --tickets 2
    """
    found = settings_for(settings, state)
    waiting, document = call(found, _waiting)
    stage = waiting["stages"][waiting["stage"]]["name"]
    if evidence is not None and not document["hash"].startswith(evidence):
        raise UsageError(
            f"evidence {document['hash'][:12]} waits for approval, not {evidence}; look again"
        )
    if code:
        place = (waiting["id"], waiting["stage"], waiting["attempt"], document["hash"])
        approval = Approval(*place, tickets, name_of(by))
        made = approval_code(found.control, approval)
        if not as_json:
            fill = f"for the form with: who decides {approval.approver} · tickets {tickets}"
            typer.echo(fill, err=True)
        bound = {"approver": approval.approver, "tickets": tickets}
        say(as_json, {"code": made, "evidence_hash": document["hash"], **bound}, made)
        return
    if not yes:
        console().print(measurements_table(document, f"{stage}, evidence {document['hash'][:12]}"))
        _confirm(f"approve {stage} as {name_of(by)}?")
    rollout = call(
        found,
        lambda client: client.command(
            "approve",
            actor=actor_of(by),
            stage=waiting["stage"],
            attempt=waiting["attempt"],
            evidence_hash=document["hash"],
            approver=name_of(by),
            comment=comment,
            tickets=tickets,
        ),
        "approver",
    )
    last = rollout["phase"] == "completed"
    after = "" if last else rollout["stages"][rollout["stage"]]["name"]
    say(as_json, rollout, f"{stage} is approved; " + ("all done" if last else f"{after} may start"))


def reject(
    settings: SettingsOption = None,
    state: StateOption = None,
    comment: Annotated[str, typer.Option("--comment", help="Why it may not go on.")] = "",
    by: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Reject the stage that waits for approval: it is held, and traffic stays as it is.

    Example: crossfade reject --comment "two complaints are open"
    """
    if not comment:
        raise UsageError("--comment: say why it is rejected")
    found = settings_for(settings, state)
    waiting, _ = call(found, _waiting)
    rollout = _command(found, "reject", waiting, by, approver=name_of(by), comment=comment)
    stage = rollout["stages"][rollout["stage"]]["name"]
    say(as_json, rollout, f"{stage} is held; `crossfade resume` starts another attempt")


def rollback(
    settings: SettingsOption = None,
    state: StateOption = None,
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept in the audit log.")] = "",
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", help="A category; may be given several times; default: all."),
    ] = None,
    to: Annotated[
        float, typer.Option("--to", min=0.0, max=99.999, help="Percentage to go down to.")
    ] = 0.0,
    wait_s: Annotated[
        float, typer.Option("--wait", min=0.0, help="Seconds to wait until instances follow.")
    ] = 15.0,
    by: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take subscribers back to WebSocket at once, all or some, and open an incident.

    Accepted is not applied: it waits until every live instance reports the new flags, and
    ends with 1 when some do not in time.

    Example: crossfade rollback --reason "complaints" --scope critical --to 10
    """
    if not reason:
        raise UsageError("--reason: say why it is rolled back")
    found = settings_for(settings, state)
    rollout = call(
        found,
        lambda client: client.command(
            "rollback", actor=actor_of(by), reason=reason, scope=scope or None, to=to
        ),
    )
    began = time.monotonic()
    version, live, behind = call(found, lambda client: _followed(client, wait_s))
    rollout = {**rollout, "flag_version": version, "instances": live, "behind": behind}
    seconds = time.monotonic() - began
    done = f"flags {version} are in force at {live - len(behind)} of {live} live instances"
    say(as_json, rollout, f"{rollout['phase']}: {done} after {seconds:.1f} s")
    if behind:
        raise CrossfadeError(f"still on other flags: {', '.join(behind[:10])}")


def resume(
    settings: SettingsOption = None,
    state: StateOption = None,
    root_cause: Annotated[str, typer.Option("--root-cause", help="What the cause was.")] = "",
    fix: Annotated[str, typer.Option("--fix", help="What was done about it.")] = "",
    by: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Go on after a rollback or a hold, as a new attempt with fresh evidence.

    Example: crossfade resume --root-cause "connection pool too small" --fix "raised to 40"
    """
    missing = [
        name for name, value in (("--root-cause", root_cause), ("--fix", fix)) if not value.strip()
    ]
    if missing:
        raise UsageError(f"{' and '.join(missing)}: must be recorded before it goes on")
    found = settings_for(settings, state)
    current = call(found, current_rollout)
    rollout = _command(found, "resume", current, by, root_cause=root_cause, fix=fix)
    stage = rollout["stages"][rollout["stage"]]["name"]
    say(as_json, rollout, f"{stage} is ready for attempt {rollout['attempt']}")


def cancel(
    settings: SettingsOption = None,
    state: StateOption = None,
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept in the audit log.")] = "",
    by: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a rollout that serves nobody, so that another plan may start.

    Example: crossfade cancel --reason "we plan eight weeks instead"
    """
    if not reason:
        raise UsageError("--reason: say why it is cancelled")
    found = settings_for(settings, state)
    rollout = _command(found, "cancel", call(found, current_rollout), by, reason=reason)
    say(as_json, rollout, f"rollout {rollout['name']} is cancelled")


def _command(
    settings: Settings, verb: str, rollout: Mapping[str, Any], by: str | None, **fields: Any
) -> dict[str, Any]:
    return call(
        settings,
        lambda client: client.command(
            verb,
            actor=actor_of(by),
            stage=rollout["stage"],
            attempt=rollout["attempt"],
            **fields,
        ),
        "approver" if verb in DECISIONS else "operator",
    )


async def _waiting(client: ControlClient) -> tuple[dict[str, Any], dict[str, Any]]:
    """The rollout that waits for approval, and its frozen evidence."""
    rollout = await current_rollout(client)
    if rollout["phase"] != "awaiting_approval":
        stage = rollout["stages"][rollout["stage"]]["name"]
        raise Refused(f"{stage} is {rollout['phase']}; nothing waits for approval")
    decision = await client.decision(rollout["stage"], rollout["attempt"])
    if decision["action"] != "ask_approval":
        raise Refused(f"nothing waits for approval any more: {decision['reason']}")
    return decision["rollout"], decision["evidence"]


async def _followed(client: ControlClient, wait_s: float) -> tuple[int, int, list[str]]:
    """Wait until all live instances follow: the flags' version, how many, and who does not."""
    deadline = time.monotonic() + wait_s
    while True:
        document = await client.status()
        version = document["flags"]["version"]
        live = [one for one in document["instances"] if one["live"]]
        behind = [one["instance"] for one in live if one["flag_version"] != version]
        if not behind or time.monotonic() >= deadline:
            return version, len(live), behind
        await asyncio.sleep(0.1)


def _watch(settings: Settings, as_json: bool) -> int:
    async def run() -> None:
        async with ControlClient(settings.control, role="operator") as client:
            # The first call's error ends the command; later ones are shown and outlived.
            document = await client.status()
            with nullcontext() if as_json else Live(auto_refresh=False, screen=True) as live:
                while True:
                    if live is None:
                        typer.echo(orjson.dumps(document).decode())
                    else:
                        live.update(status_view(document, settings.control.url), refresh=True)
                    await asyncio.sleep(WATCH_S)
                    document = await _next_status(client, live) or document

    try:
        asyncio.run(run())
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


async def _next_status(client: ControlClient, live: Live | None) -> dict[str, Any] | None:
    """The status, or None while the server is away (shown, and outlived)."""
    try:
        return await client.status()
    except ControlDenied:
        raise
    except ControlUnavailable as error:
        if live is not None:
            live.update(f"{error}\nstill trying", refresh=True)
            await asyncio.sleep(WATCH_S)
        return None


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise UsageError("this needs an answer: run it in a terminal or give --yes")
    if not typer.confirm(question):
        raise UsageError("nothing was done")
