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
- **hashing**: one statement in which PostgreSQL, with its parallel workers, hashes every row of the
  table anew and compares it with its column: what a check of one store's content takes at least;
- **reladiff**, **pandas** (outer merge) and **duckdb** (full join of exported files), which compare
  two stores only.

Crossfade's times are those of whole processes, the others' of their work without imports; seconds
are medians, the peak is the most of all rounds. *CPU* is what the process itself used, *server CPU*
what PostgreSQL and the stand-in of Supabase's API used for it. A run is *exact* when every time
just the planted faults were named.
Goals: {goals}.

## Where the time goes

**full.** The table adds up the generated hash of every row, read from the index alone. Journal and
recording are read where their logs of changes, or an earlier run's finding, say that a block needs
it; for the rest the sums of their seals stand
([what a seal says](adr/0015-what-a-seal-says.md)). Sealed blocks are held against the table 64 at a
time. What does not grow with the history is the start of the process, the rows of the blocks with
faults in all three stores, and the rechecks: at few events that is nearly all of it, so the ratios
are to be read at 10,000,000.

**content.** Nothing stands for anything: PostgreSQL hashes every row by SHA-256, Python those of
the journal and of the recording, read and joined by SQLite. Content of three stores is hashed where
the floor reads two numbers a row of one, and the table alone (*hashing*) takes most of what the
goal leaves: PostgreSQL from the wheel is built without OpenSSL, so its SHA-256 does not use the
processor's instructions. With more CPUs, or the database on a machine of its own, it takes
accordingly less. What could come near the goal is a second, cheaper fingerprint of each block, kept
with its seal: we keep none, because a scrub would then trust a seal, and to trust none is what it
is for.

**reladiff** is used as its documentation shows: two connections, its defaults, the content's
columns named. It compares two tables with the same columns and no history; ids are UUIDs in the
order of time, so that dividing their range divides the rows evenly, and a phantom's id lies among
them.
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
        lines += [f"{machine}.", ""]
        lines += ["| | seconds | × floor | CPU s | server CPU s | peak MB |"]
        lines += ["|---|---:|---:|---:|---:|---:|"]
        for name, seconds in run["seconds"].items():
            ratio = "" if name == "fill" else f"{run['ratio_to_floor'][name]:.2f}"
            cpu, peak = run["cpu_seconds"].get(name, ""), run["peak_mb"].get(name, "")
            server = run.get("server_cpu_seconds", {}).get(name, "")
            lines.append(f"| {name} | {seconds:.2f} | {ratio} | {cpu} | {server} | {peak} |")
        if "reladiff" in run["seconds"]:
            times = run["seconds"]["reladiff"] / run["seconds"]["full"]
            lines += ["", f"The full check was {times:.1f} times as fast as reladiff."]
        lines += _content(run)
        lines.append("")
    return "\n".join(lines)


def _content(run: dict[str, Any]) -> list[str]:
    """What the content check could not have been faster than, whatever else the machine did."""
    own, server = (run.get(key, {}).get("content") for key in ("cpu_seconds", "server_cpu_seconds"))
    if own is None or server is None:
        return []
    cpus, floor = int(run["machine"]["CPUs"]), run["cpu_seconds"]["floor"]
    least = (own + server) / cpus
    return [
        "",
        f"The content check used {own + server:.1f} s of CPU, {server:.1f} of them in the server: "
        f"at least {least:.1f} s on {cpus} CPUs, where the floor's process used {floor:.1f} s of "
        f"one: {least / floor:.1f} × as long on an idle machine.",
    ]
