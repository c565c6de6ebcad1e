"""The pages, and what they are told; without a build the plain status page is there."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from crossfade.control import app
from crossfade.control.auth import page_token
from crossfade.control.dashboard import client_config
from crossfade.local.keys import new_secret
from crossfade.settings import Settings
from tests.unit.control.conftest import INSTANCE, Running

NOW_US = 1_700_000_000_000_000


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "dashboard"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("operations")
    (folder / "departures.html").write_text("departures")
    (folder / "data-docs.html").write_text("data docs")
    (folder / "assets" / "index-abc.js").write_text("export {}")
    monkeypatch.setattr(app, "bundled_dashboard", lambda: folder)
    return folder


@pytest.fixture
async def http(running: Running) -> AsyncIterator[httpx.AsyncClient]:
    hub = {"url": "wss://hub.example:8443/events"}
    async with (
        running(websocket=hub) as (server, _, _),
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        yield client


@pytest.mark.usefixtures("built")
async def test_pages_need_no_token_and_may_talk_to_their_own_transports(
    http: httpx.AsyncClient,
) -> None:
    answer = await http.get("/")
    assert (answer.status_code, answer.text) == (200, "operations")
    policy = answer.headers["content-security-policy"]
    assert "connect-src 'self' wss://hub.example:8443;" in policy
    assert "default-src 'self'" in policy
    assert answer.headers["cache-control"] == "no-cache"
    assert (await http.get("/departures")).text == "departures"
    docs = await http.get("/data-docs?at_us=1")
    assert (docs.text, docs.headers["content-security-policy"]) == ("data docs", policy)
    assert "Crossfade" in (await http.get("/plain")).text


@pytest.mark.usefixtures("built")
async def test_files_with_a_hash_in_their_name_are_kept_for_good(http: httpx.AsyncClient) -> None:
    answer = await http.get("/assets/index-abc.js")
    assert "immutable" in answer.headers["cache-control"]
    gone = await http.get("/assets/index-old.js")
    assert gone.status_code == 404
    assert "immutable" not in gone.headers.get("cache-control", "")
    assert (await http.get("/assets/../index.html")).status_code == 404


async def test_without_a_build_there_is_the_plain_page(
    monkeypatch: pytest.MonkeyPatch, running: Running
) -> None:
    monkeypatch.setattr(app, "bundled_dashboard", lambda: None)
    async with running() as (server, _, _), httpx.AsyncClient(base_url=server.url) as client:
        assert "crossfade status" in (await client.get("/")).text
        assert (await client.get("/departures")).status_code == 404
        assert (await client.get("/data-docs")).status_code == 404


async def test_the_configuration_needs_a_token(http: httpx.AsyncClient) -> None:
    assert (await http.get("/v1/client-config")).status_code == 401
    headers = {"authorization": f"Bearer {INSTANCE}"}
    answer = await http.get("/v1/client-config", headers=headers)
    assert answer.json()["websocket"]["url"] == "wss://hub.example:8443/events"
    assert answer.json()["supabase"] is None
    assert answer.json()["access"] == "instance"


async def test_a_link_may_look_and_not_act(running: Running) -> None:
    async with running() as (server, _, clock), httpx.AsyncClient(base_url=server.url) as client:
        token = page_token(server.service.settings.control, 60.0, clock.now_us() / 1e6)
        headers = {"authorization": f"Bearer {token}"}
        config = await client.get("/v1/client-config", headers=headers)
        assert config.json()["access"] == "page"
        for path in ("status", "rollout", "audit", "incidents", "reconciliations", "flags"):
            assert (await client.get(f"/v1/{path}", headers=headers)).status_code == 200, path
        for path in ("rollout", "rollout/commands", "reconciliations"):
            answer = await client.post(f"/v1/{path}", headers=headers, json={})
            assert answer.status_code == 403, path
            assert "operator's token" in answer.json()["error"]
        clock.advance(61)
        assert (await client.get("/v1/status", headers=headers)).status_code == 401


async def test_other_origins_may_call_only_when_they_are_named(running: Running) -> None:
    ours = {"origin": "https://board.example"}
    async with running() as (server, _, _), httpx.AsyncClient(base_url=server.url) as client:
        answer = await client.get("/healthz", headers=ours)
        assert "access-control-allow-origin" not in answer.headers
    origins: dict[str, Any] = {"control": {"origins": ["https://board.example"]}}
    async with (
        running(**origins) as (server, _, _),
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        answer = await client.get("/healthz", headers=ours)
        assert answer.headers["access-control-allow-origin"] == "https://board.example"
        other = await client.get("/healthz", headers={"origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers


def test_a_supabase_token_is_minted_where_the_secret_is_known() -> None:
    secret = new_secret()
    settings = Settings.model_validate(
        {
            "supabase": {"url": "http://127.0.0.1:9", "anon_key": "anon", "access_token": "given"},
            "stack": {"jwt_secret": secret},
        }
    )
    found = client_config(settings, NOW_US)["supabase"]
    claims = jwt.decode(
        found["access_token"], secret, algorithms=["HS256"], options={"verify_exp": False}
    )
    assert claims["role"] == "authenticated"
    assert claims["exp"] * 1_000_000 == found["expires_at_us"] == NOW_US + 3_600_000_000


def test_else_the_configured_token_is_handed_on_and_the_service_key_never() -> None:
    settings = Settings.model_validate(
        {
            "supabase": {
                "url": "https://project.example",
                "anon_key": "anon",
                "access_token": "given",
                "service_role_key": "secret-of-the-server",
            },
            "prefect": {"api_url": "http://127.0.0.1:4200/api"},
        }
    )
    found = client_config(settings, NOW_US)
    assert found["supabase"]["access_token"] == "given"
    assert found["supabase"]["expires_at_us"] is None
    assert found["prefect_url"] == "http://127.0.0.1:4200"
    assert "secret-of-the-server" not in str(found)
