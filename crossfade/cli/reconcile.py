"""Commands: reconcile."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Annotated

import orjson
import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from crossfade.cli.options import JsonOption, SettingsOption, StateOption, settings_for
from crossfade.comparison import Progress as Report
from crossfade.core.event import Position
from crossfade.core.gaps import Gap
from crossfade.core.reconciliation import STORES, UNDECIDED, Kind, Reconciliation
from crossfade.core.reconciliation_plan import Range
from crossfade.core.verdict import Verdict
from crossfade.data_docs import page_of, run_folder
from crossfade.errors import CrossfadeError, UsageError
from crossfade.explain import Explanation, explain, row_to_json
from crossfade.gaps import acknowledge
from crossfade.reconcile import Judge
from crossfade.reconcile import reconcile as run_reconciliation
from crossfade.settings import Settings

__all__ = ["register"]

AGREE, DIFFER, UNCHECKED = 0, 1, 2
_PHASES = {
    "outline": "reading what the journal holds",
    "compare": "comparing blocks",
    "recheck": "looking again",
    "seal": "sealing what agrees",
}


def register(app: typer.Typer) -> None:
    """Add this module's commands to ``app``."""
    app.command()(reconcile)


def reconcile(
    settings: SettingsOption = None,
    state: StateOption = None,
    full: Annotated[
        bool,
        typer.Option("--full", help="Compare sealed blocks as well: everything ever published."),
    ] = False,
    content: Annotated[
        bool,
        typer.Option("--content", help="Hash the content of everything anew in every store. Slow."),
    ] = False,
    store: Annotated[
        list[str] | None,
        typer.Option(
            "--store", help="Compare the journal with this store only (websocket, supabase)."
        ),
    ] = None,
    category: Annotated[
        list[str] | None, typer.Option("--category", help="Only events of this category.")
    ] = None,
    span: Annotated[
        list[str] | None,
        typer.Option(
            "--range",
            metavar="POSITION-LAST",
            help="Only these events: source/epoch/topic/partition/first-last.",
        ),
    ] = None,
    position: Annotated[
        str | None,
        typer.Option(
            "--explain",
            metavar="POSITION",
            help="Show one event side by side in all stores; "
            "POSITION is source/epoch/topic/partition/sequence.",
        ),
    ] = None,
    gap: Annotated[
        str | None,
        typer.Option(
            "--acknowledge-gap",
            metavar="POSITION-LAST",
            help="Accept what the tap could not see of this range; needs --by and --reason.",
        ),
    ] = None,
    journal: Annotated[
        str | None,
        typer.Option(
            "--journal",
            metavar="URL",
            help="Compare the journals exported there (`crossfade journal export`) "
            "instead of the local one.",
        ),
    ] = None,
    docs: Annotated[
        bool,
        typer.Option(
            "--docs",
            help="Judge the result by the suites of expectations as well, and keep Great "
            "Expectations' pages of them in `reconcile.docs`.",
        ),
    ] = False,
    by: Annotated[str, typer.Option(help="Who accepts a gap.")] = "",
    reason: Annotated[str, typer.Option(help="Why a gap is accepted.")] = "",
    json: JsonOption = False,
) -> None:
    """Hold journal, WebSocket and Supabase against each other, event by event.

    Names every event that one of them lacks, doubles or holds otherwise. Exit status: 0 they
    agree, 1 they differ, 2 it could not be checked.

    Example: crossfade reconcile --full --category critical --json
    """
    ranges = tuple(Range.parse(one) for one in span or ())
    options = {"reconcile": {"journals": journal}} if journal is not None else None
    chosen = settings_for(settings, state, options)
    if position is not None:
        raise typer.Exit(_explain(chosen, Position.parse(position), json))
    if gap is not None:
        raise typer.Exit(_acknowledge(chosen, Range.parse(gap), by, reason, json))
    judge = _judge(chosen) if docs else None
    with _progress(quiet=json) as report:
        result = run_reconciliation(
            chosen,
            full=full,
            content=content,
            ranges=ranges,
            stores=tuple(store) if store else STORES,
            categories=tuple(category) if category else None,
            judge=judge,
            progress=report,
        )
    if json:
        _write_json(result.to_json())
    else:
        _show(result, Console())
        if docs:
            _show_docs(result, chosen)
    raise typer.Exit(_status(result))


def _judge(settings: Settings) -> Judge:
    """The suites, which are a user's to extend: nothing of the library knows them.

    Raises:
        UsageError: no folder is named for the pages, or the suites can not be imported.
    """
    folder = settings.reconcile.docs
    if folder is None:
        raise UsageError("--docs: reconcile.docs names no folder for the pages")
    try:
        suites = import_module("expectations")
    except ImportError as error:
        raise UsageError(
            f"--docs: the suites need the extra: pip install 'crossfade[operate]' ({error})"
        ) from error
    return partial(suites.validate, docs=folder)


def _show_docs(result: Reconciliation, settings: Settings) -> None:
    for suite in result.suites:
        held = suite.expectations - len(suite.failed)
        sys.stdout.write(
            f"suite {suite.suite}: {suite.verdict.value}, {held} of {suite.expectations} "
            "expectations hold\n"
        )
        for line in suite.failed:
            sys.stdout.write(f"  {line}\n")
    folder = settings.reconcile.docs
    if folder is not None and (served := page_of(folder, result.at_us)) is not None:
        sys.stdout.write(f"pages: {run_folder(folder, result.at_us) / 'index.html'}\n")
        sys.stdout.write(f"served at {settings.control.url.rstrip('/')}{served}\n")


