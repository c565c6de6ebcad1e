from dataclasses import replace
from typing import Any

import orjson
import pytest

from crossfade.core.evidence import Evidence, breach, describe
from crossfade.core.verdict import Verdict
from tests.rollouts import a_measurement, a_rollout, evidence_of


def test_it_survives_json_with_its_hash() -> None:
    evidence = evidence_of(a_rollout(), 5, events=Verdict.FAIL)
    document = orjson.loads(orjson.dumps(evidence.to_json()))
    assert document["verdict"] == "fail"
    assert len(document["hash"]) == 64
    assert Evidence.from_json(document) == evidence


@pytest.mark.parametrize(
    "change",
    [
        {"at_us": 6},
        {"stage": 1},
        {"attempt": 2},
        {"rollout": "r2"},
        {"since_us": 1},
        {"measurements": ()},
        {"required": ()},
        {"reconciliation": {"verdict": "pass"}},
    ],
)
def test_the_hash_covers_everything(change: dict[str, Any]) -> None:
    evidence = evidence_of(a_rollout(), 5)
    assert replace(evidence, **change).hash != evidence.hash
    assert replace(evidence).hash == evidence.hash


def test_what_was_altered_is_not_read() -> None:
    document = evidence_of(a_rollout(), 5).to_json()
    document["measurements"][0]["value"] = 7.0
    with pytest.raises(ValueError, match="was altered"):
        Evidence.from_json(document)


def test_only_failing_guardrails_are_a_breach() -> None:
    evidence = evidence_of(
        a_rollout(),
        5,
        breaker=Verdict.FAIL,
        lost=Verdict.INCONCLUSIVE,
        reconciliation=Verdict.ERROR,
        adoption=Verdict.FAIL,
    )
    assert [one.name for one in breach(evidence)] == ["breaker"]


def test_explained_with_value_limit_and_n() -> None:
    one = a_measurement("error_rate", value=7.25, limit=5.0, n=120, unit="%", detail="why")
    assert describe(one) == "error_rate 7.25 % (must be <= 5 %, n=120): why"
    nothing = a_measurement("lost", value=None, limit=None, n=0)
    assert describe(nothing) == "lost no value (n=0)"
