"""Prefect's answers are understood, and its failures are told apart."""

from collections.abc import Callable
from typing import Any

import httpx
import orjson
import pytest

from crossfade.errors import PrefectUnavailable, Refused, UsageError
from crossfade.local.prefect_api import PrefectApi

Handler = Callable[[httpx.Request], httpx.Response]


def client(handler: Handler, **options: Any) -> PrefectApi:
    return PrefectApi("http://prefect/api/", transport=httpx.MockTransport(handler), **options)


def answering(status: int, value: Any) -> Handler:
    return lambda request: httpx.Response(status, json=value)


async def test_run_names_the_deployment_and_its_key() -> None:
    asked: list[tuple[str, Any]] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append((request.url.path, orjson.loads(request.content) if request.content else None))
        return httpx.Response(200, json={"id": "42"})

    async with client(handler) as api:
        run = await api.run("flow/one", {"stage": 1}, idempotency_key="k", tags=["demo"])
    assert run == "42"
    assert asked == [
        ("/api/deployments/name/flow/one", None),
        (
            "/api/deployments/42/create_flow_run",
            {"parameters": {"stage": 1}, "tags": ["demo"], "idempotency_key": "k"},
        ),
    ]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.Response(503, json={}), PrefectUnavailable),
        (httpx.Response(429, json={}), PrefectUnavailable),
        (httpx.Response(200, text="<html>"), PrefectUnavailable),
        (httpx.Response(404, json={"detail": "Deployment not found"}), UsageError),
        (httpx.Response(409, json={"detail": "bad parameters"}), UsageError),
    ],
)
async def test_failures(answer: httpx.Response, error: type[Exception]) -> None:
    async with client(lambda request: answer) as api:
        with pytest.raises(error, match="Prefect"):
            await api.run("flow/one")


async def test_a_refused_login_says_what_to_set_and_not_what_was_sent() -> None:
    async with client(answering(401, {}), auth="ada:secret: one") as api:
        with pytest.raises(UsageError, match=r"prefect\.auth") as caught:
            await api.run("flow/one")
    assert "secret" not in str(caught.value)


async def test_a_locked_database_is_asked_again() -> None:
    answers = [httpx.Response(503, json={}), httpx.Response(200, json=[])]

    async with client(lambda request: answers.pop(0)) as api:
        assert await api.runs() == []
    assert answers == []


async def test_unreachable_and_slow() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    def sleep(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("", request=request)

    async with client(refuse) as api:
        assert not await api.healthy()
        assert not await api.worker_online("pool", "name")
        with pytest.raises(PrefectUnavailable, match="refused"):
            await api.runs()
    async with client(sleep) as api:
        with pytest.raises(PrefectUnavailable, match="in time"):
            await api.read("1")


async def test_a_form_that_is_not_taken_says_why() -> None:
    value = {"status": "REJECT", "details": {"reason": "'perhaps' is not one of …"}}
    async with client(answering(200, value)) as api:
        with pytest.raises(Refused, match="perhaps"):
            await api.answer("1", {})


@pytest.mark.parametrize(
    ("value", "taken"),
    [
        ({"status": "ACCEPT", "state": {"type": "CANCELLING"}}, True),
        ({"status": "REJECT", "state": {"type": "CANCELLED"}, "details": {"reason": "x"}}, True),
        ({"status": "ABORT", "details": {"reason": "This run has already terminated."}}, False),
        ({"status": "REJECT", "state": {"type": "FAILED"}, "details": {"reason": "x"}}, False),
    ],
)
async def test_cancel(value: dict[str, Any], taken: bool) -> None:
    async with client(answering(201, value)) as api:
        if taken:
            await api.cancel("1")
        else:
            with pytest.raises(Refused):
                await api.cancel("1")


async def test_form_is_there_once_its_schema_is() -> None:
    details = {"run_input_keyset": {"schema": "s", "description": "d", "response": "r"}}
    run = {
        "name": "fox",
        "deployment_id": "9",
        "state_type": "PAUSED",
        "state": {"state_details": {**details, "pause_timeout": "2026-01-01T00:00:00Z"}},
    }
    inputs: dict[str, Any] = {}

    def handler(request: httpx.Request) -> httpx.Response:
        key = request.url.path.rpartition("/input/")[2]
        if "/input/" not in request.url.path:
            return httpx.Response(200, json=run)
        if key not in inputs:
            return httpx.Response(404, json={"detail": "none"})
        return httpx.Response(200, text=inputs[key])

    async with client(handler) as api:
        assert await api.form("1") is None
        inputs["s"] = '{"properties": {"decision": {}}, "required": ["decision"]}'
        inputs["d"] = '"# Evidence"'
        form = await api.form("1")
        run["state_type"] = "RUNNING"
        assert await api.form("1") is None
    assert form is not None
    assert (form.description, form.required, form.run_name) == ("# Evidence", ("decision",), "fox")
    assert form.expires == "2026-01-01T00:00:00Z"


async def test_pages_and_credentials() -> None:
    seen: list[str | None] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("authorization"))
        return httpx.Response(200, json=True)

    async with client(handler, auth="admin:secret") as api:
        assert await api.healthy()
        assert api.run_url("1") == "http://prefect/v2/runs/flow-run/1"
        assert api.deployment_url("2") == "http://prefect/v2/deployments/deployment/2"
        assert api.ui_url == "http://prefect"
    assert seen == ["Basic YWRtaW46c2VjcmV0"]
