"""A browser tab that is watched: what it shows, in which order, and what it complains of."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from crossfade.core.event import Stream
from tests.browser.stage import Stage

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["Watched", "eventually", "new_page"]

# Every row that enters the table of live events, in the order in which it does.
_RECORDER = """
() => {
  window.rows = [];
  const take = (row) => {
    if (row.dataset?.stream) window.rows.push([row.dataset.stream, Number(row.dataset.sequence)]);
    else if (row.className === "lost") window.rows.push(["lost", row.textContent]);
  };
  new MutationObserver((records) => {
    // The newest stands at the top, so what one record adds is read from its end.
    for (const { addedNodes } of records) [...addedNodes].reverse().forEach(take);
  }).observe(document.querySelector("#events tbody"), { childList: true });
}
"""
_STATE = """() => {
  const { source, serving, moving, fallenBack, holes, live, flagVersion } = window.crossfade.state;
  return { source, serving, moving, fallenBack, holes, live, flagVersion };
}"""
# A network error of a server that a test has killed is no fault of the page.
_EXPECTED = ("net::ERR_", "WebSocket connection to", "Failed to load resource")


class Watched:
    """A page and what was seen of it."""

    def __init__(self, page: "Page", stage: Stage) -> None:
        self.page = page
        self.stage = stage
        self.errors: list[str] = []
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.errors.append(f"uncaught: {error}"))

    def _said(self, message: Any) -> None:
        if message.type in {"error", "warning"} and not any(
            known in message.text for known in _EXPECTED
        ):
            self.errors.append(f"{message.type}: {message.text}")

    def open(self, path: str = "/", token: str | None = None) -> None:
        """Sign in and wait until the data is live."""
        self.page.goto(self.stage.url + path)
        self.page.get_by_label("Access token").fill(token or self.stage.token)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_selector('.badge[data-live="true"]', timeout=20_000)
        if path == "/":
            self.page.evaluate(_RECORDER)

    @property
    def badge(self) -> str:
        """What the source badge says: websocket, realtime, both or none."""
        return self.page.get_attribute(".badge", "data-source") or ""

    @property
    def state(self) -> dict[str, Any]:
        """The subscriber's own account."""
        found: dict[str, Any] = self.page.evaluate(_STATE)
        return found

    def await_badge(self, source: str, timeout_s: float = 20.0) -> None:
        """Wait until the badge says this, and everything is live again."""
        eventually(
            lambda: self.badge == source and self.state["live"] and self.state["moving"] == 0,
            timeout_s,
            lambda: f"badge {self.badge}, wanted {source}: {self.state}",
        )

    def await_everything(self, timeout_s: float = 20.0) -> None:
        """Wait until the page has shown what was published last of every stream."""
        heads = {f"{s.source}/{s.epoch}/{s.topic}/{s.partition}": n for s, n in self.heads.items()}

        def missing() -> dict[str, int]:
            shown = {stream: numbers[-1] for stream, numbers in self.shown().items()}
            return {one: last for one, last in heads.items() if shown.get(one, last) < last}

        eventually(lambda: not missing(), timeout_s, lambda: f"not shown yet: {missing()}")

    @property
    def heads(self) -> dict[Stream, int]:
        return self.stage.heads()

    def shown(self) -> dict[str, list[int]]:
        """Per stream the sequences of its rows, in the order in which they were shown."""
        found: dict[str, list[int]] = defaultdict(list)
        for stream, sequence in self.page.evaluate("() => window.rows"):
            found[stream].append(sequence)
        return found

    def check_continuity(self, at_least: int) -> None:
        """No row missing, doubled or out of order, and nothing in the console."""
        shown = self.shown()
        assert "lost" not in shown, shown["lost"]
        for stream, numbers in shown.items():
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), stream
        assert sum(map(len, shown.values())) >= at_least
        assert self.errors == []

    def freeze(self, seconds: float) -> None:
        """Stop the page's timers and tasks, as a browser does with a hidden tab, for a while."""
        session = self.page.context.new_cdp_session(self.page)
        session.send("Page.setWebLifecycleState", {"state": "frozen"})
        time.sleep(seconds)
        session.send("Page.setWebLifecycleState", {"state": "active"})
        session.detach()


def eventually(
    holds: Callable[[], bool], timeout_s: float, explain: Callable[[], str] = lambda: ""
) -> None:
    """Wait for a condition; fails with ``explain`` when it does not come."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {explain()}"
        time.sleep(0.1)


@contextmanager
def new_page(browser: "Browser", stage: Stage, **options: Any) -> Iterator[Watched]:
    """A fresh profile with one tab."""
    options = {"viewport": {"width": 1280, "height": 900}, **options}
    context = browser.new_context(**options)
    try:
        yield Watched(context.new_page(), stage)
    finally:
        context.close()
