import asyncio
from typing import Any

import pytest

from crossfade.core.event import Stream
from crossfade.core.flow import Fill
from crossfade.errors import StoreRejected, StoreUnavailable
from crossfade.fills import REST_MAX_MS, REST_MS, Fills
from crossfade.ports import FillPage
from tests.unit.manual_clock import ManualClock

STREAM = Stream("app", 1, "critical", 0)
PAGE = FillPage([], 1, 9)


class Source:
    name = "hub"

    def __init__(self) -> None:
        self.calls = 0
        self.error: Exception | None = None
        self.hang = False

    async def fill(self, stream: Stream, first: int, last: int) -> FillPage:
        self.calls += 1
        if self.hang:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        return PAGE


class Bench:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.source = Source()
        self.filled: list[Any] = []
        self.failed: list[Fill] = []
        self.fills = Fills(
            {"hub": self.source},
            lambda fill, page: self.filled.append((fill, page)),
            self.failed.append,
            self.clock,
        )

    async def ask(self, source: str = "hub") -> None:
        before = len(self.filled) + len(self.failed)
        self.fills.start(Fill(STREAM, 1, 2, source))
        async with asyncio.timeout(5):
            while len(self.filled) + len(self.failed) == before:  # noqa: ASYNC110
                await asyncio.sleep(0)


async def test_a_page_is_handed_on() -> None:
    bench = Bench()
    await bench.ask()
    assert bench.filled == [(Fill(STREAM, 1, 2, "hub"), PAGE)]
    assert bench.failed == []


async def test_a_source_that_is_not_there_fails_at_once() -> None:
    bench = Bench()
    await bench.ask("supabase")
    assert bench.failed == [Fill(STREAM, 1, 2, "supabase")]


@pytest.mark.parametrize(
    "error",
    [StoreUnavailable("down"), StoreRejected("no"), OSError("gone"), ZeroDivisionError()],
)
async def test_a_source_that_fails_rests_and_another_page_ends_the_rest(error: Exception) -> None:
    bench = Bench()
    bench.source.error = error
    await bench.ask()
    assert (bench.source.calls, len(bench.failed)) == (1, 1)
    bench.clock.ms += REST_MS - 1
    await bench.ask()
    assert (bench.source.calls, len(bench.failed)) == (1, 2), "not asked while it rests"
    bench.clock.ms += 1
    await bench.ask()
    assert bench.source.calls == 2
    bench.clock.ms += REST_MS
    await bench.ask()
    assert bench.source.calls == 2, "the second rest is twice as long"
    bench.clock.ms += REST_MS
    bench.source.error = None
    await bench.ask()
    assert (bench.source.calls, len(bench.filled)) == (3, 1)
    bench.source.error = error
    await bench.ask()
    bench.clock.ms += REST_MS
    await bench.ask()
    assert bench.source.calls == 5, "the count of failures began anew"


async def test_the_rest_is_bounded() -> None:
    bench = Bench()
    bench.source.error = StoreUnavailable("down")
    for calls in range(1, 12):
        await bench.ask()
        assert bench.source.calls == calls
        bench.clock.ms += REST_MAX_MS


async def test_a_source_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossfade.fills.TIMEOUT_S", 0.05)
    bench = Bench()
    bench.source.hang = True
    await bench.ask()
    assert len(bench.failed) == 1


async def test_closing_ends_what_is_under_way() -> None:
    bench = Bench()
    bench.source.hang = True
    bench.fills.start(Fill(STREAM, 1, 2, "hub"))
    await asyncio.sleep(0)
    await bench.fills.close()
    assert (bench.filled, bench.failed) == ([], [])
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("fill-")]
