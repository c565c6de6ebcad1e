"""Both directions: a team's flags drive the cohort; the cohort answers a team's client."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext
from openfeature.event import EventDetails, ProviderEvent, ProviderEventDetails
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import FlagResolutionDetails
from openfeature.provider.in_memory_provider import InMemoryFlag, InMemoryProvider

from crossfade.adapters import openfeature_source
from crossfade.adapters.memory import StaticFlags
from crossfade.adapters.openfeature_provider import CrossfadeProvider
from crossfade.adapters.openfeature_source import FlagKeys, OpenFeatureFlags
from crossfade.core.flags import EVERYTHING, Flags
from crossfade.core.routing import partition_of
from crossfade.errors import Closed
from crossfade.publisher import Publisher
from tests.integration.publishers import make_settings

INITIAL = Flags(partitions=10, topics={"orders": "critical", "clicks": "debug"})


class Team:
    """A team's flag system; ``served`` may depend on the category, as targeting rules do."""

    def __init__(self, domain: str) -> None:
        self.served = {"critical": 10.0, "debug": 100.0}
        self.written = 0.0
        self.kill = False
        self.version = 1
        self.broken = False
        self.asked_in: set[int] = set()
        self.provider = InMemoryProvider(
            {
                "crossfade-served": self._flag(lambda c: self.served[str(c.targeting_key)]),
                "crossfade-written": self._flag(lambda c: self.written),
                "crossfade-kill": self._flag(lambda _: self.kill),
                "our-version": self._flag(lambda _: self.version),
            }
        )
        api.set_provider(self.provider, domain)
        self.client: OpenFeatureClient = api.get_client(domain)

    def _flag(self, value: Callable[[EvaluationContext], Any]) -> InMemoryFlag[Any]:
        def evaluate(_: Any, context: EvaluationContext) -> FlagResolutionDetails[Any]:
            self.asked_in.add(threading.get_ident())
            if self.broken:
                raise ConnectionError("the flag system is down")
            return FlagResolutionDetails(value=value(context))

        return InMemoryFlag("on", {"on": True}, context_evaluator=evaluate)

    def tell(self) -> None:
        self.provider.emit_provider_configuration_changed(ProviderEventDetails())


@pytest.fixture
def team(request: pytest.FixtureRequest) -> Iterator[Team]:
    yield Team(request.node.name)
    api.clear_providers()


async def newer(source: OpenFeatureFlags, version: int) -> Flags:
    async with asyncio.timeout(10):
        return await source.newer(version)


async def test_percentages_by_category_and_the_kill_switch_follow_the_team(team: Team) -> None:
    async with OpenFeatureFlags(team.client, INITIAL, poll_s=60) as source:
        first = source.flags
        assert (first.served_percent("orders"), first.served_percent("clicks")) == (10.0, 100.0)
        before = {n for n in range(10) if first.serves("orders", n)}
        assert len(before) == 1
        team.served["critical"] = 50.0
        # In another thread, as providers do.
        await asyncio.to_thread(team.tell)
        second = await newer(source, first.version)
        # Sticky and growing, by our own hash and not by theirs.
        assert before < {n for n in range(10) if second.serves("orders", n)}
        team.kill = True
        team.tell()
        third = await newer(source, second.version)
        assert not any(third.serves(topic, n) for topic in INITIAL.topics for n in range(10))
        assert third.writes("clicks", 3)
        assert first.version < second.version < third.version
        assert threading.get_ident() not in team.asked_in
    with pytest.raises(Closed):
        await source.newer(third.version)


async def test_without_events_it_is_asked_again(team: Team) -> None:
    async with OpenFeatureFlags(team.client, INITIAL, poll_s=0.02) as source:
        team.written = 100.0
        assert (await newer(source, source.flags.version)).written_percent("orders") == 100.0


