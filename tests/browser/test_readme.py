"""The ten lines of the client's README, as they stand there, in a page of somebody else's."""

import json
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from crossfade.local.addresses import HOST
from crossfade.local.keys import mint_token
from crossfade.settings import Settings
from tests.browser.conftest import ARGUMENTS, CHROMIUM
from tests.browser.page import eventually
from tests.browser.stage import Stage

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "dashboard"
# Neither https nor this machine's own name: the browser gives such a page less than others.
NAME = "shop.test"
KEY = "N130NY"
_PAGE = """\
<!doctype html><title>A shop</title><link rel="icon" href="data:," />
<script type="module" src="./page.ts"></script>
"""
_AROUND = """
const { session, SUPABASE_URL, SUPABASE_ANON_KEY } = (window as any).given;
const shown: any[] = ((window as any).shown = []);
const badges: any[] = ((window as any).badges = []);
const show = (event: any): void => void shown.push(event);
const badge = (source: string, asOfMs: number | null): void => {
  if (asOfMs !== null && source !== badges.at(-1)) badges.push(source);
};
Object.assign(window, { subscriber });
"""
_CONFIG = """
export default {
  resolve: { alias: {
    "@crossfade/client": %s,
    "@supabase/supabase-js": %s,
  } },
  build: { outDir: "built", minify: false },
};
"""


def readme_block() -> str:
    """The README's example."""
    text = (DASHBOARD / "client" / "README.md").read_text(encoding="utf-8")
    found = re.search(r"```ts\n(.*?)```", text, re.DOTALL)
    assert found is not None
    return found[1]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """A test's output is no access log."""


@contextmanager
def serving(folder: Path) -> Iterator[int]:
    """Serve a folder; gives the port."""
    server = ThreadingHTTPServer((HOST, 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


@pytest.fixture
def shop() -> Iterator[tuple[Stage, Path, str]]:
    """A stack that knows the shop's origin, the shop's folder, and its address."""
    with tempfile.TemporaryDirectory(prefix="crossfade-shop-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        site = folder / "site"
        (site / "built").mkdir(parents=True)
        with serving(site / "built") as port:
            origin = f"http://{NAME}:{port}"
            base = {
                "publisher": {"source": "flights/nyc"},
                "rollout": {"name": "flights"},
                "websocket": {"origins": [origin]},
                "control": {"origins": [origin]},
            }
            stage = Stage(folder / "stack", base=Settings.model_validate(base))
            stage.start()
            try:
                yield stage, site, origin
            finally:
                stage.stop()


def build(site: Path, code: str) -> None:
    """Build the page as its owner would; nothing of the example is altered but the names."""
    modules = DASHBOARD / "node_modules"
    (site / "index.html").write_text(_PAGE, encoding="utf-8")
    (site / "page.ts").write_text(code, encoding="utf-8")
    client, supabase = DASHBOARD / "client/src/index.ts", modules / "@supabase/supabase-js"
    config = _CONFIG % (json.dumps(str(client)), json.dumps(str(supabase)))
    (site / "vite.config.mjs").write_text(config, encoding="utf-8")
    vite = modules / ".bin" / "vite"
    command = [str(ROOT / "scripts" / "with-node"), str(vite), "build", "--logLevel", "warn"]
    subprocess.run(command, cwd=site, check=True, timeout=120)


@pytest.fixture
def page(browser: "Browser") -> "Iterator[Page]":
    """A tab of a browser that finds the shop on this machine."""
    rules = f"--host-resolver-rules=MAP {NAME} {HOST}"
    own = browser.browser_type.launch(executable_path=CHROMIUM, args=[*ARGUMENTS, rules])
    try:
        yield own.new_page()
    finally:
        own.close()


def test_ten_lines_are_enough(shop: tuple[Stage, Path, str], page: "Page") -> None:
    stage, site, origin = shop
    stage.rate(100)
    eventually(lambda: len(topics(stage)) > 1, 30)
    by_key, whole = topics(stage)[:2]
    block = readme_block()
    assert len([line for line in block.splitlines() if line.strip()]) == 10
    names = {
        'orders: ["customer-17"]': f'{by_key}: ["{KEY}"]',
        "prices: null": f"{whole}: null",
        "wss://events.example.com": stage.settings.websocket.url,
        "https://control.example.com": stage.url,
    }
    for theirs, ours in names.items():
        assert block.count(theirs) == 1, theirs
        block = block.replace(theirs, ours)
    imports, _, rest = block.partition("\n\n")
    build(site, f"{imports}\n{rest}\n{_AROUND}")
    secret = stage.settings.stack.jwt_secret.get_secret_value()
    given = {
        "session": {
            "hubToken": stage.settings.websocket.token.get_secret_value(),
            "jwt": mint_token(secret, "authenticated", lifetime_s=600),
            "instanceToken": stage.instance_token,
        },
        "SUPABASE_URL": stage.settings.supabase.url,
        "SUPABASE_ANON_KEY": stage.settings.supabase.anon_key.get_secret_value(),
    }
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.add_init_script(f"window.given = {json.dumps(given)};")
    page.goto(origin)
    assert page.evaluate("() => isSecureContext") is False
    eventually(lambda: badges(page) == ["websocket"], 20, lambda: f"{badges(page)} {errors}")
    opened = stage.heads()
    stage.begin(100)
    stage.forward()
    eventually(lambda: badges(page)[-1] == "realtime", 40, lambda: f"{badges(page)} {errors}")
    stage.back()
    eventually(lambda: badges(page)[-1] == "websocket", 40, lambda: f"{badges(page)} {errors}")
    stage.rest()
    heads = {place: head for place, head in stage.heads().items() if f"/{whole}/" in place}

    def missing() -> list[str]:
        ends = {place: max(rows) for place, rows in shown(page, whole).items()}
        due = [place for place, head in heads.items() if head > opened.get(place, 0)]
        return [place for place in due if ends.get(place) != heads[place]]

    eventually(lambda: not missing(), 20, lambda: f"{missing()} {errors}")
    for place, rows in shown(page, whole).items():
        assert rows == list(range(rows[0], heads[place] + 1))
        assert rows[0] <= opened.get(place, 0) + 1
    keys = page.evaluate(
        f"() => [...new Set(shown.filter(one => one.topic === '{by_key}').map(one => one.subject))]"
    )
    assert keys == [KEY]
    reports = stage.ask("/v1/status")["instances"]
    assert [one["role"] for one in reports if one["instance"].startswith("browser-")] == ["page"]
    assert errors == []


def topics(stage: Stage) -> list[str]:
    """The topics with events, by name."""
    return sorted({place.split("/")[-2] for place in stage.heads()})


def badges(page: "Page") -> list[str]:
    """Whom the page's badge named as the one who serves it."""
    found: list[str] = page.evaluate("() => window.badges ?? []")
    return found


def shown(page: "Page", topic: str) -> dict[str, list[int]]:
    """What the page was given of a topic, per stream."""
    rows = page.evaluate(
        """(topic) => shown.filter((one) => one.topic === topic).map((one) =>
          [`${one.source}/${one.epoch}/${one.topic}/${one.partition}`, one.sequence])""",
        topic,
    )
    found: dict[str, list[int]] = {}
    for place, sequence in rows:
        found.setdefault(place, []).append(sequence)
    return found
