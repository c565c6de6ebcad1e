"""The pages in a real Chromium: time to live data, long tasks under load, memory.

``make bench-browser`` (``python -m benchmarks.browser``) needs the built pages, a system
Chromium and Playwright. Times are the browser's own: Navigation Timing, the tasks of its trace,
what the JavaScript heap keeps after a forced collection.

A task's length by the clock counts what the machine did meanwhile for others, too; its CPU time
does not. Both are printed; the goal is on the clock.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright
from rich.console import Console

from benchmarks.__main__ import environment, table
from benchmarks.figures import Figure, LostEvents
from tests.browser.conftest import ARGUMENTS, CHROMIUM
from tests.browser.page import Watched, new_page
from tests.browser.stage import Stage, running_stage

__all__ = ["main", "slope"]

PAGES = ("/", "/departures")
RELOADS = 10
LOAD_GOAL_MS = 500
TASK_GOAL_MS = 50
GROWTH_GOAL_KB = 10.0
"""A heap that grows by less in a minute takes a week to double: collections vary by more."""

SETTLE_S = 120.0
"""So long the full rate fills what is bounded (rows, recent hashes per stream): that is no leak."""

SAMPLES_A_MINUTE = 3
REST_S = 1.5
"""Before a sample the stream rests: what is under way at a full rate is some 500 kB, now more and
now less, and would hide a leak."""

NOT_KEPT = frozenset({"code", "native", "synthetic"})
"""Kinds of a heap snapshot that are not the page's data: what the engine compiled (it goes on for
many minutes, in steps), and the browser's own objects, those of its developer tools too."""

_LIVE = "() => performance.getEntriesByName('crossfade-live')[0]?.startTime"


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; 1 when events are missing, doubled or out of order, 2 wrong usage."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.browser",
        description="Speed and memory of the pages in a real Chromium.",
        epilog="example: make bench-browser ARGS='--minutes 10 --json'",
    )
    parser.add_argument("--rate", type=float, default=1_000.0, help="events a second (1000)")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long under load (20)")
    parser.add_argument("--minutes", type=float, default=0.0, help="memory is watched so long (0)")
    parser.add_argument("--only-memory", action="store_true", help="leave out load and tasks")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args(arguments)
    if options.rate <= 0 or options.seconds <= 0 or options.minutes < 0:
        parser.error("--rate and --seconds must be above 0, --minutes not below")
    if options.only_memory and not options.minutes:
        parser.error("--only-memory needs --minutes")
    if CHROMIUM is None:
        parser.error("no chromium here: scripts/need-chromium says how to install it")
    with _running() as (browser, stage):
        try:
            figures = [] if options.only_memory else _speed(browser, stage, options)
            if options.minutes:
                _tell(f"/: memory for {options.minutes:g} min at {options.rate:g} events/s")
                figures.append(_memory(browser, stage, options.rate, options.minutes))
        except LostEvents as error:
            sys.stderr.write(f"browser: {error}\n")
            return 1
    facts = environment(1.0, 1)
    if options.json:
        document = {"environment": facts, "benches": {"browser": [f.to_json() for f in figures]}}
        print(json.dumps(document, indent=2))
        return 0
    console = Console(width=None if sys.stdout.isatty() else 150)
    console.print(" · ".join(f"{name} {value}" for name, value in facts.items()))
    printed = table({"browser": figures})
    printed.title = "The pages"
    console.print(printed)
    for one in figures:
        console.print(f"{one.name}: {one.note}", highlight=False)
    return 0


@contextmanager
def _running() -> Iterator[tuple[Browser, Stage]]:
    with (
        tempfile.TemporaryDirectory(prefix="crossfade-bench-") as folder,
        sync_playwright() as playwright,
    ):
        Path(folder).chmod(0o755)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        with running_stage(Path(folder) / "stack") as stage:
            yield browser, stage
        browser.close()


