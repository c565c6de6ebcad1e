"""The stand-in's REST: the gateway's refusals, PostgREST's shapes, roles in the database."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import jwt
import pytest

from tests.services import Postgres, Project, running_project

pytestmark = pytest.mark.xdist_group("rest")  # one set of services

FUNCTIONS = """
create table public.things (id int primary key, name text);
alter table public.things enable row level security;
insert into public.things select n, 'thing ' || n from generate_series(1, 3) n;
create policy odd on public.things for select to authenticated using (id % 2 = 1);
create function public.who() returns json language sql stable as $$
  select json_build_object(
    'current', current_user, 'session', session_user, 'uid', auth.uid(), 'role', auth.role(),
    'timeout', current_setting('statement_timeout'), 'method', current_setting('request.method'))
$$;
create function public.add(a int, b int default 10) returns int language sql as 'select a + b';
create function public.nothing() returns void language sql as 'select';
create function public.all_things() returns setof public.things language sql stable
  as 'select * from public.things order by id';
create function public.one_thing(wanted int) returns public.things language sql stable
  as 'select * from public.things where id = wanted';
create function public.many() returns setof int language sql stable
  as 'select generate_series(1, 1500)';
create function public.write_thing() returns void language sql security definer
  as 'insert into public.things values (1, null)';
create function public.fail(code text) returns void language plpgsql as $$
begin
  raise exception 'as told' using errcode = code, detail = 'the detail', hint = 'the hint';
end $$;
create function public.escape() returns text language sql
  as $$ select set_config('role', 'postgres', true) $$;
