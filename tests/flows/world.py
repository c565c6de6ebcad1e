"""Everything around the flows, for tests: real services, and instances that only report.

Real: Prefect's server, its worker, the deployments, the control server, the hub, the Supabase
stand-in over PostgreSQL, a journal and a recording on disk. Played: the telemetry of one
publisher, one subscriber and one tap (``Cast``), so that a test decides what they do.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx

from crossfade.adapters.control import ControlClient
from crossfade.adapters.supabase import SupabaseEventStore
from crossfade.core.flags import Flags
from crossfade.core.routing import cohort
from crossfade.core.telemetry import (
    Histogram,
    Report,
    Role,
    SinkWindow,
    TransportWindow,
    to_bits,
)
from crossfade.local.addresses import HOST, free_port
from crossfade.local.prefect import database, deploy, seed_file, server, worker, worker_name
from crossfade.local.prefect_api import PrefectApi
from crossfade.local.prefect_seed import keep_seed, plant_seed
from crossfade.local.stack_settings import write_settings
from crossfade.settings import Settings, load_settings
from tests.reconciliation_data import World as Stores
from tests.reconciliation_data import make_event, stream
from tests.services import ROOT, Project

POOL = "crossfade"
LOGIN = "crossfade:a password: with a colon"
STEP_S = 0.3
START_S = 60.0
EVENTS = 120
STREAM = stream("critical", 3)

STAGE: dict[str, Any] = {
    "soak_s": 1.0,
    "targets": {
        "delivery": 0.9,
        "minimum_events": 20,
        "error_for_s": 2.0,
        "latency_for_s": 2.0,
    },
}


class Cast(threading.Thread):
    """Reports as one publisher, one subscriber and one tap do, until stopped.

    ``follow``: whether instances take up new flags; ``realtime``: partitions on which the
    subscriber listens to Realtime, None for what the flags say; ``breaker``: of the
    publisher's Supabase sink.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(name="cast", daemon=True)
        self.follow = True
        self.realtime: int | None = None
        self.breaker = "closed"
        self._version = 0
        self._served = False
        self._flags = Flags()
        self._halt = threading.Event()
        token = settings.control.instance_token.get_secret_value()
        self._http = httpx.Client(
            base_url=f"{settings.control.url}/v1",
            headers={"Authorization": f"Bearer {token}"},
            timeout=5.0,
            trust_env=False,
        )

    def reset(self) -> None:
        self.follow, self.realtime, self.breaker = True, None, "closed"

    def run(self) -> None:
        while not self._halt.wait(STEP_S):
            # The control server is stopped and started between tests.
            with contextlib.suppress(httpx.HTTPError):
                self._step()

    def stop(self) -> None:
        self._halt.set()
        self.join(10)
        self._http.close()

    def _step(self) -> None:
        flags = self._http.get("/flags").raise_for_status().json()
        if self.follow:
            self._version = flags["version"]
            self._served = any(share > 0 for share in flags["served"].values())
            self._flags = Flags.from_json(flags)
        for role in (role for role in Role if role.follows_flags):
            self._http.post("/telemetry", json=self._report(role).to_json()).raise_for_status()

    def _report(self, role: Role) -> Report:
        quick = Histogram({"40": 20})
        listens = 10 if self._served else 0
        if self.realtime is not None:
            listens = self.realtime
        sinks, transports = {}, {}
        if role is Role.PUBLISHER:
            window = SinkWindow(calls=20, events=40, latency_ms=quick)
            sinks = {
                "websocket": window,
                "supabase": SinkWindow(
                    calls=20,
                    events=40,
                    latency_ms=quick,
                    breaker=self.breaker,
                    probes_failed=int(self.breaker == "open"),
                ),
            }
        else:
            told = {True: {}, False: {}} if self.realtime is not None else self._serving()
            transports = {
                "websocket": TransportWindow(
                    connected=True, received=40, serving=told[False], latency_ms=quick
                ),
                "realtime": TransportWindow(
                    connected=True,
                    received=40,
                    delivered=40,
                    cohort=40,
                    partitions=listens,
                    serving=told[True],
                    latency_ms=quick,
                ),
            }
        return Report(
            instance=f"test-{role.value}",
            role=role,
            at_us=time.time_ns() // 1_000,
            interval_ms=STEP_S * 1_000,
            flag_version=self._version,
            sinks=sinks,
            transports=transports,
            totals={"lost": 0},
        )

    def _serving(self) -> dict[bool, dict[str, str]]:
        """By whether it is Realtime: the partitions of each topic that are listened to there."""
        flags = self._flags
        found: dict[bool, dict[str, str]] = {True: {}, False: {}}
        for topic in flags.topics:
            on = cohort(flags.salt, topic, flags.partitions, flags.served_percent(topic))
            found[True][topic] = to_bits(on)
            found[False][topic] = to_bits(set(range(flags.partitions)) - on)
        return found


