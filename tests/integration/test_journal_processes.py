"""The journal against real processes: a second writer, SIGKILL, a disk that is full."""

import asyncio
import re
import signal
import socket
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from crossfade.adapters.journal_reader import JournalReader
from crossfade.core.event import content_hash
from crossfade.errors import JournalLocked
from tests.unit.adapters.journals import draft, journal


@contextmanager
def child(mode: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.integration.journal_child", mode, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def acknowledged(process: subprocess.Popen[str], least: int) -> list[tuple[str, int]]:
    """What the child was told is durable, until it is killed after ``least`` of them."""
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    found = []
    for _ in range(least):
        found.append(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    found += process.stdout.readlines()
    whole = [line.split() for line in found if line.endswith("\n")]
    return [(id_, int(sequence)) for id_, sequence in whole]


async def test_a_live_holder_is_named_and_a_killed_one_is_succeeded(tmp_path: Path) -> None:
    with child("publish", tmp_path) as process:
        assert process.stdout is not None
        await asyncio.to_thread(process.stdout.readline)
        with pytest.raises(JournalLocked) as failure:
            await journal(tmp_path).__aenter__()
        text = str(failure.value)
        assert re.search(rf"process {process.pid} on {re.escape(socket.gethostname())}", text)
        process.send_signal(signal.SIGKILL)
        process.wait()
        async with journal(tmp_path) as book:
            heads = {head.stream.partition: head.sequence for head in book.heads()}
            (event,) = await book.append([draft(0, partition=2)])
            assert event.sequence == heads.get(2, 0) + 1


async def test_i1_what_was_acknowledged_survives_sigkill_without_a_gap(tmp_path: Path) -> None:
    everything: list[tuple[str, int]] = []
    for _ in range(3):
        with child("publish", tmp_path) as process:
            everything += await asyncio.to_thread(acknowledged, process, 100)
        with JournalReader(tmp_path / "journal.db") as reader:
            stored = {
                event.id: event
                for one in reader.streams()
                for event in reader.read(one.stream, 1, 10**9, limit=10**9)
            }
        sequences = defaultdict(list)
        for event in stored.values():
            assert event.hash == content_hash(event)
            sequences[event.partition].append(event.sequence)
        for found in sequences.values():
            assert found == list(range(1, len(found) + 1))
        # A restarted child publishes the same ids again: they keep their first sequence.
        for id_, sequence in everything:
            assert stored[id_].sequence == sequence
    assert len(everything) >= 300


def test_a_full_disk_is_told_and_nothing_is_half_written(tmp_path: Path) -> None:
    with child("fill", tmp_path) as process:
        out, _ = process.communicate(timeout=50)
    accepted, refused, sequence = map(int, out.split())
    assert refused == 3
    assert accepted > 3
    with JournalReader(tmp_path / "journal.db") as reader:
        (stream,) = reader.streams()
        events = reader.read(stream.stream, 1, 10**9)
    assert [event.sequence for event in events] == list(range(1, sequence + 1))
    # A refused event may be durable all the same, but never twice and never in between.
    assert accepted + 1 <= sequence <= accepted + refused + 1
    assert events[-1].id.endswith("-1000")
