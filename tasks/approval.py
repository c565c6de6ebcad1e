"""Asking a person: the form in Prefect's page, and what becomes of its answer.

A form binds to the evidence that it shows: the key of the suspension holds the form's
number, the attempt and the evidence's hash, and Prefect keeps those keys with the run. A
run that was resumed (as a new process, from its top) so finds the answer together with the
hash that the person saw, and never takes an old answer for a new question.
"""

import math
import re
import time
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from prefect.flow_runs import asuspend_flow_run
from prefect.input import RunInput
from prefect.input.actions import aread_flow_run_input
from prefect.input.run_input import keyset_from_base_key
from prefect.logging import get_run_logger
from pydantic import Field

from crossfade.errors import ApprovalRefused, ControlDenied
from tasks.control_plane import Step, command
from tasks.evidence import Shown, keep_evidence
from tasks.pages import evidence_page
from tasks.settings_source import settings

__all__ = ["Answer", "ApprovalForm", "FormKey", "ask", "settle"]

_KEY = re.compile(r"approval-(\d{4})-(\d+)-([0-9a-f]*)\Z")
_SHORTEST_S = 1


class ApprovalForm(RunInput):
    """What the person fills in; the evidence stands above it."""

    decision: Literal["approve", "reject", "extend"] = Field(
        title="Decision",
        description="approve: the next stage may start · reject: hold the rollout · "
        "extend: soak longer and ask again",
    )
    approver: str = Field(
        title="Who decides", min_length=1, max_length=200, description="Your name, for the audit"
    )
    comment: str = Field(
        "", title="Comment", max_length=2_000, description="Why; kept with the decision"
    )
    tickets: int = Field(
        0,
        title="Support tickets this week",
        ge=0,
        le=1_000_000,
        description="Tickets about real-time updates since this stage began",
    )
    feedback: str = Field(
        "", title="User feedback", max_length=1_500, description="What users said, in short"
    )
    code: str = Field(
        "",
        title="Approver's code",
        max_length=100,
        description="If the plan separates approvers from operators: what `crossfade approve "
        "--code` prints to who has the approver's token. It is good for this evidence, name and "
        "number of tickets only",
    )
    extend_hours: float = Field(
        24.0,
        title="Soak longer by (hours)",
        gt=0,
        le=8_784,
        description="Only for the decision extend",
    )


class FormKey(NamedTuple):
    """Which form of a run: its number (from 1), and the attempt and evidence that it shows."""

    number: int
    attempt: int
    evidence_hash: str

    def __str__(self) -> str:
        return f"approval-{self.number:04d}-{self.attempt}-{self.evidence_hash}"

    @classmethod
    def parse(cls, text: str) -> "FormKey | None":
        """Read a suspension's key; None when it is not a form's."""
        match = _KEY.match(text)
        return None if match is None else cls(int(match[1]), int(match[2]), match[3])

    @classmethod
    def latest(cls, keys: Iterable[str]) -> "FormKey | None":
        """The last form among a run's suspension keys."""
        return max((key for text in keys if (key := cls.parse(text))), default=None)


class Answer(NamedTuple):
    """A person's answer, with the hash of the evidence that it was given on."""

    shown: FormKey
    form: ApprovalForm


async def ask(step: Step, note: str, taken: int) -> Answer:
    """The answer to the last form, or, when there is none to take, suspend the run with a new one.

    Suspending ends the process (by Prefect's own ``Pause``); the worker starts it again from
    its top when the form is answered.

    Args:
        step: the decision ``ask_approval``.
        note: shown above the form: why it is shown again, or "".
        taken: the number of the last form whose answer this process has dealt with.
    """
    context = FlowRunContext.get()
    run: FlowRun | None = context.flow_run if context else None
    policy = run.empirical_policy if run else None
    last = FormKey.latest((policy.pause_keys if policy else None) or ())
    if last is not None and last.number > taken and last.attempt == step.attempt:
        keys = keyset_from_base_key(f"suspended-{last}")
        given: Any = await aread_flow_run_input(keys["response"])
        if given is not None:
            return Answer(last, ApprovalForm(**given))
    evidence_hash = str(step.rollout.get("evidence_hash") or "")
    key = FormKey(last.number + 1 if last else 1, step.attempt, evidence_hash)
    shown = await keep_evidence(step)
    page = evidence_page(step, note, shown.trends, _links(shown))
    form = ApprovalForm.with_initial_data(description=page)
    given_now = await asuspend_flow_run(
        wait_for_input=form, timeout=_seconds_left(step.rollout), key=str(key)
    )
    return Answer(key, given_now)


async def settle(step: Step, answer: Answer) -> str:
    """Send the answer to the control server; returns why it must be asked again, or ""."""
    form, shown = answer.form, answer.shown
    log = get_run_logger()
    log.info("%s says %s on evidence %s", form.approver, form.decision, shown.evidence_hash[:12])
    stage, attempt, comment = step.stage, shown.attempt, _comment(form)
    try:
        match form.decision:
            case "approve":
                await command(
                    "approve",
                    stage,
                    attempt,
                    evidence_hash=shown.evidence_hash,
                    approver=form.approver,
                    comment=comment,
                    tickets=form.tickets,
                    **({"code": form.code} if form.code else {}),
                )
            case "reject":
                await command("reject", stage, attempt, approver=form.approver, comment=comment)
            case "extend":
                if shown.evidence_hash != step.rollout.get("evidence_hash"):
                    return "the evidence has changed since the form was shown"
                soak_s = form.extend_hours * 3_600.0
                await command("extend", stage, attempt, approver=form.approver, soak_s=soak_s)
    except (ApprovalRefused, ControlDenied) as error:
        log.warning("not accepted: %s", error)
        return str(error)
    return ""


def _links(shown: Shown) -> dict[str, str]:
    # Relative to the run's page, where the form is: right under any host, prefix or workspace.
    return {
        "every measurement": f"../../artifacts/artifact/{shown.table}",
        "the chart": f"../../artifacts/artifact/{shown.chart}",
    }


def _comment(form: ApprovalForm) -> str:
    return "\n".join(
        part for part in (form.comment, form.feedback and f"User feedback: {form.feedback}") if part
    )


def _seconds_left(rollout: dict[str, Any]) -> int:
    """Until the approval expires: the control server's deadline, or the plan's whole time."""
    deadline_us = rollout.get("deadline_us")
    if deadline_us is None:
        return math.ceil(settings().rollout.approval_expires_s)
    return max(_SHORTEST_S, math.ceil(int(deadline_us) / 1e6 - time.time()))
