"""The replay keeps the order, stops at a fault, and follows its pace; a slow pipe blocks nobody."""

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from crossfade.errors import InvalidEvent
from crossfade.local.input_lines import InputLine, parsed
from crossfade.local.replay import RUN_EVENTS, LineSource, Pace, replay


class Sink:
    """A publisher that keeps what it is given, all or none of each call."""

    def __init__(self) -> None:
        self.calls: list[list[Any]] = []

    async def publish_many(self, events: Sequence[Mapping[str, Any]], /) -> Sequence[object]:
        await asyncio.sleep(0)
        for number, event in enumerate(events, 1):
            if event["data"] == "bad":
                raise InvalidEvent(f"event {number}: data: bad")
        self.calls.append([event["data"] for event in events])
        return events

    @property
    def events(self) -> list[Any]:
        return [data for call in self.calls for data in call]


def lines(data: list[Any]) -> Iterator[InputLine]:
    return iter([InputLine(n, {"type": "t", "data": one}) for n, one in enumerate(data, 1)])


async def test_everything_in_order_in_full_runs() -> None:
    sink, told = Sink(), []
    await replay(sink, LineSource(lines(list(range(2_600)))), "in", Pace(), told.append)
    assert sink.events == list(range(2_600))
    assert told[-1] == 2_600
    assert max(map(len, sink.calls)) <= RUN_EVENTS


async def test_a_fault_within_a_run_is_named_and_what_is_before_it_published() -> None:
    sink, told = Sink(), []
    source = LineSource(lines([0, 1, 2, "bad", 4]))
    with pytest.raises(InvalidEvent, match=r"^in: line 4: data: bad$"):
        await replay(sink, source, "in", Pace(), told.append)
    assert sink.events == [0, 1, 2]
    assert told[-1] == 3


async def test_a_line_that_does_not_parse_comes_after_what_is_before_it() -> None:
    def broken() -> Iterator[InputLine]:
        yield from lines([0, 1])
        raise InvalidEvent("in: line 3: no")

    sink = Sink()
    with pytest.raises(InvalidEvent, match="line 3"):
        await replay(sink, LineSource(broken()), "in", Pace(), lambda _: None)
    assert sink.events == [0, 1]


async def test_the_pace_can_be_changed_on_the_way() -> None:
    sink, pace = Sink(), Pace(rate=100.0)

    def progress(published: int) -> None:
        if published >= 10:
            pace.rate = None

    await replay(sink, LineSource(lines(list(range(1_000)))), "in", pace, progress)
    assert sink.events == list(range(1_000))
    assert len(sink.calls[0]) <= 10  # a tenth of a second's worth
    assert max(map(len, sink.calls)) > 100


async def test_a_slow_pace_is_left_at_once_when_it_is_lifted() -> None:
    sink, pace = Sink(), Pace(rate=0.01)
    task = asyncio.create_task(
        replay(sink, LineSource(lines(list(range(100)))), "in", pace, lambda _: None)
    )
    async with asyncio.timeout(20):  # the second event alone would take a hundred seconds
        while not sink.events:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        pace.rate = None
        await task
    assert sink.events == list(range(100))


async def test_a_pipe_that_stays_open_is_published_as_it_comes() -> None:
    reading, writing = os.pipe()
    sink = Sink()
    with os.fdopen(reading, "rb") as reader, os.fdopen(writing, "wb", buffering=0) as writer:
        source = LineSource(parsed(reader, "pipe"))
        task = asyncio.create_task(replay(sink, source, "pipe", Pace(), lambda _: None))
        for number in (1, 2):
            writer.write(b'{"type":"t","data":%d}\n' % number)
            async with asyncio.timeout(10):
                while sink.events[-1:] != [number]:  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
        writer.close()
        await task


async def test_lines_are_read_only_a_little_ahead() -> None:
    read = 0

    def endless() -> Iterator[InputLine]:
        nonlocal read
        while True:
            read += 1
            yield InputLine(read, {"type": "t", "data": read})

    source = LineSource(endless())
    assert len(await source.take(1)) == 1
    await asyncio.sleep(0.2)
    assert read < 10 * RUN_EVENTS
