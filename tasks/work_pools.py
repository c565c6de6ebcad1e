"""Base job templates of the work pools on which the flows can run.

Each is Prefect's own template of that type with other defaults, so that everything which
Prefect's pages offer can still be set, for the pool or for one deployment.
"""

import copy
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crossfade.errors import UsageError
from crossfade.local.warm import client_command
from crossfade.settings import SETTINGS_VARIABLE

__all__ = ["CONTAINERS", "DATA_FOLDER", "SETTINGS_FILE", "container_template", "process_template"]

CONTAINERS = ("docker", "kubernetes")
"""Types of pools whose runs are containers of an image that holds Crossfade."""

SETTINGS_FILE = "/etc/crossfade/crossfade.toml"
"""Where a container finds its settings: the Docker volume, or the Kubernetes secret,
``crossfade-settings``. No secret is in the template, which Prefect shows to everybody."""

DATA_FOLDER = "/var/lib/crossfade"
"""Where a container finds journal, recording and seals: the volume, or claim,
``crossfade-data``."""

_ENGINE = "prefect.engine"


def process_template(plain: Mapping[str, Any], warm: Path | None) -> dict[str, Any]:
    """The template of a process pool whose runs start in one step.

    Prefect's own default starts a second interpreter that prepares a workspace first. There
    is nothing to prepare here (the flows are installed), and it costs 0.7 s a run.

    Args:
        plain: Prefect's own template of the type.
        warm: the socket of a warm process, from which runs are forked while it is there.
    """
    command = [sys.executable, "-m", _ENGINE] if warm is None else client_command(warm, _ENGINE)
    return _with_defaults(plain, command=shlex.join(command))


def container_template(plain: Mapping[str, Any], kind: str, image: str) -> dict[str, Any]:
    """The template of a Docker or Kubernetes pool.

    Args:
        plain: Prefect's own template of the type.
        kind: one of ``CONTAINERS``.
        image: holds Crossfade, flows included, and the pool type's Prefect integration.

    Raises:
        UsageError: another type, or no image.
    """
    if kind not in CONTAINERS:
        raise UsageError(f"work pool type {kind}: must be one of process, {', '.join(CONTAINERS)}")
    if not image:
        raise UsageError(f"a {kind} pool needs the image that its runs are started from (--image)")
    found = _with_defaults(
        plain,
        command=f"python -m {_ENGINE}",
        image=image,
        env={SETTINGS_VARIABLE: SETTINGS_FILE},
    )
    mounts = {
        "crossfade-settings": str(Path(SETTINGS_FILE).parent),
        "crossfade-data": DATA_FOLDER,
    }
    if kind == "docker":
        volumes = [
            f"crossfade-settings:{mounts['crossfade-settings']}:ro",
            f"crossfade-data:{mounts['crossfade-data']}",
        ]
        return _with_defaults(found, volumes=volumes)
    pod = found["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
    pod["volumes"] = [
        {"name": "crossfade-settings", "secret": {"secretName": "crossfade-settings"}},
        {"name": "crossfade-data", "persistentVolumeClaim": {"claimName": "crossfade-data"}},
    ]
    pod["containers"][0]["volumeMounts"] = [
        {"name": name, "mountPath": path, "readOnly": name == "crossfade-settings"}
        for name, path in mounts.items()
    ]
    return found


def _with_defaults(plain: Mapping[str, Any], **defaults: Any) -> dict[str, Any]:
    found = copy.deepcopy(dict(plain))
    properties = found["variables"]["properties"]
    # A run must not depend on the pipe to its worker: it outlives a worker that is killed.
    # What it logs is in Prefect.
    for name, value in {"stream_output": False, **defaults}.items():
        properties[name]["default"] = value
    return found
