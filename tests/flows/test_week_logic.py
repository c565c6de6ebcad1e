"""What a week does for each decision, without Prefect: the flow's function alone."""

import logging
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

import flows.rollout_week_flow as week
from crossfade.core.rollout.decide import Action
from crossfade.errors import ApprovalRefused, Refused
from tasks import approval
from tasks.approval import Answer, ApprovalForm, FormKey
from tasks.control_plane import Step
from tasks.evidence import Shown

STAGES = [{"name": "week-1"}, {"name": "week-2"}]


def step(action: str, *, phase: str = "soaking", attempt: int = 1, stage: int = 0) -> Step:
    rollout = {"stage": stage, "attempt": attempt, "phase": phase, "stages": STAGES}
    return Step(Action(action), f"{action} it is", 1.0, rollout, {})


class Script:
    """Plays the control server's decisions and writes down what the week does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps: Iterator[Step] = iter(())
        self.done: list[Any] = []
        self.asked: list[int | None] = []
        self.refuse = ""
        self.after_reconciled = "awaiting_approval"
        monkeypatch.setattr(week, "get_run_logger", lambda: logging.getLogger("test"))
        for name in ("supersede", "next_step", "pause", "command", "check_everything",
                     "keep_page", "keep_findings", "end_stale_forms", "compare_stores",
                     "store_result", "ask", "settle"):  # fmt: skip
            monkeypatch.setattr(week, name, getattr(self, name))
        monkeypatch.setattr(week, "preload", lambda: self.done.append("preload"))
        monkeypatch.setattr(week, "checks_page", lambda *_: "page")

    async def run(self, *steps: Step) -> Any:
        self.steps = iter(steps)
        return await week.rollout_week.fn(stage=0)

    async def supersede(self, stage: int) -> list[str]:
        self.done.append(f"supersede {stage}")
        return []

    async def end_stale_forms(self, rollout: dict[str, Any]) -> list[str]:
        self.done.append("end stale forms")
        return []

    async def next_step(self, stage: int, attempt: int | None) -> Step:
        assert stage == 0
        self.asked.append(attempt)
        return next(self.steps)

    async def pause(self, wait_s: float) -> None:
        self.done.append(f"pause {wait_s:g}")

    async def command(
        self, verb: str, stage: int, attempt: int | None, **fields: Any
    ) -> dict[str, Any]:
        self.done.append(f"{verb} {stage}/{attempt}")
        if self.refuse == verb:
            self.refuse = ""
            raise Refused("not now")
        return {"phase": self.after_reconciled}

    async def check_everything(self) -> list[dict[str, Any]]:
        return []

    async def keep_page(self, key: str, page: str, description: str) -> None:
        self.done.append(f"page {key}")

    async def keep_findings(self, result: dict[str, Any], title: str) -> None:
        self.done.append(f"findings of the {title}")

    async def compare_stores(self, trigger: str, **given: Any) -> dict[str, Any]:
        self.compared = given
        self.done.append(f"compare for {trigger}")
        return {}

    async def store_result(self, result: dict[str, Any]) -> str:
        return "hash"

    async def ask(self, found: Step, note: str, taken: int) -> Answer:
        self.done.append(f"ask {note!r} after {taken}")
        form = ApprovalForm(decision="approve", approver="Ada")
        return Answer(FormKey(taken + 1, found.attempt, "ab"), form)

    async def settle(self, found: Step, answer: Answer) -> str:
        return "worse" if answer.shown.number == 1 else ""


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    return Script(monkeypatch)


FINISHED = step("finished", phase="ready", stage=1)


async def test_the_whole_week(script: Script) -> None:
    state = await script.run(
        step("begin"),
        step("preflight"),
        step("wait"),
        step("apply"),
        step("soaked"),
        step("reconcile"),
        step("ask_approval"),
        step("ask_approval"),
        FINISHED,
    )
    assert state.is_completed()
    assert script.asked == [None] + [1] * 8
    assert script.done == [
        "supersede 0",
        "end stale forms",
        "begin 0/1",
        "page preflight",
        "preflight 0/1",
        "pause 1",
        "applied 0/1",
        "preload",
        "soaked 0/1",
        "compare for week",
        "reconciled 0/1",
        "findings of the Gate",
        "ask '' after 0",
        "ask 'worse' after 1",
    ]


@pytest.mark.parametrize(
    ("phase", "state"), [("rolling_back", "CANCELLED"), ("rolled_back", "CANCELLED"),
                         ("held", "FAILED"), ("ready", "FAILED")]
)  # fmt: skip
async def test_stopped(script: Script, phase: str, state: str) -> None:
    found = await script.run(step("stopped", phase=phase))
    assert (found.type.value, found.message) == (state, "stopped it is")


async def test_a_refused_command_asks_again(script: Script) -> None:
    script.refuse = "applied"
    state = await script.run(step("apply"), step("apply"), FINISHED)
    assert state.is_completed()
    assert script.done.count("applied 0/1") == 2
    assert "pause 1" in script.done


async def test_an_inconclusive_gate_waits_before_it_compares_again(script: Script) -> None:
    script.after_reconciled = "reconciling"
    await script.run(step("reconcile"), FINISHED)
    assert script.done[-3:] == ["reconciled 0/1", "findings of the Gate", "pause 1"]


async def test_a_run_keeps_its_attempt(script: Script) -> None:
    await script.run(step("wait"), step("stopped", attempt=2, phase="ready"))
    assert script.asked == [None, 1]


async def test_a_run_out_of_turn_takes_no_attempt_from_another_stage(script: Script) -> None:
    await script.run(step("wait", stage=1, attempt=3), FINISHED)
    assert script.asked == [None, None]


class Forms:
    """Prefect's memory of a run's suspensions, and its answers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, keys: set[str], answered: set[str]) -> None:
        policy = SimpleNamespace(pause_keys=keys)
        context = SimpleNamespace(flow_run=SimpleNamespace(empirical_policy=policy))
        self.answered = answered
        self.suspended: list[tuple[str, int]] = []
        monkeypatch.setattr(approval, "FlowRunContext", SimpleNamespace(get=lambda: context))
        monkeypatch.setattr(approval, "aread_flow_run_input", self.read)
        monkeypatch.setattr(approval, "asuspend_flow_run", self.suspend)
        monkeypatch.setattr(approval, "evidence_page", lambda step, note, *_: f"page {note}")
        monkeypatch.setattr(approval, "keep_evidence", self.keep)

    async def keep(self, step: Step) -> Shown:
        return Shown("1", "2", ())

    async def read(self, key: str) -> dict[str, Any] | None:
        form = key.removeprefix("suspended-").removesuffix("-response")
        return {"decision": "reject", "approver": form} if form in self.answered else None

    async def suspend(
        self,
        *,
        wait_for_input: type[ApprovalForm],
        timeout: int,  # noqa: ASYNC109 - as Prefect's
        key: str,
    ) -> ApprovalForm:
        assert wait_for_input._description == "page why"
        self.suspended.append((key, timeout))
        return ApprovalForm(decision="approve", approver="now")


