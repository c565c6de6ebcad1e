"""The command ``crossfade``.

Exit statuses, the same for every command: 0 done (or: the stores agree); 1 it ran and the
answer is bad (stores differ, demo failed, service died); 2 it could not be done as asked
(wrong option, bad input, refused), said in one line; 130 interrupted.
"""

import os
import sys

import typer

from crossfade.cli import data, operate, plan, reconcile, stack, supabase
from crossfade.errors import CrossfadeError, UsageError

__all__ = ["app", "main"]

app = typer.Typer(
    name="crossfade",
    help="Moves a live event stream from a WebSocket server to Supabase Realtime without losing "
    "an event, and can take it back at any moment.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (stack, plan, data, operate, reconcile, supabase):
    module.register(app)


def main() -> None:
    """Entry point: errors become one line on standard error and an exit status."""
    try:
        app()
    except UsageError as error:
        _fail(error, 2)
    except CrossfadeError as error:
        _fail(error, 1)
    except BrokenPipeError:
        # The reader of our output went away (`crossfade tail | head`): not an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None


def _fail(error: CrossfadeError, status: int) -> None:
    for line in str(error).splitlines() or [type(error).__name__]:
        sys.stderr.write(f"crossfade: {line}\n")
    raise SystemExit(status)
