"""``crossfade incident show``: the story, and a bundle without a secret in it."""

import zipfile
from pathlib import Path

import orjson
import pytest

from crossfade.errors import UsageError
from tests.unit.cli.test_operate import Stack, refusal, stack

__all__ = ["stack"]


@pytest.fixture
def incident(stack: Stack, tmp_path: Path) -> str:
    """One that was opened by a breach in week 1 and resumed."""
    stack("start")
    stack.run(stack.week.until("apply"))
    stack.run(stack.week.tick(3, failures=7))
    stack.run(stack.client.command("rollback", actor="cli:ada", reason="complaints | more"))
    address = {"stage": 0, "attempt": 1, "actor": "flow-run:x"}
    stack.run(stack.client.command("rolled_back", figures={"arrived_after_ms": 812.5}, **address))
    stack("resume", "--root-cause", "pool too small", "--fix", "raised to 40")
    stack.run(stack.server.service.save_telemetry(final=True))
    log = tmp_path / "control.log"
    log.write_text("x" * 600_000 + "\nbearer operator-secret\n")
    folder = tmp_path / ".crossfade"
    folder.mkdir()
    services = {"control": {"log": str(log)}, "hub": {"log": str(tmp_path / "gone.log")}}
    (folder / "stack.json").write_bytes(
        orjson.dumps({"services": services, "settings": str(tmp_path / "crossfade.toml")})
    )
    return str(stack.json("incidents")[0]["id"])


def test_the_story_is_told_in_order(
    stack: Stack, incident: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = stack("incident", "show", "1")
    assert shown.exit_code == 0, (shown.output, shown.exception)
    told = [shown.output.index(part) for part in ("begin", "7 of 20 calls failed", "resume, ")]
    assert told == sorted(told)
    for part in (
        f"# Incident {incident}",
        "root cause: pool too small",
        "arrived_after_ms: 812.5",
        "cli:ada: rollback, soaking → rolling_back (complaints \\| more)",
    ):
        assert part in shown.output, shown.output
    document = stack.json("incident", "show", incident)
    assert document["timeline"][0]["source"] == "audit"


def test_the_bundle_holds_everything_and_no_secret(
    stack: Stack, incident: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = stack("incident", "show", incident, "--bundle", "it.zip")
    assert shown.exit_code == 0, (shown.output, shown.exception)
    with zipfile.ZipFile(tmp_path / "it.zip") as archive:
        files = {name.removeprefix("it/"): archive.read(name) for name in archive.namelist()}
    assert set(files) == {
        "audit.json",
        "discrepancies.json",
        "incident.json",
        "logs/control.log",
        "reconciliations.json",
        "rollout.json",
        "settings.json",
        "status.json",
        "telemetry.json",
        "timeline.json",
        "timeline.md",
        "versions.json",
    }
    assert len(files["logs/control.log"]) <= 500_000
    assert b"bearer ********" in files["logs/control.log"]
    assert all(b"operator-secret" not in content for content in files.values())
    assert sum(one["reports"] for one in orjson.loads(files["telemetry.json"])) > 0
    assert orjson.loads(files["versions.json"])["python"]
    with pytest.raises(UsageError, match="exists already"):
        raise refusal(stack("incident", "show", "1", "--bundle", "it.zip"))
    assert stack("incident", "show", "1", "--bundle", "folder").exit_code == 0
    assert (tmp_path / "folder" / "logs" / "control.log").is_file()


def test_one_that_is_not_there_is_told_with_those_that_are(stack: Stack, incident: str) -> None:
    with pytest.raises(UsageError, match=f"no incident 7; the newest are: {incident}"):
        raise refusal(stack("incident", "show", "7"))
