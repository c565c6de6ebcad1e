"""The soak's judgement: what grows is seen, what only moves is not."""

import argparse

import pytest

from tests.soak.__main__ import seconds_of
from tests.soak.watch import LEAST_S, Line, slope


def test_the_line_of_a_rising_figure() -> None:
    times = [float(number) for number in range(100)]
    assert slope(times, [2.0 * at + 7 for at in times]) == pytest.approx(2.0)
    assert slope(times, [5.0 + (number % 2) for number in range(100)]) == pytest.approx(0, abs=0.01)
    assert slope([1.0, 1.0], [3.0, 4.0]) == 0.0


@pytest.mark.parametrize(
    ("growth", "seconds", "flat"),
    [(3.9, LEAST_S, True), (4.1, LEAST_S, False), (-9.0, LEAST_S, True), (99.0, 59.0, None)],
)
def test_a_line_is_flat_within_its_limit_and_not_judged_when_short(
    growth: float, seconds: float, flat: bool | None
) -> None:
    line = Line("hub", "descriptors", 10.0, growth, 4.0, seconds, 60)
    assert line.flat is flat
    assert line.to_json()["flat"] is flat


def test_durations() -> None:
    assert [seconds_of(text) for text in ("90s", "10m", "2h", "5", "0.5m")] == [
        90,
        600,
        7_200,
        5,
        30,
    ]
    for text in ("0", "ten", "-1m", "1d"):
        with pytest.raises(argparse.ArgumentTypeError, match="no duration"):
            seconds_of(text)
