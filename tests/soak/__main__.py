"""A soak: ``make soak DURATION=10m`` (``python -m tests.soak --duration 10m [--json]``).

A steady load under random faults. In the first half processes are killed as well; in the second
they are left alone, so that the line of each one's memory and file descriptors is its own. At the
end every store and every subscriber's effects are compared with what was published.

Exit statuses: 0 nothing lost and nothing grows, 1 otherwise, 2 wrong usage.
"""

import argparse
import random
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from tests.services import running_postgres, running_project
from tests.soak.scene import Soak, Stuck
from tests.soak.watch import Watch

SAMPLE_S = 1.0
PAUSE_S = (2.0, 8.0)
"""Between two faults."""


def main(arguments: list[str] | None = None) -> int:
    """Run it; print a table, or JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak",
        description="Steady load under random faults; nothing may be lost, nothing may grow.",
        epilog="example: make soak DURATION=30m ARGS='--rate 500'",
    )
    parser.add_argument("--duration", type=seconds_of, default=600.0, help="10m, 90s, 2h")
    parser.add_argument("--rate", type=float, default=200.0, help="events a second (default 200)")
    parser.add_argument("--seed", type=int, default=1, help="of the faults' order")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    options = parser.parse_args(arguments)
    if options.rate <= 0:
        parser.error("--rate must be above 0")
    result = soak(options.duration, options.rate, options.seed)
    if options.json:
        sys.stdout.buffer.write(orjson.dumps(result, option=orjson.OPT_INDENT_2) + b"\n")
    else:
        show(result)
    grown = any(line["flat"] is False for line in result["lines"])
    return 1 if grown or result["findings"] else 0


def seconds_of(text: str) -> float:
    """A duration such as ``90s``, ``10m`` or ``2h``; a plain number is seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if match is None or not float(match[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is no duration; write 90s, 10m or 2h")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3_600}[match[2]]


def soak(duration_s: float, rate: float, seed: int) -> dict[str, Any]:
    """Load, faults, samples; then the comparison."""
    dice = random.Random(seed)
    watch = Watch()
    findings: list[str] = []
    with (
        tempfile.TemporaryDirectory(prefix="crossfade-soak-") as name,
        running_postgres() as postgres,
        running_project(Path(name), postgres.create_database()) as project,
        Soak(Path(name), project, rate, seed) as scene,
        Progress(console=Console(stderr=True)) as progress,
    ):
        task = progress.add_task("soak", total=duration_s)
        began = time.monotonic()
        watched = False
        try:
            next_fault = began + dice.uniform(*PAUSE_S)
            while (past := time.monotonic() - began) < duration_s:
                progress.update(task, completed=past, description=f"{scene.published():,} events")
                if past >= duration_s / 2 and not watched:
                    watched = True
                    watch.forget()
                watch.sample(scene.processes())
                if time.monotonic() >= next_fault:
                    scene.disturb(kills=not watched)
                    next_fault = time.monotonic() + dice.uniform(*PAUSE_S)
                time.sleep(SAMPLE_S)
            progress.update(task, completed=duration_s, description="comparing")
            findings = scene.finish()
        except Stuck as stuck:
            findings.append(f"stuck: {stuck}")
        return {
            "duration_s": duration_s,
            "rate": rate,
            "seed": seed,
            "published": scene.published(),
            "faults": dict(scene.faults),
            "lines": [line.to_json() for line in watch.lines()],
            "findings": findings,
        }


def show(result: dict[str, Any]) -> None:
    """The result as tables."""
    console = Console()
    faults = ", ".join(f"{name} {count}" for name, count in sorted(result["faults"].items()))
    console.print(
        f"{result['published']:,} events in {result['duration_s']:.0f} s; faults: {faults}"
    )
    table = Table(title="Growth in the second half (regression line)")
    for heading in ("process", "figure", "mean", "growth", "limit", "unit", "flat"):
        table.add_column(heading)
    for line in result["lines"]:
        factor, unit = (1e-6, "MB") if line["figure"] == "memory" else (1.0, "")
        figures = [f"{line[name] * factor:,.1f}" for name in ("mean", "growth", "limit")]
        word = {None: "too short to tell", True: "yes", False: "NO"}[line["flat"]]
        table.add_row(line["process"], line["figure"], *figures, unit, word)
    console.print(table)
    for finding in result["findings"]:
        console.print(f"finding: {finding}")
    if not result["findings"]:
        console.print("0 lost, 0 doubled, 0 altered: journal, recording, table, subscribers")


if __name__ == "__main__":
    raise SystemExit(main())
