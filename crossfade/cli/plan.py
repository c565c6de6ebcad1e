"""Command: plan."""

import sys
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.table import Table

from crossfade.adapters.control import ControlClient
from crossfade.cli.calls import call, console, print_json
from crossfade.cli.options import JsonOption, SettingsOption, StateOption, settings_for
from crossfade.core.evidence import describe
from crossfade.core.rehearsal import NOT_REHEARSED, StageRehearsal, rehearse
from crossfade.core.rollout import Plan
from crossfade.core.rollout.outlook import duration_s, questions, warnings
from crossfade.core.telemetry_totals import Window
from crossfade.core.verdict import Verdict
from crossfade.errors import SettingsError, UsageError
from crossfade.settings import RolloutSettings, Settings

__all__ = ["register"]

_MOST_WINDOWS = 100_000
_PAGE = 10_000
_DAY_S = 86_400.0


def register(app: typer.Typer) -> None:
    """Add this module's command to ``app``."""
    app.command()(plan)


def plan(
    settings: SettingsOption = None,
    state: StateOption = None,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset", help="three-weeks, eight-weeks, slow or big-bang, not the settings' stages."
        ),
    ] = None,
    simulate: Annotated[
        bool,
        typer.Option("--simulate", help="Rehearse it against the control server's telemetry."),
    ] = False,
    telemetry: Annotated[
        Path | None,
        typer.Option("--telemetry", help="Rehearse it against this file of telemetry windows."),
    ] = None,
    deployments: Annotated[
        bool,
        typer.Option(
            "--deployments",
            help="Print its prefect.yaml: a deployment for each stage, and the rest.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the plan: its stages, what each gate will ask, and what is unwise about it.

    With --simulate or --telemetry also what each stage would have concluded from recorded
    telemetry; ends with 1 when one would have been taken back. With --deployments instead the
    file that `prefect deploy --all` takes.

    Example: crossfade plan --preset eight-weeks --simulate
    """
    found = settings_for(settings, state)
    chosen = found.rollout if preset is None else _preset(found.rollout, preset)
    what = chosen.plan(found.topics)
    if deployments:
        if telemetry is not None or simulate:
            raise UsageError("--deployments: not together with a rehearsal")
        _print_deployments(found, what, as_json)
        return
    rehearsed: list[StageRehearsal] | None = None
    if telemetry is not None or simulate:
        windows = call(found, _recorded) if telemetry is None else _read(telemetry)
        if not windows:
            raise UsageError("no telemetry was recorded yet; there is nothing to rehearse against")
        rehearsed = rehearse(what, windows)
    if as_json:
        print_json(_document(what, rehearsed))
    else:
        _show(what, rehearsed)
    if rehearsed is not None and any(one.verdict is Verdict.FAIL for one in rehearsed):
        raise typer.Exit(1)


def _print_deployments(found: Settings, what: Plan, as_json: bool) -> None:
    try:
        from crossfade.deployments import deployment_document, document_text, intervals_of, read
        from crossfade.local.prefect import prefect_file
    except ModuleNotFoundError as error:
        raise UsageError(
            f"--deployments needs {error.name}: pip install crossfade[operate]"
        ) from error
    known = read(prefect_file())
    document = deployment_document(known, what, found.prefect.work_pool, intervals_of(found))
    if as_json:
        print_json(document["deployments"])
    else:
        # As it is: rich would wrap the lines of a file.
        typer.echo(document_text(document), nl=False)


def _preset(known: RolloutSettings, name: str) -> RolloutSettings:
    rest = known.model_dump(mode="json", exclude={"stages", "preset"})
    try:
        return RolloutSettings.model_validate({**rest, "preset": name})
    except ValueError as error:
        raise SettingsError([f"--preset: {_first(error)}"]) from error


def _first(error: ValueError) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line for line in lines if line.startswith("Value error, ")]
    return (told or lines)[0].removeprefix("Value error, ").partition(" [type=")[0]


async def _recorded(client: ControlClient) -> list[Window]:
    found: list[Window] = []
    while len(found) < _MOST_WINDOWS:
        rows = await client.telemetry(found[-1].to_us if found else 0, _PAGE)
        found += [Window.from_json(row) for row in rows]
        if len(rows) < _PAGE:
            break
    return found


def _read(path: Path) -> list[Window]:
    try:
        raw = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
        rows = orjson.loads(raw)
        found = [Window.from_json(row) for row in rows]
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{path}: not a list of telemetry windows as GET /v1/telemetry answers: {error}"
        ) from error
    if len(found) > _MOST_WINDOWS:
        raise UsageError(f"{path}: {len(found):,} windows, at most {_MOST_WINDOWS:,} are read")
    return sorted(found, key=lambda one: one.from_us)


def _document(what: Plan, rehearsed: list[StageRehearsal] | None) -> dict[str, Any]:
    stages = what.to_json()["stages"]
    for number, one in enumerate(stages):
        one["asks"] = {each.name: each.passes for each in questions(what, number)}
    rest = {key: value for key, value in what.to_json().items() if key != "stages"}
    return {
        **rest,
        "stages": stages,
        "duration_s": duration_s(what),
        "warnings": list(warnings(what)),
        "rehearsal": None if rehearsed is None else [one.to_json() for one in rehearsed],
    }


def _show(what: Plan, rehearsed: list[StageRehearsal] | None) -> None:
    out = console()
    table = Table(box=None, pad_edge=False, header_style="dim")
    figures = ("stage", "served, %", "written, %", "ramp, %", "held, s", "soak, days")
    for name in (*figures, "started by", "let on by"):
        table.add_column(name)
    for stage in what.stages:
        table.add_row(
            stage.name,
            _shares(stage.percent),
            _shares(stage.written) or "as served",
            ", ".join(f"{step:g}" for step in stage.ramp) or "at once",
            f"{stage.hold_s:g}" if stage.ramp else "-",
            f"{stage.soak_s / _DAY_S:g}",
            stage.start,
            stage.promote,
        )
    out.print(table)
    days = duration_s(what) / _DAY_S
    out.print(
        f"\nAt least {days:.4g} days; WebSocket then runs on for {what.reverse_s / _DAY_S:g} more "
        "after the cut-over."
    )
    shown: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for number, stage in enumerate(what.stages):
        asks = tuple((one.name, one.passes) for one in questions(what, number))
        shown.setdefault(asks, []).append(stage.name)
    for asks, names in shown.items():
        out.print(f"\nWhat {', '.join(names)} will be asked", style="bold")
        grid = Table(box=None, pad_edge=False, show_header=False)
        for name, passes in asks:
            grid.add_row(name, passes)
        out.print(grid)
    for warning in warnings(what):
        out.print(f"warning: {warning}", style="yellow")
    for one in rehearsed or ():
        _show_rehearsal(one)
    if rehearsed is not None:
        out.print(f"\nA recording can not tell: {', '.join(NOT_REHEARSED)}.", style="dim")


def _shares(shares: Any) -> str:
    return ", ".join(f"{key} {share:g}" for key, share in shares.items())


def _show_rehearsal(one: StageRehearsal) -> None:
    out = console()
    out.print(f"\n{one.stage} over the recording: {one.verdict.value}", style="bold")
    if one.breach is not None:
        out.print(f"  taken back after {one.breach_after_s:.0f} s: {one.breach}")
    if one.enough_after_s is not None:
        out.print(f"  enough evidence after {one.enough_after_s:.0f} s")
    out.print(f"  at this rate its soak brings {one.events_by_soak_end:,} events")
    for measured in one.measurements:
        if measured.verdict is not Verdict.PASS:
            out.print(f"  {measured.verdict.value}: {describe(measured)}")
