"""What the control server does, without HTTP: flags, reports, commands, decisions."""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, ParamSpec, TypeVar
from uuid import uuid4

import structlog
from sqlalchemy import Engine

from crossfade.control.docs_threads import DocsThreads
from crossfade.control.observations import Observations
from crossfade.control.records import RecordStore
from crossfade.control.status import status_document
from crossfade.control.store import RolloutStore
from crossfade.core.evidence import Evidence
from crossfade.core.flags import Flags
from crossfade.core.gaps import gaps_from_json
from crossfade.core.rollout import (
    Command,
    Fact,
    Phase,
    Plan,
    Rollout,
    apply,
    command_from_json,
    decide,
    due,
    overdue,
    start,
)
from crossfade.core.rollout import commands as c
from crossfade.core.statistics import proportion_lower
from crossfade.core.telemetry import Report
from crossfade.errors import Refused, UsageError, VersionConflict
from crossfade.ports import Clock
from crossfade.settings import RolloutSettings, Settings

__all__ = ["ControlService", "NoRollout"]

P = ParamSpec("P")
T = TypeVar("T")

_WITH_EVIDENCE = (c.Applied, c.Approve, c.DrillArrived, c.CutOver, c.Decommission)
_ATTEMPTS = 5
_SERVER = "server"
"""The role of what the server does by itself, in the audit."""

_MAX_VERSION = 1 << 53
_log = structlog.get_logger("crossfade.control")


class NoRollout(UsageError):
    """No rollout was ever started."""

    def __init__(self) -> None:
        super().__init__("there is no rollout; start one with `crossfade start`")


