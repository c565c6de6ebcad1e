"""What a browser test plays on: the embedded stack, a publisher, and a rollout to move it.

The stack and the publisher run on an event loop in a thread of their own, because Playwright's
synchronous API owns the test's.
"""

import asyncio
import itertools
import os
import signal
import sqlite3
import threading
from collections.abc import Coroutine, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import httpx

from crossfade.local.stack import Stack
from crossfade.publisher import Publisher
from crossfade.settings import Settings, load_settings

__all__ = ["Stage", "running_stage"]

T = TypeVar("T")

AIRPORTS = ("JFK", "EWR", "LGA")
FLIGHTS = 60
_PASSED = {
    "name": "supabase_reachable",
    "value": 1.0,
    "limit": 1.0,
    "n": 1,
    "unit": "",
    "verdict": "pass",
    "relation": ">=",
    "detail": "",
}


class Stage:
    """The stack with a publisher; every method may be called from the test's thread."""

    def __init__(
        self,
        folder: Path,
        events: Iterator[dict[str, Any]] | None = None,
        without: frozenset[str] = frozenset({"prefect", "worker", "tap"}),
        base: Settings | None = None,
    ) -> None:
        self._folder = folder
        self._without = without
        self._base = base or Settings.model_validate(
            {"publisher": {"source": "flights/nyc"}, "rollout": {"name": "flights"}}
        )
        self._events = events or (_event(number) for number in itertools.count())
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="stage", daemon=True)
        self._task: asyncio.Task[None] | None = None
        self._rate = 0.0
        self._publishing = asyncio.Lock()
        self.published = 0

    # -- life --------------------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()
        self._call(self._start(), 90)

    def stop(self) -> None:
        try:
            self._call(self._stop(), 60)
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)
            self._loop.close()

    async def _start(self) -> None:
        self.stack = await Stack(self._base, self._folder, without=self._without).__aenter__()
        self.settings = load_settings(self.stack.paths.settings)
        self.publisher = await Publisher(self.settings).__aenter__()
        self._task = asyncio.create_task(self._publish_on())

    async def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self.publisher.close()
        await self.stack.__aexit__(None, None, None)

    def _call(self, work: Coroutine[Any, Any, T], timeout_s: float = 20.0) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout_s)

    # -- events ------------------------------------------------------------------------------

    def rate(self, per_s: float) -> None:
        """Publish so many events a second from now on; 0 for none."""
        self._rate = per_s

    async def _publish_on(self) -> None:
        loop = asyncio.get_running_loop()
        owed, before = 0.0, loop.time()
        while True:
            await asyncio.sleep(0.02)
            now = loop.time()
            owed, before = owed + (now - before) * self._rate, now
            count, owed = int(owed), owed - int(owed)
            if count:
                batch = list(itertools.islice(self._events, count))
                async with self._publishing:
                    self.published += len(await self.publisher.publish_many(batch))

    def rest(self) -> None:
        """Publish nothing more, and wait until what is under way is out."""
        self._rate = 0.0
        self._call(self._idle())

    async def _idle(self) -> None:
        async with self._publishing:
            pass

    def heads(self) -> dict[str, int]:
        """Per stream (``source/epoch/topic/partition``) its last sequence in the journal."""
        place = f"file:{self.settings.journal.path}?mode=ro"
        with closing(sqlite3.connect(place, uri=True)) as journal:
            rows = journal.execute("SELECT source, epoch, topic, partition, head FROM streams")
            return {"/".join(map(str, stream)): head for *stream, head in rows if head > 0}

    # -- what happens to the stack -------------------------------------------------------------

    def kill(self, *names: str) -> None:
        """Kill services at once, as a crash would."""
        self._call(self.stack.supervisor.kill(*names))

    def revive(self, *names: str) -> None:
        """Start them again."""
        self._call(self.stack.supervisor.revive(*names), 60)

    @contextmanager
    def hung(self, name: str) -> Iterator[None]:
        """A service that neither ends nor answers, for a while."""
        statuses = self.stack.supervisor.statuses
        (pid,) = [one.pid for one in statuses if one.name == name and one.pid is not None]
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def fault(self, **faults: Any) -> None:
        """Break the Supabase stand-in, or mend it."""
        answer = httpx.post(f"{self.settings.supabase.url}/_faults", json=faults, timeout=10)
        answer.raise_for_status()

    # -- the rollout ---------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return self.settings.control.url

    @property
    def token(self) -> str:
        return self.settings.control.operator_token.get_secret_value()

    @property
    def instance_token(self) -> str:
        return self.settings.control.instance_token.get_secret_value()

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Call the control server as the operator."""
        headers = {"authorization": f"Bearer {self.token}"}
        method = "GET" if body is None else "POST"
        answer = httpx.request(method, self.url + path, json=body, headers=headers, timeout=10)
        answer.raise_for_status()
        return answer.json()

    @property
    def phase(self) -> str:
        """The phase of the rollout."""
        return str(self.ask("/v1/rollout")["phase"])

    def breaker(self, store: str) -> str:
        """The state of a store's breaker, as the publisher reports it."""
        return str(self.ask("/v1/status")["stores"][store]["breaker"])

    def command(self, verb: str, **fields: Any) -> dict[str, Any]:
        """Give a command for the stage and attempt at hand."""
        rollout = self.ask("/v1/rollout")
        body = {"verb": verb, "actor": "anna", **fields}
        body |= {"stage": rollout["stage"], "attempt": rollout["attempt"]}
        found: dict[str, Any] = self.ask("/v1/rollout/commands", body)
        return found

    def begin(self, *percents: float, **stage: Any) -> None:
        """Start a rollout with one stage for each percentage; nobody is served yet."""
        stages = [
            {"name": f"week-{number}", "percent": {"*": percent}, "soak_s": 600.0, **stage}
            for number, percent in enumerate(percents, 1)
        ]
        plan = {"name": "flights", "stages": stages}
        self.ask("/v1/rollout", {"name": "flights", "plan": plan, "actor": "anna"})

    def forward(self) -> None:
        """Raise the flags of the stage that is ready."""
        self.command("begin")
        self.command("preflight", checks=[_PASSED])

    def back(self, reason: str = "to see it go back") -> None:
        """Roll back to WebSocket."""
        self.command("rollback", reason=reason, scope=None, to=0.0)

    def again(self) -> None:
        """Make the stage that was rolled back ready again."""
        self.command("rolled_back", figures={"arrived_after_ms": 1_840.0})
        self.command("resume", root_cause="The test asked for it.", fix="Nothing to mend.")

    def clear(self) -> None:
        """End whatever rollout there is, so that the next test begins its own."""
        self.rate(0)
        rollout = self.ask("/v1/rollout")
        if rollout is None or rollout["phase"] in {"completed", "cancelled"}:
            return
        if rollout["phase"] not in {"rolling_back", "rolled_back"}:
            self.back()
        if self.ask("/v1/rollout")["phase"] == "rolling_back":
            self.command("rolled_back", figures={})
        self.command("cancel", reason="the test is over")


def _event(number: int) -> dict[str, Any]:
    """The life of sixty flights, over and over, so that rows of a board stay on it."""
    flight, turn = number % FLIGHTS, number // FLIGHTS
    kinds = ("flight.delayed", "flight.departed", "flight.arrived", "flight.departed")
    scheduled = datetime(2013, 1, 1, 11, tzinfo=UTC) + timedelta(minutes=flight)
    return {
        "type": kinds[turn % len(kinds)],
        "key": f"N{100 + flight}NY",
        "data": {
            "flight": f"CF{100 + flight}",
            "airline": "Crossfade Air",
            "origin": AIRPORTS[flight % 3],
            "destination": ("BOS", "ORD", "ATL", "MIA", "SFO")[flight % 5],
            "scheduled_departure": scheduled.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "delay_minutes": turn % 90,
            "turn": turn,
        },
    }


@contextmanager
def running_stage(folder: Path) -> Iterator[Stage]:
    """A started stage, ended at the end."""
    stage = Stage(folder)
    stage.start()
    try:
        yield stage
    finally:
        stage.stop()
