"""Sets up Prefect in one process: ``python -m tasks.deployment --pool crossfade``.

Makes the work pool (or updates its template; ``--type docker`` or ``kubernetes`` for runs in
containers of ``--image``) and then runs ``prefect deploy --all`` with
the settings' pool, schedules and plan: a week for each of its stages. By hand the same is
``prefect work-pool create crossfade --type process``, and ``prefect deploy --all`` in the folder
of a ``prefect.yaml`` as ``crossfade plan --deployments`` writes it.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from prefect.cli import app
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.exceptions import ObjectAlreadyExists
from prefect.workers.process import ProcessWorker

from crossfade.deployments import deployment_document, document_text, intervals_of, read
from crossfade.errors import PrefectUnavailable, UsageError
from crossfade.local.prefect_api import PrefectApi
from crossfade.settings import Settings
from tasks.notifications import keep_notifications
from tasks.settings_source import settings
from tasks.work_pools import container_template, process_template

__all__ = ["main", "make_pool"]

_POLL_S = 0.1


async def make_pool(
    name: str, wait_s: float, warm: Path | None = None, kind: str = "process", image: str = ""
) -> None:
    """Create the work pool, or give the one that is there our template.

    Raises:
        PrefectUnavailable: the server did not become healthy within ``wait_s``.
        UsageError: Prefect does not know the type, or it needs an image and there is none.
    """
    async with get_client() as client:
        # Prefect's client waits longer and longer between its own retries.
        async with PrefectApi(str(client.api_url)) as api:
            await _wait_until_up(api, wait_s)
        if kind == "process":
            plain = ProcessWorker.get_default_base_job_template()
            template = process_template(plain, warm)
        else:
            template = container_template(await _bundled(client, kind), kind, image)
        try:
            await client.create_work_pool(
                WorkPoolCreate(name=name, type=kind, base_job_template=template)
            )
        except ObjectAlreadyExists:
            await client.update_work_pool(name, WorkPoolUpdate(base_job_template=template))


async def _notify(found: Settings) -> None:
    async with get_client() as client:
        await keep_notifications(client, found.prefect.notify, found.alerts.events)


async def _bundled(client: PrefectClient, kind: str) -> dict[str, Any]:
    """Prefect's own template of a type, as its server knows it without the integration."""
    for workers in (await client.read_worker_metadata()).values():
        if kind in workers:
            found: dict[str, Any] = workers[kind]["default_base_job_configuration"]
            return found
    raise UsageError(f"Prefect's server knows no work pool type {kind}")


async def _wait_until_up(api: PrefectApi, wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    while not await api.healthy():
        if time.monotonic() >= deadline:
            raise PrefectUnavailable(f"Prefect at {api.ui_url} is not healthy after {wait_s:g} s")
        await asyncio.sleep(_POLL_S)


def main() -> None:
    """Make the pool, then deploy everything."""
    parser = argparse.ArgumentParser(description="Make the work pool and all deployments.")
    parser.add_argument("--pool", default=None, help="default: prefect.work_pool of the settings")
    parser.add_argument("--file", type=Path, default=Path("prefect.yaml"))
    parser.add_argument("--type", default="process", help="process, docker or kubernetes")
    parser.add_argument("--image", default="", help="of docker and kubernetes: holds Crossfade")
    parser.add_argument("--wait-s", type=float, default=60.0, help="for the server to come up")
    parser.add_argument("--warm", type=Path, help="the socket of a warm process on this machine")
    options = parser.parse_args()
    found = settings()
    pool = options.pool or found.prefect.work_pool
    try:
        document = read(options.file)
        asyncio.run(make_pool(pool, options.wait_s, options.warm, options.type, options.image))
        asyncio.run(_notify(found))
    except (UsageError, PrefectUnavailable) as error:
        sys.exit(f"tasks.deployment: {error}")
    with tempfile.TemporaryDirectory(prefix="crossfade-deploy-") as folder:
        file = Path(folder) / "prefect.yaml"
        plan = found.rollout.plan(found.topics)
        adapted = deployment_document(document, plan, pool, intervals_of(found))
        file.write_text(document_text(adapted), encoding="utf-8")
        # Prefect's command reads its words from where commands do.
        words = ("--no-prompt", "deploy", "--all", "--prefect-file", os.fspath(file))
        sys.argv[:] = ["prefect", *words]
        app()


if __name__ == "__main__":
    main()
