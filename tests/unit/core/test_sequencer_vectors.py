"""The schedules that hold this sequencer and the browser's to the same answers."""

import json
from pathlib import Path
from typing import Any

import pytest

from crossfade.core.event import Stream
from tests.vectors.replay import fact_rows, replay, sequencer_of

VECTORS = json.loads(
    (Path(__file__).parents[2] / "vectors" / "sequencer.json").read_text(encoding="utf-8")
)
STREAMS = VECTORS["streams"]


def test_there_are_schedules() -> None:
    assert len(VECTORS["cases"]) >= 40
    facts = [fact for case in VECTORS["cases"] for step in case["steps"] for fact in _facts(step)]
    assert {fact[0] for fact in facts if isinstance(fact[0], str)} == {"lost", "conflict"}


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
def test_schedule(case: dict[str, Any]) -> None:
    sequencer = sequencer_of(case.get("options", {}), STREAMS)
    asked: list[Any] = []
    for number, step in enumerate(case["steps"]):
        outcome = replay(sequencer, STREAMS, step, asked)
        expected = step["fills"] if step["op"] == "tick" else _facts(step)
        assert outcome == expected, f"step {number}: {step}"
    order = {Stream(*row): number for number, row in enumerate(STREAMS)}
    standing = sorted([order[stream], at] for stream, at in sequencer.positions().items())
    assert standing == case["end"]["positions"]
    reports = sequencer.continuity(10_000)
    assert set(reports) == set(case["end"]["continuity"])
    for source, expected in case["end"]["continuity"].items():
        report = reports[source]
        assert {**report.to_json(), "lost": fact_rows(report.lost, order)} == expected


def _facts(step: dict[str, Any]) -> list[Any]:
    return list(step.get("facts", []))
