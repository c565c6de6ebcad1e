"""A form's key binds an answer to what its person saw."""

import logging
import math
import time
from typing import Any

import pytest

from crossfade.core.rollout.decide import Action
from crossfade.errors import ControlDenied
from tasks import approval
from tasks.approval import Answer, ApprovalForm, FormKey, _comment, _seconds_left
from tasks.control_plane import Step


def test_round_trip() -> None:
    key = FormKey(3, 2, "ab12")
    assert FormKey.parse(str(key)) == key
    assert FormKey.parse(str(FormKey(1, 1, ""))) == FormKey(1, 1, "")


@pytest.mark.parametrize(
    "text", ["1", "approval-1-1-ab", "approval-0001-1-XY", "x-approval-0001-1-a"]
)
def test_other_keys_are_not_ours(text: str) -> None:
    assert FormKey.parse(text) is None


def test_latest_is_by_number() -> None:
    keys = {"7", "approval-0002-1-ff", "approval-0010-2-aa", "approval-0009-3-zz"}
    assert FormKey.latest(keys) == FormKey(10, 2, "aa")
    assert FormKey.latest({"7"}) is None
    assert FormKey.latest(()) is None


def test_feedback_goes_with_the_comment() -> None:
    def form(comment: str, feedback: str) -> ApprovalForm:
        return ApprovalForm(decision="approve", approver="Ada", comment=comment, feedback=feedback)

    assert _comment(form("fine", "faster")) == "fine\nUser feedback: faster"
    assert _comment(form("fine", "")) == "fine"
    assert _comment(form("", "")) == ""


def test_expiry_is_the_servers_deadline() -> None:
    assert _seconds_left({"deadline_us": round((time.time() + 90) * 1e6)}) in (89, 90)
    assert _seconds_left({"deadline_us": 1}) == 1
    assert _seconds_left({"deadline_us": None}) == math.ceil(3 * 86_400)


async def test_a_token_that_may_not_approve_shows_the_form_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The worker's own token decides (docs/guides/prefect.md): the person is told, not the log."""

    async def denied(verb: str, *_: Any, **__: Any) -> None:
        raise ControlDenied(f"{verb}: this needs the approver's token")

    monkeypatch.setattr(approval, "command", denied)
    monkeypatch.setattr(approval, "get_run_logger", logging.getLogger)
    step = Step(Action.ASK_APPROVAL, "", 0.0, {"stage": 0, "attempt": 1}, {})
    form = ApprovalForm(decision="approve", approver="Ada")
    note = await approval.settle(step, Answer(FormKey(1, 1, "ab12"), form))
    assert note == "approve: this needs the approver's token"


@pytest.mark.parametrize(("code", "sent"), [("", {}), ("c0de", {"code": "c0de"})])
async def test_the_code_that_a_person_types_goes_with_the_approval(
    monkeypatch: pytest.MonkeyPatch, code: str, sent: dict[str, str]
) -> None:
    given: list[dict[str, Any]] = []

    async def command(verb: str, *_: Any, **fields: Any) -> None:
        given.append(fields)

    monkeypatch.setattr(approval, "command", command)
    monkeypatch.setattr(approval, "get_run_logger", logging.getLogger)
    step = Step(Action.ASK_APPROVAL, "", 0.0, {"stage": 0, "attempt": 1}, {})
    form = ApprovalForm(decision="approve", approver="Ada", code=code)
    assert await approval.settle(step, Answer(FormKey(1, 1, "ab12"), form)) == ""
    assert {key: value for key, value in given[0].items() if key == "code"} == sent
