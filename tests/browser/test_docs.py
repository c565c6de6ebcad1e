"""Great Expectations' pages in a browser: found from the operations page, and inert."""

import time
from typing import Any

import httpx
import orjson
import pytest

from crossfade.control.auth import page_link
from crossfade.data_docs import RUN_FILE, run_folder
from tests.browser.page import Watched
from tests.browser.stage import Stage
from tests.browser.test_page import AXE, SERIOUS
from tests.rollouts import a_reconciliation

PAGE = """<!doctype html><html><head><style>p{color:red}</style></head><body>
<p><a href="index.html">All suites</a></p>
<table><tr><td><i class="text-danger"></i></td><td>no-missing-critical</td></tr></table>
</body></html>"""
HOSTILE = """<script>document.title = "taken"</script><p onclick="document.title = 'taken'">
<img src="x" onerror="document.title = 'taken'"><a href="javascript:document.title='taken'">last</a>
</p>"""


def keep(stage: Stage, at_us: int, held: int) -> None:
    assert stage.settings.reconcile.docs is not None
    folder = run_folder(stage.settings.reconcile.docs, at_us)
    folder.mkdir(parents=True)
    (folder / "contents.html").write_text(
        PAGE if held == 12 else PAGE.replace("</body>", HOSTILE + "</body>")
    )
    suites = [{"suite": "contents", "expectations": 12, "held": held}]
    run = {"at_us": at_us, "verdict": "pass" if held == 12 else "fail", "suites": suites}
    (folder / RUN_FILE).write_bytes(orjson.dumps(run))
    judged: dict[str, Any] = {"suite": "contents", "verdict": run["verdict"], "expectations": 12}
    result = a_reconciliation(at_us=at_us, suites=[{**judged, "failed": ["x"] * (12 - held)}])
    answer = httpx.post(
        f"{stage.url}/v1/reconciliations",
        json=result,
        headers={"authorization": f"Bearer {stage.token}"},
        trust_env=False,
        timeout=20,
    )
    assert answer.status_code == 200, answer.text


def test_the_reconciliation_leads_to_its_pages(page: Watched, stage: Stage) -> None:
    for at_us, held in ((1_764_000_000_000_001, 12), (1_764_000_300_000_001, 11)):
        keep(stage, at_us, held)
    page.open()
    page.page.get_by_text("1 suite of expectations: contents fail").wait_for()
    page.page.get_by_role("link", name="Their pages").click()
    page.page.get_by_role("cell", name="no-missing-critical").wait_for()
    assert page.page.url == f"{stage.url}/data-docs?at_us=1764000300000001"
    assert page.page.get_by_text("contents: 11 of 12 hold").is_visible()
    page.page.locator("#suite").get_by_text("last").click()
    assert page.page.title() == "contents · Data Docs · Crossfade"
    assert page.page.locator("#suite").locator("script, style, img").count() == 0
    # The earlier run is listed as well.
    page.page.locator("#runs > ol > li").nth(1).get_by_role("link").first.click()
    page.page.get_by_text("contents: 12 of 12 hold").wait_for()
    page.page.get_by_role("cell", name="no-missing-critical").wait_for()
    # The policy refused what the first page smuggled in; a page as they are has nothing to refuse.
    assert page.errors
    assert all("Content Security Policy" in one for one in page.errors)
    page.errors.clear()
    page.page.reload()
    page.page.get_by_role("cell", name="no-missing-critical").wait_for()
    assert page.errors == []


def test_the_pages_ask_for_a_token(page: Watched, stage: Stage) -> None:
    page.page.goto(f"{stage.url}/data-docs?at_us=5")
    page.page.get_by_label("Access token").fill(stage.instance_token)
    page.page.get_by_role("button", name="Sign in").click()
    page.page.get_by_role("alert").filter(has_text="may only read flags").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessible_and_within_a_phones_window(page: Watched, stage: Stage, scheme: str) -> None:
    at_us = 1_764_000_600_000_001 + len(scheme)
    keep(stage, at_us, 12)
    page.page.set_viewport_size({"width": 390, "height": 844})
    page.page.emulate_media(color_scheme=scheme)
    page.page.goto(page_link(stage.settings.control, "/data-docs", 60.0, time.time()))
    page.page.get_by_role("cell", name="no-missing-critical").wait_for()
    page.page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.page.evaluate("() => axe.run({ resultTypes: ['violations'] })")
    bad = [
        f"{one['id']}: {[node['html'][:160] for node in one['nodes'][:3]]}"
        for one in found["violations"]
        if one["impact"] in SERIOUS
    ]
    assert bad == []
    assert page.page.evaluate("() => document.documentElement.scrollWidth") <= 390
    assert page.errors == []
