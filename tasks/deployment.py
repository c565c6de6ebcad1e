"""Sets up Prefect in one process: ``python -m tasks.deployment --pool crossfade``.

Makes the work pool (or updates its template) and then runs ``prefect deploy --all`` with
the settings' pool and schedules. By hand the same is ``prefect work-pool create crossfade
--type process`` and ``prefect deploy --all`` in the folder of ``prefect.yaml``.
"""

import argparse
import asyncio
import copy
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from prefect.cli import app
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.exceptions import ObjectAlreadyExists
from prefect.workers.process import ProcessWorker

from crossfade.errors import PrefectUnavailable
from crossfade.local.prefect_api import PrefectApi
from crossfade.local.warm import client_command
from tasks.settings_source import settings

__all__ = ["adapted", "main", "make_pool", "pool_template"]

_ENGINE = "prefect.engine"
_POLL_S = 0.1


def pool_template(warm: Path | None) -> dict[str, Any]:
    """The template of a process pool whose runs start in one step.

    Prefect's own default starts a second interpreter that prepares a workspace first. There
    is nothing to prepare here (the flows are installed), and it costs 0.7 s a run.

    Args:
        warm: the socket of a warm process, from which runs are forked while it is there.
    """
    plain = [sys.executable, "-m", _ENGINE]
    template = ProcessWorker.get_default_base_job_template()
    variables = template["variables"]["properties"]
    command = plain if warm is None else client_command(warm, _ENGINE)
    variables["command"]["default"] = shlex.join(command)
    # A run must not depend on the pipe to its worker: it outlives a worker that is killed.
    # What it logs is in Prefect.
    variables["stream_output"]["default"] = False
    return template


async def make_pool(name: str, wait_s: float, warm: Path | None = None) -> None:
    """Create the work pool, or give the one that is there our template.

    Raises:
        PrefectUnavailable: the server did not become healthy within ``wait_s``.
    """
    async with get_client() as client:
        # Prefect's client waits longer and longer between its own retries.
        async with PrefectApi(str(client.api_url)) as api:
            await _wait_until_up(api, wait_s)
        template = pool_template(warm)
        try:
            await client.create_work_pool(
                WorkPoolCreate(name=name, type="process", base_job_template=template)
            )
        except ObjectAlreadyExists:
            await client.update_work_pool(name, WorkPoolUpdate(base_job_template=template))


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
    parser.add_argument("--wait-s", type=float, default=60.0, help="for the server to come up")
    parser.add_argument("--warm", type=Path, help="the socket of a warm process on this machine")
    options = parser.parse_args()
    found = settings()
    pool = options.pool or found.prefect.work_pool
    document = yaml.safe_load(options.file.read_text(encoding="utf-8"))
    intervals = {
        "validate": found.reconcile.every_s,
        "report": found.prefect.report_every_s,
    }
    asyncio.run(make_pool(pool, options.wait_s, options.warm))
    with tempfile.TemporaryDirectory(prefix="crossfade-deploy-") as folder:
        file = Path(folder) / "prefect.yaml"
        file.write_text(yaml.safe_dump(adapted(document, pool, intervals)), encoding="utf-8")
        # Prefect's command reads its words from where commands do.
        words = ("--no-prompt", "deploy", "--all", "--prefect-file", os.fspath(file))
        sys.argv[:] = ["prefect", *words]
        app()


def adapted(
    document: Mapping[str, Any], pool: str, intervals: Mapping[str, float]
) -> dict[str, Any]:
    """``prefect.yaml`` with another pool and other intervals (seconds, by deployment).

    Prefect takes no ``{{ … }}`` in a schedule's interval, so this is how the settings get there.
    """
    found = copy.deepcopy(dict(document))
    for one in found["deployments"]:
        one["work_pool"]["name"] = pool
        for schedule in one.get("schedules", ()):
            schedule["interval"] = intervals[one["name"]]
    return found


if __name__ == "__main__":
    main()
