"""The tap: in this process over both real transports, and as a process that is killed."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection, serve

from crossfade.adapters.memory import MemoryReporter
from crossfade.core.event import Event, Head, content_hash, to_wire
from crossfade.core.frames import (
    decode_frame,
    encode_event,
    encode_frame,
    events_frame,
    heads_frame,
)
from crossfade.core.telemetry import Role
from crossfade.errors import JournalTooNew
from crossfade.settings import Settings
from crossfade.tap import Tap
from tests.integration.hub_process import HubProcess
from tests.integration.scene import Scene, wait_for
from tests.services import ROOT, Project

pytestmark = pytest.mark.timeout(150)


def recorded(path: Path, transport: str) -> list[tuple[object, ...]]:
    """What was delivered by a transport, in the order of arrival."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return connection.execute(
            "SELECT source, epoch, topic, partition, sequence, id, type, time_us, subject, "
            "category, data, checksum FROM deliveries JOIN streams USING (stream_id) "
            "WHERE transport = ? ORDER BY arrival",
            (transport,),
        ).fetchall()


def coverage(path: Path, transport: str) -> list[tuple[int, int]]:
    """When it was connected; nothing as long as the file is being made."""
    if not path.exists():
        return []
    with (
        closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection,
        suppress(sqlite3.OperationalError),
    ):
        return connection.execute(
            "SELECT from_us, to_us FROM coverage WHERE transport = ? ORDER BY from_us",
            (transport,),
        ).fetchall()
    return []


def make_event(sequence: int) -> Event:
    event = Event(
        f"e{sequence}", "app", "t", sequence, "k", "system", "system", 0, 1, sequence, "{}", 0
    )
    return event._replace(hash=content_hash(event))


def rows(events: list[Event]) -> list[tuple[object, ...]]:
    return [
        (
            one.source, one.epoch, one.topic, one.partition, one.sequence, one.id, one.type,
            one.time_us, one.subject, one.category, one.data, one.hash,
        )
        for one in events
    ]  # fmt: skip


@pytest.mark.stack
@pytest.mark.xdist_group("supabase")
async def test_both_transports_are_recorded_whatever_the_flags_serve(
    tmp_path: Path, project: Project
) -> None:
    reporter = MemoryReporter()
    async with Scene(tmp_path, project) as scene:
        path = scene.settings.tap.path
        async with Tap(scene.settings, flags=scene.flags, reporter=reporter) as tap:
            flags = scene.serve(0, version=3)
            # Written to Supabase, and served to nobody: the shadow stage.
            scene.flags.set(type(flags).from_json({**flags.to_json(), "written": {"*": 100.0}}))
            await wait_for(lambda: tap._hears_every_topic())
            await scene.publish(120)
            await wait_for(lambda: tap.recorded >= 240)
            await wait_for(lambda: len(coverage(path, "realtime")) == 1)
            await wait_for(lambda: any(one.flag_version == 3 for one in reporter.reports))
        # The last report is made at the end.
        expected = sorted(rows(scene.published))
        assert sorted(recorded(path, "websocket")) == expected
        assert sorted(recorded(path, "realtime")) == expected
        ((start, end),) = coverage(path, "websocket")
        assert start < end
    report = reporter.reports[0]
    assert report.role is Role.TAP
    assert report.totals["lost"] == 0
    for via in ("websocket", "realtime"):
        assert sum(one.transports[via].received for one in reporter.reports) == 120
    assert sum(one.transports["websocket"].delivered for one in reporter.reports) <= 120


async def test_a_killed_tap_resumes_without_a_hole_or_a_repetition(tmp_path: Path) -> None:
    async with Scene(tmp_path) as scene:
        file = tmp_path / "crossfade.toml"
        path = scene.settings.tap.path
        file.write_text(
            f'[websocket]\nurl = "{scene.hub.url}"\ntoken = "t"\n'
            f'[tap]\npath = "{path}"\ncommit_s = 0.05\n'
            f'[classification]\ncategories = ["{scene.topic}"]\ndefault = "{scene.topic}"\n'
        )
        log = tmp_path / "tap.log"

        async def tap() -> subprocess.Popen[bytes]:
            with log.open("ab") as output:
                return await asyncio.to_thread(
                    subprocess.Popen,
                    [sys.executable, "-m", "crossfade.local.tap", "--settings", str(file)],
                    stderr=output,
                    cwd=ROOT,
                )

        process = await tap()
        try:
            async with scene.load(batch=40, pause_s=0.01):
                await wait_for(lambda: len(coverage(path, "websocket")) == 1)
                before = len(recorded(path, "websocket"))
                await wait_for(lambda: len(recorded(path, "websocket")) > before + 200)
                process.kill()
                await asyncio.to_thread(process.wait, 20)
                process = await tap()
                await wait_for(lambda: len(coverage(path, "websocket")) == 2)
            await wait_for(lambda: len(recorded(path, "websocket")) >= len(scene.published))
        finally:
            process.send_signal(signal.SIGTERM)
            status = await asyncio.to_thread(process.wait, 20)
        assert status == 0, log.read_text()
        found = recorded(path, "websocket")
        assert sorted(found) == sorted(rows(scene.published))
        per_stream: dict[object, list[object]] = {}
        for one in found:
            per_stream.setdefault(one[:4], []).append(one[4])
        for numbers in per_stream.values():
            assert numbers == list(range(1, len(numbers) + 1)), "in order of arrival"


