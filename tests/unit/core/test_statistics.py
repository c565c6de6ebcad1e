import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossfade.core.statistics import (
    HISTOGRAM_MAX_MS,
    HISTOGRAM_MIN_MS,
    HistogramBuilder,
    Rate,
    merge,
    observe,
    proportion_lower,
    proportion_upper,
    quantile,
    sprt,
    sustained_above,
)
from crossfade.core.telemetry import Histogram
from crossfade.core.verdict import Verdict

values = st.lists(st.floats(HISTOGRAM_MIN_MS, 1e7), min_size=1, max_size=60)


@given(values, st.floats(0, 1))
def test_a_quantile_is_within_two_and_a_half_percent(found: list[float], share: float) -> None:
    exact = sorted(found)[max(1, math.ceil(share * len(found) - 1e-9)) - 1]
    assert quantile(observe(Histogram(), *found), share) == pytest.approx(exact, rel=0.0251)


@given(values, values)
def test_merging_is_observing_together(first: list[float], second: list[float]) -> None:
    together = observe(Histogram(), *first, *second)
    apart = merge((observe(Histogram(), *first), observe(Histogram(), *second)))
    assert apart == together
    assert apart.n == len(first) + len(second)


@given(values)
def test_the_builder_is_emptied_by_take(found: list[float]) -> None:
    builder = HistogramBuilder()
    for value in found:
        builder.observe(value)
    assert builder.take() == observe(Histogram(), *found)
    assert builder.take().n == 0


def test_counts_weigh() -> None:
    builder = HistogramBuilder()
    builder.observe(1.0, 99)
    builder.observe(1_000.0)
    histogram = builder.take()
    assert quantile(histogram, 0.99) == pytest.approx(1.0, rel=0.03)
    assert quantile(histogram, 1.0) == pytest.approx(1_000.0, rel=0.03)


@pytest.mark.parametrize("value", [-5.0, 0.0, HISTOGRAM_MIN_MS / 10])
def test_too_small_values_fall_into_the_first_bucket(value: float) -> None:
    assert observe(Histogram(), value) == observe(Histogram(), HISTOGRAM_MIN_MS)


def test_too_large_values_fall_into_the_last_bucket() -> None:
    assert observe(Histogram(), math.inf) == observe(Histogram(), HISTOGRAM_MAX_MS)


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        observe(Histogram(), math.nan)


def test_no_observation_has_no_quantile() -> None:
    assert quantile(Histogram(), 0.95) is None


@pytest.mark.parametrize(
    ("hits", "n", "lower", "upper"),
    [
        # Tables of Clopper and Pearson's two-sided 90 % interval are one-sided 95 % bounds.
        (0, 10, 0.0, 0.2589),
        (1, 10, 0.0051, 0.3942),
        (5, 10, 0.2224, 0.7776),
        (10, 10, 0.7411, 1.0),
    ],
)
def test_bounds_as_tabulated(hits: int, n: int, lower: float, upper: float) -> None:
    assert proportion_lower(hits, n, 0.95) == pytest.approx(lower, abs=1e-4)
    assert proportion_upper(hits, n, 0.95) == pytest.approx(upper, abs=1e-4)


def test_how_many_events_show_three_nines() -> None:
    assert proportion_lower(2_995, 2_995, 0.95) >= 0.999 > proportion_lower(2_994, 2_994, 0.95)


@settings(max_examples=60)
@given(st.integers(1, 400), st.data(), st.floats(0.6, 0.999))
def test_bounds_hold_the_tail_probability(n: int, data: st.DataObject, confidence: float) -> None:
    """At the lower bound, seeing as many hits or more has the probability 1 − confidence."""
    hits = data.draw(st.integers(1, n))
    p = proportion_lower(hits, n, confidence)
    tail = sum(math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(hits, n + 1))
    assert tail == pytest.approx(1 - confidence, rel=1e-3, abs=1e-9)
    assert p <= hits / n <= proportion_upper(hits, n, confidence)
    mirrored = 1 - proportion_upper(n - hits, n, confidence)
    assert proportion_lower(hits, n, confidence) == pytest.approx(mirrored, abs=1e-9)


@pytest.mark.parametrize(("hits", "n", "confidence"), [(-1, 2, 0.9), (3, 2, 0.9), (1, 2, 1.0)])
def test_impossible_counts_are_refused(hits: int, n: int, confidence: float) -> None:
    with pytest.raises(ValueError, match=r"need|confidence"):
        proportion_lower(hits, n, confidence)


@pytest.mark.parametrize(
    ("rate", "verdict"),
    [
        (Rate(0, 0), Verdict.INCONCLUSIVE),
        (Rate(3, 3), Verdict.INCONCLUSIVE),
        (Rate(7, 7), Verdict.FAIL),
        (Rate(0, 64), Verdict.INCONCLUSIVE),
        (Rate(0, 65), Verdict.PASS),
        (Rate(30, 300), Verdict.FAIL),
        (Rate(1, 300), Verdict.PASS),
    ],
)
def test_the_sequential_test(rate: Rate, verdict: Verdict) -> None:
    assert sprt(rate, healthy=0.005, broken=0.05) is verdict


@given(st.integers(0, 500), st.integers(0, 500))
def test_more_failures_never_look_healthier(failures: int, successes: int) -> None:
    order = [Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.FAIL]
    before = sprt(Rate(failures, failures + successes), healthy=0.005, broken=0.05)
    after = sprt(Rate(failures + 1, failures + successes + 1), healthy=0.005, broken=0.05)
    assert order.index(after) >= order.index(before)


@pytest.mark.parametrize(
    ("rates", "above"),
    [
        ([], False),
        ([Rate(6, 100)] * 5, True),
        # A burst that fills four of five sub-windows, however bad, is not five minutes.
        ([Rate(100, 100)] * 4 + [Rate(0, 100)], False),
        ([Rate(100, 100)] * 4 + [Rate(0, 0)], False),
        ([Rate(5, 100)] * 5, False),
    ],
)
def test_sustained_means_every_sub_window(rates: list[Rate], above: bool) -> None:
    assert sustained_above(rates, 0.05) is above
