"""What a plan says of itself before anything is started."""

from dataclasses import replace

from crossfade.core.presets import PRESETS
from crossfade.core.rollout import Plan, Stage, Targets
from crossfade.core.rollout.outlook import duration_s, questions, warnings

DAY_S = 86_400.0


def plan_of(preset: str, **changes: object) -> Plan:
    stages = [
        {**one, "targets": {}, "soak_s": one["soak_s"], "written": one.get("written", {})}
        for one in PRESETS[preset]()
    ]
    found = Plan.from_json({"stages": stages, "drill_fresh_s": DAY_S})
    return replace(found, **changes)


def asked(plan: Plan, number: int) -> dict[str, str]:
    return {one.name: one.passes for one in questions(plan, number)}


def test_the_strategy_s_plan_needs_no_warning() -> None:
    assert warnings(plan_of("three-weeks")) == ()
    assert duration_s(plan_of("three-weeks")) == 21 * DAY_S


def test_slow_ramps_count_into_its_time_and_are_no_big_steps() -> None:
    plan = plan_of("slow")
    assert warnings(plan) == ()
    assert duration_s(plan) == 6 * 14 * DAY_S + (2 + 2 + 2 + 2 + 3) * 3_600


def test_big_bang_warns() -> None:
    (found,) = warnings(plan_of("big-bang"))
    assert "everything raises Realtime's share by 100 points at once" in found


def test_what_is_unwise_is_named() -> None:
    stages = (
        Stage(name="a", percent={"*": 5.0}, soak_s=60.0),
        Stage(
            name="b",
            percent={"*": 80.0},
            soak_s=7 * DAY_S,
            targets=Targets(minimum_events=100),
            promote="automation",
        ),
    )
    told = "\n".join(warnings(Plan(stages=stages)))
    for part in (
        "a soaks for 1 min",
        "b raises Realtime's share by 75 points",
        "nobody is asked whether it is done",
        "100 events can not show a delivery of 99.90%; its gate will wait for 2,995",
        "ends with less than 100 %",
        "no stage asks for a rollback drill",
    ):
        assert part in told


def test_a_shadow_stage_is_not_asked_what_only_readers_show() -> None:
    plan = plan_of("eight-weeks")
    assert {"p95_realtime", "adoption", "drill"}.isdisjoint(asked(plan, 0))
    assert {"p95_realtime", "adoption"} <= set(asked(plan, 1))
    assert "drill" not in asked(plan, 1), "nobody was served before it"
    assert "drill" in asked(plan, 2)


def test_who_decides_is_said() -> None:
    plan = plan_of("three-weeks", approver_differs=True)
    assert "by somebody who did not start it, within 3 d" in asked(plan, 0)["approval"]
    alone = replace(plan, stages=(replace(plan.stages[0], promote="automation"),))
    assert "nobody is asked" in asked(alone, 0)["approval"]
