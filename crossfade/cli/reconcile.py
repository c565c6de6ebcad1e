"""Commands: reconcile."""

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Annotated

import orjson
import typer

from crossfade.cli.bar import progress
from crossfade.cli.options import JsonOption, SettingsOption, StateOption, settings_for
from crossfade.core.event import Position
from crossfade.core.gaps import Gap
from crossfade.core.reconciliation import STORES, UNDECIDED, Reconciliation
from crossfade.core.reconciliation_plan import Range
from crossfade.core.verdict import Verdict
from crossfade.errors import CrossfadeError, UsageError
from crossfade.explain import explain
from crossfade.gaps import acknowledge
from crossfade.reconcile import Judge
from crossfade.reconcile import reconcile as run_reconciliation
from crossfade.settings import Settings

__all__ = ["register"]

AGREE, DIFFER, UNCHECKED = 0, 1, 2


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
    compares = {
        "--full": full, "--content": content, "--store": store, "--category": category,
        "--range": span, "--docs": docs,
    }  # fmt: skip
    _alone("--explain", position, {**compares, "--acknowledge-gap": gap})
    _alone("--acknowledge-gap", gap, compares)
    if (by or reason) and gap is None:
        raise UsageError("--by and --reason are for --acknowledge-gap")
    ranges = tuple(Range.parse(one) for one in span or ())
    options = {"reconcile": {"journals": journal}} if journal is not None else None
    chosen = settings_for(settings, state, options)
    if position is not None:
        raise typer.Exit(_explain(chosen, Position.parse(position), json))
    if gap is not None:
        raise typer.Exit(_acknowledge(chosen, Range.parse(gap), by, reason, json))
    judge = _judge(chosen) if docs else None
    with progress(quiet=json) as report:
        result = run_reconciliation(
            chosen,
            full=full,
            content=content,
            scrub=None if full else chosen.reconcile.scrub_on_demand,
            ranges=ranges,
            stores=tuple(store) if store else STORES,
            categories=tuple(category) if category else None,
            judge=judge,
            progress=report,
        )
    if json:
        _write_json(result.to_json())
    else:
        from crossfade.cli.reconcile_view import show, show_docs

        show(result, agree=_status(result) == AGREE)
        if docs:
            show_docs(result, chosen)
    raise typer.Exit(_status(result))


def _alone(option: str, value: str | None, others: Mapping[str, object]) -> None:
    """Refuse what another option would silently leave undone."""
    given = [name for name, other in others.items() if other]
    if value is not None and given:
        raise UsageError(f"{option} goes without {', '.join(given)}")


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


def _explain(settings: Settings, position: Position, json: bool) -> int:
    found = explain(settings, position)
    if json:
        _write_json(found.to_json())
    else:
        from crossfade.cli.reconcile_view import show_explanation

        show_explanation(found)
    if any(one.kind not in UNDECIDED for one in found.discrepancies):
        return DIFFER
    return AGREE if found.is_judged and not found.discrepancies else UNCHECKED


def _write_json(value: object) -> None:
    sys.stdout.buffer.write(orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE))