def _speed(browser: Browser, stage: Stage, options: argparse.Namespace) -> list[Figure]:
    figures = []
    for path in PAGES:
        _tell(f"{path}: load")
        figures.append(_load(browser, stage, path))
    for path in PAGES:
        _tell(f"{path}: {options.rate:g} events/s for {options.seconds:g} s")
        figures += _tasks(browser, stage, path, options.rate, options.seconds)
    return figures


def _tell(what: str) -> None:
    sys.stderr.write(f"{what}\n")


def _load(browser: Browser, stage: Stage, path: str) -> Figure:
    """From the navigation's start to live data, from a warm server and with a warm cache."""
    stage.rate(20)
    with new_page(browser, stage, record=False) as watched:
        watched.open(path)
        found: list[float] = []
        for _ in range(RELOADS):
            watched.page.reload()
            watched.page.wait_for_function(_LIVE)
            found.append(watched.page.evaluate(_LIVE))
    stage.rest()
    return Figure(
        name=f"{path} to live data",
        unit="ms",
        value=statistics.median(found),
        better="less",
        goal=LOAD_GOAL_MS,
        note=f"median of {RELOADS}, worst {max(found):.0f} ms",
    )


def _tasks(
    browser: Browser, stage: Stage, path: str, rate: float, seconds: float
) -> tuple[Figure, Figure]:
    """The longest task of the page's main thread, by the clock and by its CPU time."""
    stage.rate(rate)
    with new_page(browser, stage, record=False) as watched:
        watched.open(path)
        # Signing in and the first drawing are measured as load, not here.
        watched.page.wait_for_timeout(3_000)
        before = _delivered(watched)
        browser.start_tracing(page=watched.page, categories=["toplevel"])
        began = time.monotonic()
        watched.page.wait_for_timeout(seconds * 1_000)
        took_s = time.monotonic() - began
        trace = json.loads(browser.stop_tracing())
        shown = (_delivered(watched) - before) / took_s
        stage.rest()
        _compare(watched, stage)
    tasks = _main_thread(trace["traceEvents"])
    walls = sorted(one["dur"] / 1e3 for one in tasks)
    cpus = [one.get("tdur", 0) / 1e3 for one in tasks]
    long = sum(1 for wall in walls if wall > TASK_GOAL_MS)
    note = (
        f"{len(tasks):,} tasks, {long} over {TASK_GOAL_MS} ms; {shown:,.0f} events/s shown of "
        f"{rate:,.0f} published; {sum(cpus) / 10 / took_s:.0f} % of a core"
    )
    return (
        Figure(
            name=f"{path} longest task",
            unit="ms",
            value=walls[-1],
            better="less",
            goal=TASK_GOAL_MS,
            note=note,
        ),
        Figure(
            name=f"{path} longest task, CPU",
            unit="ms",
            value=max(cpus),
            better="less",
            goal=TASK_GOAL_MS,
            note="of the same tasks, without what the machine did for others meanwhile",
        ),
    )