class ControlService:
    """The rollout's one writer of truth, on top of its rows.

    Database calls run in threads of its own; whatever changes the rollout runs one at a
    time here and by compare-and-swap in the database, so that a second server on the same
    database can not do harm.
    """

    def __init__(self, settings: Settings, engine: Engine, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self.store = RolloutStore(engine)
        self.records = RecordStore(engine)
        self.observations = Observations(settings.control, self.records, clock.now_us())
        self.urgent = asyncio.Event()
        """Set when the monitor should look at once."""
        self.outgoing = asyncio.Event()
        """Set when the outbox may hold something new, for Prefect."""
        self.alerting = asyncio.Event()
        """The same for the alerts."""
        self.commands: dict[tuple[str, str], int] = {}
        """How many commands were given, by verb and outcome, since the start."""
        self.evidence: Evidence | None = None
        """The last evaluation."""
        self.rollout: Rollout | None = None
        self.flags = Flags()
        self.docs = DocsThreads()
        """Reads Data Docs, whose folder may hang."""
        self._engine = engine
        self._threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="crossfade-control")
        self._changing = asyncio.Lock()
        self._flags_changed = asyncio.Event()
        self._closing = False

    async def open(self) -> None:
        """Read what is stored; ready afterwards."""
        plan = self.settings.rollout
        initial = Flags(salt=plan.salt, partitions=plan.partitions, topics=self.settings.topics)
        await self.db(self.store.initialise, initial, self.clock.now_us())
        self.rollout, self.flags = await self.db(self.store.current)
        await self.db(self.observations.load, self.rollout, self.clock.now_us())
        # The first exact bound imports scipy, which takes half a second: not on the loop.
        await self.db(proportion_lower, 1, 2, 0.95)

    def release(self) -> None:
        """End long polls, so that the server can stop."""
        self._closing = True
        self._wake()

    async def close(self) -> None:
        """Store what is not stored yet and close the database."""
        self.release()
        try:
            await self.save_telemetry(final=True)
        finally:
            self.docs.close()
            self._threads.shutdown(wait=True)
            self._engine.dispose()

    async def db(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a blocking call in one of the service's threads."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: call(*args, **kwargs))

    # Flags and telemetry

    async def newer_flags(self, after: int, wait_s: float) -> Flags:
        """The flags; waits up to ``wait_s`` for a version above ``after``."""
        if after > _MAX_VERSION:
            raise UsageError(f"after: {after} is not a version of flags")
        if after > self.flags.version:
            _log.warning("an instance knows later flags; outrunning it", seen=after)
            self._take_flags(await self.db(self.store.outrun, after, self.clock.now_us()))
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_s
        while self.flags.version <= after and not self._closing:
            changed = self._flags_changed
            left_s = deadline - loop.time()
            if left_s <= 0:
                break
            try:
                async with asyncio.timeout(left_s):
                    await changed.wait()
            except TimeoutError:
                break
        return self.flags

    def report(self, report: Report) -> int:
        """Take in one report; answers the version of the flags in force."""
        if self.observations.add(report, self.clock.now_us()):
            self.urgent.set()
        return self.flags.version

    async def save_telemetry(self, *, final: bool = False) -> None:
        """Store closed windows; ``final`` also what is still open."""
        now_us = self.clock.now_us()
        if final:
            self.observations.windows.cut(now_us)
        windows, instances = self.observations.unsaved(now_us)
        if windows:
            await self.db(self.observations.save, windows, instances)

    # The rollout

    async def refresh(self) -> None:
        """Read rollout and flags again: another server may have changed them."""
        async with self._changing:
            await self._reload()

    async def start(self, body: Mapping[str, Any]) -> Rollout:
        """Start a rollout: ``name``, ``plan`` and ``actor``.

        Raises:
            UsageError: the plan does not validate.
            Refused: another rollout is active, or Realtime still serves somebody.
        """
        name, actor = str(body.get("name") or ""), str(body.get("actor") or "")
        if not name or not actor:
            raise UsageError("start: name and actor must be given")
        plan = self._plan(body.get("plan"))
        async with self._changing:
            last = await self._reload()
            if last is not None and last.active:
                raise Refused(
                    f"start: rollout {last.name} is {last.phase.value}; finish it, or roll it "
                    "back and cancel it, first"
                )
            if any(share > 0 for share in self.flags.served.values()):
                raise Refused("start: Realtime still serves somebody; roll back first")
            if (plan.partitions, plan.salt) != (self.flags.partitions, self.flags.salt):
                raise Refused(
                    f"start: the plan has {plan.partitions} partitions and salt {plan.salt!r}, "
                    f"the flags in force {self.flags.partitions} and {self.flags.salt!r}: keys "
                    "would change their partition"
                )
            now_us = self.clock.now_us()
            rollout, facts = start(
                id=uuid4().hex[:12],
                name=name,
                plan=plan,
                actor=actor,
                now_us=now_us,
                written=self.flags.written,
            )
            command = {"verb": "start", "actor": actor, "name": name}
            flags = await self.db(self.store.start, rollout, facts, command, now_us)
            self._take(rollout, flags)
            _log.info("rollout started", rollout=rollout.id, name=name, actor=actor)
            return rollout

    async def command(self, body: Mapping[str, Any], role: str = _SERVER) -> Rollout:
        """Give a command as it was posted; the rollout after it.

        ``role``: whose token it came with, for the audit.

        Raises:
            UsageError: it is malformed, or there is no rollout.
            Refused: the rollout does not allow it.
        """
        return await self.give(command_from_json(body), role)

    async def preview(self, body: Mapping[str, Any]) -> tuple[Rollout, tuple[Fact, ...]]:
        """What a command would make of the rollout, and the facts; nothing is changed.

        Raises:
            UsageError, Refused: as ``command``.
        """
        command = command_from_json(body)
        state = self.rollout
        if state is None:
            raise NoRollout
        now_us = self.clock.now_us()
        return apply(state, await self._informed(state, command, now_us), now_us)

    async def give(self, command: Command, role: str = _SERVER) -> Rollout:
        """Give a command (see ``command``)."""
        try:
            async with self._changing:
                rollout, done = await self._give(command, role)
        except Refused as error:
            self._count(command.verb, "refused")
            _log.info("command refused", verb=command.verb, actor=command.actor, why=str(error))
            raise
        self._count(command.verb, "done" if done else "repeated")
        return rollout

    async def _give(self, command: Command, role: str) -> tuple[Rollout, bool]:
        for _ in range(_ATTEMPTS):
            state = await self._reload()
            if state is None:
                raise NoRollout
            now_us = self.clock.now_us()
            full = await self._informed(state, command, now_us)
            new, facts = apply(state, full, now_us)
            if new is state:
                return state, False
            try:
                told = {**full.to_json(), "role": role}
                flags = await self.db(self.store.save, state, new, facts, told, now_us)
            except VersionConflict:
                continue
            self._take(new, flags)
            _log.info(
                "command done",
                verb=command.verb,
                actor=command.actor,
                phase=new.phase.value,
                stage=new.stage,
                attempt=new.attempt,
                flags=flags.version,
            )
            if any(fact.kind == "event" for fact in facts):
                self.outgoing.set()
                self.alerting.set()
            return new, True
        raise VersionConflict(f"{command.verb}: the rollout kept moving; read it again")

    async def _informed(self, state: Rollout, command: Command, now_us: int) -> Command:
        """The command with what only the server knows."""
        if isinstance(command, _WITH_EVIDENCE):
            return replace(command, evidence=self._evaluate(state, now_us))
        if isinstance(command, c.Reconciled):
            found = await self.db(self.records.reconciliation, command.reconciliation)
            if found is None:
                return command
            evidence = self.observations.evidence(state, self.flags.version, now_us, found)
            return replace(command, began_us=found.began_us, evidence=evidence)
        return command

    async def decision(self, stage: int, attempt: int | None) -> dict[str, Any]:
        """What the flow of ``stage`` should do next."""
        if not 0 <= stage < 10_000:
            raise UsageError(f"stage: {stage} is not a stage")
        state = self.rollout
        if state is None:
            raise NoRollout
        if overdue(state, self.clock.now_us()):
            await self.watch()
            state = self.rollout or state
        now_us = self.clock.now_us()
        evidence = self._evaluate(state, now_us)
        found = decide(state, evidence, now_us, stage=stage, attempt=attempt)
        document: dict[str, Any] | None = evidence.to_json()
        if state.phase is Phase.AWAITING_APPROVAL and state.evidence_hash is not None:
            # What an approval must name is the frozen evidence, not how things stand now.
            document = await self.db(self.store.evidence, state.evidence_hash)
        return {
            "action": found.action.value,
            "reason": found.reason,
            "wait_s": found.wait_s,
            "rollout": state.to_json(),
            "evidence": document,
        }

    async def watch(self) -> None:
        """Evaluate now, and do what is due without anybody asking: take back, hold, promote."""
        state = self.rollout
        if state is None:
            return
        now_us = self.clock.now_us()
        self.evidence = self._evaluate(state, now_us)
        command = due(state, self.evidence, now_us)
        if command is None:
            return
        try:
            await self.give(command)
        except Refused as error:
            # The rollout moved between our look and the command: the next look sees it.
            _log.info("monitor was too late", verb=command.verb, why=str(error))

    async def add_reconciliation(self, document: Mapping[str, Any]) -> str:
        """Store a result, and the gaps it rests on; the monitor looks at it at once."""
        gaps = gaps_from_json(document.get("gaps", []))
        if gaps:
            # First: no result may rest on a gap that the audit lacks, whenever this is cut off.
            await self.db(self.store.accept_gaps, gaps, _SERVER, self.clock.now_us())
        digest = await self.db(self.records.add_reconciliation, document, self.clock.now_us())
        self.observations.reconciliation = await self.db(self.records.conclusive)
        self.urgent.set()
        return digest

    async def status(self) -> dict[str, Any]:
        """Everything that ``crossfade status`` shows."""
        now_us = self.clock.now_us()
        state = self.rollout
        evidence = None if state is None else self._evaluate(state, now_us)
        incident = None
        if state is not None and state.incident_id is not None:
            incident = await self.db(self.store.incident, state.incident_id)
        folder = self.settings.reconcile.docs
        last = [
            {**one, "data_docs": await self.docs.address_of(folder, one.get("at_us"))}
            for one in await self.db(self.records.reconciliations, 1)
        ]
        return status_document(
            rollout=state,
            flags=self.flags,
            evidence=evidence,
            windows=self.observations.windows,
            reconciliation=last[0] if last else None,
            incident=incident,
            now_us=now_us,
        )

    def _evaluate(self, state: Rollout, now_us: int) -> Evidence:
        return self.observations.evidence(state, self.flags.version, now_us)

    def _plan(self, value: Any) -> Plan:
        if not isinstance(value, Mapping):
            raise UsageError("start: plan must be an object")
        try:
            return RolloutSettings.model_validate(dict(value)).plan(self.settings.topics)
        except ValueError as error:
            raise UsageError(f"start: plan: {error}") from error

    async def _reload(self) -> Rollout | None:
        rollout, flags = await self.db(self.store.current)
        self._take(rollout, flags)
        return rollout

    def _take(self, rollout: Rollout | None, flags: Flags) -> None:
        self.rollout = rollout
        self.observations.follow(rollout, self.clock.now_us())
        self._take_flags(flags)

    def _take_flags(self, flags: Flags) -> None:
        if flags.version > self.flags.version:
            self.flags = flags
            self._wake()

    def _wake(self) -> None:
        self._flags_changed.set()
        self._flags_changed = asyncio.Event()

    def _count(self, verb: str, outcome: str) -> None:
        self.commands[verb, outcome] = self.commands.get((verb, outcome), 0) + 1
