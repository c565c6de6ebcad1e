"""The demo: a whole migration of real events, with an outage and a rollback, and its proof.

What happens in which order stands here; the weeks, the outage, the processes, the check and
the report have modules of their own.
"""

import asyncio
import contextlib
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from crossfade.adapters.control import ControlClient
from crossfade.control.auth import page_link
from crossfade.control.dashboard import bundled_dashboard
from crossfade.errors import CrossfadeError
from crossfade.local.demo_checker import Expected
from crossfade.local.demo_display import DemoDisplay, Figures
from crossfade.local.demo_observer import DemoFailed, Observer, Status
from crossfade.local.demo_options import Approve, DemoOptions, Sabotage
from crossfade.local.demo_outage import SINK, run_outage
from crossfade.local.demo_owed import owed
from crossfade.local.demo_pace import pace
from crossfade.local.demo_processes import PublisherProcess, SubscriberProcess
from crossfade.local.demo_readers import read_input
from crossfade.local.demo_report import DemoReport, Outage, empty_report
from crossfade.local.demo_settings import demo_settings
from crossfade.local.demo_verify import Choice, alter_row, choose, verify, verify_completed
from crossfade.local.demo_weeks import APPROVER, Weeks
from crossfade.local.prefect import BACKFILL
from crossfade.local.prefect_api import PrefectApi
from crossfade.local.stack import Stack
from crossfade.local.supervisor import ServiceState, ServiceStatus

__all__ = ["run_demo"]

_READY_S = 60.0
_REPLAY_S = 120.0
_ARRIVE_S = 90.0
_FLOW_S = 180.0
_POLL_S = 0.1
_LINK_S = 3_600.0
_OUTAGE_WEEK = "week-2"
ROOT_CAUSE = "Supabase's server and database processes were killed"
FIX = "both were started again; the journal has drained"
"""What the demo writes down before it resumes: the truth."""


async def run_demo(options: DemoOptions, console: Console) -> DemoReport:
    """Run the demo and return its report; everything that was started has ended then.

    Raises:
        UsageError: an option or the input can not be used.
        StackError: the stack did not start.
    """
    expected = await asyncio.to_thread(read_input, options.events, options.limit)
    choice = choose(expected, options.seed)
    report = empty_report(options, expected, choice)
    state = Path(tempfile.mkdtemp(prefix="crossfade-demo-"))
    figures = Figures(total=len(expected))
    began = time.monotonic()
    try:
        with DemoDisplay(console, figures) as display:
            display.say(f"{len(expected):,} events from {options.events.name}; stack in {state}")
            demo = _Demo(options, expected, choice, report, state, display, figures)
            await demo.run()
    finally:
        report.duration_s = time.monotonic() - began
        if options.keep:
            console.print(f"kept: {state}", soft_wrap=True, highlight=False)
        else:
            shutil.rmtree(state, ignore_errors=True)
    return report