def _main_thread(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The tasks of the page's main thread: of the busiest one, where there are several."""
    mains = {
        (one["pid"], one["tid"])
        for one in events
        if one.get("name") == "thread_name" and one["args"]["name"] == "CrRendererMain"
    }
    by_thread: dict[tuple[int, int], list[dict[str, Any]]] = {main: [] for main in mains}
    for one in events:
        place = (one["pid"], one["tid"])
        if place in mains and one.get("ph") == "X" and one["name"].endswith("RunTask"):
            by_thread[place].append(one)
    return max(by_thread.values(), key=lambda tasks: sum(one.get("tdur", 0) for one in tasks))


def _compare(watched: Watched, stage: Stage) -> None:
    """Nothing is missing by the page's own account once it was quiet for a moment."""
    deadline = time.monotonic() + 30
    while (open_holes := _sum(watched, "openHoles")) or not _is_live(watched):
        if time.monotonic() > deadline:
            raise LostEvents(f"{open_holes} holes are open 30 s after the load")
        time.sleep(0.2)
    lost, conflicts = _sum(watched, "lostEvents"), _sum(watched, "conflicts")
    if lost or conflicts:
        raise LostEvents(f"{lost} events lost, {conflicts} in conflict")
    if watched.errors:
        raise LostEvents(f"the page says: {watched.errors[0]}")


def _memory(browser: Browser, stage: Stage, rate: float, minutes: float) -> Figure:
    """How the heap grows by the minute: the slope of a line through forced collections."""
    stage.rate(rate)
    with new_page(browser, stage, record=False) as watched:
        watched.open("/")
        session = watched.page.context.new_cdp_session(watched.page)
        session.send("Performance.enable")
        watched.page.wait_for_timeout(min(SETTLE_S, minutes * 60) * 1_000)
        nodes = [_nodes(session)]
        before = _delivered(watched)
        samples: list[tuple[float, float]] = []
        began = time.monotonic()
        while (at_min := (time.monotonic() - began) / 60) <= minutes:
            stage.rest()
            samples.append((at_min, _kept_kb(watched, session)))
            stage.rate(rate)
            watched.page.wait_for_timeout(60_000 / SAMPLES_A_MINUTE)
        shown = _delivered(watched) - before
        stage.rest()
        _compare(watched, stage)
        nodes.append(_nodes(session))
    sizes = [size for _, size in samples]
    return Figure(
        name="/ heap growth",
        unit="kB/min",
        value=slope(samples),
        better="less",
        goal=GROWTH_GOAL_KB,
        note=(
            f"{len(samples)} snapshots in {minutes:g} min, {shown:,} events shown (up to "
            f"{rate:g} a second): first {sizes[0]:,.0f} kB, last {sizes[-1]:,.0f} kB, "
            f"least {min(sizes):,.0f} kB, most {max(sizes):,.0f} kB; "
            f"{nodes[0]:,.0f} nodes in the document first, {nodes[1]:,.0f} last"
        ),
    )


def _kept_kb(watched: Watched, session: Any) -> float:
    """What the page's own objects take after a collection, with nothing under way."""
    watched.page.wait_for_timeout(REST_S * 1_000)
    session.send("HeapProfiler.collectGarbage")
    chunks: list[str] = []

    def take(part: dict[str, str]) -> None:
        chunks.append(part["chunk"])

    session.on("HeapProfiler.addHeapSnapshotChunk", take)
    session.send("HeapProfiler.takeHeapSnapshot", {"reportProgress": False})
    session.remove_listener("HeapProfiler.addHeapSnapshotChunk", take)
    document = json.loads("".join(chunks))
    meta, nodes = document["snapshot"]["meta"], document["nodes"]
    fields, kinds = meta["node_fields"], meta["node_types"][0]
    step, kind, size = len(fields), fields.index("type"), fields.index("self_size")
    sizes = zip(nodes[kind::step], nodes[size::step], strict=True)
    return sum(bytes_ for number, bytes_ in sizes if kinds[number] not in NOT_KEPT) / 1e3


def _nodes(session: Any) -> float:
    """Nodes of the document that exist, shown or not."""
    session.send("HeapProfiler.collectGarbage")
    metrics = session.send("Performance.getMetrics")["metrics"]
    return float(next(one["value"] for one in metrics if one["name"] == "Nodes"))


def slope(samples: list[tuple[float, float]]) -> float:
    """The slope of the least-squares line through ``(x, y)``; 0 of fewer than two."""
    if len(samples) < 2:
        return 0.0
    return statistics.linear_regression(*zip(*samples, strict=True)).slope


def _is_live(watched: Watched) -> bool:
    return bool(watched.state["live"])


def _delivered(watched: Watched) -> int:
    return _sum(watched, "delivered")


def _sum(watched: Watched, name: str) -> int:
    reports: list[dict[str, Any]] = watched.page.evaluate("() => window.crossfade.continuity()")
    return sum(int(one[name]) for one in reports)


if __name__ == "__main__":
    raise SystemExit(main())
