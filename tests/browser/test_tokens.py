"""The page's Supabase token: renewed before it ends, and replaced when it ended all the same."""

import json
from collections.abc import Callable
from typing import Any

from crossfade.local.keys import mint_token
from tests.browser.page import Watched, eventually
from tests.browser.stage import Stage
from tests.browser.test_switch import RATE

# supabase-js asks for a token at each heartbeat, every 25 seconds; here it is every second.
_QUICK_HEARTBEAT = """
const later = window.setTimeout;
window.setTimeout = (run, ms, ...given) => later(run, ms === 25_000 ? 1_000 : ms, ...given);
"""
_VALID_S = 12
_RENEWED_AFTER_S = 4
_TELL_S = 120 + _RENEWED_AFTER_S
"""The page renews a token two minutes before what it is told of its end."""


class Tokens:
    """The tokens that a page gets, and what it says and hears of them in Realtime's socket."""

    def __init__(
        self, page: Watched, stage: Stage, alter: Callable[[dict[str, Any]], None]
    ) -> None:
        self.given: list[str] = []
        self.sent: list[str] = []
        self.heard: list[str] = []
        self.sockets = 0
        self._realtime = stage.settings.supabase.url.partition("://")[2]
        self._alter = alter
        page.page.route("**/v1/client-config", self._give)
        page.page.on("websocket", self._watch)

    def _give(self, route: Any) -> None:
        answer = route.fetch()
        body = answer.json()
        self._alter(body)
        self.given.append(body["supabase"]["access_token"])
        route.fulfill(response=answer, json=body)

    def _watch(self, socket: Any) -> None:
        if self._realtime not in socket.url:
            return
        self.sockets += 1
        socket.on("framesent", lambda payload: self._note(payload, self.sent))
        socket.on("framereceived", lambda payload: self._note(payload, self.heard))

    def _note(self, payload: str | bytes, kinds: list[str]) -> None:
        if isinstance(payload, str):
            frame = json.loads(payload)
            kinds.append(frame["event"] if isinstance(frame, dict) else frame[3])


def test_a_token_is_renewed_in_band(page: Watched, rollout: Stage) -> None:
    """Each token ends after twelve seconds, and the channels outlive it: the page sends the
    next one in time, on the same connection."""
    secret = rollout.settings.stack.jwt_secret.get_secret_value()

    def shorten(body: dict[str, Any]) -> None:
        token = mint_token(secret, "authenticated", lifetime_s=_VALID_S)
        body["supabase"] |= {
            "access_token": token,
            "expires_at_us": body["at_us"] + _TELL_S * 1_000_000,
        }

    page.page.add_init_script(_QUICK_HEARTBEAT)
    tokens = Tokens(page, rollout, shorten)
    rollout.begin(100)
    rollout.rate(RATE)
    page.open()
    rollout.forward()
    page.await_badge("realtime")
    first = len(set(tokens.given))
    # Waiting in the page lets Playwright answer its requests meanwhile.
    page.page.wait_for_timeout((_VALID_S + 2) * 1_000)
    page.finish(at_least=1_000)
    assert len(set(tokens.given)) > first
    assert "access_token" in tokens.sent
    assert "phx_close" not in tokens.heard
    assert tokens.sockets == 1
    assert page.badge == "realtime"


def test_a_token_that_ended_is_replaced(page: Watched, rollout: Stage) -> None:
    """The page believes its token to be good for an hour; the server closes every channel."""
    tokens = Tokens(page, rollout, lambda body: None)
    rollout.begin(100)
    rollout.rate(RATE)
    page.open()
    rollout.forward()
    page.await_badge("realtime")
    page.page.wait_for_timeout(2_500)
    given, sockets = len(tokens.given), tokens.sockets
    rollout.fault(expire_tokens=True)
    eventually(
        lambda: page.badge != "" and len(tokens.given) > given and tokens.sockets > sockets,
        30,
        lambda: f"{len(tokens.given)} tokens, {tokens.sockets} sockets",
    )
    page.await_badge("realtime", 60)
    page.finish(at_least=1_000)
    assert "phx_close" in tokens.heard
    assert len(set(tokens.given)) > 1
