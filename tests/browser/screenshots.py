"""Takes the pictures under docs/screenshots: ``python -m tests.browser.screenshots``.

A small rollout of real flights, with real evidence and a real reconciliation: week 1 is
approved, week 2 soaks, then a person takes it back.
"""

import gzip
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from crossfade.reconcile import reconcile
from crossfade.settings import Settings
from tests.browser.conftest import ARGUMENTS, CHROMIUM
from tests.browser.page import Watched, eventually, new_page
from tests.browser.stage import Stage

__all__ = ["main"]

ROOT = Path(__file__).parents[2]
TARGET = ROOT / "docs" / "screenshots"
RATE = 40.0
_CATEGORIES = {
    "critical": ["flight.cancelled", "flight.diverted"],
    "performance": ["flight.delayed"],
    "user_activity": ["flight.departed", "flight.arrived"],
    "system": ["weather.*"],
}
_TARGETS = {
    "minimum_events": 40,
    "delivery": 0.9,
    "error_rate": 0.2,
    "error_for_s": 60.0,
    "p95_ms": 3_000.0,
    "latency_floor_ms": 3_000.0,
}


def flights() -> Iterator[dict[str, Any]]:
    """A week of real flights, in order."""
    with gzip.open(ROOT / "data" / "flights-2013-01.jsonl.gz", "rt", encoding="utf-8") as lines:
        # The first night is quiet; the board should not begin empty.
        for number, line in enumerate(lines):
            event = json.loads(line)
            if number > 400 and event["type"] != "weather.observed":
                yield {name: event[name] for name in ("type", "key", "data", "time")}


def settings() -> Settings:
    """The demo's classification, and a control server that reports quickly."""
    rules = [
        {"name": pattern, "category": category, "type": pattern}
        for category, patterns in _CATEGORIES.items()
        for pattern in patterns
    ]
    return Settings.model_validate(
        {
            "publisher": {"source": "flights/nyc"},
            "classification": {"categories": [*_CATEGORIES], "rules": rules},
            "rollout": {"name": "flights"},
            "reconcile": {"grace_s": 1.0, "recheck_s": 0.3},
        }
    )


def main() -> None:
    """Play the rollout and take the pictures."""
    TARGET.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="crossfade-pictures-") as folder,
        sync_playwright() as playwright,
    ):
        Path(folder).chmod(0o755)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        stage = Stage(
            Path(folder) / "stack",
            flights(),
            frozenset({"prefect", "worker"}),
            settings(),
        )
        stage.start()
        try:
            with new_page(browser, stage) as board, new_page(browser, stage) as ops:
                _play(stage, ops, board)
        finally:
            stage.stop()
            browser.close()


def _play(stage: Stage, ops: Watched, board: Watched) -> None:
    stage.rate(RATE)
    stage.begin(10, 50, 100, soak_s=12.0, targets=_TARGETS)
    board.open("/departures")
    ops.open("/")
    _switch(stage, ops)
    ops.await_badge("both", 40)
    _approve(stage)
    stage.forward()
    ops.await_badge("both", 40)
    _soak(stage, 8)
    _picture(ops.page, "operations", full=True)
    _picture(ops.page, "operations-dark", scheme="dark")
    _picture(ops.page, "operations-phone", width=390, height=844)
    _picture(board.page, "departures")
    _picture(board.page, "departures-phone-dark", width=390, height=844, scheme="dark")
    _inspect(ops.page)
    _picture(ops.page, "event-side-by-side")
    ops.page.keyboard.press("Escape")
    ops.page.get_by_role("button", name="Roll back").click()
    dialog = ops.page.get_by_role("dialog")
    dialog.get_by_label("Your name").fill("Anna")
    dialog.get_by_label("Reason").fill("Arrivals at JFK look late on the board.")
    dialog.get_by_label("to confirm").fill("flights")
    _picture(ops.page, "rollback-asks")
    dialog.get_by_role("button", name="Roll back").click()
    ops.await_badge("websocket", 40)
    ops.page.wait_for_timeout(1_500)
    _picture(ops.page, "rolling-back")
    _picture(ops.page, "rolling-back-phone-dark", width=390, height=844, scheme="dark")
    assert ops.errors == []
    assert board.errors == []


def _switch(stage: Stage, ops: Watched) -> None:
    """The moment in which partitions are moved: they wait until Realtime answers the page."""
    stage.fault(slow_ms=1_500)
    stage.forward()
    ops.page.wait_for_selector(
        'main:has(.badge[data-moving="true"]) .applied[data-pending="true"]', timeout=20_000
    )
    ops.page.screenshot(path=TARGET / "switching.png")
    stage.fault(slow_ms=0)


def _inspect(page: Page) -> None:
    """Open an event that all of them hold: not every partition is written to Supabase yet."""
    page.locator("#events").focus()
    for _ in range(20):
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        page.get_by_text("content has its hash").nth(1).wait_for(timeout=10_000)
        if page.get_by_text("content has its hash").count() == 3:
            return
        page.keyboard.press("Escape")
    raise AssertionError("no event is held by all of them")


def _approve(stage: Stage) -> None:
    """Bring the stage to its gate and approve it."""
    eventually(lambda: _try(stage, "applied"), 40, lambda: stage.phase)
    time.sleep(13)
    stage.command("soaked")
    result = reconcile(stage.settings, trigger="week")
    stored = stage.ask("/v1/reconciliations", result.to_json())
    stage.command("reconciled", reconciliation=stored["hash"])
    rollout = stage.ask("/v1/rollout")
    assert rollout["phase"] == "awaiting_approval", rollout["reason"]
    stage.command(
        "approve",
        evidence_hash=rollout["evidence_hash"],
        approver="Anna",
        comment="Delivery complete, latency well below the limit.",
        tickets=1,
    )


def _soak(stage: Stage, seconds: float) -> None:
    eventually(lambda: _try(stage, "applied"), 40, lambda: stage.phase)
    time.sleep(seconds)


def _try(stage: Stage, verb: str) -> bool:
    try:
        stage.command(verb)
    except Exception:  # noqa: BLE001 - refused until every instance follows the flags
        return False
    return True


def _picture(
    page: Page,
    name: str,
    *,
    width: int = 1280,
    height: int = 900,
    scheme: Any = "light",
    full: bool = False,
) -> None:
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme=scheme)
    if full:
        # What lies outside the window is not drawn at all: the window becomes as high as the page.
        height = page.evaluate("() => document.documentElement.scrollHeight")
        page.set_viewport_size({"width": width, "height": height})
    page.wait_for_timeout(700)
    page.screenshot(path=TARGET / f"{name}.png")
    page.set_viewport_size({"width": 1280, "height": 900})
    page.emulate_media(color_scheme="light")


if __name__ == "__main__":
    main()
