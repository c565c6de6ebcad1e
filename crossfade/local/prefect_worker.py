"""Starts the embedded stack's Prefect worker: ``python -m crossfade.local.prefect_worker``.

A worker that was killed leaves runs that Prefect shows as running for ever. This stack has
one worker on one machine, so at its start every run whose process is gone is such an orphan:
the ones that must go on are put back on the schedule (their flows go on from the rollout's
row), the others are marked as crashed. Then this process becomes Prefect's own worker.

Not for several workers on one pool: each would take the others' runs for orphans.
"""

import argparse
import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
import structlog

from crossfade.errors import PrefectUnavailable, Refused
from crossfade.local.prefect import FLOW_MODULES, make_temporary
from crossfade.local.prefect_api import PrefectApi

__all__ = ["main", "recover"]

_PATIENCE_S = 60.0
_RETRY_S = 0.25
_STARTED = ("RUNNING", "PAUSED", "CANCELLING", "COMPLETED", "FAILED", "CANCELLED", "CRASHED")
_GOES_ON = ("rollout-week", "rollback", "backfill", "repair")
_log = structlog.get_logger("crossfade.prefect")


async def recover(api: PrefectApi, runs_process: Callable[[int], bool]) -> list[str]:
    """Put orphaned runs back on the schedule, or mark them as crashed; returns their names.

    So are runs of the flows that must go on whose end was the end of the stack: a worker
    that is asked to end takes its runs along, and Prefect calls them crashed. Only the last
    run of a deployment is: what it was about may have been done since by another. Running
    such a flow again is harmless, because it reads the rollout's row first.

    Args:
        runs_process: whether a flow run's process of this number still runs.
    """
    found = []
    flows: dict[str, str] = {}

    async def goes_on(run: Mapping[str, Any]) -> bool:
        identity = str(run["flow_id"])
        if identity not in flows:
            flows[identity] = await api.flow_name(identity)
        return flows[identity] in _GOES_ON

    async def becomes(run: Mapping[str, Any], kind: str, message: str) -> None:
        try:
            await api.set_state(str(run["id"]), kind, message)
        except Refused as error:
            _log.warning("an orphaned run stays as it is", run=run["name"], reason=str(error))
            return
        found.append(str(run["name"]))
        _log.info("orphaned run", run=run["name"], was=run["state_type"], now=kind)

    for run in await api.runs(states=("RUNNING", "PENDING", "CANCELLING")):
        pid = _process_of(run)
        if pid is not None and runs_process(pid):
            continue
        match str(run["state_type"]):
            case "PENDING" if pid is None:
                # Taken by the former worker and never started.
                await becomes(run, "SCHEDULED", "its worker was gone before it started")
            case "CANCELLING":
                await becomes(run, "CANCELLED", "its process was gone when it was cancelled")
            case _ if await goes_on(run):
                await becomes(run, "SCHEDULED", "its process was gone; it goes on")
            case _:
                await becomes(run, "CRASHED", "its process was gone when the worker started")
    seen: set[str] = set()
    for run in await api.runs(states=_STARTED):
        deployment = str(run["deployment_id"])
        if run["state_type"] == "CRASHED" and deployment not in seen and await goes_on(run):
            await becomes(run, "SCHEDULED", "it had crashed, perhaps with its worker; it goes on")
        seen.add(deployment)
    return found


def main() -> None:
    """Recover orphans, then become ``prefect worker start``."""
    parser = argparse.ArgumentParser(description="Start the embedded stack's Prefect worker.")
    parser.add_argument("--pool", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--warm", type=Path, help="the socket of a warm process to start as well")
    options = parser.parse_args()
    make_temporary(Path(os.environ["PREFECT_HOME"]))
    if options.warm is not None:
        _start_warm_process(options.warm)
    asyncio.run(
        _recover_when_up(
            os.environ["PREFECT_API_URL"], os.environ.get("PREFECT_API_AUTH_STRING", "")
        )
    )
    command = (
        *(sys.executable, "-m", "prefect", "worker", "start"),
        *("--type", "process", "--pool", options.pool, "--name", options.name),
    )
    os.execv(sys.executable, command)  # noqa: S606 - no shell, our own interpreter


def _start_warm_process(path: Path) -> None:
    modules = [part for name in FLOW_MODULES for part in ("--import", name)]
    command = (
        *(sys.executable, "-m", "crossfade.local.warm", "--socket", str(path), *modules),
        *("--preload", "tasks.warm_up:preload", "--in-child", "tasks.warm_up:in_child"),
    )
    # Our child and in our group: it ends with the worker that this process becomes.
    subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603 - our own words


async def _recover_when_up(api_url: str, auth: str) -> None:
    async with PrefectApi(api_url, auth=auth) as api:
        deadline = asyncio.get_running_loop().time() + _PATIENCE_S
        while True:
            try:
                await recover(api, _is_flow_run)
            except PrefectUnavailable as error:
                if asyncio.get_running_loop().time() >= deadline:
                    # Prefect's worker waits for its server as well, and says so.
                    _log.warning("orphaned runs were not looked for", reason=str(error))
                    return
                await asyncio.sleep(_RETRY_S)
            else:
                return


def _process_of(run: Mapping[str, Any]) -> int | None:
    # Prefect's process worker records "PID" or "host:PID".
    text = str(run.get("infrastructure_pid") or "").rpartition(":")[2]
    return int(text) if text.isdigit() else None


def _is_flow_run(pid: int) -> bool:
    """Whether the process is there and is Prefect's: numbers are used again."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and any(
            "prefect" in part for part in process.cmdline()
        )
    except psutil.Error:
        return False


if __name__ == "__main__":
    main()
