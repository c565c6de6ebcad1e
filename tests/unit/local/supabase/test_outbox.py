import asyncio

import pytest

from crossfade.local.supabase.outbox import Outbox


async def test_frames_come_in_order_and_then_the_end() -> None:
    outbox = Outbox()
    outbox.put("a")
    outbox.put(b"b")
    outbox.close()
    outbox.put("too late")
    assert [await outbox.take() for _ in range(3)] == ["a", b"b", None]


async def test_a_reader_waits_for_the_next_frame() -> None:
    outbox = Outbox()
    reader = asyncio.create_task(outbox.take())
    await asyncio.sleep(0)
    assert not reader.done()
    outbox.put("a")
    assert await reader == "a"


async def test_over_the_limit_it_ends_at_once() -> None:
    outbox = Outbox(limit_bytes=10)
    outbox.put("12345")
    outbox.put("12345")
    assert not outbox.overflowed
    outbox.put("1")
    assert outbox.overflowed
    assert await outbox.take() is None


async def test_what_was_taken_makes_room() -> None:
    outbox = Outbox(limit_bytes=10)
    for _ in range(100):
        outbox.put("1234567890")
        assert await outbox.take() == "1234567890"
    assert not outbox.overflowed


@pytest.mark.parametrize("count", [1, 5])
async def test_closing_wakes_a_waiting_reader(count: int) -> None:
    outbox = Outbox()
    reader = asyncio.create_task(outbox.take())
    await asyncio.sleep(0)
    for _ in range(count):
        outbox.close()
    assert await reader is None
