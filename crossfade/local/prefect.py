"""Prefect in the embedded stack: how its server and worker are started, and how it is deployed.

This module imports nothing of Prefect (only ``flows`` and ``tasks`` do): it gives command
lines and environments for the supervisor, and ``deploy`` runs one subprocess that does what
``prefect deploy --all`` does. Prefect's REST calls are in ``crossfade.local.prefect_api``.
"""

import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import Mapping
from importlib import metadata, resources
from pathlib import Path
from typing import NamedTuple

from crossfade.deployments import week_name
from crossfade.errors import StackError
from crossfade.local.prefect_seed import seed_name
from crossfade.local.stack_settings import to_toml, write_private
from crossfade.local.warm import MAX_PATH_BYTES
from crossfade.settings import SETTINGS_VARIABLE, PrefectSettings

__all__ = [
    "BACKFILL",
    "CUT_OVER",
    "DECOMMISSION",
    "DEPLOYMENTS",
    "DRILL",
    "FLOW_MODULES",
    "REPAIR",
    "REPORT",
    "ROLLBACK",
    "VALIDATE",
    "WEEKS",
    "Launch",
    "database",
    "deploy",
    "make_temporary",
    "prefect_file",
    "seed_file",
    "server",
    "warm_socket",
    "week_deployment",
    "worker",
    "worker_name",
    "write_profile",
]

WEEKS = ("rollout-week/week-1", "rollout-week/week-2", "rollout-week/week-3")
"""The deployments of the default plan's weeks, by stage (from 0)."""

VALIDATE = "validate/validate"
ROLLBACK = "rollback/rollback"
BACKFILL = "backfill/backfill"
REPAIR = "repair/repair"
REPORT = "report/report"
DRILL = "drill/drill"
CUT_OVER = "cut-over/cut-over"
DECOMMISSION = "decommission/decommission"
DEPLOYMENTS = (
    *WEEKS,
    VALIDATE,
    ROLLBACK,
    BACKFILL,
    REPAIR,
    REPORT,
    DRILL,
    CUT_OVER,
    DECOMMISSION,
)
"""Every deployment of the default plan, as ``prefect.yaml`` has them: flow/deployment."""

FLOW_MODULES = (
    "flows.rollout_week_flow",
    "flows.validate_flow",
    "flows.rollback_flow",
    "flows.backfill_flow",
    "flows.repair_flow",
    "flows.report_flow",
    "flows.drill_flow",
    "flows.cut_over_flow",
    "flows.decommission_flow",
)
"""Where the deployments' flows are; the warm process imports them."""

_HOST = "127.0.0.1"
_PROFILE = "crossfade"
_DEPLOY_KILL_S = 5.0
_DEPLOY_OUTPUT_BYTES = 2_000


class Launch(NamedTuple):
    """A process to start: its command line (never with a secret in it) and whole environment."""

    command: tuple[str, ...]
    environment: dict[str, str]


def week_deployment(stage: int) -> str:
    """The deployment of a stage (from 0) of the plan that was deployed."""
    return f"rollout-week/{week_name(stage)}"


def server(
    home: Path, port: int, section: PrefectSettings, *, inherited: Mapping[str, str]
) -> Launch:
    """Prefect's server on SQLite in ``home``, which must exist, on the loopback's ``port``.

    What its page asks for while SQLite is busy is tried again (``tasks.server``). It asks
    whoever calls it, its page included, for ``section.auth``; only its health is told to
    everybody.

    Nothing is sent to anybody (no analytics) and only warnings are logged. The block types of
    Prefect's own integrations are not registered (it saves 2 s): a block that is saved from
    Python registers its own.

    Args:
        inherited: the environment to start from; its ``PREFECT_*`` are left out, so that a
            user's own profile or API key has no part in the stack.
    """
    url = f"http://{_HOST}:{port}/api"
    auth = section.auth.get_secret_value()
    command = (
        *(sys.executable, "-m", "tasks.server"),
        *("--host", _HOST, "--port", str(port)),
    )
    environment = {
        **_environment(home, url, auth, inherited),
        **({"PREFECT_SERVER_API_AUTH_STRING": auth} if auth else {}),
        "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_API_URL": url,
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        # A noisy disk must not turn into "database is locked".
        "PREFECT_SERVER_DATABASE_TIMEOUT": "30",
        # Schedules may be seconds apart in a demo: plan a few runs ahead, not a hundred.
        "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "15",
        "PREFECT_SERVER_SERVICES_SCHEDULER_MAX_RUNS": "10",
        "PREFECT_SERVER_SERVICES_SCHEDULER_MIN_SCHEDULED_TIME": "PT60S",
        # An approval's expiry is seen within this time.
        "PREFECT_SERVER_SERVICES_PAUSE_EXPIRATIONS_LOOP_SECONDS": "2",
    }
    return Launch(command, environment)


def worker(
    home: Path, section: PrefectSettings, settings_file: Path, *, inherited: Mapping[str, str]
) -> Launch:
    """The process worker of the settings' work pool, whose runs read ``settings_file``.

    Runs that an earlier worker of this stack left behind are put back on the schedule first
    (``crossfade.local.prefect_worker``). Beside it runs a warm process, from which flow runs
    are forked (``crossfade.local.warm``). Flow runs inherit this environment.
    """
    socket, pool = warm_socket(home), section.work_pool
    command = (
        *(sys.executable, "-m", "crossfade.local.prefect_worker"),
        *("--pool", pool, "--name", worker_name(pool)),
        *(() if socket is None else ("--warm", str(socket))),
    )
    environment = {
        **_environment(home, section.api_url, section.auth.get_secret_value(), inherited),
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        # Runs are started when they are due, not ahead of time: a prefetched run would hold
        # the validation's only slot while it waits.
        "PREFECT_WORKER_PREFETCH_SECONDS": "1",
        "PREFECT_WORKER_ENABLE_CANCELLATION": "true",
        "PREFECT_WORKER_CANCELLATION_POLL_SECONDS": "10",
        **_settings_variable(settings_file),
    }
    return Launch(command, environment)