class _Demo:
    """One run: what several steps need."""

    def __init__(
        self,
        options: DemoOptions,
        expected: Sequence[Expected],
        choice: Choice,
        report: DemoReport,
        state: Path,
        display: DemoDisplay,
        figures: Figures,
    ) -> None:
        self._options = options
        self._expected = expected
        self._choice = choice
        self._report = report
        self._display = display
        self._figures = figures
        self._stack = Stack(demo_settings(options), state, on_change=self._service_changed)
        self._subscribers: list[SubscriberProcess] = []
        self._routed_from_us: int | None = None

    async def run(self) -> None:
        """Everything from the stack's start to its end; failures go into the report."""
        with self._phase("stack"):
            await self._stack.__aenter__()
        try:
            self._display.say("the stack is up", "green")
            self._say_pages()
            await self._guarded(self._migrate)
            with self._phase("check"):
                await self._guarded(self._check)
        finally:
            with self._phase("stop"):
                await self._stack.__aexit__(None, None, None)

    def _say_pages(self) -> None:
        """Where to watch: links that may look, and that end long after the demo."""
        if bundled_dashboard() is None:
            self._display.say("no pages here: they are built by `make dashboard`")
            return
        control = self._stack.settings.control
        for name, path in (("departures board", "/departures"), ("operations page", "/")):
            link = page_link(control, path, _LINK_S, time.time())
            self._display.say(f"{name}: {link}", "bold")

    async def _guarded(self, step: Callable[[], Awaitable[None]]) -> None:
        """Run a step; a failure, or the death of a service meanwhile, goes into the report."""
        work = asyncio.ensure_future(step())
        death = asyncio.ensure_future(self._stack.supervisor.death())
        try:
            await asyncio.wait({work, death}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                name = death.result()
                status = next(one for one in self._stack.supervisor.statuses if one.name == name)
                raise DemoFailed(status.note)
            await work
        except CrossfadeError as error:
            self._report.failures.append(str(error))
            self._display.say(str(error), "bold red")
        finally:
            for task in (work, death):
                task.cancel()
            await asyncio.gather(work, death, return_exceptions=True)

    async def _migrate(self) -> None:
        settings = self._stack.settings
        async with contextlib.AsyncExitStack() as exits:
            client = await exits.enter_async_context(ControlClient(settings.control, "operator"))
            api = await exits.enter_async_context(PrefectApi.of(settings.prefect))
            observer = await exits.enter_async_context(Observer(client, self._look))
            publisher = await self._start_processes(exits)
            plan = settings.rollout.model_dump(mode="json")
            await client.start(settings.rollout.name, plan, APPROVER)
            live = 2 + len(self._subscribers)
            await observer.until(
                lambda status: len(status.get("instances") or []) >= live,
                "publisher, tap and subscribers report to the control server",
                _READY_S,
            )
            self._display.say(f"{live} instances report; the replay starts", "green")
            replay = asyncio.ensure_future(publisher.follow(self._progress))
            try:
                pacing = asyncio.ensure_future(self._keep_pace(publisher))
                try:
                    await self._beside(replay, self._weeks(client, api, observer))
                finally:
                    pacing.cancel()
                    await asyncio.gather(pacing, return_exceptions=True)
                with self._phase("replay the rest"):
                    await publisher.pace(None)
                    async with asyncio.timeout(_REPLAY_S):
                        await replay
                with self._phase("settle"):
                    await self._settle(client, api)
            except TimeoutError:
                raise DemoFailed(f"the replay did not end within {_REPLAY_S:g} s") from None
            finally:
                replay.cancel()
                await asyncio.gather(replay, return_exceptions=True)

    async def _start_processes(self, exits: contextlib.AsyncExitStack) -> PublisherProcess:
        paths, options = self._stack.paths, self._options
        common = ["--settings", str(paths.settings)]
        guardian = self._stack.supervisor.guardian
        folder = paths.state / "recordings"
        folder.mkdir(mode=0o700)
        doubled = self._sabotaged(Sabotage.DOUBLE_IN_SUBSCRIBER)
        follows: list[tuple[str, str | None]] = [("everything-1", None), ("everything-2", None)]
        follows += [(f"only-{key}", key) for key in self._choice.keys]
        for number, (name, key) in enumerate(follows):
            arguments = [*common, *(["--double", doubled] if doubled and number == 0 else [])]
            subscriber = SubscriberProcess(
                name, key, arguments, folder / f"{name}.jsonl", paths.log(name), self._stack.marker
            )
            await subscriber.start(guardian)
            exits.push_async_callback(subscriber.end)
            self._subscribers.append(subscriber)
            self._report.follows[name] = "everything" if key is None else f"key {key}"
        dropped = self._sabotaged(Sabotage.DROP_IN_RELAY)
        publisher = PublisherProcess(
            "publisher",
            "crossfade.local.demo_publisher",
            [
                *common,
                *("--events", str(options.events), "--rate", f"{options.rate:g}"),
                *("--limit", str(len(self._expected))),
                *(["--drop", dropped] if dropped else []),
            ],
            paths.log("publisher"),
            self._stack.marker,
        )
        await publisher.start(guardian)
        exits.push_async_callback(publisher.end)
        return publisher

    async def _keep_pace(self, publisher: PublisherProcess) -> None:
        now: float | None = None
        while True:
            share = self._figures.published / len(self._expected)
            wanted = pace(self._options.rate, self._figures.status.get("rollout"), share)
            if wanted != now:
                now = wanted
                await publisher.pace(wanted)
            await asyncio.sleep(_POLL_S)

    async def _beside(self, replay: "asyncio.Future[None]", work: Awaitable[None]) -> None:
        """Do ``work`` while the replay goes on; a replay that fails ends it."""
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait({task, replay}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                await replay  # raises where it failed; else all events are out already
            await task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _weeks(
        self,
        client: ControlClient,
        api: PrefectApi,
        observer: Observer,
    ) -> None:
        weeks = Weeks(api, client, observer, self._options.approve, self._display.say)
        self._report.stages = weeks.records
        if self._options.approve is Approve.UI:
            place = self._stack.paths.description
            self._display.say(f"Prefect's page asks for a password: tokens.prefect in {place}", "")
        names = [stage.name for stage in self._stack.settings.rollout.stages]
        for stage, name in enumerate(names):
            if name == _OUTAGE_WEEK and self._options.outage_s > 0:
                with self._phase(f"{name}, attempt 1, with the outage"):
                    await self._week_with_outage(weeks, stage, client, observer)
            with self._phase(name):
                await weeks.run(stage, None)
        # From here on every event must reach the table by itself.
        self._routed_from_us = time.time_ns() // 1000

    async def _week_with_outage(
        self, weeks: Weeks, stage: int, client: ControlClient, observer: Observer
    ) -> None:
        soaking_from: list[float] = []

        def well_into_the_soak(rollout: Any) -> bool:
            if rollout["phase"] == "soaking" and not soaking_from:
                soaking_from.append(time.monotonic())
            return bool(soaking_from) and time.monotonic() - soaking_from[0] > 2.0

        if await weeks.run(stage, well_into_the_soak):
            raise DemoFailed("the week was over before the outage began")
        record = weeks.records[-1]
        outage = Outage(
            services=["supabase", "postgres"],
            started_at_us=time.time_ns() // 1000,
            week=record.name,
        )
        self._report.outage = outage
        began = time.monotonic()
        await run_outage(
            self._stack,
            observer,
            outage,
            self._options.outage_s,
            lambda: {one.name: one.handed_over for one in self._subscribers},
            self._display.say,
        )
        rollout = observer.status["rollout"]
        outage.incident = rollout.get("incident_id")
        weeks.rolled_back(record, str(rollout.get("reason") or ""))
        await client.command(
            "resume",
            actor=APPROVER,
            stage=stage,
            attempt=record.attempt,
            root_cause=ROOT_CAUSE,
            fix=FIX,
        )
        outage.root_cause, outage.fix = ROOT_CAUSE, FIX
        at = await observer.until(
            lambda status: int(status["rollout"]["attempt"]) > record.attempt,
            "the rollout resumes",
            _READY_S,
        )
        outage.resumed_s = at - began
        self._display.say("the root cause is recorded; the rollout resumes", "green")

    async def _settle(self, client: ControlClient, api: PrefectApi) -> None:
        """Wait until everything has arrived, check it; then complete the table and reconcile."""
        settings = self._stack.settings
        await self._wait(lambda: owed(settings.journal.path, SINK) == 0, "nothing is owed")
        if altered := self._sabotaged(Sabotage.ALTER_ROW):
            url = settings.supabase.database_url.get_secret_value()
            await asyncio.to_thread(alter_row, url, altered)
        wanted = {
            one.name: sum(one.key in (None, event.key) for event in self._expected)
            for one in self._subscribers
        }
        with contextlib.suppress(DemoFailed):  # the check names what did not arrive
            await self._wait(
                lambda: all(one.handed_over >= wanted[one.name] for one in self._subscribers),
                "every subscriber was handed everything",
            )
        await self._check()
        self._display.say("everything is published and relayed; the backfill completes the table")
        run = await api.wait(await api.run(BACKFILL, {"everything": True}, tags=["demo"]), _FLOW_S)
        self._note_run("backfill", run)
        completed = await asyncio.to_thread(verify_completed, self._expected, settings)
        self._report.stores = [*self._report.stores, completed]
        latest = await client.reconciliations(limit=1)
        self._report.reconciliation = latest[0] if latest else None
        self._report.completed = True

    def _note_run(self, name: str, run: dict[str, Any]) -> None:
        if run["state_type"] != "COMPLETED":
            message = (run.get("state") or {}).get("message") or ""
            self._report.failures.append(f"{name}: {run['state_name']}: {message}")
        self._display.say(f"{name}: {str(run['state_name']).lower()}")

    async def _wait(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _ARRIVE_S
        while not condition():
            if time.monotonic() > deadline:
                raise DemoFailed(f"{what}: not within {_ARRIVE_S:g} s")
            await asyncio.sleep(_POLL_S)

    async def _check(self) -> None:
        """Once: judge what everybody holds, before anything is mended."""
        if self._report.stores:
            return
        recordings = {one.name: (one.record, one.key) for one in self._subscribers}
        reading = await asyncio.to_thread(
            verify, self._expected, self._stack.settings, recordings, self._routed_from_us
        )
        self._report.stores, self._report.subscribers = reading.stores, reading.subscribers
        self._report.rows = reading.rows
        self._report.published["journal_events"] = reading.rows["journal"]

    def _sabotaged(self, kind: Sabotage) -> str | None:
        """The id of the event that this sabotage hits, if it was asked for."""
        return self._choice.victims[kind].id if kind in self._options.sabotage else None

    def _look(self, status: Status) -> None:
        self._figures.status = status
        self._figures.delivered = {one.name: one.handed_over for one in self._subscribers}
        self._display.tick()

    def _progress(self, published: int) -> None:
        self._figures.published = published

    def _service_changed(self, status: ServiceStatus) -> None:
        if status.state in (ServiceState.READY, ServiceState.DIED):
            self._display.say(f"{status.name} is {status.state.value} {status.address}".rstrip())

    @contextlib.contextmanager
    def _phase(self, name: str) -> Any:
        began = time.monotonic()
        try:
            yield
        finally:
            self._report.phases_s[name] = time.monotonic() - began
