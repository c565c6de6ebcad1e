"""Fixtures that several test folders share.

``postgres`` and ``project`` are one per session (and xdist worker): tests in them use sources
or topics of their own. ``database_url`` is a fresh migrated database per test (about 50 ms);
``fresh_project`` a stand-in of its own (about a second), for tests that break it.
"""

import atexit
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# The project's check judges one commit: the same examples at each run, and no clock (a noisy
# machine is no fault of the code). `--hypothesis-profile search` looks for new ones.
settings.register_profile("check", derandomize=True, deadline=None)
settings.register_profile("search", derandomize=False, deadline=None, max_examples=1_000)
settings.load_profile("check")

# Whoever starts a check in the background of a shell has SIGINT ignored, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Prefect makes its home folder when it is imported; a test run has nothing to do with the user's.
os.environ["PREFECT_HOME"] = tempfile.mkdtemp(prefix="crossfade-prefect-")
atexit.register(shutil.rmtree, os.environ["PREFECT_HOME"], ignore_errors=True)

from tests.services import (  # noqa: E402
    Postgres,
    Project,
    running_postgres,
    running_project,
)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A running embedded PostgreSQL."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def database_url(postgres: Postgres) -> str:
    """A fresh database that looks like a Supabase project with our migrations applied."""
    return postgres.create_database()


@pytest.fixture(scope="session")
def project(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A running Supabase stand-in, shared by the session."""
    folder: Path = tmp_path_factory.mktemp("supabase")
    with running_project(folder, postgres.create_database()) as running:
        yield running


@pytest.fixture
def fresh_project(postgres: Postgres, tmp_path: Path) -> Iterator[Project]:
    """A running Supabase stand-in for this test alone."""
    with running_project(tmp_path, postgres.create_database()) as running:
        yield running
