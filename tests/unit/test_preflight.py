"""Each check says what is wrong and what to do, and none of them raises."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest

from crossfade.adapters.control import ControlClient
from crossfade.adapters.journal_schema import create
from crossfade.adapters.supabase import Health, SupabaseEventStore
from crossfade.core.verdict import Measurement, Verdict, worst
from crossfade.errors import ControlUnavailable, StoreUnreachable
from crossfade.preflight import preflight
from crossfade.settings import Settings


def instance(role: str, *, version: int = 3, live: bool = True) -> dict[str, Any]:
    return {"instance": f"one-{role}", "role": role, "live": live, "flag_version": version}


def status(*instances: dict[str, Any], kill: bool = False) -> dict[str, Any]:
    return {"flags": {"version": 3, "kill": kill}, "instances": list(instances)}


ALIVE = status(instance("publisher"), instance("subscriber"), instance("tap"))


class FakeControl:
    def __init__(self, answer: dict[str, Any] | Exception) -> None:
        self.answer = answer

    async def status(self) -> dict[str, Any]:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
async def settings(tmp_path: Path) -> AsyncIterator[Settings]:
    """A hub that listens, a journal, and Supabase's address."""
    with closing(sqlite3.connect(tmp_path / "journal.db")) as connection:
        create(connection)
        connection.commit()

    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        await writer.wait_closed()

    hub = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = hub.sockets[0].getsockname()[1]
    yield Settings.model_validate(
        {
            "journal": {"path": tmp_path / "journal.db"},
            "websocket": {"url": f"ws://127.0.0.1:{port}"},
            "supabase": {"url": "http://127.0.0.1:1", "service_role_key": "service-secret"},
        }
    )
    hub.close()
    await hub.wait_closed()


@pytest.fixture(autouse=True)
def health(monkeypatch: pytest.MonkeyPatch) -> Callable[[Health | Exception], None]:
    def answer(value: Health | Exception) -> None:
        async def found(self: SupabaseEventStore) -> Health:
            if isinstance(value, Exception):
                raise value
            return value

        monkeypatch.setattr(SupabaseEventStore, "health", found)

    answer(Health("20260101", "now", True, 5))
    return answer


async def checked(
    settings: Settings, answer: dict[str, Any] | Exception = ALIVE
) -> dict[str, Measurement]:
    control = cast(ControlClient, FakeControl(answer))
    return {one.name: one for one in await preflight(settings, control)}


async def test_everything_is_fine(settings: Settings) -> None:
    found = await checked(settings)
    assert list(found) == [
        "control", "websocket", "supabase", "journal", "live_publishers", "live_subscribers",
        "flags",
    ]  # fmt: skip
    assert worst(one.verdict for one in found.values()) is Verdict.PASS


async def test_no_control_server(settings: Settings) -> None:
    found = await checked(settings, ControlUnavailable("no answer within 5 s"))
    assert found["control"].verdict is Verdict.ERROR
    assert found["control"].detail == "no answer within 5 s"
    assert found["supabase"].verdict is Verdict.PASS


async def test_no_hub(settings: Settings, unused_tcp_port: int) -> None:
    url = f"ws://127.0.0.1:{unused_tcp_port}"
    hub = settings.websocket.model_copy(update={"url": url})
    found = await checked(settings.model_copy(update={"websocket": hub}))
    assert found["websocket"].verdict is Verdict.FAIL
    assert f"{url} does not listen" in found["websocket"].detail


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (StoreUnreachable("crossfade_health_v1: no answer in 5 s"), "no answer"),
        (Health("20260101", "now", False, 5), "no partition for today"),
    ],
)
async def test_supabase(
    settings: Settings,
    health: Callable[[Health | Exception], None],
    answer: Health | Exception,
    words: str,
) -> None:
    health(answer)
    found = (await checked(settings))["supabase"]
    assert found.verdict is Verdict.FAIL
    assert words in found.detail
    assert "service-secret" not in found.detail


async def test_no_supabase_is_named(settings: Settings) -> None:
    section = settings.supabase.model_copy(update={"url": ""})
    found = await checked(settings.model_copy(update={"supabase": section}))
    assert "supabase.url" in found["supabase"].detail


async def test_no_journal(settings: Settings, tmp_path: Path) -> None:
    section = settings.journal.model_copy(update={"path": tmp_path / "none.db"})
    found = (await checked(settings.model_copy(update={"journal": section})))["journal"]
    assert found.verdict is Verdict.FAIL
    assert "none.db" in found.detail


@pytest.mark.parametrize(
    ("answer", "failed", "words"),
    [
        (status(instance("subscriber")), "live_publishers", "start the application"),
        (
            status(instance("publisher"), instance("subscriber", live=False)),
            "live_subscribers",
            "start a Subscriber",
        ),
        (
            status(instance("publisher"), instance("subscriber", version=2)),
            "flags",
            "flags 3 not yet at one-subscriber",
        ),
        (
            status(instance("publisher"), instance("subscriber"), kill=True),
            "flags",
            "the kill flag is set",
        ),
    ],
)
async def test_instances(
    settings: Settings, answer: dict[str, Any], failed: str, words: str
) -> None:
    found = await checked(settings, answer)
    assert [name for name, one in found.items() if one.verdict is not Verdict.PASS] == [failed]
    assert words in found[failed].detail
