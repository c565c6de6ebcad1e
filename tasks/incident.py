"""The incident's story, kept with the rollback that follows it."""

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from crossfade.diagnosis import collect
from crossfade.errors import CrossfadeError
from tasks.control_plane import control
from tasks.settings_source import settings

__all__ = ["incident_page"]


@task(
    name="incident",
    task_run_name="tell the incident's story",
    timeout_seconds=120,
    cache_policy=NO_CACHE,
    persist_result=False,
)
async def incident_page(incident: str) -> str:
    """What happened from 15 minutes before, as markdown, and how to get everything as a bundle.

    The rollback is recorded when this is asked for: what can not be told does not undo it, and
    the page says so instead.
    """
    try:
        async with control() as client:
            files = await collect(client, settings(), incident, {})
    except CrossfadeError as error:
        get_run_logger().warning("the incident's story can not be told: %s", error)
        story = f"# Incident {incident}\n\nIts story could not be told: {error}"
    else:
        story = files["timeline.md"].decode().rstrip()
    return (
        f"{story}\n\nEverything for whoever looks for the cause: "
        f"`crossfade incident show {incident} --bundle incident.zip`. Going on needs its root "
        "cause: `crossfade resume --root-cause … --fix …`.\n"
    )
