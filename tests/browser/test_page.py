"""What a person does with the pages: sign in, read, mark, look closer, act; and who may."""

import time
from pathlib import Path
from typing import Any

import pytest

from crossfade.control.auth import page_link
from tests.browser.page import Watched, eventually
from tests.browser.stage import FLIGHTS, Stage

AXE = Path(__file__).parents[2] / "dashboard" / "node_modules" / "axe-core" / "axe.min.js"
SERIOUS = {"serious", "critical"}


def test_a_wrong_token_is_refused_and_asked_again(page: Watched, stage: Stage) -> None:
    page.page.goto(stage.url)
    page.page.get_by_label("Access token").fill("not-the-token")
    page.page.get_by_role("button", name="Sign in").click()
    page.page.get_by_role("alert").filter(has_text="not accepted").wait_for()
    assert "not-the-token" not in page.page.url
    page.open()
    assert page.badge == "websocket"


def test_the_instance_token_reads_events_but_not_the_rollout(page: Watched, stage: Stage) -> None:
    page.page.goto(stage.url)
    page.page.get_by_label("Access token").fill(stage.instance_token)
    page.page.get_by_role("button", name="Sign in").click()
    page.page.get_by_text("needs the operator's token").wait_for()
    page.page.get_by_role("link", name="The departures board").click()
    page.page.wait_for_selector('.badge[data-live="true"]')


def test_the_token_is_kept_in_the_tab_and_never_in_an_address(page: Watched, stage: Stage) -> None:
    asked: list[str] = []
    page.page.on("request", lambda request: asked.append(request.url))
    page.page.on("websocket", lambda socket: asked.append(socket.url))
    page.open()
    page.page.reload()
    page.page.wait_for_selector('.badge[data-live="true"]')
    assert asked
    hub = stage.settings.websocket.token.get_secret_value()
    assert not [url for url in asked if stage.token in url or hub in url]


@pytest.mark.parametrize("path", ["/", "/departures"])
def test_a_link_signs_in_and_leaves_no_trace(page: Watched, stage: Stage, path: str) -> None:
    link = page_link(stage.settings.control, path, 60.0, time.time())
    token = link.partition("#token=")[2]
    asked: list[str] = []
    page.page.on("request", lambda request: asked.append(request.url))
    page.page.goto(link)
    page.page.wait_for_selector('.badge[data-live="true"]')
    assert page.page.url == stage.url + path
    assert asked
    assert not [url for url in asked if token in url]
    assert page.errors == []


def test_a_link_that_has_ended_asks_for_a_token(page: Watched, stage: Stage) -> None:
    page.page.goto(page_link(stage.settings.control, "/", 1.0, time.time() - 2.0))
    page.page.get_by_role("alert").filter(has_text="this link has ended").wait_for()
    page.open()


def test_a_link_needs_the_operators_token_to_act(page: Watched, rollout: Stage) -> None:
    rollout.begin(50)
    page.page.goto(page_link(rollout.settings.control, "/", 60.0, time.time()))
    page.page.get_by_role("button", name="Pause").click()
    dialog = page.page.get_by_role("dialog")
    submit = dialog.get_by_role("button", name="Pause")
    for label, text in (("Your name", "Anna"), ("Reason", "Look."), ("to confirm", "flights")):
        dialog.get_by_label(label).fill(text)
    assert submit.is_disabled()
    dialog.get_by_label("Operator's token").fill(rollout.instance_token)
    submit.click()
    dialog.get_by_role("alert").filter(has_text="may only read flags").wait_for()
    assert rollout.phase == "ready"
    dialog.get_by_label("Operator's token").fill(rollout.token)
    submit.click()
    page.page.locator(".pill", has_text="held").first.wait_for()
    stored = page.page.evaluate("() => JSON.stringify(sessionStorage)")
    assert rollout.token not in stored


def test_scroll_and_selection_survive_a_switch(page: Watched, rollout: Stage) -> None:
    rollout.begin(100)
    rollout.rate(200)
    page.open("/departures")
    rows = page.page.locator("#flights tr")
    eventually(lambda: rows.count() == FLIGHTS, 20, lambda: f"{rows.count()} flights")
    page.page.evaluate(
        """() => {
          window.read = [...document.querySelectorAll("td.flight")]
            .find((one) => one.textContent === "CF130");
          read.scrollIntoView({ block: "center" });
          getSelection().selectAllChildren(read);
        }"""
    )
    place = "() => [Math.round(read.getBoundingClientRect().top), getSelection().toString()]"
    before = page.page.evaluate(place)
    rollout.forward()
    page.await_badge("realtime")
    time.sleep(2)
    rollout.back()
    page.await_badge("websocket")
    assert page.page.evaluate(place) == before
    assert before[1] == "CF130"
    assert page.errors == []


def test_a_reload_goes_on_where_the_page_stood(page: Watched, rollout: Stage) -> None:
    """The board's counts are kept with the position: none of the events counts twice."""
    rollout.rate(100)
    page.open("/departures")
    time.sleep(2)
    page.page.reload()
    page.page.wait_for_selector('.badge[data-live="true"]')
    time.sleep(1)
    rollout.rest()

    def counted() -> int:
        report: list[dict[str, Any]] = page.page.evaluate("() => window.crossfade.continuity()")
        return sum(int(one["delivered"]) for one in report)

    page.page.wait_for_timeout(1_500)
    stored = page.page.evaluate("() => sessionStorage.getItem('crossfade:position:departures')")
    assert stored is not None
    positions = page.page.evaluate(
        """() => JSON.parse(sessionStorage.getItem('crossfade:position:departures')).positions"""
    )
    kept = {"/".join(map(str, stream)): following - 1 for *stream, following in positions}
    assert kept == rollout.heads()
    assert counted() > 0
    assert page.errors == []


