"""What the network and the stores do to a page: deafness, silence, losses for good, alterations."""

import json
import re
import time
from typing import Any

import psycopg

from tests.browser.page import Watched, eventually
from tests.browser.stage import Stage
from tests.browser.test_switch import RATE, whole
from tests.rollouts import a_reconciliation


def test_a_deaf_realtime_is_noticed_and_forgiven(page: Watched, rollout: Stage) -> None:
    """Everything is joined and nothing arrives: only heads can tell."""
    rollout.begin(100)
    rollout.rate(RATE)
    page.open()
    rollout.forward()
    page.await_badge("realtime")
    rollout.fault(drop_live=True)
    try:
        # It is tried again meanwhile, and stays where events arrive.
        eventually(lambda: page.badge == "websocket", 20, lambda: str(page.state))
        time.sleep(2)
        assert page.badge == "websocket"
        assert page.state["live"]
        assert page.state["fallenBack"] > 0
    finally:
        rollout.fault(drop_live=False)
    page.await_badge("realtime", 60)
    page.finish(at_least=1_000)
    assert whole(page.badges) == ["websocket", "realtime", "websocket", "realtime"]


def test_a_hub_that_hangs_is_noticed(page: Watched, rollout: Stage) -> None:
    """Its sockets stay open and say nothing, as behind a cable that was pulled."""
    rollout.begin(100)
    rollout.rate(RATE)
    page.open()
    page.await_badge("websocket")
    with rollout.hung("hub"):
        detail = page.page.locator(".badge-detail")
        eventually(lambda: "as of" in detail.inner_text(), 10, detail.inner_text)
        eventually(lambda: not page.state["live"], 10)
        time.sleep(2)
    page.await_badge("websocket", 40)
    page.finish(at_least=1_000, timeout_s=40)


def test_a_range_that_is_lost_for_good_is_a_row(page: Watched, rollout: Stage) -> None:
    """Nobody holds three events any more: the page says which, in their place, and goes on."""
    gone: dict[str, Any] = {}

    def is_gone(event: dict[str, Any]) -> bool:
        stream = [event[name] for name in ("source", "epoch", "topic", "partition")]
        if not gone and event["sequence"] > 1:
            gone.update(stream=stream, first=event["sequence"], last=event["sequence"] + 2)
        return bool(gone) and gone["stream"] == stream and _within(gone, event["sequence"])

    def between(page_side: Any) -> None:
        hub = page_side.connect_to_server()

        def from_hub(message: str) -> None:
            frame = json.loads(message)
            if frame["kind"] == "events":
                frame["events"] = [one for one in frame["events"] if not is_gone(one)]
            elif frame["kind"] == "filled" and any(map(is_gone, frame["events"])):
                frame |= {"events": [], "floor": gone["last"] + 1}
            page_side.send(json.dumps(frame))

        hub.on_message(from_hub)

    def table(route: Any) -> None:
        answer = route.fetch()
        body = answer.json()
        if any(map(is_gone, body["events"])):
            body |= {"events": [], "floor": gone["last"] + 1}
        route.fulfill(response=answer, json=body)

    page.page.route("**/rpc/crossfade_fill_v1", table)
    page.page.route_web_socket(re.compile(re.escape(rollout.settings.websocket.url)), between)
    page.open()
    rollout.rate(RATE)
    eventually(lambda: page.lost != [], 20, lambda: str(page.state))
    source, epoch, topic, partition = gone["stream"]
    position = f"{source}/{epoch}/{topic}/{partition}/{gone['first']}"
    assert page.lost == [f"3 events lost for good (retention): {position} to {gone['last']}"]
    key = f"{source}/{epoch}/{topic}/{partition}"
    eventually(lambda: rollout.heads()[key] > gone["last"] + 1, 20)
    rollout.rest()
    head = rollout.heads()[key]
    wanted = [number for number in range(1, head + 1) if not _within(gone, number)]
    eventually(lambda: page.shown()[key][-1] == head, 10)
    assert wanted[-len(page.shown()[key]) :] == page.shown()[key]
    assert "3 lost" in page.page.locator("#events-summary").inner_text()


def _within(gone: dict[str, Any], sequence: int) -> bool:
    return bool(gone["first"] <= sequence <= gone["last"])


def test_a_discrepancy_is_shown_side_by_side(page: Watched, rollout: Stage) -> None:
    """A row that was altered in the table, from the list of findings to the field that differs."""
    rollout.begin(100)
    rollout.rate(20)
    page.open()
    rollout.forward()
    page.await_badge("realtime")
    time.sleep(2)
    page.finish()
    url = rollout.settings.supabase.database_url.get_secret_value()
    with psycopg.connect(url) as database:
        row = database.execute(
            "UPDATE crossfade.events SET data = '{\"altered\":true}' WHERE id = ("
            "SELECT id FROM crossfade.events ORDER BY inserted_at DESC LIMIT 1) "
            "RETURNING source, epoch, topic, partition, sequence, id, type, category"
        ).fetchone()
    assert row is not None
    *place, event_id, kind, category = row
    position = "/".join(map(str, place))
    finding = {
        "kind": "altered",
        "store": "supabase",
        "position": position,
        "id": str(event_id),
        "type": kind,
        "category": category,
        "severity": "critical",
        "detail": "the content is not that of the other stores",
    }
    counts = dict.fromkeys(("duplicated", "phantom", "out_of_order", "in_flight", "uncovered"), 0)
    found = a_reconciliation(
        "fail",
        supabase={**counts, "altered": 1},
        discrepancies=[finding],
        discrepancy_count=1,
    )
    rollout.ask("/v1/reconciliations", found)
    page.page.get_by_role("button").filter(has_text=position).filter(has_text="altered").click()
    dialog = page.page.get_by_role("dialog")
    dialog.get_by_text("content does not have its hash").wait_for()
    different = dialog.locator("tr[data-differs=true] th")
    assert different.all_inner_texts() == ["data"]
    page.page.keyboard.press("Escape")
    wrong = page.page.locator("#reconciliation tr[data-wrong=true]")
    assert wrong.inner_text().split() == ["Supabase", "400", "400", "1", "altered"]


def test_pages_report_their_load_and_it_is_shown(page: Watched, rollout: Stage) -> None:
    rollout.begin(50)
    rollout.rate(50)
    page.open()
    rollout.forward()
    page.await_badge("both")

    name = page.page.evaluate("() => window.crossfade.instance")

    def resources() -> dict[str, float]:
        instances = rollout.ask("/v1/status")["instances"]
        (own,) = [one for one in instances if one["instance"] == name]
        assert own["role"] == "page"
        return dict(own["report"]["resources"])

    eventually(lambda: "dashboard.load" in resources(), 10, lambda: str(resources()))
    own = resources()
    measured = page.page.evaluate("() => performance.getEntriesByName('crossfade-live').length")
    assert measured == 1
    assert 0 < own["dashboard.load"] < 60_000
    assert own["dashboard.errors"] == 0
    row = page.page.locator("#success tr", has_text="Dashboard load")
    row.wait_for()
    assert "judged from 5 on" in row.inner_text()
