"""How far a comparison or a copy is: a bar on standard error, when that is a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from crossfade.comparison import Progress as Report

__all__ = ["progress"]

_PHASES = {
    "outline": "reading what the journal holds",
    "compare": "comparing blocks",
    "recheck": "looking again",
    "seal": "sealing what agrees",
    "copy": "copying",
    "verify": "looking again",
}


@contextmanager
def progress(*, quiet: bool) -> Iterator[Report | None]:
    """What is told how far each phase is; None where nobody looks at a terminal."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    # Imported here: it takes as long as a quick check.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task("")

        def report(phase: str, done: int, total: int) -> None:
            bar.update(task, description=_PHASES.get(phase, phase), completed=done, total=total)

        yield report