def test_offline_and_back(page: Watched, rollout: Stage) -> None:
    rollout.begin(50)
    rollout.rate(100)
    page.open()
    rollout.forward()
    page.await_badge("both")
    page.page.context.set_offline(True)
    detail = page.page.locator(".badge-detail")
    eventually(lambda: not page.state["live"], 20, lambda: str(page.state))
    eventually(lambda: "will retry in" in detail.inner_text(), 20, detail.inner_text)
    before = rollout.published
    eventually(lambda: rollout.published > before + 200, 20)
    page.page.context.set_offline(False)
    page.await_badge("both", 40)
    page.finish(at_least=500, timeout_s=30)


def test_rollback_asks_for_the_rollouts_name(page: Watched, rollout: Stage) -> None:
    rollout.begin(50, 100)
    rollout.rate(50)
    page.open()
    rollout.forward()
    page.await_badge("both")
    page.page.get_by_role("button", name="Roll back").click()
    dialog = page.page.get_by_role("dialog")
    submit = dialog.get_by_role("button", name="Roll back")
    dialog.get_by_label("Your name").fill("Anna")
    dialog.get_by_label("Reason").fill("Latency on the board doubled.")
    dialog.get_by_label("to confirm").fill("flight")
    assert submit.is_disabled()
    dialog.get_by_label("to confirm").fill("flights")
    submit.click()
    page.page.get_by_text("rolling back", exact=True).first.wait_for()
    page.page.get_by_text("Incident in week-1: Latency on the board doubled.").wait_for()
    page.await_badge("websocket")
    # The button that was pressed is gone; whoever is here by keyboard is not thrown out.
    assert focused(page) == "rollout-title"
    assert rollout.ask("/v1/incidents")[0]["opened_by"] == "Anna"
    assert page.errors == []


def test_pause_holds_the_stage(page: Watched, rollout: Stage) -> None:
    rollout.begin(50)
    page.open()
    page.page.get_by_role("button", name="Pause").click()
    dialog = page.page.get_by_role("dialog")
    dialog.get_by_label("Your name").fill("Anna")
    dialog.get_by_label("Reason").fill("Waiting for the weekend.")
    dialog.get_by_label("to confirm").fill("flights")
    dialog.get_by_role("button", name="Pause").click()
    page.page.locator(".pill", has_text="held").first.wait_for()
    assert rollout.phase == "held"
    assert focused(page) == "resume"
    assert page.page.locator("#spoken").inner_text() == "flights: held"
    assert page.page.get_by_role("button", name="Pause").count() == 0
    page.page.get_by_role("button", name="Resume").click()
    submit = dialog.get_by_role("button", name="Resume")
    dialog.get_by_label("to confirm").fill("flights")
    dialog.get_by_label("Root cause").fill("It is Monday.")
    assert submit.is_disabled()
    dialog.get_by_label("Fix").fill("None needed.")
    submit.click()
    page.page.locator(".pill", has_text="ready").first.wait_for()
    found = rollout.ask("/v1/rollout")
    assert (found["phase"], found["attempt"]) == ("ready", 2)
    assert page.errors == []


def test_an_event_is_shown_side_by_side(page: Watched, rollout: Stage) -> None:
    rollout.begin(100)
    rollout.rate(20)
    page.open()
    rollout.forward()
    page.await_badge("realtime")
    time.sleep(3)
    page.finish()
    page.page.locator("#events tbody tr").first.locator("button").click()
    dialog = page.page.get_by_role("dialog")
    checks = dialog.get_by_text("content has its hash")
    eventually(lambda: checks.count() == 3, 10, dialog.inner_text)
    page.page.keyboard.press("Escape")
    dialog.wait_for(state="detached")
    assert page.errors == []


def focused(page: Watched) -> str:
    """The element that has the keyboard, by its id."""
    return str(page.page.evaluate("() => document.activeElement.id"))


@pytest.mark.parametrize("path", ["/", "/departures"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessible(page: Watched, rollout: Stage, path: str, scheme: str) -> None:
    page.page.emulate_media(color_scheme=scheme)
    rollout.begin(50, 100)
    rollout.rate(20)
    page.open(path)
    rollout.forward()
    page.await_badge("both")
    page.page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.page.evaluate("() => axe.run({ resultTypes: ['violations'] })")
    bad = [
        f"{one['id']}: {one['help']}: {[node['html'][:160] for node in one['nodes'][:3]]}"
        for one in found["violations"]
        if one["impact"] in SERIOUS
    ]
    assert bad == []


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("path", ["/", "/departures"])
def test_nothing_is_wider_than_the_window(
    page: Watched, rollout: Stage, path: str, width: int
) -> None:
    page.page.set_viewport_size({"width": width, "height": 844})
    rollout.begin(10, 50, 100)
    rollout.rate(20)
    page.open(path)
    page.page.wait_for_timeout(1_000)
    assert page.page.evaluate("() => document.documentElement.scrollWidth") <= width


def test_the_keyboard_reaches_everything(page: Watched, rollout: Stage) -> None:
    rollout.begin(50)
    rollout.rate(20)
    page.open()
    page.page.get_by_role("button", name="Roll back").wait_for()
    reached = set()
    page.page.evaluate("() => document.activeElement?.blur()")
    for _ in range(40):
        page.page.keyboard.press("Tab")
        reached.add(
            page.page.evaluate("() => document.activeElement.id || document.activeElement.tagName")
        )
    assert {"pause", "rollback", "sign-out", "events", "instances", "audit"} <= reached
