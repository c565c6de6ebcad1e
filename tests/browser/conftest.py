"""Real Chromium against the real stack. Not part of `make test`: run `make test-browser`."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from crossfade.control.dashboard import bundled_dashboard
from tests.browser.page import Watched, new_page
from tests.browser.stage import Stage, running_stage

if TYPE_CHECKING:
    from playwright.sync_api import Browser

HERE = Path(__file__).parent
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    # A container's shared memory is too small for it.
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Only whoever names this folder (or a file in it) gets these tests."""
    named = [Path(argument.split("::")[0]).resolve() for argument in config.args]
    return None if any(one == HERE or HERE in one.parents for one in named) else True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.timeout(240))


@pytest.fixture(scope="session")
def stage() -> Iterator[Stage]:
    # Whoever asks for these tests gets them, or an error: none of them skips.
    if bundled_dashboard() is None:
        pytest.fail("the dashboard is not built: make dashboard")
    # Not under pytest's own folder, which only its owner may enter: PostgreSQL refuses to run
    # as root and is then run as somebody else.
    with TemporaryDirectory(prefix="crossfade-browser-") as folder:
        Path(folder).chmod(0o755)
        with running_stage(Path(folder) / "stack") as running:
            yield running


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    # Imported here: this file is read by `make test` too, which needs no Playwright.
    from playwright.sync_api import sync_playwright

    if CHROMIUM is None:
        pytest.fail("no chromium here: scripts/need-chromium says how to install it")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def rollout(stage: Stage) -> Iterator[Stage]:
    """The stage with no rollout, and none left behind."""
    stage.clear()
    yield stage
    stage.clear()


@pytest.fixture
def page(browser: "Browser", rollout: Stage) -> "Iterator[Watched]":
    """The operations page's browser tab, watched for errors."""
    with new_page(browser, rollout) as watched:
        yield watched
