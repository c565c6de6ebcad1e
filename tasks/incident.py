"""The incident's story and its diagnosis bundle, kept with the rollback that follows it."""

import asyncio
import platform
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from crossfade.diagnosis import collect, keep_bundle, stack_logs
from crossfade.errors import CrossfadeError
from tasks.control_plane import control
from tasks.settings_source import settings, settings_folder

__all__ = ["bundle_place", "incident_page"]


def bundle_place(incident: str) -> str:
    """Where the bundle of an incident is kept: ``host:path``, for a person."""
    return f"{platform.node()}:{_bundle(incident)}"


def _bundle(incident: str) -> Path:
    return settings().prefect.bundles / f"{incident}.zip"


@task(
    name="incident",
    task_run_name="tell the incident's story",
    timeout_seconds=120,
    cache_policy=NO_CACHE,
    persist_result=False,
)
async def incident_page(incident: str) -> str:
    """Write the diagnosis bundle and return the story as markdown, with where the bundle is.

    The rollback is recorded when this is asked for: what can not be told does not undo it, and
    the page says so instead.
    """
    try:
        async with control() as client:
            logs = await asyncio.to_thread(stack_logs, settings_folder())
            files = await collect(client, settings(), incident, logs)
    except CrossfadeError as error:
        get_run_logger().warning("the incident's story can not be told: %s", error)
        story = f"# Incident {incident}\n\nIts story could not be told: {error}"
        kept = "There is no diagnosis bundle"
    else:
        story = files["timeline.md"].decode().rstrip()
        kept = await asyncio.to_thread(_keep, files, incident)
    return (
        f"{story}\n\n{kept}; `crossfade incident show {incident} --bundle incident.zip` makes "
        "one anew. Going on needs the root cause: "
        "`crossfade resume --root-cause … --fix …`.\n"
    )


def _keep(files: dict[str, bytes], incident: str) -> str:
    try:
        keep_bundle(files, settings().prefect.bundles, incident)
    except CrossfadeError as error:
        get_run_logger().warning("the diagnosis bundle can not be written: %s", error)
        return f"The diagnosis bundle could not be written ({error})"
    return (
        "Everything for whoever looks for the cause (timeline, figures, logs, discrepancies, "
        f"versions) is in `{bundle_place(incident)}`"
    )
