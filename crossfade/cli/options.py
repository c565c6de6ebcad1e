"""Options that several commands share."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from crossfade.errors import UsageError
from crossfade.settings import Settings, load_settings

__all__ = ["AsOption", "JsonOption", "SettingsOption", "StateOption", "settings_for"]

SettingsOption = Annotated[
    Path | None,
    typer.Option("--settings", "-c", help="A crossfade.toml; default: the one in this folder."),
]
StateOption = Annotated[
    Path | None,
    typer.Option("--state", help="The state folder of a stack started by `crossfade up`."),
]
AsOption = Annotated[
    str | None, typer.Option("--as", help="Your name in the audit log; default: the user's.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def settings_for(
    settings: Path | None = None,
    state: Path | None = None,
    options: Mapping[str, Any] | None = None,
) -> Settings:
    """The settings a command works with.

    A running stack's own settings are used when ``state`` names its folder, or when no
    file was named, there is no ``crossfade.toml`` here, and ``.crossfade`` holds one.

    Raises:
        UsageError: ``state`` holds no running stack.
        SettingsError: the settings do not validate.
    """
    if settings is None:
        default = Path(".crossfade")
        if state is not None:
            settings = _stack_settings(state)
        elif not Path("crossfade.toml").is_file() and (default / "stack.json").is_file():
            settings = _stack_settings(default)
    return load_settings(settings, os.environ, options)


def _stack_settings(state: Path) -> Path:
    try:
        return Path(orjson.loads((state / "stack.json").read_bytes())["settings"])
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(f"{state}: no stack runs there; start one with `crossfade up`") from error
