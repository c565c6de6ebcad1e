"""The rollout machine under a driver that crashes, repeats itself and comes too late.

The machine plays everybody at once: the week's flow (which asks ``decide`` and does what it
says), an operator, the monitor, and instances whose evidence changes under them. Every
command that was ever given may be given again at any later moment. The invariants are
checked after each step against a model that is kept apart from the state.
"""

from dataclasses import replace

import orjson
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from crossfade.core.evidence import Evidence
from crossfade.core.flags import Flags
from crossfade.core.rollout import Action, Phase, Rollout, apply, decide, flags_of, overdue
from crossfade.core.rollout import commands as c
from crossfade.core.verdict import Verdict
from crossfade.errors import Refused
from tests.rollouts import REQUIRED, SECOND, a_measurement, a_plan, a_rollout, evidence_of

verdicts = st.sampled_from(list(Verdict))
ACTIONS_TO_VERBS = {
    Action.BEGIN: "begin",
    Action.PREFLIGHT: "preflight",
    Action.APPLY: "applied",
    Action.SOAKED: "soaked",
    Action.RECONCILE: "reconciled",
    Action.ASK_APPROVAL: "approve",
}


WITH_EVIDENCE = c.Applied | c.Approve | c.Reconciled | c.DrillArrived | c.CutOver | c.Decommission


