"""A browser tab that is watched: what it shows, in which order, and what it complains of."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests.browser.stage import Stage

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["Watched", "eventually", "new_page"]

# Every row that enters the table of live events, in the order in which it does, and everything
# that the badge ever says of who serves the page: from the page's first moment on.
_RECORDER = """
window.rows = [];
window.badges = [];
const take = (row) => {
  if (row.dataset?.stream) window.rows.push([row.dataset.stream, Number(row.dataset.sequence)]);
  else if (row.className === "lost") window.rows.push(["lost", row.textContent]);
};
const watchRows = (body) => new MutationObserver((records) => {
  // The newest stands at the top, so what one record adds is read from its end.
  for (const { addedNodes } of records) [...addedNodes].reverse().forEach(take);
}).observe(body, { childList: true });
const watchBadge = (badge) => {
  const look = () => {
    const { source } = badge.dataset;
    if (source !== "none" && source !== window.badges.at(-1)) window.badges.push(source);
  };
  new MutationObserver(look).observe(badge, { attributeFilter: ["data-source"] });
  look();
};
const waiting = new Map([["#events tbody", watchRows], [".badge", watchBadge]]);
const found = new MutationObserver(() => {
  for (const [selector, watch] of waiting) {
    const element = document.querySelector(selector);
    if (element !== null && waiting.delete(selector)) watch(element);
  }
});
found.observe(document, { childList: true, subtree: true });
"""
_STATE = """() => {
  const { source, serving, moving, fallenBack, holes, live, flagVersion } = window.crossfade.state;
  return { source, serving, moving, fallenBack, holes, live, flagVersion };
}"""
# A network error of a server that a test has killed is no fault of the page.
_EXPECTED = ("net::ERR_", "WebSocket connection to", "Failed to load resource")


class Watched:
    """A page and what was seen of it."""

    def __init__(self, page: "Page", stage: Stage, *, record: bool = True) -> None:
        self.page = page
        self.stage = stage
        self.errors: list[str] = []
        self._opened: dict[str, int] = {}
        if record:
            page.add_init_script(_RECORDER)
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
        # The journal knows an event before any page can: nothing above these was passed over.
        self._opened = self.stage.heads()

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

    @property
    def badges(self) -> list[str]:
        """Who served the page, in order, as its badge told it."""
        found: list[str] = self.page.evaluate("() => window.badges")
        return found

    def finish(self, at_least: int = 0, timeout_s: float = 30.0) -> None:
        """Publish until so many events came since the page was opened, then compare: every
        one of them stands in the page's order, once, and nothing in its console."""

        def published() -> int:
            heads = self.stage.heads()
            return sum(heads.values()) - sum(self._opened.values())

        eventually(lambda: published() >= at_least, 60, lambda: f"{published()} published")
        self.stage.rest()
        heads = self.stage.heads()

        def missing() -> dict[str, int]:
            ends = {stream: max(numbers) for stream, numbers in self.shown().items()}
            return {
                stream: head
                for stream, head in heads.items()
                if head > self._opened.get(stream, 0) and ends.get(stream, 0) < head
            }

        eventually(lambda: not missing(), timeout_s, lambda: f"not shown yet: {missing()}")
        self._check_rows(heads)
        assert self.errors == []

    def _check_rows(self, heads: dict[str, int]) -> None:
        shown = self.shown()
        assert self.lost == []
        for stream, head in heads.items():
            opened = self._opened.get(stream, 0)
            if head == opened and stream not in shown:
                continue
            first = shown[stream][0]
            assert first <= opened + 1, f"{stream}: begins at {first}, {opened} were known"
            assert shown[stream] == list(range(first, head + 1)), stream
        assert set(shown) <= set(heads)

    def shown(self) -> dict[str, list[int]]:
        """Per stream the sequences of its rows, in the order in which they were shown."""
        found: dict[str, list[int]] = defaultdict(list)
        for stream, sequence in self.page.evaluate("() => window.rows"):
            if stream != "lost":
                found[stream].append(sequence)
        return found

    @property
    def lost(self) -> list[str]:
        """The rows of lost ranges."""
        return [text for kind, text in self.page.evaluate("() => window.rows") if kind == "lost"]

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop the page's timers and tasks, as a browser does with a hidden tab."""
        session = self.page.context.new_cdp_session(self.page)
        session.send("Page.setWebLifecycleState", {"state": "frozen"})
        yield
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
def new_page(
    browser: "Browser", stage: Stage, *, record: bool = True, **options: Any
) -> Iterator[Watched]:
    """A fresh profile with one tab; without ``record`` only the page itself costs anything."""
    options = {"viewport": {"width": 1280, "height": 900}, **options}
    context = browser.new_context(**options)
    try:
        yield Watched(context.new_page(), stage, record=record)
    finally:
        context.close()
