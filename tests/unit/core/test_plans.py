"""What the plans allow and what events cost, from the formula in DESIGN section 8."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.core.plans import (
    PLANS,
    Traffic,
    affordable_subscribers,
    exceeded_at,
    frames_per_s,
    messages_per_s,
    plan_named,
)
from crossfade.errors import UsageError
from crossfade.settings import RelaySettings

traffics = st.builds(
    Traffic,
    topics=st.lists(st.floats(0, 5_000), min_size=1, max_size=5),
    subscribers=st.integers(0, 2_000),
    event_bytes=st.floats(100, 50_000),
    publishers=st.integers(1, 4),
    batches_per_s=st.floats(0.1, 100),
    frame_limit_bytes=st.integers(1_000, 3_000_000),
    heads_per_s=st.floats(0.1, 10),
)


def test_the_plans_of_supabase() -> None:
    """Supabase's page of Realtime limits."""
    limits = {p.name: (p.messages_per_s, p.broadcast_bytes, p.connections) for p in PLANS.values()}
    assert limits == {
        "free": (100, 256_000, 200),
        "pro": (500, 3_000_000, 500),
        "pro-no-cap": (2_500, 3_000_000, 10_000),
        "team": (2_500, 3_000_000, 10_000),
        "enterprise": (2_500, 3_000_000, 10_000),
        "self-hosted": (100, 3_000_000, 200),
    }
    assert {p.channels_per_connection for p in PLANS.values()} == {100}
    assert all(plan_named(name) is plan for name, plan in PLANS.items())


def test_an_unknown_plan_names_those_that_exist() -> None:
    with pytest.raises(UsageError, match="'gratis': must be one of free, pro"):
        plan_named("gratis")


def test_the_relays_settings_are_the_default() -> None:
    relay, traffic = RelaySettings(), Traffic(topics=[1], subscribers=0)
    assert traffic.batches_per_s == pytest.approx(1 / relay.poll_s)
    assert traffic.heads_per_s == pytest.approx(1 / relay.heads_s)
    assert traffic.frame_limit_bytes == relay.frame_limit_bytes
    assert plan_named(relay.plan or "free")


def test_slow_topics_send_a_frame_per_event() -> None:
    # 3 + 0.5 events/s and two heads frames a second; each goes out once and to 4 subscribers.
    traffic = Traffic(topics=[3, 0.5], subscribers=4)
    assert frames_per_s(traffic) == pytest.approx(5.5)
    assert messages_per_s(traffic) == pytest.approx(27.5)


def test_fast_topics_send_a_frame_per_batch() -> None:
    # 1,000 events/s of 600 bytes are 3 full frames a second beside the 20 batches.
    traffic = Traffic(topics=[1_000], subscribers=0, batches_per_s=20)
    assert frames_per_s(traffic) == pytest.approx(20 + 3 + 1)


def test_two_publishers_send_twice_the_batches_and_heads() -> None:
    traffic = Traffic(topics=[1_000], subscribers=0, publishers=2, batches_per_s=20)
    assert frames_per_s(traffic) == pytest.approx(40 + 3 + 2)


def test_the_percentage_at_which_a_plan_is_exceeded() -> None:
    traffic = Traffic(topics=[10], subscribers=9)  # (10 p + 1) x 10
    assert exceeded_at(traffic, 110) is None
    assert exceeded_at(traffic, 109) == 100
    assert exceeded_at(traffic, 60) == 51
    assert exceeded_at(traffic, 9) == 1


@given(traffics, st.floats(1, 10_000))
def test_exceeded_at_is_the_border(traffic: Traffic, limit: float) -> None:
    border = exceeded_at(traffic, limit)
    if border is None:
        assert messages_per_s(traffic, 100) <= limit
    else:
        assert messages_per_s(traffic, border) > limit
        assert border == 1 or messages_per_s(traffic, border - 1) <= limit


@given(traffics, st.floats(1, 10_000))
def test_affordable_subscribers_is_the_border(traffic: Traffic, limit: float) -> None:
    most = affordable_subscribers(traffic, limit)
    assert most is not None
    assert messages_per_s(traffic._replace(subscribers=most + 1), 100) > limit * (1 - 1e-6)
    if most:
        assert messages_per_s(traffic._replace(subscribers=most), 100) <= limit * (1 + 1e-6)


def test_nothing_moved_costs_nothing() -> None:
    traffic = Traffic(topics=[100], subscribers=50)
    assert messages_per_s(traffic, 0) == 0
    assert affordable_subscribers(traffic, 100, 0) is None
