"""A tab that nobody sees: behind another one, then frozen, and then shown again.

Playwright has every tab of its own taken for seen. These tests use a window of the browser as a
person has it, with the tabs that stand in it.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from crossfade.local.addresses import HOST, free_port
from tests.browser.conftest import ARGUMENTS, CHROMIUM
from tests.browser.page import Watched, eventually
from tests.browser.stage import Stage
from tests.browser.test_switch import RATE

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture
def tab(browser: "Browser", rollout: Stage) -> Iterator[Watched]:
    """The operations page in a tab of a window, which another tab can hide."""
    port = free_port()
    chromium = browser.browser_type
    owner = chromium.launch(
        executable_path=CHROMIUM, args=[*ARGUMENTS, f"--remote-debugging-port={port}"]
    )
    try:
        window = chromium.connect_over_cdp(f"http://{HOST}:{port}", no_defaults=True)
        yield Watched(window.contexts[0].new_page(), rollout)
        window.close()
    finally:
        owner.close()


@contextmanager
def hidden(tab: Watched) -> Iterator[None]:
    """Another tab stands in front of it."""
    other = tab.page.context.new_page()
    other.bring_to_front()
    eventually(lambda: visibility(tab) == "hidden", 20)
    yield
    tab.page.bring_to_front()
    eventually(lambda: visibility(tab) == "visible", 20)
    other.close()


def visibility(tab: Watched) -> str:
    return str(tab.page.evaluate("() => document.visibilityState"))


def delivered(tab: Watched) -> int:
    reports = tab.page.evaluate("() => window.crossfade.continuity()")
    return sum(int(one["delivered"]) for one in reports)


def test_a_hidden_tab_goes_on_and_shows_everything_when_it_is_seen(
    tab: Watched, rollout: Stage
) -> None:
    """Nothing is drawn and its timers are slow; what is lost meanwhile is filled all the same."""
    rollout.begin(50)
    rollout.rate(RATE)
    tab.open()
    rollout.forward()
    tab.await_badge("both")
    with hidden(tab):
        before = delivered(tab)
        rows = len(tab.page.evaluate("() => window.rows"))
        rollout.fault(drop_live=True)
        time.sleep(1)
        rollout.fault(drop_live=False)
        eventually(lambda: delivered(tab) > before + 500, 20)
        drawn = len(tab.page.evaluate("() => window.rows")) - rows
        # One frame may have been asked for before it was hidden.
        assert drawn <= 32, drawn
    tab.await_badge("both", 30)
    tab.finish(at_least=1_000)


def test_standby_with_a_token_that_expires_meanwhile(tab: Watched, rollout: Stage) -> None:
    """Nothing runs, and every token of before is worthless: a fresh one, new channels, the gap
    first, and then what is live."""
    asked: list[str] = []
    tab.page.on("request", lambda request: asked.append(request.url))
    rollout.begin(50)
    rollout.rate(RATE)
    tab.open()
    rollout.forward()
    tab.await_badge("both")
    tokens = sum(url.endswith("/v1/client-config") for url in asked)
    with hidden(tab), tab.frozen():
        before = rollout.published
        rollout.fault(expire_tokens=True)
        eventually(lambda: rollout.published > before + 6 * RATE, 40)
    tab.await_badge("both", 40)
    tab.finish(at_least=1_000)
    assert sum(url.endswith("/v1/client-config") for url in asked) > tokens
