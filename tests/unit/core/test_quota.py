import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.core.quota import Quota, TokenBucket, frames_of

STEPS = st.lists(st.tuples(st.integers(0, 3_000), st.floats(0, 50)), max_size=40)


@given(rate=st.floats(1, 1_000), burst=st.floats(1, 200), steps=STEPS)
def test_i10_what_is_waited_for_never_exceeds_burst_plus_rate(
    rate: float, burst: float, steps: list[tuple[int, float]]
) -> None:
    """Over every interval, for takers that wait: the bound that makes it a token bucket."""
    bucket = TokenBucket.full(rate, burst, 0)
    taken: list[tuple[int, float]] = []
    now = 0
    for pause, wanted in steps:
        now += pause
        bucket = bucket.at(now)
        wanted = min(wanted, burst)
        now += math.ceil(bucket.wait_ms(wanted))
        bucket = bucket.at(now)
        assert bucket.wait_ms(wanted) < 1
        bucket = bucket.take(wanted)
        taken.append((now, wanted))
    for index, (start, _) in enumerate(taken):
        total = 0.0
        for at_ms, tokens in taken[index:]:
            total += tokens
            # A wait is shorter than its debt by less than a millisecond.
            assert total <= burst + rate * (at_ms - start + 1) / 1_000 + 1e-6


@given(rate=st.floats(1, 1_000), burst=st.floats(1, 200), debt=st.floats(0, 500))
def test_a_debt_is_waited_off_and_time_never_runs_back(
    rate: float, burst: float, debt: float
) -> None:
    bucket = TokenBucket.full(rate, burst, 1_000).take(burst + debt)
    assert bucket.wait_ms(0) == pytest.approx(debt / rate * 1_000)
    assert bucket.at(500) == bucket
    later = bucket.at(1_000 + math.ceil(bucket.wait_ms(1_000 * burst)))
    assert later.tokens == pytest.approx(burst)
    assert later.take(-burst).tokens == pytest.approx(burst)


@given(
    sizes=st.dictionaries(st.sampled_from("abcd"), st.integers(1, 5_000), min_size=1),
    limit=st.integers(1_000, 3_000),
    tokens=st.floats(-50, 300),
    subscribers=st.integers(0, 20),
)
def test_a_batch_within_the_affordable_bytes_is_affordable(
    sizes: dict[str, int], limit: int, tokens: float, subscribers: int
) -> None:
    quota = Quota(100, subscribers, limit)
    frames = frames_of(sizes, limit)
    assert frames >= len(sizes)
    if sum(sizes.values()) <= quota.affordable_bytes(tokens, len(sizes)):
        # One frame a topic, and one more, is what the debt may be.
        assert frames <= max(len(sizes) + 1, tokens / (subscribers + 1))


def test_a_delivery_counts_for_everyone() -> None:
    assert Quota(100, 4, 1_000).cost(3) == 15
    assert frames_of({"a": 1, "b": 1_001, "c": 1_000}, 1_000) == 4
