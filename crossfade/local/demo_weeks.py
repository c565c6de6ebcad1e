"""The three weeks of the demo, as its people would drive them: run, wait, read, approve."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from crossfade.adapters.control import ControlClient
from crossfade.core.evidence import describe
from crossfade.core.verdict import Measurement, Verdict
from crossfade.errors import PrefectUnavailable, Refused
from crossfade.local.demo_observer import DemoFailed, Observer
from crossfade.local.demo_options import Approve
from crossfade.local.demo_report import StageRecord
from crossfade.local.prefect import week_deployment
from crossfade.local.prefect_api import FINAL_STATES, PrefectApi

__all__ = ["APPROVER", "Weeks"]

APPROVER = "demo"
_POLL_S = 0.2
# Every call costs Prefect's server some 15 ms of a core that everything else needs as well.
_ASK_S = 0.5
_CHECK_RUN_S = 3.0
_WEEK_S = 300.0
_AUDIT_PAGE = 200
_PERSON_S = 4_000.0
_UNHAPPY = ("rolling_back", "rolled_back", "held")

Say = Callable[[str, str], None]


class Weeks:
    """Drives weeks by Prefect's REST, and records what became of each.

    Args:
        approve: answer the form here, or print where a person can.
    """

    def __init__(
        self,
        api: PrefectApi,
        client: ControlClient,
        observer: Observer,
        approve: Approve,
        say: Say,
    ) -> None:
        self._api = api
        self._client = client
        self._observer = observer
        self._approve = approve
        self._say = say
        self.records: list[StageRecord] = []

    async def run(self, stage: int, until: Callable[[Mapping[str, Any]], bool] | None) -> bool:
        """Run a week's deployment and see it through; true when it was approved.

        Args:
            until: return early (false) once the rollout fulfils this; the week goes on.

        Raises:
            DemoFailed: the week was rolled back or held, its run failed, or nothing came
                within five minutes (an hour and more where a person
                approves).
        """
        rollout = self._rollout()
        attempt = int(rollout["attempt"])
        plan = rollout["stages"][stage]
        record = StageRecord(
            stage=stage,
            name=str(plan["name"]),
            attempt=attempt,
            percent=dict(plan["percent"]),
            outcome="running",
            verdict="inconclusive",
        )
        self.records.append(record)
        began = time.monotonic()
        run_id = await self._api.run(week_deployment(stage), tags=["demo"])
        self._say(f"{record.name} starts (attempt {attempt})", "bold")
        limit_s = _WEEK_S if self._approve is Approve.AUTO else _PERSON_S
        answered = said = ""
        call_at = began + _CHECK_RUN_S
        try:
            while time.monotonic() < began + limit_s:
                rollout = self._rollout()
                phase = str(rollout["phase"])
                if self._passed(rollout, stage):
                    await self._note_approval(record)
                    return True
                if until is not None and until(rollout):
                    return False
                if phase in _UNHAPPY:
                    record.outcome, record.reason = phase, str(rollout.get("reason") or "")
                    record.evidence = self._evidence(record)
                    raise DemoFailed(f"{record.name} is {phase}: {record.reason}{self._why()}")
                if phase != said:
                    said = phase
                    self._say(f"{record.name}: {phase.replace('_', ' ')}", "")
                    call_at = time.monotonic() + _POLL_S
                if phase == "awaiting_approval":
                    record.evidence = self._evidence(record)
                if time.monotonic() >= call_at:
                    if phase == "awaiting_approval":
                        answered = await self._ask(record, answered)
                        call_at = time.monotonic() + _ASK_S
                    else:
                        await self._check_run(record, run_id)
                        call_at = time.monotonic() + _CHECK_RUN_S
                await asyncio.sleep(_POLL_S)
        finally:
            record.duration_s = round(time.monotonic() - began, 3)
        raise DemoFailed(f"{record.name} came to no end within {limit_s:g} s")

    def rolled_back(self, record: StageRecord, reason: str) -> None:
        """Note that a week was taken back, with the evidence as it stands."""
        record.outcome, record.reason = "rolled_back", reason
        record.evidence = self._evidence(record)

    def _why(self) -> str:
        """The measurements that stand in the way now, for the one who reads the failure."""
        evidence = self._observer.status.get("evidence") or {}
        found = evidence.get("measurements", [])
        names = {one["name"] for one in found}
        bad = [
            describe(Measurement.from_json(one)) for one in found if one["verdict"] != Verdict.PASS
        ]
        bad += [
            f"{name}: not measured" for name in evidence.get("required", []) if name not in names
        ]
        return f" [{'; '.join(bad)}]" if bad else ""

    def _rollout(self) -> dict[str, Any]:
        rollout = self._observer.status.get("rollout")
        if rollout is None:
            raise DemoFailed("the control server knows no rollout")
        return dict(rollout)

    @staticmethod
    def _passed(rollout: Mapping[str, Any], stage: int) -> bool:
        return int(rollout["stage"]) > stage or (
            rollout["phase"] == "completed" and int(rollout["stage"]) == stage
        )

    def _evidence(self, record: StageRecord) -> dict[str, Any] | None:
        evidence = self._observer.status.get("evidence")
        if not evidence or (evidence["stage"], evidence["attempt"]) != (
            record.stage,
            record.attempt,
        ):
            return record.evidence
        record.verdict = str(evidence["verdict"])
        return dict(evidence)

    async def _ask(self, record: StageRecord, answered: str) -> str:
        """Answer the form, or say where it is; returns the number of the form dealt with."""
        try:
            forms = await self._api.waiting((week_deployment(record.stage),))
        except PrefectUnavailable:
            return answered
        form = next(iter(forms), None)
        if form is None or form.run_id + form.expires == answered:
            return answered
        if self._approve is Approve.UI:
            self._say(f"approve {record.name} at {self._api.run_url(form.run_id)}", "bold yellow")
        else:
            values = {
                "decision": "approve",
                "approver": APPROVER,
                "comment": "the evidence passed",
            }
            try:
                await self._api.answer(form.run_id, values)
            except Refused:
                return answered  # the run is not yet ready to take it: look again
            self._say(f"{record.name}: approved by {APPROVER} in Prefect's form", "")
        return form.run_id + form.expires

    async def _check_run(self, record: StageRecord, run_id: str) -> None:
        """A run that failed will not move the rollout any more."""
        try:
            run = await self._api.read(run_id)
        except PrefectUnavailable:
            return
        if run["state_type"] in FINAL_STATES and run["state_type"] != "COMPLETED":
            message = (run.get("state") or {}).get("message") or ""
            raise DemoFailed(
                f"{record.name}: its flow run is {run['state_name']}: {message}{self._why()}"
            )

    async def _note_approval(self, record: StageRecord) -> None:
        rollout = await self._client.rollout() or {}
        found = [
            one
            for one in rollout.get("approvals", [])
            if (one["stage"], one["attempt"]) == (record.stage, record.attempt)
        ]
        if not found:
            raise DemoFailed(f"{record.name} was passed without an approval")
        record.outcome, record.verdict = "approved", "pass"
        record.approver, record.comment = found[-1]["approver"], found[-1]["comment"]
        record.approved_at_us = found[-1]["at_us"]
        record.evidence_hash = str(found[-1]["evidence_hash"])
        record.evidence = await self._frozen(record.evidence_hash) or record.evidence
        self._say(f"{record.name} is approved", "green")

    async def _frozen(self, evidence_hash: str) -> dict[str, Any] | None:
        """The evidence that an approval named, as the audit log keeps it."""
        after = 0
        while rows := await self._client.audit(after=after, limit=_AUDIT_PAGE):
            for row in rows:
                after = int(row["id"])
                for fact in row["facts"]:
                    if fact["kind"] == "evidence" and fact["detail"]["hash"] == evidence_hash:
                        return dict(fact["detail"])
        return None
