"""Reconciliation's speed, memory and exactness beside its rivals, on the same data in the same run.

``python -m benchmarks.reconcile --events 1000000``: fills journal, recording and table, seals them
by a first run, adds the events of five minutes, checks those, then plants faults of every kind in
every store; then, interleaved, the full check, the content scrub, and the rivals, each as a
ratio to the floor (a binary COPY of id and hash). Crossfade's times are those of whole
processes (``crossfade reconcile``), the others' of their work alone.

Exit statuses: 0 measured and every fault was named, 1 a run named others than those, 2 wrong usage.
"""

import argparse
import contextlib
import json
import os
import platform
import re
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg
from rich.console import Console
from rich.table import Table

from benchmarks.reconcile_data import PARTITIONS, Scene, append, fill
from benchmarks.reconcile_faults import Fault, plant
from benchmarks.reconcile_page import keep
from benchmarks.reconcile_rivals import COLUMNS, export
from tests.services import ROOT, Postgres, Project, running_postgres, running_project

__all__ = ["main"]

RECENT_S = 300
RECENT_RATE = 20
"""Events a second of the last five minutes."""
GOALS = {
    "full": "≤ 0.6 × the floor, ≥ 40 × faster than reladiff",
    "content": "≤ 1.5 × the floor",
    "incremental": "≤ 0.5 s, whatever was published before",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; print a table, or JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.reconcile", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--faults", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--without", action="append", default=[],
        choices=["reladiff", "pandas", "duckdb", "content"],
        help="leave one out (pandas needs 2.5 GB for 10^6 events; repeatable)",
    )  # fmt: skip
    parser.add_argument("--folder", type=Path, help="where the files go (default: a temporary one)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument(
        "--write", action="store_true", help="keep the run and write docs/benchmarks-reconcile.md"
    )
    options = parser.parse_args(arguments)
    if options.events < PARTITIONS * 8 * (options.faults + 2):
        parser.error(f"--events must be at least {PARTITIONS * 8 * (options.faults + 2)}")
    with (
        tempfile.TemporaryDirectory(dir=options.folder) as folder,
        running_postgres() as postgres,
        running_project(Path(folder), postgres.create_database()) as project,
    ):
        figures = _Run(Path(folder), project, options, _Server(postgres, project)).measure()
    if options.write:
        keep(figures)
    if options.json:
        print(json.dumps(figures, indent=2))
    else:
        _show(figures)
    return 0 if figures["exact"] else 1


