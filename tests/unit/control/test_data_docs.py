"""Great Expectations' pages over HTTP: to whoever may look, and nothing else of the disk."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import orjson
import pytest

from crossfade.control.auth import page_token
from crossfade.control.docs_threads import MAX_ASKED, DocsThreads
from crossfade.control.server import ControlServer
from crossfade.data_docs import RUN_FILE, page_file, page_of, run_folder, runs
from tests.rollouts import a_reconciliation
from tests.unit.control.conftest import INSTANCE, OPERATOR, HeldClock, Running

AT_US = 1_764_000_000_123_457
AS_OPERATOR = {"authorization": f"Bearer {OPERATOR}"}


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """Pages of two runs, one that is being written, and secrets around them."""
    folder = tmp_path / "docs"
    for later in (0, 1_000_000):
        keep(folder, AT_US + later)
    run_folder(folder, AT_US + 2_000_000).mkdir()
    (folder / "secret.html").write_text("secret")
    (tmp_path / "secret.html").write_text("secret")
    (run_folder(folder, AT_US) / "linked.html").symlink_to(tmp_path / "secret.html")
    return folder


def keep(docs: Path, at_us: int) -> None:
    folder = run_folder(docs, at_us)
    folder.mkdir(parents=True)
    (folder / "counts.html").write_text(f"counts of {at_us}")
    (folder / RUN_FILE).write_bytes(orjson.dumps({"at_us": at_us, "verdict": "pass", "suites": []}))


Server = tuple[ControlServer, httpx.AsyncClient, HeldClock]


@pytest.fixture
async def served(docs: Path, running: Running) -> AsyncIterator[Server]:
    async with (
        running(reconcile={"docs": str(docs)}) as (server, _, clock),
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        yield server, client, clock


async def test_a_run_and_its_page(served: Server) -> None:
    _, client, _ = served
    listed = (await client.get("/v1/data-docs", headers=AS_OPERATOR)).json()
    assert [one["at_us"] for one in listed] == [AT_US + 1_000_000, AT_US]
    answer = await client.get(f"/v1/data-docs/{AT_US}/counts", headers=AS_OPERATOR)
    assert (answer.status_code, answer.text) == (200, f"counts of {AT_US}")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "sandbox;" in policy
    assert "script" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


async def test_only_who_may_look_sees_them(served: Server) -> None:
    server, client, clock = served
    for path in ("/v1/data-docs", f"/v1/data-docs/{AT_US}/counts"):
        assert (await client.get(path)).status_code == 401, path
        instance = {"authorization": f"Bearer {INSTANCE}"}
        assert (await client.get(path, headers=instance)).status_code == 403, path
        token = page_token(server.service.settings.control, 60.0, clock.now_us() / 1e6)
        link = {"authorization": f"Bearer {token}"}
        assert (await client.get(path, headers=link)).status_code == 200, path
        for method in ("POST", "PUT", "DELETE"):
            answer = await client.request(method, path, headers=AS_OPERATOR)
            assert answer.status_code == 405, (method, path)


async def test_the_status_leads_to_the_pages_of_the_last_comparison(served: Server) -> None:
    server, client, _ = served
    for at_us, leads in ((AT_US, f"/data-docs?at_us={AT_US}"), (AT_US + 1, None)):
        await server.service.add_reconciliation(a_reconciliation(at_us=at_us))
        status = (await client.get("/v1/status", headers=AS_OPERATOR)).json()
        assert status["reconciliation"]["data_docs"] == leads


@pytest.mark.parametrize(
    "path",
    [
        f"{AT_US}/missing",
        f"{AT_US}/linked",
        f"{AT_US}/../secret",
        f"{AT_US}/..%2Fsecret",
        f"{AT_US}/%2e%2e%2fsecret",
        f"{AT_US}/..%2F..%2Fsecret",
        f"{AT_US}/%00",
        f"{AT_US}/counts.html",
        "../secret",
        "..%2Fsecret",
        "0/../../secret",
        "-1/counts",
        f"{10**30}/counts",
        f"{'9' * 5_000}/counts",
        "%C2%B2/counts",
        "x/counts",
    ],
)
async def test_no_other_file_is_served(served: Server, path: str) -> None:
    server, _, _ = served
    status, body = await asyncio.to_thread(_raw, server.url, f"/v1/data-docs/{path}")
    assert (status, b"secret" in body) == (404, False)


def _raw(url: str, path: str) -> tuple[int, bytes]:
    """An answer to a path exactly as given; a client would tidy it up first."""
    place = urlsplit(url)
    with socket.create_connection((place.hostname, place.port), timeout=20) as connection:
        connection.sendall(
            f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            f"Authorization: Bearer {OPERATOR}\r\n\r\n".encode()
        )
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


UNREADABLE = "x" * 300
"""A name that stat refuses with an error that ``Path.is_file`` raises, as it does EACCES."""


async def test_a_folder_that_can_not_be_read_fails_no_status(
    tmp_path: Path, running: Running
) -> None:
    folder = tmp_path / UNREADABLE
    assert page_of(folder, AT_US) is None
    assert page_file(folder, AT_US, "counts") is None
    async with (
        running(reconcile={"docs": str(folder)}) as (server, _, _),
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        await server.service.add_reconciliation(a_reconciliation(at_us=AT_US))
        status = await client.get("/v1/status", headers=AS_OPERATOR)
        assert (status.status_code, status.json()["reconciliation"]["data_docs"]) == (200, None)
        page = await client.get(f"/v1/data-docs/{AT_US}/counts", headers=AS_OPERATOR)
        assert page.status_code == 404


@pytest.mark.parametrize("at_us", [None, "soon", 1.5, 10**30, -1])
def test_what_is_no_moment_has_no_page(docs: Path, at_us: object) -> None:
    assert page_of(docs, at_us) is None


async def test_a_mount_that_hangs_holds_up_nothing_else(
    served: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, client, _ = served
    await server.service.add_reconciliation(a_reconciliation(at_us=AT_US))
    back = threading.Event()

    def hang(*_: object) -> None:
        back.wait(60)

    monkeypatch.setattr("crossfade.control.docs_threads.page_of", hang)
    monkeypatch.setattr("crossfade.control.data_docs.page_file", hang)
    monkeypatch.setattr("crossfade.control.data_docs.runs", hang)
    server.service.docs = DocsThreads(0.05)
    try:
        for _ in range(6):
            status = await client.get("/v1/status", headers=AS_OPERATOR)
            assert status.json()["reconciliation"]["data_docs"] is None
        for path in ("/v1/data-docs", f"/v1/data-docs/{AT_US}/counts"):
            answer = await client.get(path, headers=AS_OPERATOR)
            assert (answer.status_code, "reconcile.docs" in answer.json()["error"]) == (503, True)
        # The threads of the database are free, all of them.
        async with asyncio.timeout(20):
            assert (await client.get("/healthz")).status_code == 200
    finally:
        back.set()


async def test_only_so_many_wait_for_the_folder() -> None:
    back, threads = threading.Event(), DocsThreads(0.01)
    try:
        for _ in range(MAX_ASKED):
            with pytest.raises(TimeoutError, match="did not answer"):
                await threads.run(back.wait, 60)
        with pytest.raises(TimeoutError, match="too many"):
            await threads.run(int)
    finally:
        back.set()
        threads.close()


async def test_without_a_folder_it_says_so(running: Running) -> None:
    async with running() as (server, _, _), httpx.AsyncClient(base_url=server.url) as client:
        answer = await client.get("/v1/data-docs", headers=AS_OPERATOR)
        assert (answer.status_code, "reconcile.docs" in answer.json()["error"]) == (404, True)
        page = await client.get(f"/v1/data-docs/{AT_US}/counts", headers=AS_OPERATOR)
        assert page.status_code == 404


async def test_a_folder_that_is_not_there_yet_has_no_runs(tmp_path: Path, running: Running) -> None:
    async with (
        running(reconcile={"docs": str(tmp_path / "none")}) as (server, _, _),
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        assert (await client.get("/v1/data-docs", headers=AS_OPERATOR)).json() == []


def test_a_moment_has_one_folder_and_one_address(docs: Path) -> None:
    assert run_folder(docs, AT_US).name == "20251124T160000.123457Z"
    assert page_of(docs, AT_US) == f"/data-docs?at_us={AT_US}"
    assert [page_of(one, AT_US + 1) for one in (docs, None)] == [None, None]
    assert page_of(docs, -1) is None
    assert [one["at_us"] for one in runs(docs, 1)] == [AT_US + 1_000_000]
    outside = docs / "20260101T000000.000000Z"
    outside.symlink_to(docs.parent)
    assert page_file(docs, 1_767_225_600_000_000, "secret") is None
    with pytest.raises(ValueError, match="no time"):
        run_folder(docs, -1)
