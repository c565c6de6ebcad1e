"""Prefect's automations that tell people: what happened to the rollout, by notification blocks.

The control server sends the same alerts by itself (``alerts.urls``), without Prefect. Whoever
keeps their chats and pagers in Prefect names its blocks in ``prefect.notify``; Prefect's server
then tells them of each event in ``alerts.events``. No worker and no flow run is in this way.
"""

from collections.abc import Iterable, Sequence
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.events.actions import SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.exceptions import ObjectNotFound

from crossfade.control.alerts import HAPPENED
from crossfade.errors import UsageError
from crossfade.settings import ALERTS

__all__ = ["automation_name", "keep_notifications", "telling"]


def automation_name(event: str) -> str:
    """The automation that tells of an event (one of ``ALERTS``)."""
    return f"crossfade tells: {event.replace('_', ' ')}"


def telling(event: str, blocks: Iterable[UUID]) -> AutomationCore:
    """The automation that tells these blocks of an event (one of ``ALERTS``)."""
    name = f"crossfade.{event}"
    payload = "event.payload"
    text = (
        f"{{{{ {payload}.rollout }}}}: {{{{ {payload}.stage_name }}}}, attempt "
        f"{{{{ {payload}.attempt }}}}, {HAPPENED[name]}"
        f"{{% if {payload}.reason %}}: {{{{ {payload}.reason }}}}{{% endif %}}"
        f"{{% if {payload}.actor %}} (by {{{{ {payload}.actor }}}}){{% endif %}}"
    )
    return AutomationCore(
        name=automation_name(event),
        description=f"The rollout {HAPPENED[name]}. Made by tasks.deployment (prefect.notify).",
        enabled=True,
        trigger=EventTrigger(
            expect={name}, match={}, posture=Posture.Reactive, threshold=1, within=0
        ),
        actions=[
            SendNotification(block_document_id=block, subject="Crossfade", body=text)
            for block in blocks
        ],
    )


async def keep_notifications(
    client: PrefectClient, blocks: Sequence[str], events: Sequence[str]
) -> None:
    """Make or update the automations for these events; remove ours that are not wanted.

    Args:
        blocks: Prefect's notification blocks as ``type/name``; none: nobody is told by Prefect.
        events: of ``ALERTS``.

    Raises:
        UsageError: there is no such block.
    """
    found = [await _block(client, name) for name in blocks]
    for event in ALERTS:
        known = await client.read_automations_by_name(automation_name(event))
        wanted = bool(found) and event in events
        if wanted and known:
            # An update sends what was set, and defaults were not.
            full = AutomationCore.model_validate(telling(event, found).model_dump(mode="json"))
            await client.update_automation(known[0].id, full)
        elif wanted:
            await client.create_automation(telling(event, found))
        for one in known[1:] if wanted else known:
            await client.delete_automation(one.id)


async def _block(client: PrefectClient, name: str) -> UUID:
    kind, _, own = name.partition("/")
    try:
        found = await client.read_block_document_by_name(own, kind)
    except ObjectNotFound as error:
        raise UsageError(
            f"prefect.notify: Prefect has no block {name}; make it on the page Blocks, or by "
            "`prefect block create`"
        ) from error
    return found.id
