"""Command: pages."""

import time
from typing import Annotated

import typer

from crossfade.cli.calls import console, print_json
from crossfade.cli.options import JsonOption, SettingsOption, StateOption, settings_for
from crossfade.control.auth import page_link
from crossfade.data_docs import PAGE_PATH

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add this module's command to ``app``."""
    app.command()(pages)


def pages(
    settings: SettingsOption = None,
    state: StateOption = None,
    hours: Annotated[
        float, typer.Option("--hours", help="How long the links live, at most a week.")
    ] = 8.0,
    as_json: JsonOption = False,
) -> None:
    """Print links that open the pages and may look, not act, until they end.

    A page still asks for the operator's token before it gives a command.

    Example: crossfade pages --hours 1
    """
    control = settings_for(settings, state).control
    now_s = time.time()
    lifetime_s = hours * 3_600.0
    links = {
        name: page_link(control, path, lifetime_s, now_s)
        for name, path in (
            ("operations", "/"),
            ("departures", "/departures"),
            ("data_docs", PAGE_PATH),
        )
    }
    if as_json:
        print_json({**links, "ends_at_us": int((now_s + lifetime_s) * 1e6)})
        return
    for name, link in links.items():
        console().print(
            f"{name.replace('_', ' ')}: {link}", soft_wrap=True, highlight=False, markup=False
        )