async def test_a_hole_that_was_open_when_it_was_killed_is_filled_by_the_next(
    tmp_path: Path,
) -> None:
    """The hub is a script: it loses the third event, and its history holds nothing."""
    events = [make_event(sequence) for sequence in (1, 2, 3, 4, 5)]
    stream = events[0].stream
    asked: list[tuple[int, int]] = []
    subscribed: list[list[object]] = []
    answers = asyncio.Event()

    async def serve_tap(connection: ServerConnection) -> None:
        async for raw in connection:
            frame = decode_frame(raw)
            if frame["kind"] == "hello":
                await connection.send(encode_frame("welcome", hub="h", heads=[]), text=True)
            elif frame["kind"] == "subscribe":
                subscribed.append(frame["positions"])
                answer = encode_frame("subscribed", request=frame["request"], heads=[])
                await connection.send(answer, text=True)
                if not frame["positions"]:
                    brought = [encode_event(event) for event in events if event.sequence != 3]
                    await connection.send(events_frame(brought), text=True)
                await connection.send(heads_frame([Head(stream, 5)], 0), text=True)
            elif frame["kind"] == "fill":
                asked.append((frame["first"], frame["last"]))
                if answers.is_set():
                    page = [to_wire(event) for event in events if event.sequence >= frame["first"]]
                    answer = encode_frame(
                        "filled", request=frame["request"], events=page, floor=1, head=5
                    )
                    await connection.send(answer, text=True)

    async with serve(serve_tap, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        file, path = tmp_path / "crossfade.toml", tmp_path / "tap.db"
        file.write_text(
            f'[websocket]\nurl = "ws://127.0.0.1:{port}"\ntoken = "t"\n'
            f'[tap]\npath = "{path}"\ncommit_s = 0.02\n'
        )
        command = [sys.executable, "-m", "crossfade.local.tap", "--settings", str(file)]
        process = await asyncio.create_subprocess_exec(*command, cwd=ROOT)
        try:
            await wait_for(lambda: bool(coverage(path, "websocket")) and bool(asked))
            await wait_for(lambda: len(recorded(path, "websocket")) == 4)
            process.kill()
            await process.wait()
            answers.set()
            process = await asyncio.create_subprocess_exec(*command, cwd=ROOT)
            await wait_for(lambda: len(recorded(path, "websocket")) >= 5)
            process.terminate()
            await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        found = recorded(path, "websocket")
    assert [row[4] for row in found] == [1, 2, 4, 5, 3], "once each"
    assert subscribed[-1] == [[*stream, 3]]
    assert asked[-1] == (3, 3), "4 and 5 are known to be there"
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT next FROM positions").fetchall() == [(6,)]


async def test_what_a_killed_hub_did_not_deliver_is_asked_for(tmp_path: Path) -> None:
    async with (
        HubProcess(tmp_path) as hub,
        Scene(tmp_path, websocket={"url": hub.url}) as scene,
        Tap(scene.settings, flags=scene.flags),
    ):
        path = scene.settings.tap.path
        async with scene.load(batch=40, pause_s=0.005):
            await wait_for(lambda: len(recorded(path, "websocket")) > 200)
            await hub.stop(signal.SIGKILL)
            await asyncio.sleep(0.2)
            await hub.start()
            await wait_for(lambda: len(coverage(path, "websocket")) == 2)
        await wait_for(lambda: len(recorded(path, "websocket")) >= len(scene.published))
        assert sorted(recorded(path, "websocket")) == sorted(rows(scene.published))


async def test_a_recording_of_a_later_version_is_left_untouched(tmp_path: Path) -> None:
    path = tmp_path / "tap.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 9")
    before = path.read_bytes()
    settings = Settings.model_validate({"tap": {"path": path}, "websocket": {"url": "ws://x"}})
    with pytest.raises(JournalTooNew, match=r"tap.db: recording of version 9"):
        async with Tap(settings):
            pass
    assert path.read_bytes() == before
