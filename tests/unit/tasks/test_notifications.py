"""Which automations of Prefect tell whom, and in which words."""

from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

import httpx
import pytest
from jinja2 import Environment
from prefect.client.orchestration import PrefectClient
from prefect.events.schemas.automations import AutomationCore, EventTrigger
from prefect.exceptions import ObjectNotFound

from crossfade.errors import UsageError
from crossfade.settings import ALERTS
from tasks.notifications import automation_name, keep_notifications, telling

BLOCK = uuid4()


class FakeClient:
    """Prefect's calls about automations, in memory."""

    def __init__(self) -> None:
        self.automations: dict[UUID, AutomationCore] = {}

    async def read_block_document_by_name(self, name: str, kind: str) -> Any:
        if (kind, name) != ("slack-webhook", "on-call"):
            request = httpx.Request("GET", "http://prefect")
            response = httpx.Response(404, request=request)
            raise ObjectNotFound(httpx.HTTPStatusError("", request=request, response=response))
        return SimpleNamespace(id=BLOCK)

    async def read_automations_by_name(self, name: str) -> list[Any]:
        return [
            SimpleNamespace(id=key) for key, one in self.automations.items() if one.name == name
        ]

    async def create_automation(self, one: AutomationCore) -> None:
        self.automations[uuid4()] = one

    async def update_automation(self, key: UUID, one: AutomationCore) -> None:
        assert one.model_dump(exclude_unset=True) == one.model_dump(), "nothing is left out"
        self.automations[key] = one

    async def delete_automation(self, key: UUID) -> None:
        del self.automations[key]


async def kept(fake: FakeClient, blocks: list[str], events: tuple[str, ...]) -> set[str]:
    await keep_notifications(cast("PrefectClient", fake), blocks, events)
    return {one.name for one in fake.automations.values()}


@pytest.mark.parametrize("event", ALERTS)
def test_an_event_is_told_in_words(event: str) -> None:
    made = telling(event, [BLOCK])
    assert isinstance(made.trigger, EventTrigger)
    assert made.trigger.expect == {f"crossfade.{event}"}
    (action,) = made.actions
    payload = {
        "rollout": "flights",
        "stage_name": "week-2",
        "attempt": 3,
        "reason": "late",
        "actor": "monitor",
    }
    body = Environment(autoescape=False).from_string(cast("Any", action).body)
    text = body.render(event={"payload": payload})
    assert text.startswith("flights: week-2, attempt 3, ")
    assert text.endswith(": late (by monitor)")
    assert "{" not in text
    assert body.render(event={"payload": {**payload, "reason": "", "actor": ""}}) in text


async def test_automations_follow_the_settings() -> None:
    fake = FakeClient()
    blocks = ["slack-webhook/on-call"]
    assert await kept(fake, blocks, ALERTS) == {automation_name(event) for event in ALERTS}
    first = set(fake.automations)
    assert len(await kept(fake, blocks, ALERTS)) == len(ALERTS)
    assert set(fake.automations) == first, "updated, not made twice"
    some = ("held", "approval_expired")
    assert await kept(fake, blocks, some) == {automation_name(event) for event in some}
    fake.automations[uuid4()] = telling("held", [BLOCK])
    await kept(fake, blocks, some)
    assert len(fake.automations) == 2, "a second one of the same name is removed"
    assert await kept(fake, [], ALERTS) == set()


async def test_a_block_that_is_not_there_is_named() -> None:
    with pytest.raises(UsageError, match="no block slack-webhook/other"):
        await kept(FakeClient(), ["slack-webhook/other"], ALERTS)
