"""Breaks the code on purpose, one promise at a time, and tells which tests notice.

``python -m scripts.mutations [NAME …] [--write] [--json]``: each mutation is applied to a
temporary copy of the repository and its tests are run there. ``--write`` keeps the result in
docs/mutations.md. Exit statuses: 0 all killed, 1 some survived, 2 a mutation no longer fits
the code, or the tests fail without any.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import orjson
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from scripts.mutation_list import MUTATIONS, Mutation

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "mutations.md"
COPIED = ("crossfade", "tests", "supabase", "pyproject.toml")
TIMEOUT_S = 180.0


class Result(NamedTuple):
    """What came of a mutation; ``by`` is the first test that failed."""

    mutation: Mutation
    killed: bool
    by: str
    seconds: float


def main(arguments: list[str] | None = None) -> int:
    """Try the mutations; print a table, JSON, or write the page."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.mutations", description=__doc__.split("\n")[0]
    )
    parser.add_argument("names", nargs="*", help="only mutations whose name holds one of these")
    parser.add_argument("--write", action="store_true", help="write docs/mutations.md")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    options = parser.parse_args(arguments)
    chosen = [
        one for one in MUTATIONS if not options.names or any(n in one.name for n in options.names)
    ]
    if not chosen:
        parser.error("no such mutation")
    if options.write and options.names:
        parser.error("--write takes all mutations")
    console = Console(stderr=True)
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="crossfade-mutations-") as name:
        copy = Path(name)
        copy_to(copy)
        unfit = [one.name for one in chosen if (copy / one.file).read_text().count(one.old) != 1]
        if unfit:
            sys.stderr.write(f"no longer fit the code: {', '.join(unfit)}\n")
            return 2
        with Progress(console=console) as progress:
            task = progress.add_task("without any", total=len(chosen) + 1)
            everything = sorted({test for one in chosen for test in one.tests})
            if failed := first_failure(copy, everything, 4 * TIMEOUT_S):
                sys.stderr.write(f"the tests fail as they are: {failed}\n")
                return 2
            progress.advance(task)
            for mutation in chosen:
                progress.update(task, description=mutation.name[:40].ljust(40))
                results.append(result := attempt(copy, mutation))
                if not result.killed:
                    console.print(f"survived: {mutation.name}")
                progress.advance(task)
    if options.json:
        rows = [
            {**one.mutation._asdict(), "killed": one.killed, "by": one.by, "seconds": one.seconds}
            for one in results
        ]
        sys.stdout.buffer.write(orjson.dumps(rows, option=orjson.OPT_INDENT_2) + b"\n")
    else:
        Console().print(table(results))
    if options.write:
        PAGE.write_text(page(results))
    return 0 if all(one.killed for one in results) else 1


def copy_to(folder: Path) -> None:
    """What the tests need of the repository, as it is now."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "_bundle", "*.db*")
            shutil.copytree(source, folder / name, ignore=ignored)
        else:
            shutil.copy(source, folder / name)


def attempt(copy: Path, mutation: Mutation) -> Result:
    """Apply one mutation, run its tests, take it back."""
    started = time.monotonic()
    path = copy / mutation.file
    sound = path.read_text()
    path.write_text(sound.replace(mutation.old, mutation.new))
    try:
        by = first_failure(copy, mutation.tests, TIMEOUT_S)
    finally:
        path.write_text(sound)
    return Result(mutation, bool(by), by, round(time.monotonic() - started, 1))


def first_failure(copy: Path, tests: list[str] | tuple[str, ...], timeout_s: float) -> str:
    """The first test that fails, "" if none does; a test that hangs has failed."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-rfE", *tests]
    # The same examples each time: a mutation is not to be killed by luck.
    command += ["-p", "no:cacheprovider", "--hypothesis-seed=1", "--timeout=40"]
    try:
        done = subprocess.run(
            command, cwd=copy, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        return "the time-out"
    finally:
        shutil.rmtree(copy / ".hypothesis", ignore_errors=True)
    if done.returncode == 0:
        return ""
    # Not the log's lines, which begin with ERROR and more than one space.
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    return failed[1].rpartition("/")[2].partition("[")[0] if failed else "the run ended"


def table(results: list[Result]) -> Table:
    """One row each."""
    made = Table(title="Mutations")
    for heading in ("mutation", "promise", "", "by", "s"):
        made.add_column(heading)
    for one in results:
        word = "killed" if one.killed else "SURVIVED"
        made.add_row(one.mutation.name, one.mutation.promise, word, one.by, f"{one.seconds:.1f}")
    return made


def page(results: list[Result]) -> str:
    """docs/mutations.md."""
    killed = sum(one.killed for one in results)
    lines = [
        "# Mutations",
        "",
        "Written by `make mutations` (`python -m scripts.mutations --write`); not by hand.",
        "",
        "A test that cannot fail proves nothing. Each of these breakages is applied to a copy",
        "of the code, and the tests that stand for its promise are run:",
        f"**{killed} of {len(results)} are killed.** A promise is an invariant of the design",
        "(I1 durable before sent, I2 delivery, I3 switch, I4 cohort, I5 going back needs",
        "nothing new, I7 no silent pass, I9 exact, I10 bounded) or the breaker's.",
        "",
        "| breakage | promise | file | result | first test that fails |",
        "|---|---|---|---|---|",
    ]
    for one in results:
        mutation = one.mutation
        word = "killed" if one.killed else "**survived**"
        by = f"`{one.by}`" if one.by else ""
        lines.append(
            f"| {mutation.name} | {mutation.promise} | `{mutation.file}` | {word} | {by} |"
        )
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    raise SystemExit(main())
