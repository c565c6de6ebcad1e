"""Tokens are renewed before they expire; a source that fails holds nothing up."""

import asyncio
import logging
import time
from collections.abc import Callable

import pytest

from crossfade import access_token
from crossfade.access_token import AccessToken
from crossfade.adapters.clock import SystemClock
from crossfade.local.keys import mint_token, new_secret

SECRET = new_secret()


async def until(ready: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not ready():  # noqa: ASYNC110 - what is awaited is not ours
            await asyncio.sleep(0.01)


class Source:
    """Gives tokens that live for a second; fails as often as it is told to."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.given: list[str] = []
        self.asked = 0

    async def __call__(self) -> str:
        self.asked += 1
        if self.failures:
            raise self.failures.pop(0)
        now = time.time()
        # `iat` makes each another one.
        token = mint_token(SECRET, "authenticated", now_s=now, lifetime_s=1.5, subject=str(now))
        self.given.append(token)
        return token


async def test_every_use_gets_each_fresh_token_before_the_old_one_expires() -> None:
    source, first, second = Source(), [], []
    async with AccessToken(source, SystemClock()) as token:
        assert token.value == source.given[0]

        async def take(into: list[tuple[str, float]], value: str) -> None:
            into.append((value, time.time()))

        token.use(lambda value: take(first, value))  # type: ignore[arg-type]
        token.use(lambda value: take(second, value))  # type: ignore[arg-type]
        await until(lambda: len(second) >= 2)
    # The first one was there when the uses came.
    assert [value for value, _ in first[:2]] == source.given[1:3]
    assert [value for value, _ in second[:2]] == source.given[1:3]
    asked = source.asked
    await asyncio.sleep(0.3)
    assert source.asked == asked, "nobody asks after the end"


async def test_a_failing_source_and_a_failing_use_are_survived(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(access_token, "RETRY_S", 0.01)
    source = Source(OSError("auth is down"), OSError("auth is down"))
    taken: list[str] = []

    async def broken(value: str) -> None:
        raise RuntimeError(f"can not take {value}")

    async def take(value: str) -> None:
        taken.append(value)

    with caplog.at_level(logging.WARNING):
        async with AccessToken(source, SystemClock()) as token:
            assert token.value == ""
            token.use(broken)
            token.use(take)
            await until(lambda: len(taken) >= 1)
    assert taken[0] == source.given[0]
    assert caplog.text.count("auth is down") == 1, "said once, not at each attempt"
    assert "a fresh token was not taken: can not take …" in caplog.text
    assert not any(value in caplog.text for value in source.given)


@pytest.mark.parametrize("nonsense", ["", "sb_secret_x", None, 7])
async def test_what_is_no_token_is_refused(
    nonsense: object, caplog: pytest.LogCaptureFixture
) -> None:
    async def source() -> str:
        return nonsense  # type: ignore[return-value]

    async with AccessToken(source, SystemClock()) as token:
        assert token.value == ""
    assert "no JSON Web Token" in caplog.text


async def test_a_source_that_hangs_is_given_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(access_token, "SOURCE_S", 0.05)

    async def source() -> str:
        await asyncio.sleep(60)
        raise AssertionError

    async with AccessToken(source, SystemClock()) as token:
        assert token.value == ""
    assert "no answer in time" in caplog.text
