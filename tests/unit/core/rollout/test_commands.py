from typing import Any

import orjson
import pytest

from crossfade.core.rollout import Plan, Rollout, apply, command_from_json
from crossfade.core.rollout import commands as c
from crossfade.core.verdict import Verdict
from crossfade.errors import UsageError
from tests.rollouts import a_measurement, a_plan
from tests.unit.core.rollout.test_apply import Phase, approve, at_phase, breached, reconciled

ADDRESS = {"actor": "cli:ada", "stage": 0, "attempt": 1}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"verb": "begin"}, c.Begin(**ADDRESS)),
        (
            {"verb": "preflight", "checks": [a_measurement("doctor").to_json()]},
            c.Preflight(**ADDRESS, checks=(a_measurement("doctor"),)),
        ),
        (
            {"verb": "approve", "evidence_hash": "a", "approver": " ada ", "tickets": 2},
            c.Approve(**ADDRESS, evidence_hash="a", approver="ada", tickets=2),
        ),
        (
            {"verb": "rollback", "reason": "x", "scope": ["critical"], "to": 10},
            c.Rollback(**ADDRESS, reason="x", scope=("critical",), to=10.0),
        ),
        (
            {"verb": "rollback", "reason": "x", "scope": None},
            c.Rollback(**ADDRESS, reason="x"),
        ),
        (
            {"verb": "extend", "soak_s": 5, "approver": "a"},
            c.Extend(**ADDRESS, soak_s=5, approver="a"),
        ),
        ({"verb": "rolled_back", "figures": {"a": 1}}, c.RolledBack(**ADDRESS, figures={"a": 1})),
    ],
)
def test_read(fields: dict[str, Any], expected: c.Command) -> None:
    assert command_from_json({**ADDRESS, **fields}) == expected


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({}, "verb: None"),
        ({"verb": "promote"}, "verb: 'promote' is none of begin"),
        ({"verb": ["begin"]}, "verb"),
        ({"verb": "begin", "force": True}, "unknown field force"),
        # What only the server may establish can not be posted.
        ({"verb": "applied", "evidence": {}}, "unknown field evidence"),
        ({"verb": "reconciled", "reconciliation": "a", "began_us": 1}, "unknown field began_us"),
        ({"verb": "reconciled"}, "reconciliation"),
        (
            {"verb": "approve", "evidence_hash": "a", "approver": "b", "tickets": "2"},
            "whole number",
        ),
        ({"verb": "approve", "evidence_hash": "a", "approver": "b", "tickets": True}, "whole"),
        ({"verb": "rollback", "reason": "x", "scope": "critical"}, "scope"),
        ({"verb": "rollback", "reason": "x", "scope": []}, "scope"),
        ({"verb": "rollback", "reason": 7}, "not text"),
        ({"verb": "rollback", "reason": "x" * 5_000}, "at most 4000"),
        ({"verb": "preflight", "checks": {}}, "list"),
        ({"verb": "preflight", "checks": [{"name": "x"}]}, "preflight"),
        ({"verb": "begin", "stage": "0"}, "whole number"),
        ({"verb": "begin", "stage": 0.5}, "whole number"),
    ],
)
def test_malformed(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        command_from_json({**ADDRESS, **fields})


def test_the_address_may_be_absent_until_it_is_applied() -> None:
    command = command_from_json({"verb": "begin", "actor": "x"})
    assert (command.stage, command.attempt) == (None, None)


def test_the_audit_form_is_json_and_names_evidence_by_its_hash() -> None:
    state = at_phase(Phase.RECONCILING)
    command = reconciled(state)
    assert isinstance(command, c.Reconciled)
    assert command.evidence is not None
    document = orjson.loads(orjson.dumps(command.to_json()))
    assert document["verb"] == "reconciled"
    assert document["evidence"] == command.evidence.hash
    assert breached(state).to_json()["measurements"][0]["verdict"] == Verdict.FAIL


def test_a_rollout_survives_json() -> None:
    state = at_phase(Phase.AWAITING_APPROVAL, stage=1)
    assert Rollout.from_json(orjson.loads(orjson.dumps(state.to_json()))) == state
    state, facts = apply(state, approve(state), state.since_us)
    assert Rollout.from_json(orjson.loads(orjson.dumps(state.to_json()))) == state
    assert [orjson.loads(orjson.dumps(fact.to_json()))["kind"] for fact in facts]


def test_a_plan_survives_json_and_needs_stages() -> None:
    plan = a_plan()
    assert Plan.from_json(orjson.loads(orjson.dumps(plan.to_json()))) == plan
    with pytest.raises(ValueError, match="at least one stage"):
        Plan(stages=())
