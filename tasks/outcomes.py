"""How a flow run ends, in words for the person who reads Prefect's list of runs."""

from typing import Any

from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Failed

from tasks.control_plane import Step

__all__ = [
    "backfilled",
    "drilled",
    "ended",
    "finished",
    "reported",
    "rolled_back",
    "stopped",
    "validated",
]

_TAKEN_BACK = ("rolling_back", "rolled_back")


def finished(step: Step) -> State[Any]:
    """The week passed."""
    return Completed(message=step.reason or "approved")


def stopped(step: Step) -> State[Any]:
    """The week ends here: cancelled when it was taken back, failed when somebody must act."""
    if step.rollout.get("phase") in _TAKEN_BACK:
        return Cancelled(message=step.reason)
    return Failed(message=step.reason)


def rolled_back(figures: dict[str, Any]) -> State[Any]:
    """The rollback has arrived; failed when WebSocket does not hold what it should."""
    seconds = figures["arrived_after_ms"] / 1e3
    verdict = figures["reconciliation_verdict"]
    if verdict == "fail":
        return Failed(
            message=f"everybody is back after {seconds:.1f} s, but journal and websocket differ"
        )
    return Completed(
        message=f"everybody is back after {seconds:.1f} s; journal × websocket: {verdict}"
    )


def validated(result: dict[str, Any], started: str) -> State[Any]:
    """One validation's conclusion; only a FAIL is a failed run."""
    message = (
        f"{result['verdict']}: {result['checked_events']:,} events checked, "
        f"{result['discrepancy_count']:,} discrepancies"
    )
    if started:
        message += f"; {started} goes on in place of a run that had crashed"
    if result["verdict"] == "fail":
        return Failed(message=message)
    return Completed(message=message)


def backfilled(copied: dict[str, Any], result: dict[str, Any]) -> State[Any]:
    """What was copied, and whether the stores agree now."""
    verb = "lacking" if copied["dry_run"] else "copied"
    count = copied["lacking"] if copied["dry_run"] else copied["inserted"]
    message = f"{count:,} events {verb}; afterwards: {result['verdict']}"
    if copied["left"] or copied["parked_count"]:
        message += f"; {copied['left']:,} still lacking, {copied['parked_count']:,} for a person"
        return Failed(message=message)
    return Failed(message=message) if result["verdict"] == "fail" else Completed(message=message)


def reported(page: str) -> State[Any]:
    """The report is kept; its first line says how things stand."""
    return Completed(message=page.splitlines()[0].lstrip("# "))


def drilled(record: dict[str, Any]) -> State[Any]:
    """What the drill showed; slower than the plan allows is a failed run."""
    message = (
        f"{record['points']:g} points were back after {record['back_ms'] / 1e3:.1f} s, forward "
        f"after {record['forward_ms'] / 1e3:.1f} s"
    )
    return Completed(message=message) if record["passed"] else Failed(message=f"slow: {message}")


def ended(found: dict[str, Any], dry_run: bool) -> State[Any]:
    """What the rollout is, or would be."""
    phase = found["rollout"]["phase"].replace("_", " ")
    return Completed(message=f"dry run: it would be {phase}" if dry_run else f"it is {phase}")
