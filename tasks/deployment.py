"""Sets up Prefect in one process: ``python -m tasks.deployment --pool crossfade``.

Makes the work pool (or updates its template) and then runs ``prefect deploy --all``. By
hand the same is ``prefect work-pool create crossfade --type process`` and
``prefect deploy --all`` in the folder of ``prefect.yaml``.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
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

__all__ = ["main", "make_pool", "pool_template"]

_POLL_S = 0.1


def pool_template() -> dict[str, Any]:
    """The template of a process pool whose runs start in one step.

    Prefect's own default starts a second interpreter that prepares a workspace first. There
    is nothing to prepare here (the flows are installed), and it costs 0.7 s a run.
    """
    template = ProcessWorker.get_default_base_job_template()
    variables = template["variables"]["properties"]
    variables["command"]["default"] = f'"{sys.executable}" -m prefect.engine'
    # A run must not depend on the pipe to its worker: it outlives a worker that is killed.
    # What it logs is in Prefect.
    variables["stream_output"]["default"] = False
    return template


async def make_pool(name: str, wait_s: float) -> None:
    """Create the work pool, or give the one that is there our template.

    Raises:
        PrefectUnavailable: the server did not become healthy within ``wait_s``.
    """
    async with get_client() as client:
        # Prefect's client waits longer and longer between its own retries.
        async with PrefectApi(str(client.api_url)) as api:
            await _wait_until_up(api, wait_s)
        template = pool_template()
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
    parser.add_argument("--pool", default="crossfade")
    parser.add_argument("--file", type=Path, default=Path("prefect.yaml"))
    parser.add_argument("--wait-s", type=float, default=60.0)
    options = parser.parse_args()
    asyncio.run(make_pool(options.pool, options.wait_s))
    with tempfile.TemporaryDirectory(prefix="crossfade-deploy-") as folder:
        file = _with_pool(options.file, options.pool, Path(folder))
        app(["--no-prompt", "deploy", "--all", "--prefect-file", os.fspath(file)])


def _with_pool(file: Path, pool: str, folder: Path) -> Path:
    """``file`` itself, or a copy that names another pool."""
    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    pools = [one["work_pool"] for one in document["deployments"]]
    if all(one["name"] == pool for one in pools):
        return file
    for one in pools:
        one["name"] = pool
    copy = folder / "prefect.yaml"
    copy.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return copy


if __name__ == "__main__":
    main()
