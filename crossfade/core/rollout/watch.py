"""What the control server does by itself: take back, hold, and promote where no one is asked."""

from crossfade.core.evidence import Evidence, breach, describe
from crossfade.core.rollout import commands as c
from crossfade.core.rollout.decide import overdue
from crossfade.core.rollout.plan import AUTOMATION
from crossfade.core.rollout.state import Phase, Rollout

__all__ = ["MONITOR", "due"]

MONITOR = "monitor"
"""The actor of what the server does by itself."""


def due(state: Rollout, evidence: Evidence, now_us: int) -> c.Command | None:
    """The command that is due without anybody asking; None when nothing is.

    A broken guardrail comes first, then what expired or stalled, then an approval that the
    plan leaves to automation.
    """
    stage, attempt = state.stage, state.attempt
    broken = breach(evidence)
    if broken and state.exposed:
        reason = "; ".join(describe(one) for one in broken)
        return c.Breach(
            actor=MONITOR, stage=stage, attempt=attempt, reason=reason, measurements=broken
        )
    why = overdue(state, now_us)
    if why is not None:
        return c.Hold(actor=MONITOR, stage=stage, attempt=attempt, reason=why)
    if state.phase is Phase.AWAITING_APPROVAL and state.current.promote == AUTOMATION:
        return c.Approve(
            actor=MONITOR,
            stage=stage,
            attempt=attempt,
            evidence_hash=state.evidence_hash or "",
            approver=AUTOMATION,
            comment="by the plan",
        )
    return None
