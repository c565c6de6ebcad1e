"""The pages in a real Chromium: time to live data, long tasks under load, memory.

``python -m benchmarks.browser [--rate 1000] [--seconds 20] [--minutes 0]`` (``make bench-browser``)
needs the built dashboard, a system Chromium and Playwright. Figures are the browser's own
(Navigation Timing, Long Tasks, the JavaScript heap after a collection).
"""

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

from tests.browser.conftest import ARGUMENTS, CHROMIUM
from tests.browser.page import Watched, new_page
from tests.browser.stage import Stage, running_stage

__all__ = ["main"]

RELOADS = 10
LOAD_LIMIT_MS = 500
LONG_TASK_LIMIT_MS = 50
HEAP_GROWTH_LIMIT = 1.1

_LIVE = "() => performance.getEntriesByName('crossfade-live')[0]?.startTime"
_WATCH = """() => {
  window.longTasks = [];
  new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) window.longTasks.push(duration);
  }).observe({ type: "longtask" });
}"""


def main() -> int:
    """Run all and print one line each; 1 when a limit is not kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=1_000.0, help="events a second")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long under load")
    parser.add_argument("--minutes", type=float, default=0.0, help="how long memory is watched")
    options = parser.parse_args()
    kept: list[bool] = []
    with (
        tempfile.TemporaryDirectory(prefix="crossfade-bench-") as folder,
        sync_playwright() as playwright,
    ):
        Path(folder).chmod(0o755)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        with running_stage(Path(folder) / "stack") as stage:
            for path in ("/", "/departures"):
                kept.append(_load(browser, stage, path))
            for path in ("/", "/departures"):
                kept.append(_tasks(browser, stage, path, options.rate, options.seconds))
            if options.minutes:
                kept.append(_memory(browser, stage, options.minutes))
        browser.close()
    return 0 if all(kept) else 1


def _load(browser: Browser, stage: Stage, path: str) -> bool:
    stage.rate(20)
    with new_page(browser, stage) as watched:
        watched.open(path)
        found: list[float] = []
        for _ in range(RELOADS):
            watched.page.reload()
            watched.page.wait_for_function(_LIVE)
            found.append(watched.page.evaluate(_LIVE))
    middle = statistics.median(found)
    return _say(f"{path} to live data", "ms", middle, LOAD_LIMIT_MS, f"worst {max(found):.0f}")


def _tasks(browser: Browser, stage: Stage, path: str, rate: float, seconds: float) -> bool:
    stage.rate(rate)
    with new_page(browser, stage) as watched:
        watched.open(path)
        # Signing in and the first drawing are measured as load, not here.
        watched.page.wait_for_timeout(3_000)
        before, busy_s = _delivered(watched), _renderers_s(browser)
        watched.page.evaluate(_WATCH)
        watched.page.wait_for_timeout(seconds * 1_000)
        tasks: list[float] = watched.page.evaluate("() => window.longTasks")
        shown = (_delivered(watched) - before) / seconds
        share = (_renderers_s(browser) - busy_s) / seconds
    stage.rate(0)
    detail = (
        f"{len(tasks)} over 50 ms, {shown:,.0f} events/s shown of {rate:,.0f} published, "
        f"{share:.0%} of a core"
    )
    return _say(f"{path} longest task", "ms", max(tasks, default=0.0), LONG_TASK_LIMIT_MS, detail)


def _memory(browser: Browser, stage: Stage, minutes: float) -> bool:
    stage.rate(200)
    with new_page(browser, stage) as watched:
        watched.open("/")
        session = watched.page.context.new_cdp_session(watched.page)
        watched.page.wait_for_timeout(60_000)
        first = _heap(session)
        watched.page.wait_for_timeout(minutes * 60_000)
        last = _heap(session)
    stage.rate(0)
    detail = f"{first / 1e6:.1f} MB, {minutes:g} min later {last / 1e6:.1f} MB"
    return _say("/ heap after against before", "times", last / first, HEAP_GROWTH_LIMIT, detail)


def _renderers_s(browser: Browser) -> float:
    """CPU time of the pages' processes: unlike a task's length it does not grow when the
    machine is busy with something else."""
    session = browser.new_browser_cdp_session()
    try:
        processes = session.send("SystemInfo.getProcessInfo")["processInfo"]
    finally:
        session.detach()
    return sum(float(one["cpuTime"]) for one in processes if one["type"] == "renderer")


def _delivered(watched: Watched) -> int:
    reports: list[dict[str, Any]] = watched.page.evaluate("() => window.crossfade.continuity()")
    return sum(int(one["delivered"]) for one in reports)


def _heap(session: Any) -> float:
    session.send("HeapProfiler.collectGarbage")
    return float(session.send("Runtime.getHeapUsage")["usedSize"])


def _say(name: str, unit: str, value: float, limit: float, detail: str) -> bool:
    kept = value <= limit
    print(f"{name:32} {value:8,.2f} {unit:5} (limit {limit:g}) {'' if kept else 'OVER '}{detail}")
    return kept


if __name__ == "__main__":
    raise SystemExit(main())
