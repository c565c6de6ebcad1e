"""Commands: journal export."""

import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from crossfade.adapters.clock import SystemClock
from crossfade.cli.calls import say
from crossfade.cli.options import JsonOption, SettingsOption, StateOption, settings_for
from crossfade.errors import JournalLocked, JournalTooNew, JournalUnavailable, UsageError
from crossfade.settings import Settings

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add this module's commands to ``app``."""
    group = typer.Typer(help="The publisher's journal.", no_args_is_help=True)
    group.callback()(lambda: None)
    group.command("export")(export)
    app.add_typer(group, name="journal")


def export(
    url: Annotated[
        str | None,
        typer.Argument(help="A folder, or an fsspec URL (s3://bucket/prefix); default: export.url"),
    ] = None,
    settings: SettingsOption = None,
    state: StateOption = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Again every export.every_s, until Ctrl-C.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Export what is new in the journal, so that another host can reconcile it.

    Run it on each publisher's host, from cron or with --watch; the publisher goes on meanwhile.
    `crossfade reconcile --journal URL` then compares every journal found there. Exit status: 0
    exported, 1 the journal or the location can not be used, 2 it can not be done as asked.

    Example: crossfade journal export s3://backups/journals --watch
    """
    found = settings_for(settings, state)
    place = url or found.export.url
    if not place:
        raise UsageError("nowhere to export to: give a URL, or set export.url")
    while True:
        try:
            _export_once(found, place, as_json)
        except (JournalLocked, JournalTooNew):
            raise
        except JournalUnavailable as error:
            if not watch:
                raise
            # The location or the journal may come back; what is missing is written then.
            typer.echo(f"crossfade: {error}; trying again", err=True)
        if not watch:
            return
        time.sleep(found.export.every_s)


def _export_once(settings: Settings, url: str, as_json: bool) -> None:
    try:
        from crossfade.adapters.export import Location, export_journal
    except ImportError as error:
        raise UsageError(
            f"exporting needs the extra: pip install 'crossfade[export]' ({error})"
        ) from error
    bar = Progress(
        TextColumn("exporting"),
        BarColumn(),
        MofNCompleteColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=as_json or not sys.stderr.isatty(),
    )
    with bar:
        task = bar.add_task("")
        done = export_journal(
            Path(settings.journal.path),
            Location(url),
            segment_events=settings.export.segment_events,
            block=settings.reconcile.block,
            clock=SystemClock(),
            progress=lambda written, total: bar.update(task, completed=written, total=total),
        )
    say(
        as_json,
        done._asdict(),
        f"exported {done.written_events:,} events in {done.written_segments} segments to "
        f"{url.rstrip('/')}/{done.folder}; {done.events:,} events in {done.segments} segments "
        "are there",
    )
