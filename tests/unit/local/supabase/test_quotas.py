from crossfade.core.plans import plan_named
from crossfade.local.supabase.quotas import Quotas, Rate


def test_a_rate_is_looked_at_at_the_end_of_a_tick() -> None:
    rate = Rate(5.0, 100.0)
    rate.add(101.0, 30)
    assert not rate.exceeds(6, 104.9)
    assert rate.exceeds(6, 105.0)
    assert not rate.exceeds(7, 105.0)
    assert not rate.exceeds(0, 105.0), "0 stands for no limit"


def test_it_is_the_average_of_a_minute() -> None:
    rate = Rate(5.0, 0.0)
    for tick in range(12):
        rate.add(tick * 5.0, 10)
    assert rate.per_second(60.0) == 2.0
    assert rate.per_second(90.0) == 1.0  # half of it was silent
    assert rate.per_second(120.0) == 0.0
    rate.add(1_000.0, 60)
    assert rate.per_second(1_005.0) == 1.0


def test_a_change_of_the_limit_begins_anew() -> None:
    rate = Rate(5.0, 0.0)
    rate.add(1.0, 1_000)
    assert rate.per_second(5.0) == 200.0
    rate.reset(1.0, 6.0)
    assert rate.per_second(6.0) == 0.0
    rate.add(6.5, 3)
    assert rate.per_second(7.0) == 3.0


def test_the_quotas_of_a_plan() -> None:
    free = Quotas.of_plan(plan_named("free"), tick_s=1.0)
    assert free == Quotas(100, 100, 200, 100, 256, tick_s=1.0)
    assert Quotas.of_plan(plan_named("team")).max_events_per_second == 2_500
