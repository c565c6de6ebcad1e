"""How commands call the control server and print what it answers."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import orjson
import typer
from rich.console import Console

from crossfade.adapters.control import ControlClient
from crossfade.settings import Settings

__all__ = ["call", "console", "print_json", "say"]

T = TypeVar("T")


def call(settings: Settings, work: Callable[[ControlClient], Awaitable[T]]) -> T:
    """Run ``work`` with an operator's client; its errors end the command."""

    async def run() -> T:
        async with ControlClient(settings.control, role="operator") as client:
            return await work(client)

    return asyncio.run(run())


def console() -> Console:
    """Standard output."""
    return Console(soft_wrap=False, highlight=False)


def say(as_json: bool, document: Any, line: str) -> None:
    """The document for machines, or the line for a person."""
    if as_json:
        print_json(document)
    else:
        typer.echo(line)


def print_json(document: Any) -> None:
    """The document, indented."""
    typer.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
