"""How answers are judged, without a server."""

from collections.abc import Callable

import httpx
import pytest

from crossfade.adapters import supabase
from crossfade.adapters.supabase import SupabaseEventStore
from crossfade.core.event import Stream
from crossfade.errors import StoreRejected, StoreUnavailable, StoreUnreachable

KEY = "a-secret-key"
STREAM = Stream("app", 1, "critical", 0)


def store_that_gets(
    monkeypatch: pytest.MonkeyPatch, answer: Callable[[httpx.Request], httpx.Response]
) -> SupabaseEventStore:
    real = supabase._Http
    monkeypatch.setattr(
        supabase,
        "_Http",
        lambda **options: real(**{**options, "transport": httpx.MockTransport(answer)}),
    )
    return SupabaseEventStore("http://project.example", KEY)


@pytest.mark.parametrize(
    ("response", "error"),
    [
        # The data's own fault.
        (httpx.Response(400, json={"code": "22P02", "message": "m"}), StoreRejected),
        (httpx.Response(400, json={"code": "23514", "message": "m"}), StoreRejected),
        (httpx.Response(409, json={"code": "23505", "message": "m"}), StoreRejected),
        (httpx.Response(500, json={"code": "54000", "message": "m"}), StoreRejected),
        (httpx.Response(400, json={"code": "PGRST102", "message": "m"}), StoreRejected),
        (httpx.Response(413, html="<h1>too large</h1>"), StoreRejected),
        # Nothing is wrong with the events.
        (httpx.Response(401, json={"message": "Invalid API key"}), StoreUnavailable),
        (httpx.Response(403, json={"code": "42501", "message": "m"}), StoreUnavailable),
        (httpx.Response(404, json={"code": "PGRST202", "message": "m"}), StoreUnavailable),
        (httpx.Response(429, json={"message": "slow down"}), StoreUnavailable),
        (httpx.Response(500, json={"code": "57014", "message": "m"}), StoreUnavailable),
        (httpx.Response(500, json={"code": "40001", "message": "m"}), StoreUnavailable),
        (httpx.Response(503, json={"code": "PGRST000", "message": "m"}), StoreUnavailable),
        (httpx.Response(502, html="<h1>Bad Gateway</h1>"), StoreUnavailable),
        (httpx.Response(200, html="<h1>Please log in</h1>"), StoreUnavailable),
        (httpx.Response(540, text="project paused"), StoreUnavailable),
        (httpx.Response(400, json=["odd"]), StoreRejected),
        (httpx.Response(200, json={"events": "odd"}), StoreUnavailable),
        (httpx.Response(200, json=None), StoreUnavailable),
    ],
)
async def test_answers_are_judged_by_what_can_mend_them(
    monkeypatch: pytest.MonkeyPatch, response: httpx.Response, error: type[Exception]
) -> None:
    async with store_that_gets(monkeypatch, lambda _: response) as store:
        with pytest.raises(error) as raised:
            await store.fill(STREAM, 1, 2)
    assert type(raised.value) is error
    assert "crossfade_fill_v1" in str(raised.value)


@pytest.mark.parametrize(
    "failure",
    [httpx.ConnectError("refused"), httpx.ReadTimeout("late"), httpx.RemoteProtocolError("cut")],
)
async def test_no_connection_is_unreachable(
    monkeypatch: pytest.MonkeyPatch, failure: httpx.HTTPError
) -> None:
    def fail(_: httpx.Request) -> httpx.Response:
        raise failure

    async with store_that_gets(monkeypatch, fail) as store:
        with pytest.raises(StoreUnreachable, match=type(failure).__name__):
            await store.fill(STREAM, 1, 2)


async def test_keys_never_show(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = httpx.Response(400, json={"code": "P0001", "message": f"bad key {KEY} " + "x" * 999})
    async with store_that_gets(monkeypatch, lambda _: answer) as store:
        with pytest.raises(StoreUnavailable) as raised:
            await store.fill(STREAM, 1, 2)
    assert KEY not in str(raised.value)
    assert len(str(raised.value)) <= 400


async def test_every_call_carries_the_key_and_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"events": [], "floor": None, "head": None})

    async with store_that_gets(monkeypatch, answer) as store:
        await store.fill(STREAM, 1, 2)
        await store.set_access_token("fresh")
        await store.fill(STREAM, 1, 2)
    assert [(r.headers["apikey"], r.headers["authorization"]) for r in seen] == [
        (KEY, f"Bearer {KEY}"),
        (KEY, "Bearer fresh"),
    ]
    assert all(KEY not in str(request.url) for request in seen)
