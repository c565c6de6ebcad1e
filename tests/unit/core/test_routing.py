"""Cohorts are exact, sticky and only grow (I4)."""

import json
import math
from fractions import Fraction
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from crossfade.core.routing import cohort, cohort_size, partition_of, ranking

VECTORS = Path(__file__).parents[2] / "vectors"
percents = st.integers(0, 10_000).map(lambda value: value / 100)


def test_vectors() -> None:
    rows = json.loads((VECTORS / "routing.json").read_text(encoding="utf-8"))
    assert rows["partition_of"]
    assert rows["cohort"]
    for topic, key, partitions, expected in rows["partition_of"]:
        assert partition_of(topic, key, partitions) == expected
    for salt, topic, partitions, percent, expected in rows["cohort"]:
        assert sorted(cohort(salt, topic, partitions, percent)) == expected


@given(st.text("ab", max_size=3), st.integers(1, 300), percents)
def test_i4_cohort_is_exact(salt: str, partitions: int, percent: float) -> None:
    hundredths = round(percent * 100)
    exact = math.ceil(Fraction(hundredths * partitions, 10_000))
    assert cohort_size(partitions, percent) == exact
    assert len(cohort(salt, "t", partitions, percent)) == exact


@given(st.integers(1, 300), percents, percents)
def test_i4_cohort_only_grows(partitions: int, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert cohort("s", "t", partitions, low) <= cohort("s", "t", partitions, high)


@given(st.integers(1, 300))
def test_ranking_is_a_permutation(partitions: int) -> None:
    assert sorted(ranking("s", "t", partitions)) == list(range(partitions))


def test_salt_and_topic_change_the_cohort() -> None:
    base = ranking("s", "t", 50)
    assert ranking("s2", "t", 50) != base
    assert ranking("s", "t2", 50) != base


def test_keys_spread_evenly() -> None:
    counts = [0] * 50
    for number in range(20_000):
        counts[partition_of("t", f"N{number}", 50)] += 1
    # 400 expected in each; six standard deviations of a binomial are about 119.
    assert max(abs(count - 400) for count in counts) < 119


@given(st.text(max_size=20), st.integers(1, 4096))
def test_partition_is_in_range(key: str, partitions: int) -> None:
    assert 0 <= partition_of("t", key, partitions) < partitions