@dataclass
class Service:
    """One process of the world."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command,
                env=dict(self.environment),
                stdout=output,
                stderr=output,
                cwd=ROOT,
                start_new_session=True,
            )

    def kill(self, number: signal.Signals = signal.SIGKILL, *, group: bool = False) -> None:
        """Send a signal to the process, or to its whole group, and wait for its end."""
        assert self.process is not None
        if group:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)
        self.process.wait(20)

    def end(self) -> None:
        """End it in order, and whatever it left in its group at once."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)


class FlowWorld:
    """The services of one session, and what a test asks of them."""

    def __init__(self, folder: Path, project: Project, seeds: Path) -> None:
        self.folder = folder
        self.project = project
        self.settings_file = folder / "crossfade.toml"
        self.settings = self._write_settings()
        self.home = folder / "prefect"
        self.home.mkdir()
        self._seed = seed_file(seeds)
        plant_seed(self._seed, database(self.home))
        port = int(self.api_url.rpartition(":")[2].removesuffix("/api"))
        self.prefect = Service(
            *server(self.home, port, self.settings.prefect, inherited=os.environ),
            folder / "prefect.log",
        )
        self.worker = Service(
            *worker(self.home, self.settings.prefect, self.settings_file, inherited=os.environ),
            folder / "worker.log",
        )
        options = ("--settings", str(self.settings_file))
        self.control = Service(
            (sys.executable, "-m", "crossfade.control", *options),
            os.environ,
            folder / "control.log",
        )
        self.hub = Service(
            (sys.executable, "-m", "crossfade.local.hub_process", *options),
            os.environ,
            folder / "hub.log",
        )
        self.cast = Cast(self.settings)
        self._stores: Stores | None = None

    @property
    def api_url(self) -> str:
        return self.settings.prefect.api_url

    @classmethod
    @contextlib.contextmanager
    def running(cls, folder: Path, project: Project, seeds: Path) -> Iterator[Self]:
        """Start everything; about 15 s."""
        world = cls(folder, project, seeds)
        try:
            world._start()
            yield world
        finally:
            if world.cast.is_alive():
                world.cast.stop()
            for one in (world.worker, world.control, world.hub, world.prefect):
                one.end()
            if world._stores is not None:
                world._stores.__exit__()

    def client(self) -> ControlClient:
        return ControlClient(self.settings.control, role="operator")

    def prefect_api(self) -> PrefectApi:
        return PrefectApi.of(self.settings.prefect)

    def fresh_rollout(self, **changes: Any) -> None:
        """Restart the control server on an empty database and start a rollout.

        ``changes`` are of the plan in the settings.
        """
        self.cast.reset()
        if self.control.process is not None:
            self.control.end()
        for path in self.folder.glob("control.db*"):
            path.unlink()
        self.control.start()
        self._wait(f"{self.settings.control.url}/healthz", self.control)

        async def begin() -> None:
            async with self.client() as client:
                plan = self.settings.rollout.model_dump(mode="json", exclude={"name"})
                plan |= changes
                await client.start(self.settings.rollout.name, plan, "test")

        asyncio.run(begin())

    def revive(self) -> None:
        """Start what a test has killed of Prefect, and wait until it works."""
        for service in (self.prefect, self.worker):
            assert service.process is not None
            if service.process.poll() is not None:
                service.start()
        self._wait(f"{self.api_url}/health", self.prefect)

    def worker_is_online(self) -> None:
        """Wait until the worker polls."""

        async def online() -> bool:
            async with self.prefect_api() as api:
                return await api.worker_online(POOL, worker_name(POOL))

        self._until(lambda: asyncio.run(online()), self.worker)

    def _start(self) -> None:
        self.prefect.start()
        self.hub.start()

        async def deployed() -> None:
            # A machine that runs other tests as well has taken more than the usual 90 s.
            await deploy(
                self.home,
                self.settings.prefect,
                self.settings_file,
                inherited=os.environ,
                timeout_s=180.0,
            )

        deploying = threading.Thread(target=lambda: asyncio.run(deployed()))
        deploying.start()
        self._stores = self._fill_stores()
        self._wait(f"{self.api_url}/health", self.prefect)
        keep_seed(database(self.home), self._seed)
        self.worker.start()
        deploying.join()
        self.worker_is_online()
        self.cast.start()

    def _fill_stores(self) -> Stores:
        """The same events in journal, recording and table; the recording covers the future."""
        now_us = time.time_ns() // 1_000
        stores = Stores(self.folder, now_us=now_us)
        for transport in ("websocket", "realtime"):
            stores.cover(transport, now_us, now_us + 3_600_000_000)
        stores.route(STREAM)
        stores.publish(STREAM, EVENTS, to=("websocket", "realtime"))
        events = [make_event(STREAM, number + 1) for number in range(EVENTS)]

        async def ingest() -> None:
            async with SupabaseEventStore.for_publisher(self.settings) as store:
                assert (await store.ingest(events, live=False)).inserted == EVENTS

        asyncio.run(ingest())
        return stores

    def _write_settings(self) -> Settings:
        stages = [
            {"name": f"week-{number + 1}", "percent": {"*": share}, **STAGE}
            for number, share in enumerate((10.0, 50.0, 100.0))
        ]
        values = {
            "journal": {"path": str(self.folder / "journal.db")},
            "tap": {"path": str(self.folder / "tap.db")},
            "websocket": {"url": f"ws://{HOST}:{free_port()}", "token": "hub"},
            "supabase": {
                "url": self.project.url,
                "anon_key": self.project.anon_key,
                "service_role_key": self.project.service_role_key,
            },
            "control": {
                "url": f"http://{HOST}:{free_port()}",
                "database_url": f"sqlite:///{self.folder / 'control.db'}",
                "operator_token": "operator",
                "instance_token": "instance",
                "live_s": 2.0,
                "monitor_s": 0.2,
            },
            "rollout": {"name": "flights", "stages": stages, "approval_expires_s": 600.0},
            "reconcile": {
                "grace_s": 1.0,
                "recheck_s": 0.2,
                "every_s": 86_400.0,
                "state": str(self.folder / "seals.db"),
                "docs": str(self.folder / "data-docs"),
            },
            "prefect": {
                "api_url": f"http://{HOST}:{free_port()}/api",
                "auth": LOGIN,
                "work_pool": POOL,
            },
        }
        write_settings(values, self.settings_file)
        return load_settings(self.settings_file)

    def _wait(self, url: str, service: Service) -> None:
        def answers() -> bool:
            with contextlib.suppress(httpx.HTTPError):
                return httpx.get(url, timeout=2.0, trust_env=False).is_success
            return False

        self._until(answers, service)

    def _until(self, ready: Callable[[], bool], service: Service) -> None:
        deadline = time.monotonic() + START_S
        while not ready():
            assert service.process is not None
            if service.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{service.command}:\n{service.log.read_text()[-3_000:]}")
            time.sleep(0.05)
