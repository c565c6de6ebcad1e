"""Commands: parked, unpark."""

import time
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from crossfade.adapters.journal_reader import JournalReader, Parked
from crossfade.adapters.requests import RequestFolder
from crossfade.cli.calls import print_json, say
from crossfade.cli.options import JsonOption, SettingsOption, StateOption, settings_for
from crossfade.core.event import Position, format_time
from crossfade.errors import InvalidEvent, UsageError
from crossfade.settings import Settings

__all__ = ["register"]

_SINKS = ("application", "websocket", "supabase")
_STEP_S = 0.2

SinkOption = Annotated[
    str | None, typer.Option("--sink", help="Only of this sink: application, websocket, supabase.")
]


def register(app: typer.Typer) -> None:
    """Add this module's commands to ``app``."""
    app.command()(parked)
    app.command()(unpark)


def parked(
    sink: SinkOption = None,
    settings: SettingsOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the events that a sink refused for good, and why; and the table's dead letters.

    They are in the journal all the same. Dead letters are what Supabase did not take because it
    holds something else at that position or with that id; `crossfade reconcile` names them too.

    Exit status 1 when there are any.

    Example: crossfade parked --sink supabase --json
    """
    found = settings_for(settings, state)
    rows = _rows(found, sink)
    letters = _dead_letters(found) if sink in (None, "supabase") else []
    if as_json:
        print_json({"parked": [_document(row) for row in rows], "dead_letters": letters})
    elif not rows and not letters:
        typer.echo("nothing is parked")
    else:
        Console().print(_table(rows, letters))
    raise typer.Exit(1 if rows or letters else 0)


def unpark(
    positions: Annotated[
        list[str] | None,
        typer.Argument(help="Positions as `crossfade parked` shows them: app/1/critical/3/17."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Everything that is parked.")] = False,
    sink: SinkOption = None,
    wait_s: Annotated[
        float, typer.Option("--wait", min=0, help="Longest wait for the sink's answer, seconds.")
    ] = 10.0,
    settings: SettingsOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give parked events to their sink once more, after its fault was mended.

    The journal's publisher does it: at once if it runs, else when the next one starts. What the
    sink refuses again is parked again. Exit status 1 when something still is.

    Example: crossfade unpark --all --sink supabase
    """
    if bool(positions) == every:
        raise UsageError("unpark: name positions, or give --all")
    found = settings_for(settings, state)
    rows = _rows(found, sink)
    wanted = _wanted(rows, positions)
    if not wanted:
        say(as_json, {"given": 0, "taken": 0, "parked": []}, "nothing is parked")
        return
    folder = RequestFolder(found.journal.path)
    name = folder.put({"sink": sink, "positions": sorted({str(row.position) for row in wanted})})
    until = time.monotonic() + wait_s
    answer = folder.answered(name)
    while answer is None and time.monotonic() < until:
        time.sleep(_STEP_S)
        answer = folder.answered(name)
    if answer is None:
        say(
            as_json,
            {"given": None, "taken": 0, "parked": [_document(row) for row in wanted]},
            f"no publisher answered within {wait_s:g} s: {len(wanted)} events will be given "
            "when the next one starts",
        )
        raise typer.Exit(1)
    left = _settled(found, sink, wanted, answer, until)
    given = len(answer.get("given", ()))
    taken = len(wanted) - len(left)
    say(
        as_json,
        {**answer, "given": given, "taken": taken, "parked": [_document(row) for row in left]},
        f"given again: {given}; taken: {taken}; still parked: {len(left)}",
    )
    for row in left if not as_json else ():
        typer.echo(f"  {row.sink}  {row.position}  {_why(row, answer)}")
    raise typer.Exit(1 if left else 0)


def _rows(settings: Settings, sink: str | None) -> list[Parked]:
    if sink is not None and sink not in _SINKS:
        raise UsageError(f"--sink {sink}: must be one of {', '.join(_SINKS)}")
    if not settings.journal.path.is_file():
        raise UsageError(f"{settings.journal.path}: there is no journal (journal.path)")
    with JournalReader(settings.journal.path) as reader:
        return [row for row in reader.parked() if sink in (None, row.sink)]


def _wanted(rows: list[Parked], positions: list[str] | None) -> list[Parked]:
    if positions is None:
        return rows
    try:
        asked = {Position.parse(text) for text in positions}
    except InvalidEvent as error:
        raise UsageError(f"unpark: {error}") from error
    unknown = asked - {row.position for row in rows}
    if unknown:
        raise UsageError(f"unpark: not parked: {', '.join(sorted(map(str, unknown)))}")
    return [row for row in rows if row.position in asked]


def _settled(
    settings: Settings,
    sink: str | None,
    wanted: list[Parked],
    answer: dict[str, Any],
    until: float,
) -> list[Parked]:
    """Wait until each that was given was taken or refused anew; answers what is still parked."""
    before = {(row.sink, row.position): row.at_us for row in wanted}
    given = answer.get("given", [])
    while True:
        rows = [row for row in _rows(settings, sink) if (row.sink, row.position) in before]
        open_ones = [
            row
            for row in rows
            if row.at_us == before[row.sink, row.position]
            and [row.sink, str(row.position)] in given
        ]
        if not open_ones or time.monotonic() >= until:
            return rows
        time.sleep(_STEP_S)


def _why(row: Parked, answer: dict[str, Any]) -> str:
    place = [row.sink, str(row.position)]
    if place in answer.get("gone", ()):
        return "its content is not in the journal any more"
    if place in answer.get("no_relay", ()):
        return "the publisher does not serve this sink"
    return row.reason


def _document(row: Parked) -> dict[str, Any]:
    return {
        "sink": row.sink,
        "position": str(row.position),
        "reason": row.reason,
        "at": format_time(row.at_us),
    }


def _dead_letters(settings: Settings) -> list[dict[str, Any]]:
    """The newest of the table's; none where its database is not in the settings."""
    url = settings.supabase.database_url.get_secret_value()
    if not url:
        return []
    from crossfade.adapters.dead_letters import dead_letters

    return dead_letters(url)


def _table(rows: list[Parked], letters: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("what", "position", "since", "reason"):
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(row.sink, str(row.position), format_time(row.at_us), row.reason)
    for one in letters:
        table.add_row("dead letter", one["position"], one["at"], one["reason"])
    return table
