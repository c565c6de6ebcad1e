import asyncio
import os
import threading
from pathlib import Path

import pytest

from crossfade.adapters.positions import PositionFile
from crossfade.core.event import Stream
from crossfade.errors import UsageError

POSITIONS = {Stream("app", 1, "critical", 3): 7, Stream("é/x", 2, "debug", 0): 1}


async def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    file = PositionFile(tmp_path / "seen.json")
    assert await file.load() is None
    await file.save(POSITIONS)
    assert await file.load() == POSITIONS
    await file.save({})
    assert await file.load() == {}
    assert not (tmp_path / "seen.json.new").exists()


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"v": 2, "positions": []}', '{"v": 1, "positions": [[1]]}', '{"v": 1}'],
)
async def test_what_can_not_be_read_is_said_and_left(tmp_path: Path, content: str) -> None:
    path = tmp_path / "seen.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=r"seen.json: positions can not be read"):
        await PositionFile(path).load()
    assert path.read_text() == content


async def test_a_save_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    file = PositionFile(tmp_path / "seen.json")
    await file.save(POSITIONS)
    # Whatever interrupts a save before its last step: the new file can not even be made.
    (tmp_path / "seen.json.new").mkdir()
    with pytest.raises(OSError, match="directory"):
        await file.save({})
    assert await file.load() == POSITIONS


async def test_a_save_whose_caller_was_cancelled_undoes_no_later_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A subscriber that closes while its positions are being saved: it saves once more."""
    file = PositionFile(tmp_path / "seen.json")
    began, go, ended = threading.Event(), threading.Event(), threading.Event()
    real = os.fsync

    def slow_once(number: int) -> None:
        if not began.is_set():
            began.set()
            go.wait(20)
            real(number)
            ended.set()
        else:
            real(number)

    monkeypatch.setattr("crossfade.adapters.positions.os.fsync", slow_once)
    first = asyncio.create_task(file.save(dict.fromkeys(POSITIONS, 1)))
    await asyncio.to_thread(began.wait, 20)
    first.cancel()
    second = asyncio.create_task(file.save(POSITIONS))
    done, _ = await asyncio.wait({second}, timeout=0.2)
    assert not done
    go.set()
    await second
    assert await asyncio.to_thread(ended.wait, 20)
    assert first.cancelled()
    assert await file.load() == POSITIONS
    assert not (tmp_path / "seen.json.new").exists()


def test_a_late_thread_does_not_bring_old_positions_back(tmp_path: Path) -> None:
    file = PositionFile(tmp_path / "seen.json")
    file._save(2, POSITIONS)
    file._save(1, {})
    assert file._load() == POSITIONS


async def test_a_half_written_new_file_is_never_read(tmp_path: Path) -> None:
    file = PositionFile(tmp_path / "seen.json")
    await file.save(POSITIONS)
    (tmp_path / "seen.json.new").write_text('{"v": 1, "pos')
    assert await file.load() == POSITIONS