class _Run:
    def __init__(
        self, folder: Path, project: Project, options: argparse.Namespace, server: "_Server"
    ) -> None:
        self._server = server
        self._server_cpu: dict[str, list[float]] = {}
        self._folder = folder
        self._project = project
        self._options = options
        self._times: dict[str, list[float]] = {}
        self._cpu: dict[str, list[float]] = {}
        self._peaks: dict[str, int] = {}
        self._exact = True
        self._load = os.getloadavg()[0]
        self._settings = folder / "bench.toml"
        self._order = folder / "order.json"

    def measure(self) -> dict[str, Any]:
        scene = self._fill()
        self._write_settings(scene)
        self._check("first", [], set())
        incremental = self._recent(scene)
        faults = plant(scene, self._options.faults)
        rivals = [
            name for name in ("reladiff", "pandas", "duckdb") if name not in self._options.without
        ]
        if rivals:
            self._prepare_rivals(scene)
        names = ["floor", "full", *rivals, *(["hashing"] if self._measures_content else [])]
        for number in range(self._options.rounds):
            turn = number % len(names)
            for name in (*names[turn:], *names[:turn]):
                if name == "full":
                    self._check("full", ["--full"], faults)
                elif name == "floor" or number == 0:
                    self._rival(name)  # the rivals once: they take minutes
        if self._measures_content:
            self._check("content", ["--content"], faults)
        median = {name: statistics.median(values) for name, values in self._times.items()}
        floor = median["floor"]
        return {
            "filled": scene.events,
            "events": scene.events + incremental,
            "faults": len(faults),
            "exact": self._exact,
            "machine": _machine(self._load),
            "seconds": {name: round(value, 3) for name, value in median.items()},
            "ratio_to_floor": {name: round(value / floor, 3) for name, value in median.items()},
            "cpu_seconds": {
                name: round(statistics.median(values), 2) for name, values in self._cpu.items()
            },
            "server_cpu_seconds": {
                name: round(statistics.median(values), 2)
                for name, values in self._server_cpu.items()
            },
            "peak_mb": self._peaks,
            "goals": GOALS,
        }

    @property
    def _measures_content(self) -> bool:
        return "content" not in self._options.without

    def _fill(self) -> Scene:
        started = time.perf_counter()
        scene = fill(
            self._folder,
            self._project.database_url,
            self._options.events,
            lambda done: _tell(f"filling: {done:,} of {self._options.events:,} events"),
        )
        self._times["fill"] = [time.perf_counter() - started]
        return scene

    def _write_settings(self, scene: Scene) -> None:
        base = self._project.settings_file.read_text()
        self._settings.write_text(
            base + f'[journal]\npath = "{scene.journal}"\n[tap]\npath = "{scene.tap}"\n'
            f'[reconcile]\nstate = "{self._folder}/seals.db"\nrecheck_s = 0.0\ngrace_s = 0.0\n'
        )

    def _recent(self, scene: Scene) -> int:
        """Check what the last five minutes brought, some times."""
        each = RECENT_S * RECENT_RATE
        for number in range(self._options.rounds):
            append(scene, number * each, each)
            self._check("incremental", [], set(), each)
        return each * self._options.rounds

    def _check(
        self, name: str, arguments: list[str], faults: set[Fault], events: int | None = None
    ) -> None:
        _tell(f"crossfade reconcile {' '.join(arguments)} ({name})")
        before = self._server.cpu_s()
        started = time.perf_counter()
        answer, cpu, peak = _process(
            [sys.executable, "-m", "crossfade.cli", "reconcile", "--json", *arguments,
             "--settings", str(self._settings)], (0, 1, 2),
        )  # fmt: skip
        self._note(name, time.perf_counter() - started, cpu, peak, before)
        result = json.loads(answer)
        found = {Fault(one["kind"], one["store"], one["position"])
                 for one in result["discrepancies"]}  # fmt: skip
        if found != faults or result["errors"] or result["discrepancy_count"] != len(faults):
            self._exact = False
            sys.stderr.write(
                f"{name}: {len(faults - found)} faults were not named, {len(found - faults)} that "
                f"are none; errors: {result['errors']}\n"
                f"{sorted(faults - found)[:9]}\n{sorted(found - faults)[:9]}\n"
            )
        if events is not None and result["checked_events"] > events * 2 + 64 * 256 + 16 * 256:
            self._exact = False
            sys.stderr.write(f"{name}: {result['checked_events']} events were compared\n")

    def _prepare_rivals(self, scene: Scene) -> None:
        """The journal as a table and as a file, the table as a file: not part of anybody's time."""
        _tell("copying the journal for the rivals")
        order = {
            "database_url": scene.database_url,
            "journal_csv": str(self._folder / "journal.csv"),
            "table_csv": str(self._folder / "table.csv"),
        }
        self._order.write_text(json.dumps(order))
        columns = ", ".join(COLUMNS)
        with psycopg.connect(scene.database_url, autocommit=True) as connection:
            connection.execute("create schema bench")
            connection.execute(f"create table bench.journal as select {columns} "
                               "from crossfade.events with no data")  # fmt: skip
            journal = sqlite3.connect(scene.journal)
            with connection.cursor().copy(f"COPY bench.journal ({columns}) FROM STDIN") as copy:
                for row in journal.execute(f"SELECT {columns} FROM events"):
                    copy.write_row(row)
            journal.close()
            connection.execute("alter table bench.journal add primary key (id)")
            connection.execute("vacuum analyze bench.journal")
        if {"pandas", "duckdb"} - set(self._options.without):
            for table, name in (("bench.journal", "journal"), ("crossfade.events", "table")):
                export(
                    scene.database_url, f"SELECT {columns} FROM {table}",
                    Path(order[f"{name}_csv"]),
                )  # fmt: skip

    def _rival(self, name: str) -> None:
        _tell(name)
        if not self._order.exists():
            self._order.write_text(json.dumps({"database_url": self._project.database_url}))
        before = self._server.cpu_s()
        answer, cpu, peak = _process(
            [sys.executable, "-m", "benchmarks.reconcile_rivals", name, str(self._order)], (0,)
        )
        self._note(name, json.loads(answer.splitlines()[-1])["seconds"], cpu, peak, before)

    def _note(
        self, name: str, seconds: float, cpu_s: float, peak_mb: int, server_before_s: float
    ) -> None:
        server_s = self._server.cpu_s() - server_before_s
        self._times.setdefault(name, []).append(seconds)
        self._cpu.setdefault(name, []).append(cpu_s)
        self._server_cpu.setdefault(name, []).append(server_s)
        _tell(
            f"{name}: {seconds:.2f} s, {cpu_s:.2f} s of CPU, {server_s:.2f} s of the server's, "
            f"{peak_mb} MB\n"
        )
        self._peaks[name] = max(self._peaks.get(name, 0), peak_mb)


