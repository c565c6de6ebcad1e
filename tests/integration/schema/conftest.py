"""The migrations are tested on the embedded PostgreSQL 18 and on an older one if there is any.

``database`` is shared by a module and emptied before each test; ``fresh_database`` is for tests
that change the schema.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from crossfade.local.postgres import binaries
from tests.integration.schema.database import Database
from tests.services import Postgres, running_postgres

OTHERS = {
    "15": Path("/usr/lib/postgresql/15/bin"),  # Debian's; the oldest that Supabase runs
    "16": binaries().parents[1] / "pginstall" / "bin",  # in the wheel beside 18
}
VERSIONS = ["18", *[name for name, path in OTHERS.items() if (path / "initdb").exists()][:1]]


@pytest.fixture(scope="session", params=VERSIONS)
def server(request: pytest.FixtureRequest) -> Iterator[Postgres]:
    if request.param == "18":
        yield request.getfixturevalue("postgres")
    else:
        with running_postgres(OTHERS[request.param]) as other:
            yield other


@pytest.fixture(scope="module")
def module_database(server: Postgres) -> Iterator[Database]:
    with Database(server.create_database()) as opened:
        yield opened


@pytest.fixture
def database(module_database: Database) -> Database:
    module_database.empty()
    return module_database


@pytest.fixture
def fresh_database(server: Postgres) -> Iterator[Database]:
    with Database(server.create_database()) as opened:
        yield opened