def warm_socket(home: Path) -> Path | None:
    """Where the warm process of this stack listens; None where there can be none."""
    path = home.absolute() / "warm.sock"
    fits = len(os.fsencode(path)) <= MAX_PATH_BYTES
    return path if sys.platform == "linux" and fits else None


def worker_name(pool: str) -> str:
    """The name that the embedded stack's worker of ``pool`` has in Prefect."""
    return f"{pool}-local"


async def deploy(
    home: Path,
    section: PrefectSettings,
    settings_file: Path,
    *,
    inherited: Mapping[str, str],
    timeout_s: float = 90.0,
    log: Path | None = None,
) -> None:
    """Make the work pool and every deployment, the plan's weeks and automations included.

    One subprocess; may be started together with the server, which it waits for. Repeating it
    updates what is there.

    Args:
        log: where its output is appended as well.

    Raises:
        StackError: it failed or took longer than ``timeout_s``; with the end of its output.
    """
    socket = warm_socket(home)
    command = (
        *(sys.executable, "-m", "tasks.deployment"),
        *("--pool", section.work_pool, "--file", str(prefect_file()), "--wait-s", f"{timeout_s:g}"),
        *(() if socket is None else ("--warm", str(socket))),
    )
    environment = {
        **_environment(home, section.api_url, section.auth.get_secret_value(), inherited),
        **_settings_variable(settings_file),
    }
    make_temporary(home)
    opened = tempfile.TemporaryFile() if log is None else log.open("a+b")  # noqa: SIM115
    with opened as output:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            cwd=prefect_file().parent,
        )
        fault = ""
        try:
            async with asyncio.timeout(timeout_s):
                await process.wait()
        except TimeoutError:
            fault = f" within {timeout_s:g} s"
        finally:
            if process.returncode is None:
                await _end(process)
        if fault or process.returncode != 0:
            output.seek(max(0, output.seek(0, os.SEEK_END) - _DEPLOY_OUTPUT_BYTES))
            last = output.read().decode(errors="replace").strip()
            raise StackError(f"Prefect: the deployments were not made{fault}: {last}")


def make_temporary(home: Path) -> None:
    """Make the folder of Prefect's temporary files: whoever comes first does."""
    home.mkdir(mode=0o700, exist_ok=True)
    _temporary(home).mkdir(exist_ok=True)


def _temporary(home: Path) -> Path:
    return home.resolve() / "tmp"


def write_profile(home: Path, section: PrefectSettings) -> None:
    """Make ``PREFECT_HOME=home prefect …`` a command line of this server, login included.

    Readable by the owner only.
    """
    values = {
        "PREFECT_API_URL": section.api_url,
        "PREFECT_API_AUTH_STRING": section.auth.get_secret_value(),
    }
    profile = {"active": _PROFILE, "profiles": {_PROFILE: values}}
    write_private(home / "profiles.toml", to_toml(profile).encode())


def prefect_file() -> Path:
    """``prefect.yaml`` of the checkout, or of the wheel's bundle when there is no checkout.

    Raises:
        StackError: there is neither.
    """
    package = Path(str(resources.files("crossfade")))
    for folder in (package.parent, package / "_bundle"):
        if (folder / "prefect.yaml").is_file():
            return folder / "prefect.yaml"
    raise StackError(f"prefect.yaml is neither beside {package} nor in its _bundle")


def database(home: Path) -> Path:
    """The SQLite file of a server that was started with ``server(home, …)``."""
    return home / "prefect.db"


def seed_file(folder: Path) -> Path:
    """Where ``folder`` keeps an empty, migrated database for this version of Prefect."""
    return folder / seed_name(metadata.version("prefect"))


def _settings_variable(file: Path) -> dict[str, str]:
    return {SETTINGS_VARIABLE: str(file.absolute())}


def _environment(
    home: Path, api_url: str, auth: str, inherited: Mapping[str, str]
) -> dict[str, str]:
    kept = {
        name: value
        for name, value in inherited.items()
        if not name.startswith(("PREFECT_", "CROSSFADE_"))
    }
    # flows, tasks and expectations are importable wherever crossfade is: in a checkout they
    # stand beside it, and the wheel installs them beside it.
    code = str(Path(str(resources.files("crossfade"))).parent)
    inherited_path = kept.get("PYTHONPATH")
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join([code, inherited_path] if inherited_path else [code]),
        "PYTHONUNBUFFERED": "1",
        "DO_NOT_TRACK": "1",
        "PREFECT_HOME": str(home.resolve()),
        # What a killed worker or deployment leaves behind is in the stack's own folder.
        "TMPDIR": str(_temporary(home)),
        "PREFECT_API_URL": api_url,
        **({"PREFECT_API_AUTH_STRING": auth} if auth else {}),
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": "false",
        "PREFECT_CLI_PROMPT": "false",
        "PREFECT_CLI_COLORS": "false",
        "PREFECT_LOGGING_COLORS": "false",
    }


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(_DEPLOY_KILL_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
