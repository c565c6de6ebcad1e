"""The data plane's figures: ``make bench`` (``python -m benchmarks [NAME …] [--scale 0.1]``).

Each figure stands beside its floor and a naive dual write of the same run, medians of rounds
that alternate. Missed goals are told; only lost or doubled events fail.

Exit statuses: 0 measured, 1 events were lost, doubled or out of order, 2 wrong usage.
"""

import argparse
import asyncio
import importlib
import os
import platform
import sqlite3
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.bench import Bench
from benchmarks.figures import Figure, LostEvents
from benchmarks.page import goal, number, page, word
from tests.services import running_postgres, running_project

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
BENCHES = {
    "publish": "publish throughput and CPU",
    "three_stores": "all three stores, sustained",
    "latency": "publish → delivered, by each transport",
    "overhead": "cost on the legacy path",
    "sequencer": "events/s and memory of the pure part",
    "switching": "many subscribers switched both ways under load",
    "failback": "fail-back from a dead Realtime",
    "catch_up": "drain after an outage of the store",
}


def main(arguments: list[str] | None = None) -> int:
    """Run the benches that were asked for; print a table, or JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Speed of the data plane. Benches: "
        + "; ".join(f"{name} ({about})" for name, about in BENCHES.items()),
        epilog="example: make bench ARGS='publish latency --scale 0.1 --json'",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="benches to run (default: all)")
    parser.add_argument("--scale", type=float, default=1.0, help="factor for counts and durations")
    parser.add_argument("--rounds", type=int, default=3, help="alternating rounds (default 3)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.names if name not in BENCHES]:
        parser.error(f"no bench {unknown[0]!r}; there are {', '.join(BENCHES)}")
    if options.scale <= 0 or options.rounds < 1:
        parser.error("--scale must be above 0 and --rounds at least 1")
    names = options.names or list(BENCHES)
    if options.write and options.names:
        parser.error("--write takes all benches")
    facts = environment(options.scale, options.rounds)
    figures, lost = asyncio.run(_run(names, options.scale, options.rounds))
    if options.write and not lost:
        PAGE.write_text(page(figures, facts))
    if options.json:
        document = {
            "environment": facts,
            "benches": {name: [one.to_json() for one in some] for name, some in figures.items()},
            "lost": lost,
        }
        sys.stdout.buffer.write(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")
    else:
        # A pipe has no width: the table is then as wide as it needs to be.
        console = Console(width=None if sys.stdout.isatty() else 150)
        console.print(" · ".join(f"{name} {value}" for name, value in facts.items()))
        console.print(table(figures))
        for one in (one for some in figures.values() for one in some):
            if one.note:
                console.print(f"{one.name}: {one.note}", highlight=False)
    for name, why in lost.items():
        sys.stderr.write(f"{name}: {why}\n")
    return 1 if lost else 0


async def _run(
    names: list[str], scale: float, rounds: int
) -> tuple[dict[str, list[Figure]], dict[str, str]]:
    figures: dict[str, list[Figure]] = {}
    lost: dict[str, str] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task("services", total=len(names))
        with (
            tempfile.TemporaryDirectory(prefix="crossfade-bench-") as folder,
            running_postgres() as postgres,
            running_project(Path(folder), postgres.create_database(), delay_scale=1.0) as project,
        ):

            def tell(name: str) -> Any:
                return lambda text: progress.update(task, description=f"{name}: {text}"[:60])

            for name in names:
                module = importlib.import_module(f"benchmarks.{name}")
                async with AsyncExitStack() as exits:
                    bench = Bench(Path(folder), project, scale, rounds, tell(name), exits)
                    started = time.monotonic()
                    try:
                        figures[name] = await module.measure(bench)
                    except LostEvents as error:
                        lost[name] = str(error)
                    progress.advance(task)
                    seconds = time.monotonic() - started
                    console.print(f"{name}: {seconds:.0f} s")
    return figures, lost


def environment(scale: float, rounds: int) -> dict[str, Any]:
    """What the figures depend on."""
    model = ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        model = next((line.split(":")[1].strip() for line in lines if "model name" in line), "")
    return {
        "cores": os.cpu_count(),
        "cpu": model,
        "load before": round(os.getloadavg()[2], 2),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "websockets": version("websockets"),
        "supabase": version("supabase"),
        "postgresql": "embedded, fsync off",
        "scale": scale,
        "rounds": rounds,
    }


def table(figures: dict[str, list[Figure]]) -> Table:
    """All figures, a row each."""
    made = Table(title="The data plane")
    made.add_column("figure")
    for heading in ("value", "unit", "floor", "naive", "ratio", "goal", "met"):
        made.add_column(heading, justify="left" if heading == "unit" else "right", no_wrap=True)
    for some in figures.values():
        for one in some:
            made.add_row(
                one.name,
                number(one.value),
                one.unit,
                number(one.floor),
                number(one.naive),
                "" if one.ratio is None else f"{one.ratio:,.0f} ×",
                goal(one),
                word(one),
            )
        made.add_section()
    return made


if __name__ == "__main__":
    raise SystemExit(main())
