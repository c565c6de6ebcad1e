"""Prefect's own pages in a real Chromium: a person logs in, reads, approves, and takes back.

What `tests/flows` shows by the calls that these pages make is shown once through the pages.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from crossfade.local.prefect import ROLLBACK, WEEKS
from tests.browser.page import eventually
from tests.flows.world import FlowWorld
from tests.services import Project

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

T = TypeVar("T")
WAIT_S = 120.0


_BESIDE = ThreadPoolExecutor(max_workers=1, thread_name_prefix="beside-playwright")
"""One thread for all of it: what SQLite opened in it is closed in it."""


def apart(work: Callable[[], T]) -> T:
    """Run beside the test's own thread, in which Playwright's loop runs."""
    return _BESIDE.submit(work).result()


def call(work: Coroutine[Any, Any, T]) -> T:
    return apart(lambda: asyncio.run(work))


@pytest.fixture(scope="module")
def world(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlowWorld]:
    folder = tmp_path_factory.mktemp("flows")
    manager = FlowWorld.running(folder, project, folder / "seeds")
    running = apart(manager.__enter__)
    yield running
    apart(lambda: manager.__exit__(None, None, None))


class Person:
    """Somebody at Prefect's pages, and what the servers know meanwhile."""

    def __init__(self, page: "Page", world: FlowWorld) -> None:
        self.page = page
        self.world = world

    def rollout(self) -> dict[str, Any]:
        async def ask() -> dict[str, Any]:
            async with self.world.client() as client:
                return await client.rollout() or {}

        return call(ask())

    def start(self, deployment: str) -> str:
        """Start a deployment; the address of the run's page."""

        async def run() -> str:
            async with self.world.prefect_api() as api:
                return api.run_url(await api.run(deployment))

        return call(run())

    def address(self, deployment: str) -> str:
        async def look() -> str:
            async with self.world.prefect_api() as api:
                return api.deployment_url(await api.deployment_id(deployment))

        return call(look())

    def runs(self, deployment: str) -> list[dict[str, Any]]:
        async def look() -> list[dict[str, Any]]:
            async with self.world.prefect_api() as api:
                return await api.runs(deployments=[deployment])

        return call(look())

    def log_in(self, password: str) -> None:
        self.page.locator("input").first.fill(password)
        self.page.get_by_role("button", name="Login").click()

    @property
    def password(self) -> str:
        return self.world.settings.prefect.auth.get_secret_value()

    def waits(self) -> None:
        self.sees(lambda rollout: rollout["phase"] == "awaiting_approval")

    def sees(self, holds: Callable[[dict[str, Any]], bool]) -> None:
        """Wait until the control server's rollout is so; a failure shows who knew what."""
        eventually(lambda: holds(self.rollout()), WAIT_S, self.explain)

    def explain(self) -> str:
        """The rollout, the page, the runs and the services' last lines."""
        world = self.world
        weeks = [(run["name"], run["state_name"], run["state"]) for run in self.runs(WEEKS[0])]
        services = (world.worker, world.control, world.prefect)
        logs = [f"{one.log.name}:\n{one.log.read_text()[-4_000:]}" for one in services]
        page = self.page.locator("body").inner_text()[-3_000:]
        return "\n\n".join([str(self.rollout()), page, *map(str, weeks), *logs])


@pytest.fixture
def person(browser: "Browser", world: FlowWorld) -> Iterator[Person]:
    apart(world.fresh_rollout)
    # A context is a browser of its own: no cookies, no storage, nobody is logged in.
    context = browser.new_context(viewport={"width": 1_300, "height": 1_000})
    context.set_default_timeout(WAIT_S * 1e3)
    yield Person(context.new_page(), world)
    context.close()


def test_a_person_logs_in_reads_the_evidence_and_approves_one_stage(person: Person) -> None:
    page = person.page
    page.goto(person.start(WEEKS[0]))
    person.log_in("crossfade:guessed")
    page.get_by_text("Invalid credentials").wait_for()
    # Nothing of the run is shown to a stranger.
    assert page.get_by_text("rollout-week").count() == 0
    person.log_in(person.password)
    person.waits()
    waiting = person.rollout()
    page.get_by_text("Suspended").first.wait_for()
    page.locator("button[aria-haspopup=menu]").first.click()
    page.get_by_role("menuitem", name="Resume").click()
    form = page.get_by_role("dialog")
    form.get_by_text(waiting["evidence_hash"]).wait_for()
    text = form.inner_text()
    assert "Expires 20" in text
    assert "p95 realtime" in text
    # The evidence in full is one click away, and the chart is a picture.
    with page.context.expect_page() as opened:
        form.get_by_role("link", name="the chart").click(modifiers=["ControlOrMeta"])
    picture = opened.value.locator("img[src^='data:image/svg']")
    picture.wait_for()
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 100
    opened.value.close()
    form.get_by_label("Select Decision").click()
    page.get_by_role("option", name="approve").click()
    form.get_by_label("Who decides").fill("Ada Lovelace")
    form.get_by_label("Comment").fill("a quiet week")
    form.get_by_label("Support tickets").fill("2")
    form.get_by_role("button", name="Resume").click()
    person.sees(lambda rollout: rollout["stage"] == 1)
    passed = person.rollout()
    assert (passed["phase"], len(passed["approvals"])) == ("ready", 1)
    approval = passed["approvals"][0]
    assert (approval["approver"], approval["comment"]) == ("Ada Lovelace", "a quiet week")
    assert (approval["tickets"], approval["evidence_hash"]) == (2, waiting["evidence_hash"])
    page.get_by_text("Completed").first.wait_for()
    assert person.rollout()["stage"] == 1


def test_the_operations_page_leads_to_the_run_that_waits(person: Person) -> None:
    run = person.start(WEEKS[0]).rpartition("/")[2]
    person.waits()
    page = person.page
    page.goto(person.world.settings.control.url)
    page.get_by_label("Access token").fill(
        person.world.settings.control.operator_token.get_secret_value()
    )
    page.get_by_role("button", name="Sign in").click()
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Approve in Prefect").click()
    # A stranger is asked to log in, and is then where the link was to lead.
    prefect = Person(opened.value, person.world)
    prefect.log_in(person.password)
    prefect.page.locator(f"a[href*='{run}']").first.wait_for()
    assert "state=Suspended" in prefect.page.url


def test_a_person_takes_back_by_the_rollbacks_form(person: Person) -> None:
    page = person.page
    before = {run["id"] for run in person.runs(ROLLBACK)}
    person.start(WEEKS[0])
    page.goto(person.address(ROLLBACK))
    person.log_in(person.password)
    page.get_by_text("Logout").wait_for()
    page.goto(person.address(ROLLBACK))
    person.waits()
    page.get_by_role("button", name="Run").first.click()
    page.get_by_role("menuitem", name="Custom run").click()
    page.get_by_label("Reason").fill("complaints at the desk")
    page.get_by_role("button", name="Submit").click()
    person.sees(lambda rollout: rollout["phase"] == "rolled_back")
    taken = person.rollout()
    assert taken["reason"] == "complaints at the desk"
    assert all(share == 0 for share in taken["percentages"]["served"].values())
    started = [run for run in person.runs(ROLLBACK) if run["id"] not in before]
    assert len(started) == 1
