"""Our templates are Prefect's own with other defaults: a worker of the type takes them."""

import copy
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import jsonschema
import prefect
import pytest
import yaml
from prefect.utilities.templating import find_placeholders
from prefect.workers.process import ProcessWorker

from crossfade.errors import UsageError
from crossfade.local.prefect import prefect_file
from tasks.work_pools import CONTAINERS, SETTINGS_FILE, container_template, process_template

VIEWS = Path(prefect.__file__).parent / "server/api/collections_data/views"
BUNDLED = {
    kind: worker["default_base_job_configuration"]
    for workers in json.loads(
        (VIEWS / "aggregate-worker-metadata.json").read_text(encoding="utf-8")
    ).values()
    for kind, worker in workers.items()
}
PROCESS = ProcessWorker.get_default_base_job_template()


def defaults(template: dict[str, Any]) -> dict[str, Any]:
    properties = template["variables"]["properties"]
    return {name: one["default"] for name, one in properties.items() if "default" in one}


def accepts(template: dict[str, Any], values: dict[str, Any]) -> None:
    """Hold values against the pool's schema as Prefect's server does, and stricter: no others."""
    schema = {**template["variables"], "additionalProperties": False}
    jsonschema.Draft202012Validator(schema).validate(
        {name: value for name, value in values.items() if value is not None}
    )


@pytest.mark.parametrize("warm", [None, Path("/state/warm.sock")])
def test_runs_start_in_one_step_and_outlive_their_worker(warm: Path | None) -> None:
    found = process_template(PROCESS, warm)
    command = shlex.split(defaults(found)["command"])
    assert command[0] == sys.executable
    assert command[-1] == "prefect.engine"
    assert (str(warm) in command) is (warm is not None)
    assert defaults(found)["stream_output"] is False
    accepts(found, defaults(found))


@pytest.mark.parametrize("kind", CONTAINERS)
def test_containers(kind: str) -> None:
    before = copy.deepcopy(BUNDLED[kind])
    found = container_template(BUNDLED[kind], kind, "registry/crossfade:1")
    assert BUNDLED[kind] == before
    values = defaults(found)
    assert values["image"] == "registry/crossfade:1"
    assert values["env"] == {"CROSSFADE_SETTINGS": SETTINGS_FILE}
    assert values["stream_output"] is False
    accepts(found, values)
    with pytest.raises(jsonschema.ValidationError):
        accepts(found, {**values, "image": 1})
    # Everything that the job names is a variable of the schema.
    names = {one.name for one in find_placeholders(json.dumps(found["job_configuration"]))}
    assert names - {"ctx.flow.name"} <= set(found["variables"]["properties"])
    mounted = json.dumps(found)
    for text in ("crossfade-settings", "crossfade-data", "/etc/crossfade", "/var/lib/crossfade"):
        assert text in mounted


def test_kubernetes_mounts_its_secret_read_only() -> None:
    found = container_template(BUNDLED["kubernetes"], "kubernetes", "i")
    pod = found["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
    volumes = {one["name"] for one in pod["volumes"]}
    (container,) = pod["containers"]
    mounts = {one["name"]: one["readOnly"] for one in container["volumeMounts"]}
    assert mounts == {"crossfade-settings": True, "crossfade-data": False}
    assert set(mounts) == volumes


@pytest.mark.parametrize(("kind", "image"), [("docker", ""), ("ecs", "i"), ("process", "i")])
def test_what_can_not_be_made(kind: str, image: str) -> None:
    with pytest.raises(UsageError):
        container_template(BUNDLED[kind], kind, image)


@pytest.mark.parametrize("kind", ["process", *CONTAINERS])
def test_the_deployments_variables_fit_every_pool(kind: str) -> None:
    document = yaml.safe_load(prefect_file().read_text(encoding="utf-8"))
    for one in document["deployments"]:
        accepts(BUNDLED[kind], one["work_pool"]["job_variables"])
