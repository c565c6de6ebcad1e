"""A store on SQLite and on PostgreSQL; a control server with a clock that tests hold."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from crossfade.adapters.control import ControlClient
from crossfade.control import schema
from crossfade.control.schema import open_engine
from crossfade.control.server import ControlServer
from crossfade.settings import Settings
from tests.rollouts import TARGETS, a_plan
from tests.services import Postgres

OPERATOR, INSTANCE = "operator-secret", "instance-secret"


class HeldClock:
    """Time that only moves when a test moves it."""

    def __init__(self) -> None:
        self.at_us = 1_000_000_000_000_000

    def now_us(self) -> int:
        return self.at_us

    def monotonic_ms(self) -> int:
        return self.at_us // 1_000

    def advance(self, seconds: float) -> None:
        self.at_us += round(seconds * 1e6)


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests kill no machine, and on a busy disk each transaction would take seconds."""
    monkeypatch.setattr(schema, "_SYNCHRONOUS", "OFF")


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'control.db'}"
    postgres: Postgres = request.getfixturevalue("postgres")
    plain = postgres.create_database("template1")
    return plain.replace("postgresql://", "postgresql+psycopg://")


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    found = open_engine(database)
    yield found
    found.dispose()


def settings_in(folder: Path, **control: Any) -> Settings:
    """Settings of a control server on a free port, with three weeks of seconds."""
    plan = a_plan()
    stages = [
        {
            "name": stage.name,
            "percent": dict(stage.percent),
            "soak_s": stage.soak_s,
            "targets": {name: getattr(TARGETS, name) for name in TARGETS.__dataclass_fields__},
        }
        for stage in plan.stages
    ]
    return Settings.model_validate(
        {
            "control": {
                "url": "http://127.0.0.1:0",
                "database_url": f"sqlite:///{folder / 'control.db'}",
                "operator_token": OPERATOR,
                "instance_token": INSTANCE,
                "monitor_s": 3_600.0,
                **control.pop("control", {}),
            },
            "rollout": {
                "name": "test",
                "stages": stages,
                "approval_expires_s": plan.approval_expires_s,
                "stall_s": plan.stall_s,
            },
            **control,
        }
    )


Running = Callable[..., Any]


@pytest.fixture
def running(tmp_path: Path) -> Running:
    """Starts control servers with one held clock and gives an operator's client."""
    clock = HeldClock()

    @asynccontextmanager
    async def run(
        transport: httpx.AsyncBaseTransport | None = None, **changes: Any
    ) -> AsyncIterator[tuple[ControlServer, ControlClient, HeldClock]]:
        settings = settings_in(tmp_path, **changes)
        async with (
            ControlServer(settings, clock=clock, prefect_transport=transport) as server,
            client_of(server, settings) as client,
        ):
            yield server, client, clock

    return run


def client_of(server: ControlServer, settings: Settings, role: Any = "operator") -> ControlClient:
    return ControlClient(settings.control.model_copy(update={"url": server.url}), role)