create function public.echo(data json) returns json language sql as 'select data';
"""


@pytest.fixture(scope="module")
def api(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with running_project(tmp_path_factory.mktemp("rest"), postgres.create_database()) as project:
        project.sql(FUNCTIONS)
        yield project


class Caller:
    def __init__(self, http: httpx.AsyncClient, project: Project) -> None:
        self.http = http
        self.project = project

    async def rpc(
        self, function: str, arguments: Any = None, *, role: str = "service_role", **headers: str
    ) -> httpx.Response:
        return await self.http.post(
            f"/rest/v1/rpc/{function}", json=arguments or {}, headers={**self.key(role), **headers}
        )

    def key(self, role: str) -> dict[str, str]:
        if role == "authenticated":
            return {
                "apikey": self.project.anon_key,
                "Authorization": f"Bearer {self.project.token()}",
            }
        return {"apikey": getattr(self.project, f"{role}_key")}


@pytest.fixture
async def caller(api: Project) -> AsyncIterator[Caller]:
    async with httpx.AsyncClient(base_url=api.url, timeout=10) as http:
        yield Caller(http, api)


async def test_keys_are_checked_by_the_gateway(caller: Caller) -> None:
    answer = await caller.http.post("/rest/v1/rpc/who", json={})
    assert (answer.status_code, answer.json()["message"]) == (401, "No API key found in request")
    answer = await caller.http.post("/rest/v1/rpc/who", json={}, headers={"apikey": "nonsense"})
    assert (answer.status_code, answer.json()["message"]) == (401, "Invalid API key")
    # A user's token is no key.
    answer = await caller.http.get("/rest/v1/things", headers={"apikey": caller.project.token()})
    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("token", "code", "message"),
    [
        ("nonsense", "PGRST301", "The token provided is not a valid JWT"),
        (
            jwt.encode({"role": "service_role", "exp": 9e9}, "x" * 40, algorithm="HS256"),
            "PGRST301",
            "Failed to validate JWT signature",
        ),
        ("expired", "PGRST303", "JWT expired"),
    ],
)
async def test_tokens_are_checked(caller: Caller, token: str, code: str, message: str) -> None:
    if token == "expired":
        token = caller.project.token(lifetime_s=-5)
    answer = await caller.rpc("who", role="anon", Authorization=f"Bearer {token}")
    assert answer.status_code == 401
    assert answer.json() == {"code": code, "details": None, "hint": None, "message": message}


@pytest.mark.parametrize(
    ("role", "limit"), [("anon", "3s"), ("authenticated", "8s"), ("service_role", "8s")]
)
async def test_each_caller_is_its_role_in_the_database(
    caller: Caller, role: str, limit: str
) -> None:
    answer = await caller.rpc("who", role=role)
    assert answer.json() == {
        "current": role,
        "session": "authenticator",
        "uid": "11111111-1111-1111-1111-111111111111" if role == "authenticated" else None,
        "role": role,
        "timeout": limit,
        "method": "POST",
    }


async def test_row_level_security_is_the_databases_own(caller: Caller) -> None:
    for role, ids in (("anon", []), ("authenticated", [1, 3]), ("service_role", [1, 2, 3])):
        for path in ("/rest/v1/things?select=id&order=id", "/rest/v1/rpc/all_things"):
            answer = await caller.http.get(path, headers=caller.key(role))
            assert [row["id"] for row in answer.json()] == ids


async def test_nobody_becomes_superuser(caller: Caller) -> None:
    answer = await caller.rpc("escape", role="authenticated")
    assert (answer.status_code, answer.json()["code"]) == (403, "42501")


async def test_shapes_of_results(caller: Caller) -> None:
    assert (await caller.rpc("add", {"a": 1})).json() == 11
    assert (await caller.rpc("add", {"b": 2, "a": 1})).json() == 3
    assert (await caller.rpc("nothing")).status_code == 204
    assert (await caller.rpc("one_thing", {"wanted": 2})).json() == {"id": 2, "name": "thing 2"}
    assert len((await caller.rpc("many")).json()) == 1_000
    text = '{"b":1.0,"a":123456789012345678901234567890,"b":"\\u00e9"}'
    answer = await caller.http.post(
        "/rest/v1/rpc/echo", content=f'{{"data":{text}}}', headers=caller.key("service_role")
    )
    assert answer.text == text
    answer = await caller.http.get("/rest/v1/rpc/add?a=4&b=5", headers=caller.key("service_role"))
    assert answer.json() == 9


async def test_what_is_not_found(caller: Caller) -> None:
    answer = await caller.rpc("no_such", {"x": 1})
    assert (answer.status_code, answer.json()["code"]) == (404, "PGRST202")
    assert "public.no_such(x)" in answer.json()["message"]
    assert (await caller.rpc("add", {"b": 1})).status_code == 404
    answer = await caller.http.get("/rest/v1/no_table", headers=caller.key("service_role"))
    assert (answer.status_code, answer.json()["code"]) == (404, "PGRST205")
    # crossfade is not exposed.
    answer = await caller.http.get(
        "/rest/v1/events", headers={**caller.key("service_role"), "Accept-Profile": "crossfade"}
    )
    assert (answer.status_code, answer.json()["code"]) == (406, "PGRST106")


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("P0001", 400),
        ("22023", 400),
        ("23505", 409),
        ("40001", 500),
        ("53300", 503),
        ("57014", 500),
        ("42501", 403),
        ("23514", 400),
    ],
)
async def test_errors_have_postgrests_shape_and_status(
    caller: Caller, code: str, status: int
) -> None:
    answer = await caller.rpc("fail", {"code": code}, role="authenticated")
    assert answer.status_code == status
    assert answer.json() == {
        "code": code,
        "message": "as told",
        "details": "the detail",
        "hint": "the hint",
    }


async def test_anon_without_permission_is_unauthorized(caller: Caller) -> None:
    answer = await caller.rpc("fail", {"code": "42501"}, role="anon")
    assert answer.status_code == 401


async def test_a_failed_call_leaves_nothing(caller: Caller) -> None:
    answer = await caller.rpc("write_thing")
    assert (answer.status_code, answer.json()["code"]) == (409, "23505")
    answer = await caller.http.get("/rest/v1/rpc/write_thing", headers=caller.key("service_role"))
    assert (answer.status_code, answer.json()["code"]) == (405, "25006")


async def test_bad_json_is_said(caller: Caller) -> None:
    for content in (b"{", b"[]", b"1", b'{"a":"\xff"}', b"[" * 100_000):
        answer = await caller.http.post(
            "/rest/v1/rpc/who", content=content, headers=caller.key("service_role")
        )
        assert (answer.status_code, answer.json()["code"]) == (400, "PGRST102")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/rest/v1/things"),
        ("GET", "/rest/v1/"),
        ("GET", "/rest/v1/things?other.id=eq.1"),
        ("GET", "/rest/v1/things?select=id,other(*)"),
        ("GET", "/auth/v1/user"),
        ("GET", "/storage/v1/bucket"),
        ("GET", "/"),
    ],
)
async def test_what_is_not_built_is_501(caller: Caller, method: str, path: str) -> None:
    answer = await caller.http.request(method, path, headers=caller.key("service_role"))
    assert answer.status_code == 501
    assert "stand-in" in answer.json()["message"]


async def test_browsers_may_call(caller: Caller) -> None:
    answer = await caller.http.options(
        "/rest/v1/rpc/who",
        headers={
            "Origin": "http://app.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "apikey,authorization",
        },
    )
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "*"
