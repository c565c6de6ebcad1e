"""``crossfade plan``: the table, the presets, and the rehearsal against a file."""

from pathlib import Path

import orjson
import pytest
import yaml
from typer.testing import CliRunner

from crossfade.cli import app
from crossfade.errors import SettingsError, UsageError
from tests.unit.core.test_rehearsal import recorded

STAGE = """
[[rollout.stages]]
name = "all"
percent = {"*" = 100}
soak_s = 6
[rollout.stages.targets]
error_for_s = 3
latency_for_s = 3
minimum_events = 50
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "crossfade.toml").write_text(STAGE)
    return CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"})


def keep(path: Path, failures: int) -> Path:
    rows = [one.to_json() for one in recorded(20, lambda _: failures)]
    path.write_bytes(orjson.dumps(rows))
    return path


def test_the_plan_is_shown_with_its_gates_and_warnings(run: CliRunner) -> None:
    found = run.invoke(app, ["plan"], catch_exceptions=False)
    assert found.exit_code == 0
    for part in ("all", "* 100", "What all will be asked", "warning: all raises"):
        assert part in found.output


def test_a_preset_replaces_the_stages_only(run: CliRunner) -> None:
    found = run.invoke(app, ["plan", "--preset", "eight-weeks", "--json"], catch_exceptions=False)
    document = orjson.loads(found.output)
    assert [stage["name"] for stage in document["stages"]][:2] == ["shadow", "week-2"]
    assert document["duration_s"] == 8 * 7 * 86_400
    assert document["rehearsal"] is None
    assert "adoption" not in document["stages"][0]["asks"]
    with pytest.raises(SettingsError, match="no preset 'x'"):
        run.invoke(app, ["plan", "--preset", "x"], catch_exceptions=False)


def test_a_recording_that_would_be_taken_back_ends_with_1(run: CliRunner, tmp_path: Path) -> None:
    good, bad = keep(tmp_path / "good.json", 0), keep(tmp_path / "bad.json", 15)
    found = run.invoke(app, ["plan", "--telemetry", str(good)], catch_exceptions=False)
    assert found.exit_code == 0
    assert "all over the recording: pass" in found.output
    found = run.invoke(app, ["plan", "--telemetry", str(bad)])
    assert found.exit_code == 1
    assert "taken back after" in found.output
    found = run.invoke(app, ["plan", "--telemetry", str(bad), "--json"])
    assert orjson.loads(found.output)["rehearsal"][0]["verdict"] == "fail"


@pytest.mark.parametrize("text", ["{", "[1]", '[{"x": 1}]', "[]"])
def test_a_file_that_is_none_is_refused(run: CliRunner, tmp_path: Path, text: str) -> None:
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(UsageError, match="telemetry"):
        run.invoke(app, ["plan", "--telemetry", "t.json"], catch_exceptions=False)
    with pytest.raises(UsageError, match="No such file"):
        run.invoke(app, ["plan", "--telemetry", "absent.json"], catch_exceptions=False)


def test_deployments_are_printed_as_a_file_for_prefect(run: CliRunner, tmp_path: Path) -> None:
    with (tmp_path / "crossfade.toml").open("a") as file:
        file.write('[prefect]\nwork_pool = "blue"\n')
    found = run.invoke(app, ["plan", "--deployments"], catch_exceptions=False)
    entries = yaml.safe_load(found.output)["deployments"]
    assert [one["name"] for one in entries][:2] == ["week-1", "validate"], "a plan of one stage"
    assert {one["work_pool"]["name"] for one in entries} == {"blue"}
    words = ["plan", "--preset", "eight-weeks", "--deployments", "--json"]
    listed = orjson.loads(run.invoke(app, words, catch_exceptions=False).output)
    assert sum(one["name"].startswith("week-") for one in listed) == 8
    with pytest.raises(UsageError, match="not together"):
        run.invoke(app, ["plan", "--deployments", "--simulate"], catch_exceptions=False)
