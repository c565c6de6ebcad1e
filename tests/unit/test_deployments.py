"""A week for each of a plan's stages, beside everything else that is deployed."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from crossfade.deployments import (
    deployment_document,
    document_text,
    intervals_of,
    read,
    week_name,
)
from crossfade.errors import UsageError
from crossfade.local.prefect import prefect_file
from crossfade.settings import Settings

DOCUMENT = read(prefect_file())


def made(**rollout: Any) -> dict[str, Any]:
    settings = Settings.model_validate({"rollout": rollout})
    plan = settings.rollout.plan(settings.topics)
    return deployment_document(DOCUMENT, plan, "crossfade", intervals_of(settings))


def words(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry whose text is not broken into lines."""
    return {**entry, "description": entry["description"].split()}


def stage(name: str, percent: float, **more: Any) -> dict[str, Any]:
    return {"name": name, "percent": {"*": percent}, "soak_s": 60.0, **more}


def test_the_file_of_the_repository_is_the_default_plans() -> None:
    assert list(map(words, made()["deployments"])) == list(map(words, DOCUMENT["deployments"]))


@pytest.mark.parametrize(
    ("preset", "count"), [("three-weeks", 3), ("eight-weeks", 8), ("slow", 6), ("big-bang", 1)]
)
def test_every_stage_has_a_week_and_each_but_the_first_is_set_off(preset: str, count: int) -> None:
    entries = made(preset=preset)["deployments"]
    others = [one["name"] for one in DOCUMENT["deployments"][3:]]
    assert [one["name"] for one in entries] == [f"week-{n + 1}" for n in range(count)] + others
    for number, one in enumerate(entries[:count]):
        assert one["name"] == week_name(number)
        assert one["parameters"] == {"stage": number}
        assert one["description"].startswith(f"**Stage {number + 1} of {count}, ")
        matches = [each["match"] for each in one.get("triggers", ())]
        assert matches == (
            [{"crossfade.stage": str(number), "crossfade.starts": "automation"}] if number else []
        )
    assert entries[count:] == DOCUMENT["deployments"][3:]


def test_what_is_said_of_a_stage_is_what_the_plan_says() -> None:
    found = made(
        stages=[
            stage("quiet", 0.0, written={"*": 100.0}),
            {**stage("some", 10.0, start="automation"), "percent": {"*": 10.0, "critical": 2.0}},
            stage("all", 100.0, promote="automation"),
        ]
    )
    quiet, some, last = (one["description"] for one in found["deployments"][:3])
    assert "nobody is served by Realtime" in quiet
    assert "Run it once the rollout was started" in quiet
    assert "10 %, critical 2 % on Realtime" in some
    assert "It starts by itself once week-1 was approved" in some
    assert "Resume" in some
    assert "without asking anybody" in last
    assert "Resume" not in last
    assert "completes the rollout" in last


def test_settings_replace_pool_and_intervals_and_the_original_stays() -> None:
    before = copy.deepcopy(DOCUMENT)
    settings = Settings.model_validate(
        {"reconcile": {"every_s": 7.5}, "prefect": {"report_every_s": 60.0}}
    )
    plan = settings.rollout.plan(settings.topics)
    found = deployment_document(DOCUMENT, plan, "other", intervals_of(settings))
    assert {one["work_pool"]["name"] for one in found["deployments"]} == {"other"}
    intervals = {
        one["name"]: [schedule["interval"] for schedule in one["schedules"]]
        for one in found["deployments"]
        if "schedules" in one
    }
    assert intervals == {"validate": [7.5], "report": [60.0]}
    assert before == DOCUMENT


def test_what_somebody_changed_in_a_week_is_kept() -> None:
    changed = copy.deepcopy(DOCUMENT)
    changed["deployments"][1]["work_pool"] = {"name": "x", "job_variables": {"image": "two"}}
    settings = Settings.model_validate({"rollout": {"preset": "eight-weeks"}})
    plan = settings.rollout.plan(settings.topics)
    found = deployment_document(changed, plan, "pool", intervals_of(settings))["deployments"]
    assert found[1]["work_pool"] == {"name": "pool", "job_variables": {"image": "two"}}
    assert found[7]["work_pool"]["job_variables"] == {"stream_output": False}


def test_the_text_is_a_file_for_people_and_says_the_same() -> None:
    found = made(preset="eight-weeks")
    text = document_text(found)
    assert "description: |\n" in text
    assert not any(sign in text for sign in ("&id", "*id", "\\n"))
    back = yaml.safe_load(text)
    assert back["deployments"] == found["deployments"]
    assert (back["name"], back["pull"]) == (DOCUMENT["name"], [])


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "No such file"),
        ("a: [", "can not be read"),
        ("a: 1", "holds no deployment named week-1"),
        ("deployments: [{name: other}]", "holds no deployment named week-1"),
    ],
)
def test_a_file_that_holds_no_weeks_is_refused(
    tmp_path: Path, content: str | None, why: str
) -> None:
    file = tmp_path / "prefect.yaml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UsageError, match=why):
        read(file)


def test_a_users_own_deployments_stay_as_they_are() -> None:
    document = copy.deepcopy(DOCUMENT)
    pool = document["deployments"][0]["work_pool"]
    schedule = {"interval": 77.0, "timezone": "Europe/Vienna"}
    own = {"name": "week-end", "work_pool": pool, "schedules": [schedule], "parameters": {"a": 1}}
    cron = {"name": "nightly", "work_pool": pool, "schedules": [{"cron": "0 3 * * *"}]}
    document["deployments"] += [own, cron]
    settings = Settings()
    plan = settings.rollout.plan(settings.topics)
    found = deployment_document(document, plan, "crossfade", intervals_of(settings))
    assert found["deployments"][-2:] == [own, cron]
