"""Commands: up, demo."""

import asyncio
import os
import signal
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from crossfade.cli.options import SettingsOption
from crossfade.core.plans import plan_named
from crossfade.errors import StackError, UsageError
from crossfade.local.demo_options import (
    FEWEST_EVENTS,
    Approve,
    DemoOptions,
    Sabotage,
    flights_file,
)
from crossfade.settings import load_settings

__all__ = ["register", "run_interruptibly"]

INTERRUPTED = 130


def register(app: typer.Typer) -> None:
    """Add this module's commands to ``app``."""
    app.command()(up)
    app.command()(demo)


def _port(name: str) -> Any:
    return typer.Option(f"--{name}-port", min=0, max=65_535, help=f"Port of {name}; 0: a free one.")


def up(
    settings: SettingsOption = None,
    state: Annotated[
        Path | None,
        typer.Option("--state", help="Folder for everything of the stack (default .crossfade)."),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option("--without", help="A service to leave out; may be given several times."),
    ] = None,
    plan: Annotated[
        str | None,
        typer.Option(
            "--plan",
            help="Keep the quota of a Supabase plan (free, pro, team …): relay.plan. "
            "The stand-in holds its clients to it.",
        ),
    ] = None,
    postgres_port: Annotated[int | None, _port("postgres")] = None,
    supabase_port: Annotated[int | None, _port("supabase")] = None,
    hub_port: Annotated[int | None, _port("hub")] = None,
    control_port: Annotated[int | None, _port("control")] = None,
    prefect_port: Annotated[int | None, _port("prefect")] = None,
) -> None:
    """Start the embedded stack and run it until Ctrl-C.

    PostgreSQL with the Supabase stand-in, the legacy WebSocket hub, the tap, the control
    server, Prefect with a worker and every deployment. With SUPABASE_URL, SUPABASE_ANON_KEY and
    SUPABASE_SERVICE_ROLE_KEY set, that project is used instead of the stand-in.
    """
    if plan is not None:
        plan_named(plan)  # refused here, with one line, and not by each service
    base = load_settings(
        settings,
        os.environ,
        {
            "relay": {"plan": plan},
            "stack": {
                "state": None if state is None else str(state),
                "postgres_port": postgres_port,
                "supabase_port": supabase_port,
                "hub_port": hub_port,
                "control_port": control_port,
                "prefect_port": prefect_port,
            },
        },
    )
    raise typer.Exit(run_interruptibly(_run_stack(base, frozenset(without or ()), Console())))


def demo(
    approve: Annotated[
        str, typer.Option("--approve", help="auto, or ui: wait for a person in Prefect's page.")
    ] = "auto",
    without_outage: Annotated[
        bool, typer.Option("--without-outage", help="Supabase stays up in week 2.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", help="Chooses cohort, keys, sabotaged event.")] = 1,
    report: Annotated[
        Path | None, typer.Option("--report", help="Write the report as JSON.")
    ] = None,
    rate: Annotated[
        float, typer.Option("--rate", min=1, max=5_000, help="Events a second during the weeks.")
    ] = 120.0,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=FEWEST_EVENTS, help="Only so many events of the input."),
    ] = None,
    soak: Annotated[
        float, typer.Option("--soak", min=1, max=600, help="Seconds that each week soaks.")
    ] = 6.0,
    sabotage: Annotated[
        list[str] | None,
        typer.Option(
            "--sabotage",
            help="Break something: drop-in-relay, alter-row or double-in-subscriber (repeatable). "
            "The demo must fail and name each event.",
        ),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the state folder in place.")] = False,
    weeks: Annotated[int, typer.Option("--weeks", hidden=True)] = 3,
) -> None:
    """Migrate a week of real flight events, with an outage, and prove that nothing was lost.

    Starts a stack of its own in a temporary folder (a Supabase project in the environment has
    no part in it), replays the flights to five subscribers, runs the three rollout weeks
    with soaks of seconds, kills Supabase in week 2, and checks every store and subscriber.
    """
    raise typer.Exit(
        run_interruptibly(
            _run_demo(
                {
                    "approve": approve,
                    "outage": not without_outage,
                    "seed": seed,
                    "report": report,
                    "rate": rate,
                    "limit": limit,
                    "soak_s": soak,
                    "sabotage": sabotage or [],
                    "keep": keep,
                    "weeks": weeks,
                }
            )
        )
    )


def _member(kind: Any, option: str, value: str) -> Any:
    names = [member.value for member in kind]
    if value not in names:
        raise UsageError(f"{option} {value}: must be one of {', '.join(names)}")
    return kind(value)


async def _run_demo(chosen: dict[str, Any]) -> int:
    from crossfade.local.demo import run_demo
    from crossfade.local.demo_summary import print_summary

    outage_s = 8.0 if chosen.pop("outage") else 0.0
    options = DemoOptions(
        events=flights_file(),
        outage_s=outage_s,
        approve=_member(Approve, "--approve", chosen.pop("approve")),
        sabotage=tuple(_member(Sabotage, "--sabotage", one) for one in chosen.pop("sabotage")),
        **chosen,
    )
    console = Console()
    report = await run_demo(options, console)
    if options.report is not None:
        report.write(options.report)
    print_summary(report, console)
    return 0 if report.proven else 1


async def _run_stack(base: Any, without: frozenset[str], console: Console) -> int:
    # Imported here: they cost every other command half a second.
    from crossfade.local.stack import Stack
    from crossfade.local.status_table import StatusDisplay, status_table

    display = StatusDisplay(console)
    stack = Stack(base, base.stack.state, without=without, on_change=display.change)
    began = time.monotonic()
    with display:
        await stack.__aenter__()
    try:
        console.print(status_table(stack.supervisor.statuses, time.monotonic()))
        console.print(
            f"\nready after {time.monotonic() - began:.1f} s; everything is in "
            f"{stack.paths.state}; Ctrl-C ends it\n"
            f"Prefect's page asks for a password: tokens.prefect in {stack.paths.description}\n"
            "links that open the pages, what the suites of expectations said among them: "
            f"crossfade pages --state {stack.paths.state}",
            highlight=False,
            soft_wrap=True,
        )
        name = await stack.supervisor.death()
        status = next(one for one in stack.supervisor.statuses if one.name == name)
        console.print(status_table(stack.supervisor.statuses, time.monotonic()))
        raise StackError(status.note)
    finally:
        await stack.__aexit__(None, None, None)


def run_interruptibly(work: Coroutine[Any, Any, int]) -> int:
    """Run ``work``; SIGINT or SIGTERM cancels it, so that it can clean up, and gives 130.

    A second signal ends this process at once (the guardian then ends its children).
    """

    async def guarded() -> int:
        task = asyncio.ensure_future(work)
        interrupted = False

        def interrupt() -> None:
            nonlocal interrupted
            if interrupted:
                os._exit(INTERRUPTED)
            interrupted = True
            task.cancel()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, interrupt)
        try:
            return await task
        except asyncio.CancelledError:
            if not interrupted:
                raise
            return INTERRUPTED

    return asyncio.run(guarded())
