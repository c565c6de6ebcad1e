"""What a bench says of a figure: ratios, goals, medians of alternating rounds."""

import pytest

from benchmarks.__main__ import BENCHES, main
from benchmarks.figures import Figure, alternating, percentile


def test_a_rate_is_better_when_it_is_higher() -> None:
    figure = Figure(name="x", unit="events/s", value=2_000, naive=10, goal=1_000, goal_ratio=100)
    assert figure.ratio == 200
    assert figure.met is True
    assert Figure(name="x", unit="", value=999, goal=1_000).met is False
    assert Figure(name="x", unit="", value=2_000, naive=21, goal_ratio=100).met is False


def test_a_time_is_better_when_it_is_lower() -> None:
    figure = Figure(name="x", unit="ms", value=5, naive=50, goal=5, better="less")
    assert figure.ratio == 10
    assert figure.met is True
    assert Figure(name="x", unit="ms", value=5.1, goal=5, better="less").met is False


def test_without_a_goal_nothing_is_met_or_missed() -> None:
    figure = Figure(name="x", unit="ms", value=5)
    assert figure.met is None
    assert figure.ratio is None
    # A ratio that could not be measured does not meet its goal.
    assert Figure(name="x", unit="ms", value=5, goal_ratio=2).met is False


async def test_rounds_alternate_and_medians_come_out() -> None:
    order: list[str] = []
    values = {"a": iter([1.0, 100.0, 3.0]), "b": iter([5.0, 4.0, 6.0])}

    async def side(name: str) -> float:
        order.append(name)
        return next(values[name])

    found = await alternating(
        {"a": lambda: side("a"), "b": lambda: side("b")}, 3, lambda text: None
    )
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert found == {"a": 3.0, "b": 5.0}


def test_percentiles() -> None:
    values = [float(number) for number in range(100, 0, -1)]
    assert percentile(values, 0.5) == 51.0
    assert percentile(values, 0.99) == 100.0
    assert percentile([7.0], 0.95) == 7.0
    assert percentile([], 0.95) == 0.0


@pytest.mark.parametrize("arguments", [["nothing"], ["publish", "--scale", "0"]])
def test_wrong_usage_has_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    told = capsys.readouterr().err
    assert "no bench 'nothing'" in told or "--scale" in told


async def test_the_sequencer_is_measured_with_what_it_hands_over() -> None:
    from pathlib import Path
    from typing import cast

    from benchmarks import sequencer
    from benchmarks.bench import Bench
    from tests.services import Project

    # Pure: no services are touched.
    bench = Bench(Path(), cast(Project, None), 0.01, 1, lambda text: None)
    figures = await sequencer.measure(bench)
    assert [one.unit for one in figures] == ["events/s", "bytes/partition"]
    assert all(one.value > 0 for one in figures)
    assert "sequencer" in BENCHES
