"""``target``: each Supabase project that the contract suites run against."""

from collections.abc import Iterator

import psycopg
import pytest

from crossfade.local.keys import ProjectKeys
from tests.contract.target import REAL, TARGETS, Target, stand_in
from tests.services import Postgres, Project, running_project

OPAQUE = ProjectKeys("sb_publishable_contract0123456789", "sb_secret_contract0123456789")


@pytest.fixture(scope="session")
def opaque_project(
    postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Project]:
    """A stand-in with the newer kind of keys."""
    folder = tmp_path_factory.mktemp("opaque")
    with running_project(folder, postgres.create_database(), keys=OPAQUE) as running:
        yield running


@pytest.fixture(scope="session", params=TARGETS)
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    if request.param == "project":
        assert REAL is not None
        yield REAL
        _forget(REAL)
    elif request.param == "stand-in":
        yield stand_in(request.getfixturevalue("project"))
    else:
        yield stand_in(request.getfixturevalue("opaque_project"), request.param)


def _forget(target: Target) -> None:
    if target.database_url:
        with psycopg.connect(target.database_url, autocommit=True) as connection:
            for table in ("events", "heads", "dead_letters"):
                connection.execute(f"delete from crossfade.{table} where source like 'contract-%'")
