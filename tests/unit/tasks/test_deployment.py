"""What is deployed: the file of the repository, with the settings' pool and schedules."""

import importlib
import sys
from typing import Any

import pytest
import yaml
from prefect import Flow

from crossfade.local.prefect import DEPLOYMENTS, FLOW_MODULES, prefect_file

DOCUMENT: dict[str, Any] = yaml.safe_load(prefect_file().read_text(encoding="utf-8"))


def flow_of(entrypoint: str) -> Flow[..., Any]:
    module, _, name = entrypoint.rpartition(".")
    found = getattr(importlib.import_module(module), name)
    assert isinstance(found, Flow)
    return found


def test_every_deployment_names_a_flow_and_its_parameters() -> None:
    named = []
    for one in DOCUMENT["deployments"]:
        flow = flow_of(one["entrypoint"])
        flow.validate_parameters(one["parameters"])
        named.append(f"{flow.name}/{one['name']}")
    assert tuple(named) == DEPLOYMENTS


@pytest.mark.parametrize("one", DOCUMENT["deployments"], ids=lambda one: one["name"])
def test_forms_are_for_people(one: dict[str, Any]) -> None:
    schema = flow_of(one["entrypoint"]).parameters
    for name, field in schema.properties.items():
        assert field["title"] != name
        assert field["description"], name
    assert one["description"].strip()
    assert "crossfade" in one["tags"]


def test_no_flow_file_hides_a_module() -> None:
    folder = prefect_file().parent / "flows"
    files = [path.stem for path in folder.glob("*.py") if path.stem != "__init__"]
    assert len(files) >= 5
    for name in files:
        assert name not in sys.stdlib_module_names
        assert importlib.util.find_spec(name) is None, name


def test_the_warm_process_imports_every_flow() -> None:
    modules = {one["entrypoint"].rpartition(".")[0] for one in DOCUMENT["deployments"]}
    assert set(FLOW_MODULES) == modules
