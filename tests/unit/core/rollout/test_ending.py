"""Cut-over, the way back from it, and the point of no return."""

from dataclasses import replace
from typing import Any

import pytest

from crossfade.core.rollout import Action, Phase, Rollout, apply, decide, flags_of
from crossfade.core.rollout import commands as c
from crossfade.core.verdict import Verdict
from crossfade.errors import Refused
from tests.rollouts import SECOND, evidence_of
from tests.unit.core.rollout.test_apply import (
    address,
    approve,
    at_phase,
    breached,
    event_names,
    rollback,
)

REVERSE_US = 10 * SECOND


def completed() -> Rollout:
    state = at_phase(Phase.AWAITING_APPROVAL, stage=2)
    state, _ = apply(state, approve(state), state.since_us)
    return replace(state, plan=replace(state.plan, reverse_s=10.0))


def cut_over(state: Rollout, confirm: str = "test", **verdicts: Verdict) -> c.Command:
    known = {**address(state), "actor": "cli:ada"}
    return c.CutOver(**known, confirm=confirm, evidence=evidence_of(state, 0, **verdicts))


def decommission(state: Rollout, confirm: str = "test", **verdicts: Verdict) -> c.Command:
    known = {**address(state), "actor": "cli:ada"}
    return c.Decommission(**known, confirm=confirm, evidence=evidence_of(state, 0, **verdicts))


def cut_over_at(now_us: int) -> Rollout:
    state = completed()
    return apply(state, cut_over(state), now_us)[0]


def decommissioned() -> Rollout:
    state = cut_over_at(0)
    return apply(state, decommission(state), REVERSE_US)[0]


def test_the_cut_over_serves_everything_and_keeps_websocket() -> None:
    state = completed()
    new, facts = apply(state, cut_over(state), 5)
    assert (new.phase, new.deadline_us) == (Phase.CUT_OVER, 5 + REVERSE_US)
    assert not new.active
    flags = flags_of(new, 1)
    assert flags.served_percent("a topic of no category") == 100
    assert not flags.decommissioned, "WebSocket runs on"
    assert event_names(facts) == ["crossfade.cut_over"]
    assert apply(new, cut_over(new), 6) == (new, ())


def test_the_name_must_be_typed() -> None:
    state = completed()
    with pytest.raises(Refused, match="type the rollout's name"):
        apply(state, cut_over(state, confirm="Test"), 0)
    state = cut_over_at(0)
    with pytest.raises(Refused, match="type the rollout's name"):
        apply(state, decommission(state, confirm=""), REVERSE_US)


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE])
def test_i7_only_evidence_that_passes_now_moves_it(verdict: Verdict) -> None:
    state = completed()
    with pytest.raises(Refused, match="does not pass: events"):
        apply(state, cut_over(state, events=verdict), 0)
    state = cut_over_at(0)
    with pytest.raises(Refused, match="does not pass: events"):
        apply(state, decommission(state, events=verdict), REVERSE_US)


@pytest.mark.parametrize("phase", [Phase.READY, Phase.SOAKING, Phase.AWAITING_APPROVAL])
def test_no_stage_is_skipped(phase: Phase) -> None:
    state = at_phase(phase, stage=2)
    for build in (cut_over, decommission):
        with pytest.raises(Refused, match=phase.value):
            apply(state, build(state), 10**12)


def test_it_asks_for_a_fresh_drill() -> None:
    state = completed()
    state = replace(state, plan=replace(state.plan, drill_fresh_s=60.0))
    with pytest.raises(Refused, match="drill"):
        apply(state, cut_over(state), 0)


def test_websocket_runs_on_in_reverse_for_its_time() -> None:
    state = cut_over_at(0)
    with pytest.raises(Refused, match="another 10 s"):
        apply(state, decommission(state), 0)
    with pytest.raises(Refused, match="cut over first"):
        apply(completed(), decommission(completed()), REVERSE_US)
    new, facts = apply(state, decommission(state), REVERSE_US)
    assert new.phase is Phase.DECOMMISSIONED
    assert "point_of_no_return" in [fact.kind for fact in facts]
    assert apply(new, decommission(new), REVERSE_US) == (new, ())


def test_forward_back_and_forward_from_the_cut_over() -> None:
    state = cut_over_at(0)
    back, _ = apply(state, breached(state), 1)
    assert (back.phase, flags_of(back, 1).served_percent("orders")) == (Phase.ROLLING_BACK, 0)
    back, _ = apply(back, c.RolledBack(**address(back)), 2)
    ready, _ = apply(back, c.Resume(**address(back), root_cause="x", fix="y"), 3)
    assert (ready.phase, ready.stage) == (Phase.READY, 2)


def test_there_is_no_way_back_from_the_point_of_no_return() -> None:
    state = decommissioned()
    assert not state.exposed
    flags = flags_of(state, 1)
    assert flags.decommissioned
    flags = replace(flags, kill=True, served={}, written={})
    assert (flags.served_percent("x"), flags.written_percent("x")) == (100, 100)
    for command in (rollback(state), breached(state)):
        with pytest.raises(Refused, match="no way back"):
            apply(state, command, 1)
    assert decide(state, evidence_of(state, 0), 0, stage=2).action is Action.FINISHED


def test_the_confirmation_is_in_the_protocol() -> None:
    body: dict[str, Any] = {"verb": "cut_over", "actor": "cli:ada", "stage": 2, "attempt": 1}
    command = c.command_from_json({**body, "confirm": "test"})
    assert isinstance(command, c.CutOver)
    assert command.to_json()["confirm"] == "test"
