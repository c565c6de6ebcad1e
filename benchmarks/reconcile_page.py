"""docs/benchmarks-reconcile.md, written from the runs that are kept in benchmarks/results.

Nobody copies a figure by hand: ``python -m benchmarks.reconcile --write`` keeps its run there, one
for each number of events, and writes the page from all of them.
"""

import json
from pathlib import Path
from typing import Any

__all__ = ["keep"]

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "benchmarks-reconcile.md"

_ABOUT = """# Benchmarks of the reconciliation

Written by `make bench-reconcile ARGS="--write"`; not by hand. Every run fills the three stores with
the same events, seals them (`first`), checks what the last five minutes brought (`incremental`),
plants faults of every kind in every store behind its back and then measures, interleaved:

- **floor**: a binary COPY of (id, hash) out of PostgreSQL, read row by row: the least that anybody
  does who compares rows outside the database;
- **full**: `crossfade reconcile --full`, which compares every block and names every fault;
- **content**: `crossfade reconcile --content`, which hashes every row of all three stores anew;
- **reladiff**, **pandas** (outer merge) and **duckdb** (full join of exported files), which compare
  two stores only.

Crossfade's times are those of whole processes, the others' of their work without imports; seconds
are medians, the peak is the most of all rounds. *CPU* is what the process itself used, PostgreSQL
not counted. A run is *exact* when every time just the planted faults were named.
Goals: {goals}.
"""


def keep(figures: dict[str, Any]) -> None:
    """Keep a run, in place of the last one of as many events, and write the page."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"reconcile-{figures['filled']}.json"
    path.write_text(json.dumps(figures, indent=2) + "\n")
    runs = [json.loads(one.read_text()) for one in RESULTS.glob("reconcile-*.json")]
    PAGE.write_text(_page(sorted(runs, key=lambda run: int(run["filled"])), figures["goals"]))


def _page(runs: list[dict[str, Any]], goals: dict[str, str]) -> str:
    lines = [_ABOUT.format(goals="; ".join(f"{name} {goal}" for name, goal in goals.items()))]
    for run in runs:
        machine = ", ".join(f"{name} {value}" for name, value in run["machine"].items())
        word = "exact" if run["exact"] else "**not exact**"
        lines += [f"## {run['filled']:,} events, {run['faults']} faults: {word}", ""]
        lines += [f"{machine}.", "", "| | seconds | × floor | CPU s | peak MB |"]
        lines += ["|---|---:|---:|---:|---:|"]
        for name, seconds in run["seconds"].items():
            ratio = "" if name == "fill" else f"{run['ratio_to_floor'][name]:.2f}"
            cpu, peak = run["cpu_seconds"].get(name, ""), run["peak_mb"].get(name, "")
            lines.append(f"| {name} | {seconds:.2f} | {ratio} | {cpu} | {peak} |")
        if "reladiff" in run["seconds"]:
            times = run["seconds"]["reladiff"] / run["seconds"]["full"]
            lines += ["", f"The full check was {times:.1f} times as fast as reladiff."]
        lines.append("")
    return "\n".join(lines)
