"""After the last approval: Realtime becomes primary, and later WebSocket is switched off.

The cut-over can be taken back: WebSocket is still given every event, so a rollback from
there loses nothing. The decommission can not; it is the recorded point of no return.
"""

from crossfade.core.evidence import Evidence
from crossfade.core.flags import EVERYTHING
from crossfade.core.rollout import commands as c
from crossfade.core.rollout.commands import Fact
from crossfade.core.rollout.drill import drill_wanted
from crossfade.core.rollout.moves import Step, announced, flags_facts, move, own, wrong_phase
from crossfade.core.rollout.state import Phase, Rollout
from crossfade.core.verdict import Verdict
from crossfade.errors import Refused

__all__ = ["cut_over", "decommission"]


def cut_over(state: Rollout, command: c.CutOver, now_us: int) -> Step:
    """completed → cut_over."""
    if state.phase in (Phase.CUT_OVER, Phase.DECOMMISSIONED):
        return state, ()
    if state.phase is not Phase.COMPLETED:
        raise wrong_phase(state, command.verb)
    _confirmed(state, command.verb, command.confirm)
    _proven(state, command.verb, command.evidence)
    wanted = drill_wanted(state, now_us)
    if wanted is not None:
        raise Refused(f"cut_over: {wanted}")
    everything = {EVERYTHING: 100.0}
    new, facts = move(
        state,
        Phase.CUT_OVER,
        now_us,
        served=everything,
        written=everything,
        deadline_us=now_us + round(state.plan.reverse_s * 1e6),
    )
    return new, (*facts, *flags_facts(state, new), announced(new, "crossfade.cut_over"))


def decommission(state: Rollout, command: c.Decommission, now_us: int) -> Step:
    """cut_over → decommissioned."""
    if state.phase is Phase.DECOMMISSIONED:
        return state, ()
    if state.phase is not Phase.CUT_OVER:
        hint = ": cut over first" if state.phase is Phase.COMPLETED else ""
        raise Refused(f"{wrong_phase(state, command.verb)}{hint}")
    _confirmed(state, command.verb, command.confirm)
    left_us = (state.deadline_us or 0) - now_us
    if left_us > 0:
        raise Refused(
            f"decommission: WebSocket runs on for another {left_us / 1e6:.0f} s, so that going "
            "back stays possible"
        )
    _proven(state, command.verb, command.evidence)
    new, facts = move(state, Phase.DECOMMISSIONED, now_us, deadline_us=None)
    detail = {"rollout": state.name, "confirmed_by": command.actor, "at_us": now_us}
    return new, (
        *facts,
        Fact("point_of_no_return", detail),
        Fact("flags", {"decommissioned": True}),
        announced(new, "crossfade.decommissioned"),
    )


def _confirmed(state: Rollout, verb: str, confirm: str) -> None:
    if confirm != state.name:
        raise Refused(f"{verb}: to confirm, type the rollout's name, which is {state.name!r}")


def _proven(state: Rollout, verb: str, evidence: Evidence | None) -> None:
    """I7: as of now, everything that the last stage had to show."""
    evidence = own(state, evidence, verb)
    if evidence.verdict is not Verdict.PASS:
        why = evidence.explain(Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE)
        raise Refused(f"{verb}: the evidence as of now does not pass: {why}")