def _acknowledge(settings: Settings, asked: Range, by: str, reason: str, json: bool) -> int:
    has_server = bool(settings.control.operator_token.get_secret_value())
    tell = partial(_tell, settings) if has_server else None
    gaps = acknowledge(settings, asked, by=by, reason=reason, tell=tell)
    found = [gap.to_json() for gap in gaps]
    if not has_server:
        sys.stderr.write(
            "crossfade: control.operator_token is not set, so the control server was not told; "
            "its audit has it with the first result that it is sent\n"
        )
    if json:
        _write_json(found)
    else:
        for one in found:
            sys.stdout.write(f"accepted {one['range']}: {one['reason']} ({one['by']})\n")
    return AGREE


def _tell(settings: Settings, gaps: Sequence[Gap]) -> None:
    """Put the gaps into the audit.

    Raises:
        UsageError: the control server did not take them.
    """
    # Imported here: a check needs no control server, and this takes longer than a check.
    from crossfade.cli.calls import call

    try:
        call(settings, lambda client: client.accept_gaps([one.to_json() for one in gaps]))
    except CrossfadeError as error:
        raise UsageError(f"nothing was accepted: {error}") from error


def _status(result: Reconciliation) -> int:
    if result.verdict is Verdict.FAIL or (
        result.verdict is Verdict.PASS and result.discrepancy_count
    ):
        return DIFFER
    return AGREE if result.verdict is Verdict.PASS else UNCHECKED


def _show(result: Reconciliation, console: Console) -> None:
    if result.stores:
        console.print(_stores_table(result))
    for name, text in result.errors.items():
        console.print(f"{name}: {text}", style="red", markup=False, soft_wrap=True)
    for one in result.discrepancies:
        console.print(
            f"{one.kind.value.replace('_', ' ')} in {one.store}: {one.position}  {one.type}  "
            f"[{one.severity}] {one.detail}",
            style="red" if one.severity == "critical" else "yellow",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    for gap in result.gaps:
        said = gap.to_json()
        console.print(
            f"not seen by the tap, accepted by {said['by']}: {said['range']}  {said['reason']}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    more = result.discrepancy_count - len(result.discrepancies)
    if more > 0:
        console.print(f"… and {more:,} more")
    blocks = result.blocks
    console.print(
        f"{result.verdict.value.upper()}: {result.checked_events:,} events in {blocks.checked:,} "
        f"blocks compared in {result.duration_ms / 1000:.2f} s, {blocks.differing:,} blocks "
        f"differ, {blocks.sealed:,} sealed, {result.discrepancy_count:,} discrepancies",
        style="green" if _status(result) == AGREE else "bold",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _stores_table(result: Reconciliation) -> Table:
    """A row per store; of the kinds of discrepancy only those that occur, to fit 80 columns."""
    found = [
        kind.value
        for kind in Kind
        if any(getattr(count, kind.value) for count in result.stores.values())
    ]
    if any(count.accepted for count in result.stores.values()):
        found.append("accepted")
    columns = ["expected", "present", *found, "in_flight"]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("store")
    for name in columns:
        table.add_column(name.replace("_", " "), justify="right")
    for store, count in result.stores.items():
        live = store == "realtime"
        cells = []
        for name in columns:
            value = int(getattr(count, name))
            wrong = name in found and name != "accepted" and value and not live
            cells.append(Text(f"{value:,}", style="red" if wrong else ""))
        table.add_row("realtime (live)" if live else store, *cells)
    return table


def _explain(settings: Settings, position: Position, json: bool) -> int:
    found = explain(settings, position)
    if json:
        _write_json(found.to_json())
    else:
        _show_explanation(found, Console())
    if any(one.kind not in UNDECIDED for one in found.discrepancies):
        return DIFFER
    return AGREE if found.is_judged and not found.discrepancies else UNCHECKED


def _show_explanation(found: Explanation, console: Console) -> None:
    table = Table(title=_plain(found.position), title_justify="left", show_lines=True)
    table.add_column("")
    columns = [
        (store if not index else f"{store}, again", row_to_json(row))
        for store, rows in found.rows.items()
        for index, row in enumerate(rows)
    ]
    for name, _ in columns:
        table.add_column(name, overflow="fold")
    for field in columns[0][1] if columns else ():
        values = (row[field] for _, row in columns)
        table.add_row(field.replace("_", " "), *(_plain(value) for value in values))
    if columns:
        console.print(table)
    for store, rows in found.rows.items():
        if not rows:
            console.print(f"{store}: does not hold it", markup=False, highlight=False)
    for name, text in found.errors.items():
        console.print(f"{name}: {text}", style="red", markup=False, soft_wrap=True)
    for note in found.notes:
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    for one in found.discrepancies:
        console.print(
            f"{one.kind.value.replace('_', ' ')} in {one.store}: {one.detail}",
            style="red",
            markup=False,
            soft_wrap=True,
        )
    if found.is_judged and not found.discrepancies:
        console.print("no discrepancy", style="green")


def _plain(value: object) -> Text:
    """A cell as it is: no markup, and nothing that a terminal would obey."""
    text = "–" if value is None else str(value)
    return Text("".join(one if one.isprintable() else "\ufffd" for one in text))


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Report | None]:
    """A bar on standard error when that is a terminal."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield None
        return
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=console,
        transient=True,
    )
    with bar:
        task = bar.add_task("")

        def report(phase: str, done: int, total: int) -> None:
            bar.update(task, description=_PHASES.get(phase, phase), completed=done, total=total)

        yield report


def _write_json(value: object) -> None:
    sys.stdout.buffer.write(orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE))
