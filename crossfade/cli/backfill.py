"""Command: backfill."""

import sys
from typing import Annotated

import typer

from crossfade.backfill import Backfill
from crossfade.backfill import backfill as run_backfill
from crossfade.cli.bar import progress
from crossfade.cli.calls import print_json
from crossfade.cli.options import JsonOption, SettingsOption, StateOption, settings_for
from crossfade.core.event import Stream
from crossfade.core.reconciliation_plan import Range
from crossfade.errors import JournalError, StoreError, UsageError

__all__ = ["register"]

COMPLETE, LACKING = 0, 1


def register(app: typer.Typer) -> None:
    """Add this module's command to ``app``."""
    app.command()(backfill)


def backfill(
    settings: SettingsOption = None,
    state: StateOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be copied.")
    ] = False,
    everything: Annotated[
        bool,
        typer.Option(
            "--everything", help="All that the journal holds, not only what the rollout owes."
        ),
    ] = False,
    stream: Annotated[
        list[str] | None,
        typer.Option(
            "--stream",
            metavar="STREAM",
            help="Only this one: source/epoch/topic/partition (repeatable).",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Copy from the journal what Supabase is owed and lacks, and look again.

    Nothing is overwritten or deleted: what the table holds otherwise, what is damaged in the
    journal, and what the table refuses is listed for a person. Harmless to repeat, and beside
    the relay. Exit status: 0 the table holds what it must, 1 something lacks or waits for a
    person, 2 it could not be done.

    Example: crossfade backfill --dry-run
    """
    chosen = settings_for(settings, state)
    streams = {_stream(one) for one in stream} if stream else None
    with progress(quiet=as_json) as report:
        try:
            result = run_backfill(
                chosen, dry_run=dry_run, everything=everything, streams=streams, progress=report
            )
        except (StoreError, JournalError) as error:
            raise UsageError(str(error)) from error
    if as_json:
        print_json(result.to_json())
    else:
        _show(result)
    raise typer.Exit(COMPLETE if result.is_complete else LACKING)


def _stream(text: str) -> Stream:
    try:
        return Range.parse(f"{text}/1-1").stream
    except UsageError:
        raise UsageError(f"--stream: {text!r} is not source/epoch/topic/partition") from None


def _show(result: Backfill) -> None:
    for one in result.parked:
        sys.stdout.write(f"for a person: {one}\n")
    more = result.parked_count - len(result.parked)
    if more > 0:
        sys.stdout.write(f"… and {more:,} more\n")
    copied = (
        f"{result.lacking:,} lacking, nothing was copied (dry run)"
        if result.dry_run
        else f"{result.lacking:,} lacking, {result.inserted:,} copied, {result.skipped:,} had come "
        f"meanwhile, {result.left:,} still lacking"
    )
    sys.stdout.write(
        f"{result.checked_events:,} events compared in {result.duration_ms / 1_000:.2f} s: "
        f"{copied}, {result.parked_count:,} for a person\n"
    )