@pytest.mark.parametrize(
    "change",
    [
        {"broken": True},
        {"served": {"critical": 101.0, "debug": 0.0}},
        {"served": {"critical": float("nan"), "debug": 0.0}},
        {"served": {}},
        {"written": "everything"},
    ],
    ids=["down", "above", "nan", "unknown", "type"],
)
async def test_what_can_not_be_evaluated_changes_nothing(
    team: Team, change: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with OpenFeatureFlags(team.client, INITIAL, poll_s=0.02) as source:
        before = source.flags
        team.kill = True
        vars(team).update(change)
        async with asyncio.timeout(10):
            while "the last known stay in force" not in caplog.text:  # noqa: ASYNC110 - polled
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        # Not even the part of it that could be.
        assert source.flags == before
        assert caplog.text.count("the last known stay in force") == 1


async def test_a_provider_that_hangs_holds_nobody_up(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openfeature_source, "EVALUATE_S", 0.05)
    go_on = threading.Event()
    monkeypatch.setattr(team.client, "get_float_details", lambda *_: go_on.wait(10))
    async with asyncio.timeout(5):
        async with OpenFeatureFlags(team.client, INITIAL) as source:
            assert source.flags == INITIAL
            go_on.set()


async def test_flags_are_kept_for_a_start_without_the_flag_system(
    team: Team, tmp_path: Path
) -> None:
    cache = tmp_path / "flags.json"
    async with OpenFeatureFlags(team.client, INITIAL, cache=cache) as source:
        known = source.flags
    team.broken = True
    async with OpenFeatureFlags(team.client, INITIAL, cache=cache) as source:
        assert source.flags == known
    other = Flags(partitions=7)
    async with OpenFeatureFlags(team.client, other, cache=cache) as source:
        assert source.flags == other
    cache.write_text("{")
    async with OpenFeatureFlags(team.client, INITIAL, cache=cache) as source:
        assert source.flags == INITIAL


async def test_a_version_of_the_teams_is_every_instances(
    team: Team, caplog: pytest.LogCaptureFixture
) -> None:
    keys = FlagKeys(version="our-version")
    async with OpenFeatureFlags(team.client, INITIAL, keys=keys, poll_s=0.02) as source:
        assert source.flags.version == 1
        team.served["critical"] = 20.0
        async with asyncio.timeout(10):
            while "still 1, with other flags" not in caplog.text:  # noqa: ASYNC110 - polled
                await asyncio.sleep(0.01)
        team.version = 7
        assert (await newer(source, 1)).served["critical"] == 20.0
        assert source.flags.version == 7


async def test_a_publisher_is_driven_by_it(team: Team, tmp_path: Path) -> None:
    from crossfade.adapters.memory import MemoryEventStore

    store = MemoryEventStore()
    initial = Flags(partitions=4, topics={"critical": "critical"})
    team.served = {"critical": 0.0}
    async with (
        OpenFeatureFlags(team.client, initial, poll_s=60) as flags,
        Publisher(make_settings(tmp_path), store=store, flags=flags) as publisher,
    ):
        await publisher.publish("a", {})
        team.written = 100.0
        team.tell()
        await newer(flags, publisher.flags.version)
        event = await publisher.publish("b", {})
        async with asyncio.timeout(10):
            while publisher.owed["supabase"]:  # noqa: ASYNC110 - polled
                await asyncio.sleep(0.01)
    assert list(store.events.values()) == [event]


async def test_the_provider_answers_who_is_in_the_cohort(request: pytest.FixtureRequest) -> None:
    flags = Flags(
        version=3, partitions=10, topics={"orders": "critical"}, served={EVERYTHING: 30.0}
    )
    source = StaticFlags(flags)
    told: list[EventDetails] = []
    provider = CrossfadeProvider(source)
    domain = request.node.name
    api.set_provider(provider, domain)
    client = api.get_client(domain)
    client.add_handler(ProviderEvent.PROVIDER_CONFIGURATION_CHANGED, told.append)
    try:
        async with provider:
            await asyncio.sleep(0)
            for key in ("ann", "bob", "cyd", "dan"):
                context = EvaluationContext(key, {"topic": "orders"})
                served = flags.serves("orders", partition_of("orders", key, 10))
                details = client.get_boolean_details("crossfade-served", not served, context)
                assert details.value is served
                assert details.flag_metadata == {"version": 3}
                transport = client.get_string_value("crossfade-transport", "?", context)
                assert transport == ("realtime" if served else "websocket")
            at = EvaluationContext(attributes={"topic": "orders", "partition": 4})
            assert client.get_boolean_value("crossfade-written", True, at) is flags.writes(
                "orders", 4
            )
            assert client.get_float_value("crossfade-served-percent", 0.0, at) == 30.0
            assert client.get_float_value("crossfade-written-percent", 0.0, at) == 30.0
            assert client.get_integer_value("crossfade-version", 0) == 3
            assert client.get_boolean_value("crossfade-kill", True) is False
            assert client.get_object_value("crossfade-flags", {}) == flags.to_json()

            nobody = EvaluationContext(attributes={"topic": "orders"})
            for key, context, code in (
                ("crossfade-moon", at, ErrorCode.FLAG_NOT_FOUND),
                ("crossfade-version", at, ErrorCode.TYPE_MISMATCH),
                ("crossfade-served", EvaluationContext("ann"), ErrorCode.INVALID_CONTEXT),
                ("crossfade-served", nobody, ErrorCode.TARGETING_KEY_MISSING),
            ):
                details = client.get_boolean_details(key, True, context)
                assert (details.value, details.error_code) == (True, code)

            source.set(Flags(version=4, kill=True))
            async with asyncio.timeout(10):
                while not told:  # noqa: ASYNC110 - polled
                    await asyncio.sleep(0.01)
            assert told[0].metadata == {"version": 4}
            assert client.get_boolean_value("crossfade-kill", False) is True
    finally:
        api.clear_providers()
