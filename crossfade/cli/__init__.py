"""The command ``crossfade``.

Exit statuses, the same for every command: 0 done (or: the stores agree); 1 it ran and the
answer is bad (stores differ, demo failed, service died); 2 it could not be done as asked
(wrong option, bad input, refused), said in one line; 130 interrupted.
"""

import gc
import importlib
import os
import pkgutil
import sys
from collections.abc import Sequence

import typer

from crossfade.errors import CrossfadeError, UsageError

__all__ = ["app", "main"]

app: typer.Typer
"""All commands; made when it is first asked for, since that imports everything."""

_FIRST = ("stack", "plan", "data", "operate")
"""Modules whose commands come first in the help; every other one with ``register`` follows."""
_QUICK = ("reconcile",)
"""Modules with one command of their own name, which run without importing the others: a check of
every few minutes should not cost more than its work."""


def __getattr__(name: str) -> typer.Typer:
    if name != "app":
        raise AttributeError(name)
    globals()["app"] = made = _application(_modules())
    return made


def _modules() -> list[str]:
    found = {module.name for module in pkgutil.iter_modules(__path__)}
    return [*_FIRST, *sorted(found - {*_FIRST, "__main__"})]


def _application(modules: Sequence[str]) -> typer.Typer:
    made = typer.Typer(
        name="crossfade",
        help="Moves a live event stream from a WebSocket server to Supabase Realtime without "
        "losing an event, and can take it back at any moment.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    # With a callback it stays a group of commands, even of a single one.
    made.callback()(lambda: None)
    for name in modules:
        module = importlib.import_module(f"crossfade.cli.{name}")
        if hasattr(module, "register"):
            module.register(made)
    return made


def main() -> None:
    """Entry point: errors become one line on standard error and an exit status."""
    wanted = tuple(sys.argv[1:2])
    # Nothing that is imported is garbage: looking for some in it, now and once more when the
    # process ends, takes a quarter of a quick command's time.
    gc.disable()
    try:
        made = _application(wanted if wanted and wanted[0] in _QUICK else _modules())
        gc.freeze()
    finally:
        gc.enable()
    try:
        made()
    except UsageError as error:
        _fail(error, 2)
    except CrossfadeError as error:
        _fail(error, 1)
    except BrokenPipeError:
        # The reader of our output went away (`crossfade tail | head`): not an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    finally:
        gc.freeze()


def _fail(error: CrossfadeError, status: int) -> None:
    for line in str(error).splitlines() or [type(error).__name__]:
        sys.stderr.write(f"crossfade: {line}\n")
    raise SystemExit(status)
