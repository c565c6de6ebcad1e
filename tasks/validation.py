"""What follows from a validation that failed."""

from typing import Any

from prefect.logging import get_run_logger

from crossfade.core.reconciliation import Reconciliation
from crossfade.core.verdict import Verdict
from crossfade.errors import Refused
from tasks.control_plane import command

__all__ = ["BY", "report_breach"]

BY = "validate"
"""The actor of a breach found here. It is not a flow run's name: with one the control server
would take the rollback flow for started."""

_JUDGED = ("preflight", "ramping", "soaking", "reconciling", "awaiting_approval")


async def report_breach(
    result: dict[str, Any], stored: str, rollout: dict[str, Any] | None
) -> None:
    """Command ``breach`` when the stores differ while a stage is under way.

    The control server judges a stored result by itself as well; whoever is first wins, and
    repeated breaches are one.
    """
    found = Reconciliation.from_json(result)
    if found.verdict is not Verdict.FAIL or rollout is None or rollout["phase"] not in _JUDGED:
        return
    first = found.discrepancies[0] if found.discrepancies else None
    example = f", first {first.kind.value} in {first.store}: {first.position}" if first else ""
    reason = f"reconciliation {stored[:12]}: {found.discrepancy_count:,} discrepancies{example}"
    try:
        await command(
            "breach", rollout["stage"], rollout["attempt"], by=BY, reason=reason, measurements=[]
        )
    except Refused as error:
        get_run_logger().info("the breach changes nothing: %s", error)
