"""An application's own server and format: publisher, tap and reconciliation around it."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect

from crossfade.adapters import legacy_read
from crossfade.adapters.journal_reader import JournalReader
from crossfade.core.codec import Identity, JsonCodec
from crossfade.core.event import Event
from crossfade.core.reconciliation import Reconciliation
from crossfade.core.verdict import Verdict
from crossfade.errors import InvalidEvent, SettingsError
from crossfade.publisher import Publisher
from crossfade.reconcile import reconcile
from crossfade.settings import Settings
from crossfade.tap import Tap
from tests.integration.foreign_server import Edit, ForeignServer, shop_codec
from tests.integration.publishers import make_settings
from tests.integration.scene import wait_for

CONTENTS = [
    {"n": 1, "total": 12.0, "note": 'é\n"quoted" \U0001f600'},
    {"b": 1e21, "a": 12345678901234567890, "z": None},
    {"list": [1, 2.5, -0.0, 1e-7], "": {"deep": [[]]}},
]
IDENTITIES: tuple[Identity, ...] = ("stamp", "id", "content")


@pytest.fixture(autouse=True)
def quick_pings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(legacy_read, "PING_S", 0.05)
    monkeypatch.setattr(legacy_read, "UNKNOWN_S", 0.2)


def make(folder: Path, server: ForeignServer, **legacy: Any) -> Settings:
    return make_settings(
        folder,
        legacy={"listen_url": server.url, "token": "s3cret", **legacy},
        tap={"path": folder / "tap.db", "commit_s": 0.05},
        subscriber={"retry_initial_s": 0.02, "retry_max_s": 0.1},
        reconcile={
            "state": folder / "seals.db",
            "grace_s": 0.05,
            "recheck_s": 0.05,
            "rechecks": 1,
        },
    )


async def run(
    folder: Path,
    identity: Identity,
    edit: Edit = lambda frame: [frame],
    *,
    count: int = 120,
    by_callable: bool = False,
) -> tuple[Reconciliation, list[Event], Tap]:
    """Publish through a server that edits frames; then hold journal and recording together."""
    async with AsyncExitStack() as exits:
        server = await exits.enter_async_context(ForeignServer(edit))
        settings = make(folder, server)
        codec = shop_codec(identity)
        legacy: Any = f"{server.url}/produce"
        sink = "application" if by_callable else "websocket"
        if by_callable:
            bearer = {"Authorization": "Bearer s3cret"}
            producer = await exits.enter_async_context(
                connect(legacy, additional_headers=bearer, proxy=None)
            )

            async def legacy(frames: Any) -> None:
                for frame in frames:
                    await producer.send(frame)

        publisher = await exits.enter_async_context(Publisher(settings, legacy=legacy, codec=codec))
        tap = await exits.enter_async_context(Tap(settings, codec=codec))
        await wait_for(lambda: server.clients)
        await asyncio.sleep(0.1)
        events = await publisher.publish_many(
            {
                "type": f"order.{number % 3}",
                "data": {**CONTENTS[number % 3], "number": number // 2},
                "key": f"customer-{number % 7}",
            }
            for number in range(count)
        )
        await wait_for(lambda: publisher.owed[sink] == 0)
        await wait_for(lambda: tap._recording.waiting == 0)
        await asyncio.sleep(0.6)
        result = await asyncio.to_thread(reconcile, settings, stores=("websocket",))
        assert server.authorized == {"Bearer s3cret"}
        assert set(server.frames[0]) <= {"v", "kind", "order", "meta"}
    return result, events, tap


@pytest.mark.parametrize("identity", IDENTITIES)
async def test_i9_a_server_with_its_own_frames_agrees_with_the_journal(
    tmp_path: Path, identity: Identity
) -> None:
    result, events, _ = await run(tmp_path, identity)
    assert result.discrepancies == ()
    assert result.verdict is Verdict.PASS
    assert result.checked_events == len(events) == 120
    assert result.stores["websocket"].present == 120


@pytest.mark.parametrize("identity", IDENTITIES)
async def test_i9_what_it_loses_doubles_and_alters_is_named(
    tmp_path: Path, identity: Identity
) -> None:
    seen = 0

    def edit(frame: dict[str, Any]) -> list[dict[str, Any]]:
        nonlocal seen
        seen += 1
        if seen == 20:
            return []
        if seen == 40:
            return [frame, frame]
        if seen == 60:
            return [{**frame, "order": {**frame["order"], "number": -1}}]
        return [frame]

    result, events, tap = await run(tmp_path, identity, edit)
    lost, doubled, altered = (events[number - 1] for number in (20, 40, 60))
    expected = {
        ("missing", str(lost.position)),
        ("duplicated", str(doubled.position)),
        # Where the content is the identity, an altered one is nobody's.
        ("missing" if identity == "content" else "altered", str(altered.position)),
    }
    assert {(one.kind.value, one.position) for one in result.discrepancies} == expected
    assert result.verdict is Verdict.FAIL
    assert tap._report().totals["unknown_frames"] == (1 if identity == "content" else 0)


async def test_i9_what_an_applications_own_send_loses_is_missing_and_not_late(
    tmp_path: Path,
) -> None:
    lost: list[dict[str, Any]] = []

    def edit(frame: dict[str, Any]) -> list[dict[str, Any]]:
        if len(lost) < 2 and frame["kind"] == "order.1":
            lost.append(frame)
            return []
        return [frame]

    result, events, _ = await run(tmp_path, "id", edit, count=30, by_callable=True)
    gone = {event.id: str(event.position) for event in events}
    assert {(one.kind.value, one.position) for one in result.discrepancies} == {
        ("missing", gone[frame["meta"]["id"]]) for frame in lost
    }


async def test_i1_a_server_that_dies_gets_everything_in_order_once_it_is_back(
    tmp_path: Path,
) -> None:
    codec = shop_codec("id")
    async with ForeignServer() as first:
        settings = make(tmp_path, first, publish_url=f"{first.url}/produce")
        port = int(first.url.rsplit(":", 1)[1])
        publisher = Publisher(settings, codec=codec)
        await publisher.__aenter__()
        await publisher.publish("order.new", {"n": 1}, key="k")
        await wait_for(lambda: len(first.frames) == 1)
    await publisher.publish_many({"type": "order.new", "data": {"n": n}} for n in range(2, 30))
    assert publisher.owed["websocket"] > 0
    async with ForeignServer(port=port) as second:
        await wait_for(lambda: publisher.owed["websocket"] == 0)
        await publisher.close()
    numbers = [frame["order"]["n"] for frame in second.frames]
    assert numbers == sorted(numbers)
    assert {1, *numbers} == set(range(1, 30))


async def test_a_callable_gets_frames_where_a_codec_is_given(tmp_path: Path) -> None:
    frames: list[str | bytes] = []

    async def send(some: Any) -> None:
        frames.extend(some)

    codec = shop_codec("id")
    settings = make_settings(tmp_path)
    async with Publisher(settings, legacy=send, codec=codec) as publisher:
        event = await publisher.publish("order.new", {"n": 1})
        await wait_for(lambda: frames)
    (received,) = codec.decode(frames[0])
    assert received == ({"n": 1}, "order.new", "", event.id)
    with JournalReader(settings.journal.path) as reader:
        assert reader.event(received.mark) == event


async def test_an_event_without_a_frame_is_parked_and_the_rest_goes_on(tmp_path: Path) -> None:
    class Picky(JsonCodec):
        def encode(self, event: Event) -> str:
            if event.type == "order.odd":
                raise InvalidEvent("there is no kind for it")
            return super().encode(event)

    codec = Picky(data="order", type="kind", mark="id", identity="id")
    async with ForeignServer() as server:
        settings = make(tmp_path, server)
        async with Publisher(settings, legacy=f"{server.url}/produce", codec=codec) as publisher:
            for name in ("order.a", "order.odd", "order.b"):
                await publisher.publish(name, {}, key="k")
            await wait_for(lambda: publisher.owed["websocket"] == 0)
    assert [frame["kind"] for frame in server.frames] == ["order.a", "order.b"]
    with JournalReader(settings.journal.path) as reader:
        (parked,) = reader.parked()
    assert (parked.sink, parked.position.sequence) == ("websocket", 2)
    assert "codec: there is no kind for it" in parked.reason


@contextmanager
def refused(text: str) -> Iterator[None]:
    with pytest.raises(SettingsError, match=text):
        yield


async def test_a_codec_that_loses_content_is_refused_at_the_start(tmp_path: Path) -> None:
    class Rounding(JsonCodec):
        def encode(self, event: Event) -> str:
            return super().encode(event).replace("12345678901234567890", "12345678901234567000")

    codec = Rounding(data="order", mark="cf", identity="stamp")
    with refused("content that comes back altered.*12345678901234567890"):
        Publisher(make_settings(tmp_path), legacy="ws://127.0.0.1:1", codec=codec)
    with refused(r"legacy.codec: 'nowhere:at_all' must be module:attribute"):
        Publisher(
            make_settings(tmp_path, legacy={"publish_url": "ws://x", "codec": "nowhere:at_all"})
        )
    settings = make_settings(tmp_path, legacy={"listen_url": "ws://x"})
    with refused("legacy.codec: ''"):
        await Tap(settings).__aenter__()