class RolloutMachine(RuleBasedStateMachine):
    given = Bundle("given")

    @initialize(
        ramp=st.sampled_from([(), (1.0, 5.0), (20.0,)]),
        hold_s=st.sampled_from([0.0, 2.0]),
        drill_fresh_s=st.sampled_from([0.0, 0.0, 60.0]),
    )
    def start(self, ramp: tuple[float, ...], hold_s: float, drill_fresh_s: float) -> None:
        self.now_us = SECOND
        stages = tuple(replace(stage, ramp=ramp, hold_s=hold_s) for stage in a_plan().stages)
        self.state = a_rollout(
            self.now_us, stages=stages, drill_fresh_s=drill_fresh_s, reverse_s=5.0
        )
        self.flags = flags_of(self.state, 1)
        self.verdicts = dict.fromkeys(REQUIRED, Verdict.PASS)
        self.written_before = 0.0
        self.promoted: set[tuple[int, int]] = set()
        self.frozen: dict[str, Evidence] = {}
        self.open_incident: str | None = None

    # Helpers

    def evidence(self) -> Evidence:
        return evidence_of(self.state, self.now_us, **self.verdicts)

    def informed(self, command: c.Command) -> c.Command:
        """As the server does: what only it knows is added anew each time."""
        if isinstance(command, WITH_EVIDENCE):
            return replace(command, evidence=self.evidence())
        return command

    def give(self, command: c.Command) -> None:
        before = self.state
        command = self.informed(command)
        try:
            after, facts = apply(before, command, self.now_us)
        except Refused:
            return
        if after is before:
            assert facts == ()
            return
        assert after.version == before.version + 1
        self.check(before, command, after)
        for fact in facts:
            if fact.kind == "evidence":
                self.frozen[fact.detail["hash"]] = Evidence.from_json(fact.detail)
            if fact.kind == "incident_opened":
                assert self.open_incident is None, "one incident at a time"
                self.open_incident = fact.detail["incident_id"]
            if fact.kind == "incident_closed":
                assert fact.detail["incident_id"] == self.open_incident
                self.open_incident = None
        flags = flags_of(after, self.flags.version)
        assert (flags != self.flags) == any(fact.kind == "flags" for fact in facts)
        if flags != self.flags:
            self.flags = replace(flags, version=self.flags.version + 1)
        # What is stored is all there is: a crash here loses nothing.
        self.state = Rollout.from_json(orjson.loads(orjson.dumps(after.to_json())))
        assert self.state == after

    def check(self, before: Rollout, command: c.Command, after: Rollout) -> None:
        if (before.phase, after.phase) != (after.phase, before.phase) and (
            before.phase in (Phase.HELD, Phase.ROLLED_BACK)
        ):
            # After a stop nothing goes on but by resume; a rollback may still go further.
            assert after.phase in (Phase.READY, Phase.ROLLING_BACK, Phase.CANCELLED)
            if after.phase is Phase.READY:
                assert isinstance(command, c.Resume)
                assert command.root_cause
                assert command.fix
                assert after.attempt == before.attempt + 1
                assert after.evidence_since_us == self.now_us
        promoted = after.stage != before.stage or (
            after.phase is Phase.COMPLETED and before.phase is not Phase.DRILLING
        )
        if promoted:
            # I7 and I8: exactly one stage, by an approval of PASS evidence of this attempt.
            assert isinstance(command, c.Approve)
            assert after.stage - before.stage == (0 if after.phase is Phase.COMPLETED else 1)
            assert before.phase is Phase.AWAITING_APPROVAL
            assert command.evidence_hash == before.evidence_hash
            frozen = self.frozen[command.evidence_hash]
            assert frozen.verdict is Verdict.PASS
            assert (frozen.stage, frozen.attempt) == (before.stage, before.attempt)
            assert all(verdict is Verdict.PASS for verdict in self.verdicts.values())
            assert before.deadline_us is not None
            assert self.now_us < before.deadline_us
            assert (before.stage, before.attempt) not in self.promoted
            self.promoted.add((before.stage, before.attempt))
            assert after.approvals[-1].approver
        if flags_of(after, 0).served_percent("orders") > self.flags.served_percent("orders"):
            assert isinstance(command, c.Preflight | c.Applied | c.DrillArrived | c.CutOver)
            if isinstance(command, c.Applied):
                assert after.ramp_step == before.ramp_step + 1
            if isinstance(command, c.DrillArrived):
                assert before.drill is not None
                assert after.served == before.drill.served
        if isinstance(command, c.CutOver | c.Decommission):
            # I7 again: only on evidence that passes now, and with the name typed.
            assert all(verdict is Verdict.PASS for verdict in self.verdicts.values())
            assert command.confirm == before.name
        if isinstance(command, c.Decommission):
            assert before.phase is Phase.CUT_OVER
            assert before.deadline_us is not None
            assert self.now_us >= before.deadline_us
        if isinstance(command, c.Begin) and before.plan.drill_fresh_s and before.serving:
            assert before.last_drill is not None
            assert before.last_drill.passed
            assert self.now_us - before.last_drill.at_us <= before.plan.drill_fresh_s * SECOND
        assert before.phase is not Phase.DECOMMISSIONED, "nothing follows the point of no return"

    def address(self) -> dict[str, object]:
        return {"actor": "flow-run:x", "stage": self.state.stage, "attempt": self.state.attempt}

    def command_for(self, action: Action, preflight: Verdict) -> c.Command | None:
        match ACTIONS_TO_VERBS.get(action):
            case "begin":
                return c.Begin(**self.address())
            case "preflight":
                return c.Preflight(**self.address(), checks=(a_measurement("x", preflight),))
            case "applied":
                return c.Applied(**self.address())
            case "soaked":
                return c.Soaked(**self.address())
            case "reconciled":
                return c.Reconciled(**self.address(), reconciliation="h", began_us=self.now_us)
            case "approve":
                return c.Approve(
                    **self.address(),
                    evidence_hash=self.state.evidence_hash or "",
                    approver="ada",
                )
        return None

    # Rules

    @rule(target=given, crash=st.booleans(), preflight=st.sampled_from([*Verdict, Verdict.PASS]))
    def drive(self, crash: bool, preflight: Verdict) -> object:
        """One turn of the week's flow; it may crash between deciding and doing."""
        found = decide(self.state, self.evidence(), self.now_us)
        command = self.command_for(found.action, preflight)
        if command is None:
            assert found.action in (Action.WAIT, Action.STOPPED, Action.FINISHED)
            return multiple()
        if not crash:
            self.give(command)
        return command

    @rule(command=given)
    def repeat(self, command: c.Command) -> None:
        """Any command of the past again: a no-op, refused, or as good as new; never twice."""
        self.give(command)

    @rule(command=consumes(given))
    def repeat_and_forget(self, command: c.Command) -> None:
        self.give(command)

    @rule(name=st.sampled_from(REQUIRED), verdict=verdicts)
    def evidence_changes(self, name: str, verdict: Verdict) -> None:
        self.verdicts[name] = verdict

    @rule()
    def all_is_well(self) -> None:
        self.verdicts = dict.fromkeys(REQUIRED, Verdict.PASS)

    @rule(seconds=st.sampled_from([1, 3, 7, 61]))
    def time_passes(self, seconds: int) -> None:
        self.now_us += seconds * SECOND

    @rule(target=given)
    def monitor_breaches(self) -> c.Command:
        command = c.Breach(**{**self.address(), "actor": "monitor"}, reason="breaker")
        self.give(command)
        return command

    @rule(
        target=given,
        scope=st.sampled_from([None, ("critical",), ("performance", "critical")]),
        to=st.sampled_from([0.0, 5.0, 30.0]),
        addressed=st.booleans(),
    )
    def operator_rolls_back(
        self, scope: tuple[str, ...] | None, to: float, addressed: bool
    ) -> c.Command:
        address = self.address() if addressed else {"actor": "cli", "stage": None, "attempt": None}
        command = c.Rollback(**address, reason="complaints", scope=scope, to=to)
        self.give(command)
        return command

    @rule(target=given)
    def rollback_is_verified(self) -> c.Command:
        command = c.RolledBack(**self.address())
        self.give(command)
        return command

    @rule(target=given, root_cause=st.sampled_from(["", "x"]), fix=st.sampled_from(["", "y"]))
    def operator_resumes(self, root_cause: str, fix: str) -> c.Command:
        command = c.Resume(**self.address(), root_cause=root_cause, fix=fix)
        self.give(command)
        return command

    @rule(target=given, verb=st.sampled_from(["reject", "extend", "hold"]))
    def operator_hesitates(self, verb: str) -> c.Command:
        command: c.Command
        if verb == "reject":
            command = c.Reject(**self.address(), approver="ada")
        elif verb == "extend":
            command = c.Extend(**self.address(), approver="ada", soak_s=3)
        else:
            command = c.Hold(**self.address(), reason="look")
        self.give(command)
        return command

    @rule(
        target=given,
        scope=st.sampled_from([None, ("critical",)]),
        points=st.sampled_from([None, 1.0, 40.0]),
    )
    def operator_drills(self, scope: tuple[str, ...] | None, points: float | None) -> c.Command:
        command = c.DrillStart(**self.address(), scope=scope, points=points)
        self.give(command)
        return command

    @rule(target=given)
    def drill_arrives(self) -> c.Command:
        command = c.DrillArrived(**self.address())
        self.give(command)
        return command

    @rule(
        target=given,
        kind=st.sampled_from([c.CutOver, c.Decommission]),
        confirm=st.sampled_from(["test", "test", "tset"]),
    )
    def operator_ends_it(self, kind: type[c.CutOver | c.Decommission], confirm: str) -> c.Command:
        command = kind(**self.address(), confirm=confirm)
        self.give(command)
        return command

    @precondition(lambda self: overdue(self.state, self.now_us) is not None)
    @rule()
    def monitor_holds(self) -> None:
        self.give(c.Hold(**self.address(), reason=overdue(self.state, self.now_us) or ""))
        assert self.state.phase is Phase.HELD

    @rule(data=st.data())
    def forward_back_forward(self, data: st.DataObject) -> None:
        """From wherever it is: rolled back, resumed, and through the whole stage again."""
        if self.state.phase in (Phase.CANCELLED, Phase.DECOMMISSIONED):
            return
        self.all_is_well()
        self.give(c.Breach(**self.address(), reason="breaker"))
        assert self.flags.served_percent("orders") == 0
        self.give(c.RolledBack(**self.address()))
        self.give(c.Resume(**self.address(), root_cause="x", fix="y"))
        assert self.state.phase is Phase.READY
        stage, attempt = self.state.stage, self.state.attempt
        for _ in range(25):
            found = decide(self.state, self.evidence(), self.now_us, stage=stage, attempt=attempt)
            if found.action is Action.FINISHED:
                break
            command = self.command_for(found.action, Verdict.PASS)
            if command is None:
                assert found.action is Action.WAIT, found
                self.now_us += max(1, round(found.wait_s * SECOND))
                continue
            for _ in range(data.draw(st.integers(1, 2))):
                self.give(command)
        share = self.state.plan.stages[stage].percent["*"]
        assert self.flags.served_percent("orders") == share
        assert (stage, attempt) in self.promoted
        self.to_the_end_and_back(data.draw(st.booleans()))

    def to_the_end_and_back(self, decommissions: bool) -> None:
        """After the last stage: cut over; then back and forward again is a rule's next turn."""
        if self.state.phase is not Phase.COMPLETED:
            return
        self.give(c.DrillStart(**self.address()))
        for _ in range(2):
            self.now_us += SECOND
            self.give(c.DrillArrived(**self.address()))
        self.give(c.CutOver(**self.address(), confirm="test"))
        assert self.state.phase is Phase.CUT_OVER
        if decommissions:
            self.now_us += 5 * SECOND
            self.give(c.Decommission(**self.address(), confirm="test"))
            assert self.state.phase is Phase.DECOMMISSIONED

    # Invariants

    @invariant()
    def written_never_falls_and_holds_what_is_served(self) -> None:
        written = self.flags.written_percent("orders")
        assert written >= self.written_before
        assert written >= self.flags.served_percent("orders")
        self.written_before = written

    @invariant()
    def flags_follow_from_the_state_alone(self) -> None:
        assert flags_of(self.state, self.flags.version) == self.flags
        assert Flags.from_json(self.flags.to_json()) == self.flags

    @invariant()
    def an_incident_is_open_from_a_rollback_to_its_root_cause(self) -> None:
        assert self.state.incident_id == self.open_incident
        if self.state.phase in (Phase.ROLLING_BACK, Phase.ROLLED_BACK):
            assert self.open_incident is not None
        if self.state.phase in (Phase.READY, Phase.RAMPING, Phase.SOAKING):
            assert self.open_incident is None

    @invariant()
    def frozen_evidence_is_there_only_while_it_waits(self) -> None:
        waits = self.state.phase is Phase.AWAITING_APPROVAL
        assert (self.state.evidence_hash is not None) == waits

    @invariant()
    def a_drill_is_open_only_while_drilling(self) -> None:
        assert (self.state.drill is not None) == (self.state.phase is Phase.DRILLING)

    @invariant()
    def nobody_is_without_a_transport(self) -> None:
        """WebSocket is off only once everything is served by Realtime."""
        if self.flags.decommissioned:
            assert self.flags.served_percent("orders") == 100
            assert self.flags.written_percent("orders") == 100

    @invariant()
    def the_stage_never_serves_more_than_planned(self) -> None:
        planned = self.state.current.percent["*"]
        assert self.flags.served_percent("orders") <= planned


TestRolloutMachine = RolloutMachine.TestCase
TestRolloutMachine.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