class _Server:
    """What answers for the table: PostgreSQL's processes and the stand-in of Supabase's API."""

    def __init__(self, postgres: Postgres, project: Project) -> None:
        pid = (postgres.folder / "data" / "postmaster.pid").read_text().split()[0]
        self._postmaster, self._project = int(pid), project

    def cpu_s(self) -> float:
        """CPU seconds used so far; 0 on a system without /proc."""
        ticks = 0
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                name, _, rest = path.read_text().rpartition(")")
            except OSError:
                continue  # it ended meanwhile
            pid, fields = int(name.split(" ")[0]), rest.split()
            mine = [int(field) for field in fields[11:15]]  # user, system, and of ended children
            service = self._project.service
            if pid == self._postmaster:
                ticks += sum(mine)
            elif int(fields[1]) == self._postmaster or (service and pid == service.pid):
                ticks += sum(mine[:2])
        return ticks / os.sysconf("SC_CLK_TCK")


def _process(command: list[str], statuses: tuple[int, ...]) -> tuple[bytes, float, int]:
    """Its standard output, its own CPU seconds and peak memory in MB (not those of PostgreSQL).

    The peak is read from /proc while it runs: what ``wait4`` tells begins with the parent's.
    """
    before = _children_cpu_s()
    with (
        tempfile.TemporaryFile() as output,
        subprocess.Popen(
            command, cwd=ROOT, stdout=output, env={**os.environ, "PYTHONWARNINGS": "ignore"}
        ) as process,
    ):
        peak = 0
        while process.poll() is None:
            peak = max(peak, _peak_mb(process.pid))
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.02)
        if process.returncode not in statuses:
            raise SystemExit(f"{' '.join(command)}: exit status {process.returncode}")
        output.seek(0)
        return output.read(), _children_cpu_s() - before, peak


def _children_cpu_s() -> float:
    """CPU seconds of all processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _machine(load: float) -> dict[str, str]:
    """What one must know of the machine to read the figures."""
    return {
        "CPUs": str(os.cpu_count()),
        "processor": platform.machine(),
        "Python": platform.python_version(),
        "load average before and after": f"{load:.1f} and {os.getloadavg()[0]:.1f}",
    }


def _peak_mb(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0  # gone, or a system without /proc
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) // 1024 if found else 0


def _tell(text: str) -> None:
    if sys.stderr.isatty() or text.endswith("\n"):
        sys.stderr.write(f"\r\x1b[K{text}")


def _show(figures: dict[str, Any]) -> None:
    table = Table(title=f"{figures['events']:,} events, {figures['faults']} faults")
    table.add_column("")
    for name in ("seconds", "× floor", "peak MB"):
        table.add_column(name, justify="right")
    table.add_column("goal")
    for name, seconds in figures["seconds"].items():
        peak = figures["peak_mb"].get(name)
        ratio = "" if name == "fill" else f"{figures['ratio_to_floor'][name]:.2f}"
        table.add_row(name, f"{seconds:.2f}", ratio, str(peak or ""), GOALS.get(name, ""))
    Console().print(table)
    print("every fault was named, and nothing else" if figures["exact"] else "NOT EXACT")


if __name__ == "__main__":
    sys.exit(main())
