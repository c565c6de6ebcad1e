"""Parked events: listed, given again by the publisher that runs, taken or parked anew."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from crossfade import unparking
from crossfade.adapters.memory import MemoryEventStore, StaticFlags
from crossfade.adapters.requests import RequestFolder
from crossfade.cli import app
from crossfade.core.event import Event
from crossfade.errors import StoreRejected
from crossfade.ports import IngestResult
from crossfade.publisher import Publisher
from tests.integration.publishers import cohort, make_settings
from tests.integration.scene import wait_for


class Picky(MemoryEventStore):
    """Refuses the types it is told to."""

    refused = frozenset({"bad", "worse"})

    async def ingest(self, events: Sequence[Event], *, live: bool = True) -> IngestResult:
        wrong = [event.type for event in events if event.type in self.refused]
        if wrong:
            raise StoreRejected(f"violates: {wrong[0]}")
        return await super().ingest(events, live=live)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unparking, "POLL_S", 0.05)


async def command(folder: Path, *arguments: str) -> Result:
    settings = folder / "crossfade.toml"
    settings.write_text(f'[journal]\npath = "{folder / "journal.db"}"\n')
    return await asyncio.to_thread(
        CliRunner().invoke, app, [*arguments, "--settings", str(settings)]
    )


async def read(folder: Path, *arguments: str) -> tuple[int, Any]:
    result = await command(folder, *arguments, "--json")
    return result.exit_code, json.loads(result.stdout)


async def test_a_parked_event_is_given_again_once_its_fault_is_mended(tmp_path: Path) -> None:
    store = Picky()
    publisher = Publisher(make_settings(tmp_path), store=store, flags=StaticFlags(cohort(100)))
    async with publisher:
        events = [
            await publisher.publish(name, {}, key="k") for name in ("ok", "bad", "ok", "worse")
        ]
        await wait_for(lambda: publisher.owed["supabase"] == 0)
        await wait_for(lambda: publisher._journal.parked("supabase") == 2)
        await publisher._journal.flush()
        bad, worse = str(events[1].position), str(events[3].position)

        status, shown = await read(tmp_path, "parked")
        assert status == 1
        assert [(one["position"], one["sink"]) for one in shown["parked"]] == [
            (bad, "supabase"),
            (worse, "supabase"),
        ]
        assert "violates: bad" in shown["parked"][0]["reason"]

        store.refused = frozenset({"worse"})
        status, told = await read(tmp_path, "unpark", "--all")
        assert (status, told["given"], told["taken"]) == (1, 2, 1)
        assert [one["position"] for one in told["parked"]] == [worse]
        assert events[1].position in store.events
        assert publisher._journal.parked("supabase") == 1

        store.refused = frozenset()
        status, told = await read(tmp_path, "unpark", worse, "--sink", "supabase")
        assert (status, told["given"], told["taken"], told["parked"]) == (0, 1, 1, [])
        assert list(store.events.values()) == [events[0], events[2], events[1], events[3]]
        assert publisher._journal.parked("supabase") == 0
        # Its cursor did not go back: nothing else was sent again.
        assert publisher.owed["supabase"] == 0
        assert (await read(tmp_path, "parked"))[0] == 0
        assert (await command(tmp_path, "parked")).stdout == "nothing is parked\n"


async def test_without_a_publisher_the_request_waits_for_the_next_one(tmp_path: Path) -> None:
    store = Picky()
    settings = make_settings(tmp_path)
    async with Publisher(settings, store=store, flags=StaticFlags(cohort(100))) as publisher:
        # One of several is believed to be at fault only once the others went through.
        await publisher.publish_many({"type": name, "data": {}} for name in ("ok", "bad"))
        await wait_for(lambda: publisher._journal.parked("supabase") == 1)
    result = await command(tmp_path, "unpark", "--all", "--wait", "0.1")
    assert result.exit_code == 1
    assert "no publisher answered within 0.1 s: 1 events will be given" in result.stdout
    store.refused = frozenset()
    async with Publisher(settings, store=store, flags=StaticFlags(cohort(100))) as publisher:
        await wait_for(lambda: len(store.events) == 2)
        await wait_for(lambda: publisher._journal.parked("supabase") == 0)
        await publisher._journal.flush()
        assert (await read(tmp_path, "unpark", "--all"))[1]["parked"] == []


async def test_a_sink_that_nobody_serves_and_a_broken_request_are_answered(tmp_path: Path) -> None:
    store = Picky()
    settings = make_settings(tmp_path)
    async with Publisher(settings, store=store, flags=StaticFlags(cohort(100))) as publisher:
        await publisher.publish_many({"type": name, "data": {}} for name in ("ok", "bad"))
        await wait_for(lambda: publisher._journal.parked("supabase") == 1)
    folder = RequestFolder(settings.journal.path)
    async with Publisher(settings, flags=StaticFlags(cohort(100))):
        result = await command(tmp_path, "unpark", "--all")
        assert result.exit_code == 1
        assert "given again: 0; taken: 0; still parked: 1" in result.stdout
        assert "the publisher does not serve this sink" in result.stdout
        (folder.path / "0-x.request").write_text("{")
        await wait_for(lambda: folder.answered("0-x"))
        assert folder.answered("0-x") == {"error": "the request can not be read"}
        assert list(folder.path.glob("*.request")) == []


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("unpark",), "name positions, or give --all"),
        (("unpark", "--all", "app/1/critical/0/1"), "name positions, or give --all"),
        (("unpark", "nonsense"), "'nonsense' is not a position"),
        (("unpark", "app/1/critical/0/1"), "not parked: app/1/critical/0/1"),
        (("parked", "--sink", "moon"), "--sink moon: must be one of application, websocket"),
    ],
)
async def test_what_is_asked_wrongly_is_said_in_a_line(
    tmp_path: Path, arguments: tuple[str, ...], fault: str
) -> None:
    async with Publisher(make_settings(tmp_path)):
        pass
    result = await command(tmp_path, *arguments)
    assert result.exit_code != 0
    assert fault in str(result.exception)
    missing = await command(tmp_path / "..", "parked")
    assert "there is no journal (journal.path)" in str(missing.exception)
