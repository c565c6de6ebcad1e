"""The page while its transport changes: no event missing, doubled or out of order in the DOM."""

import time

from tests.browser.page import Watched, eventually
from tests.browser.stage import Stage

RATE = 200.0


def whole(badges: list[str]) -> list[str]:
    """What a badge said, without the moments at which both served."""
    found: list[str] = []
    for source in badges:
        if source != "both" and source not in found[-1:]:
            found.append(source)
    return found


def test_both_ways_under_load(page: Watched, rollout: Stage) -> None:
    rollout.begin(50, 100)
    rollout.rate(RATE)
    page.open()
    page.await_badge("websocket")
    rollout.forward()
    page.await_badge("both")
    state = page.state
    assert state["serving"]["websocket"] == state["serving"]["realtime"]
    time.sleep(2)
    rollout.back()
    page.await_badge("websocket")
    rollout.again()
    rollout.forward()
    page.await_badge("both")
    rollout.back()
    page.await_badge("websocket")
    page.finish(at_least=1_000)
    assert page.badges == ["websocket", "both", "websocket", "both", "websocket"]


def test_everything_by_supabase_and_supabase_killed(page: Watched, rollout: Stage) -> None:
    rollout.begin(100)
    rollout.rate(RATE)
    page.open()
    rollout.forward()
    page.await_badge("realtime")
    time.sleep(1)
    rollout.kill("supabase", "postgres")
    page.await_badge("websocket", 30)
    # The publisher's breaker opens too, and the control server takes everything back for good.
    eventually(lambda: rollout.phase == "rolling_back", 20, lambda: rollout.phase)
    rollout.revive("postgres", "supabase")
    rollout.again()
    eventually(lambda: rollout.breaker("supabase") == "closed", 30)
    rollout.forward()
    page.await_badge("realtime", 60)
    page.finish(at_least=2_000)
    # Each partition moves by itself: "both" may stand between any two.
    assert whole(page.badges) == ["websocket", "realtime", "websocket", "realtime"]


def test_hub_killed(page: Watched, rollout: Stage) -> None:
    rollout.begin(100)
    rollout.rate(RATE)
    page.open()
    page.await_badge("websocket")
    time.sleep(1)
    rollout.kill("hub")
    detail = page.page.locator(".badge-detail")
    eventually(lambda: "will retry in" in detail.inner_text(), 10, detail.inner_text)
    assert "as of" in detail.inner_text()
    rollout.revive("hub")
    page.await_badge("websocket", 40)
    page.finish(at_least=1_000, timeout_s=40)


def test_control_server_killed(page: Watched, rollout: Stage) -> None:
    """I5: events go on without it, and the page says since when its figures are old."""
    rollout.begin(50)
    rollout.rate(RATE)
    page.open()
    rollout.forward()
    page.await_badge("both")
    rollout.kill("control")
    notice = page.page.locator("#notices .notice:not([hidden])")
    notice.wait_for(timeout=10_000)
    assert "will retry in" in notice.inner_text()
    before = rollout.published
    eventually(lambda: rollout.published > before + 400, 10)
    page.await_badge("both")
    rollout.revive("control")
    notice.wait_for(state="hidden", timeout=20_000)
    page.finish(at_least=500)