@pytest.mark.parametrize(
    ("keys", "answered", "taken", "shown", "approver"),
    [
        pytest.param(set(), set(), 0, "approval-0001-1-ab", "now", id="the first form"),
        pytest.param(
            {"approval-0001-1-0d"}, {"approval-0001-1-0d"}, 0, "approval-0001-1-0d",
            "approval-0001-1-0d", id="an answer, with the evidence that it saw",
        ),
        pytest.param(
            {"approval-0001-1-ab", "approval-0002-1-ab"},
            {"approval-0001-1-ab", "approval-0002-1-ab"},
            0, "approval-0002-1-ab", "approval-0002-1-ab", id="only the last answer",
        ),
        pytest.param(
            {"approval-0001-1-ab"}, {"approval-0001-1-ab"}, 1, "approval-0002-1-ab", "now",
            id="an answer that was dealt with",
        ),
        pytest.param(
            {"approval-0001-1-ab"}, set(), 0, "approval-0002-1-ab", "now",
            id="a form that nobody answered",
        ),
        pytest.param(
            {"approval-0003-2-ab"}, {"approval-0003-2-ab"}, 0, "approval-0004-1-ab", "now",
            id="an answer to another attempt",
        ),
    ],
)  # fmt: skip
async def test_ask(
    monkeypatch: pytest.MonkeyPatch,
    keys: set[str],
    answered: set[str],
    taken: int,
    shown: str,
    approver: str,
) -> None:
    forms = Forms(monkeypatch, keys, answered)
    found = waiting()
    found.rollout["deadline_us"] = round((time.time() + 60) * 1e6)
    got = await approval.ask(found, "why", taken)
    assert (str(got.shown), got.form.approver) == (shown, approver)
    assert [key for key, _ in forms.suspended] == ([shown] if approver == "now" else [])
    assert all(58 <= timeout <= 60 for _, timeout in forms.suspended)


class Server:
    """Takes commands for ``settle``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, refusal: Exception | None = None) -> None:
        self.given: list[dict[str, Any]] = []
        self.refusal = refusal
        monkeypatch.setattr(approval, "command", self.command)
        monkeypatch.setattr(approval, "get_run_logger", lambda: logging.getLogger("test"))

    async def command(self, verb: str, stage: int, attempt: int, **fields: Any) -> None:
        self.given.append({"verb": verb, "stage": stage, "attempt": attempt, **fields})
        if self.refusal is not None:
            raise self.refusal


def answer(decision: str, hash_: str = "ab", attempt: int = 1) -> Answer:
    form = ApprovalForm.model_validate(
        {"decision": decision, "approver": "Ada", "tickets": 3, "extend_hours": 0.5}
    )
    return Answer(FormKey(1, attempt, hash_), form)


def waiting() -> Step:
    found = step("ask_approval", phase="awaiting_approval")
    found.rollout["evidence_hash"] = "ab"
    return found


async def test_an_approval_names_the_evidence_that_was_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = Server(monkeypatch)
    assert await approval.settle(waiting(), answer("approve", "old")) == ""
    assert server.given == [
        {"verb": "approve", "stage": 0, "attempt": 1, "evidence_hash": "old", "approver": "Ada",
         "comment": "", "tickets": 3},
    ]  # fmt: skip


async def test_reject_and_extend(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(monkeypatch)
    assert await approval.settle(waiting(), answer("reject")) == ""
    assert await approval.settle(waiting(), answer("extend")) == ""
    assert [(one["verb"], one.get("soak_s")) for one in server.given] == [
        ("reject", None),
        ("extend", 1_800.0),
    ]


async def test_an_extension_is_not_given_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run killed after it extended, and started again at the next gate, asks anew."""
    server = Server(monkeypatch)
    assert "changed" in await approval.settle(waiting(), answer("extend", "earlier"))
    assert server.given == []


async def test_a_refusal_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    Server(monkeypatch, ApprovalRefused("the evidence got worse"))
    assert await approval.settle(waiting(), answer("approve")) == "the evidence got worse"


async def test_other_refusals_are_the_flows_business(monkeypatch: pytest.MonkeyPatch) -> None:
    Server(monkeypatch, Refused("it is held"))
    with pytest.raises(Refused, match="held"):
        await approval.settle(waiting(), answer("approve"))
