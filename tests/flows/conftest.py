"""One world for all tests of the flows; each test has a rollout of its own."""

from collections.abc import AsyncIterator, Iterator

import pytest

from crossfade.adapters.control import ControlClient
from crossfade.local.prefect_api import PrefectApi
from tests.flows.world import FlowWorld
from tests.services import Project


@pytest.fixture(scope="session")
def world(
    project: Project, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[FlowWorld]:
    cache = getattr(pytestconfig, "cache", None)
    folder = tmp_path_factory.mktemp("flows")
    seeds = cache.mkdir("crossfade-prefect") if cache else folder / "seeds"
    with FlowWorld.running(folder, project, seeds) as running:
        yield running


@pytest.fixture
def rollout(world: FlowWorld) -> FlowWorld:
    """The world with a fresh rollout, ready for its first stage."""
    world.fresh_rollout()
    return world


@pytest.fixture
async def control(rollout: FlowWorld) -> AsyncIterator[ControlClient]:
    async with rollout.client() as client:
        yield client


@pytest.fixture
async def api(world: FlowWorld) -> AsyncIterator[PrefectApi]:
    async with world.prefect_api() as found:
        yield found
