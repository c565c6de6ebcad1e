"""How commands call the control server and print what it answers."""

import asyncio
import getpass
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import orjson
import typer
from rich.console import Console

from crossfade.adapters.control import ControlClient, Role
from crossfade.errors import UsageError
from crossfade.settings import Settings

__all__ = ["actor_of", "call", "console", "current_rollout", "name_of", "print_json", "say"]

T = TypeVar("T")


def call(
    settings: Settings, work: Callable[[ControlClient], Awaitable[T]], role: Role = "operator"
) -> T:
    """Run ``work`` with a client of that role; its errors end the command."""

    async def run() -> T:
        async with ControlClient(settings.control, role) as client:
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


async def current_rollout(client: ControlClient) -> dict[str, Any]:
    """The rollout there is.

    Raises:
        UsageError: there is none.
    """
    rollout = await client.rollout()
    if rollout is None:
        raise UsageError("there is no rollout; start one with `crossfade start`")
    return rollout


def name_of(by: str | None) -> str:
    """Who gives the command: the option's name, or the user's."""
    try:
        return by or getpass.getuser()
    except OSError as error:
        raise UsageError("--as: this user has no name; give one") from error


def actor_of(by: str | None) -> str:
    """The same as the audit log has it."""
    return f"cli:{name_of(by)}"
