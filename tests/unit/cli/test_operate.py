"""The operator's commands against a control server in another thread."""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import structlog
from typer.testing import CliRunner, Result

from crossfade.adapters.control import ControlClient
from crossfade.cli import app, operate
from crossfade.control import schema
from crossfade.control.server import ControlServer
from crossfade.errors import ApprovalRefused, CrossfadeError, Refused, UsageError
from tests.reconciliation_data import World, stream
from tests.unit.control.conftest import HeldClock, client_of, settings_in
from tests.unit.control.test_app import Week

WIDE = {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}


class Stack:
    """A control server on a loop of its own, and the command line pointed at it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = HeldClock()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.settings = settings_in(folder)
        self.server = ControlServer(self.settings, clock=self.clock)

    def run(self, work: Awaitable[Any]) -> Any:
        async def awaited() -> Any:
            return await work

        return asyncio.run_coroutine_threadsafe(awaited(), self.loop).result(30)

    def start(self) -> None:
        self.thread.start()
        self.run(self.server.__aenter__())
        self.client: ControlClient = client_of(self.server, self.settings)
        self.week = Week(self.server, self.client, self.clock)
        document = self.settings.model_dump(mode="json")
        stages = "".join(
            f'[[rollout.stages]]\nname = "{one["name"]}"\n'
            f'percent = {{"*" = {one["percent"]["*"]}}}\n'
            f"soak_s = {one['soak_s']}\n[rollout.stages.targets]\n"
            + "".join(f"{key} = {value}\n" for key, value in one["targets"].items())
            for one in document["rollout"]["stages"]
        )
        (self.folder / "crossfade.toml").write_text(
            f'[control]\nurl = "{self.server.url}"\noperator_token = "operator-secret"\n'
            f'instance_token = "instance-secret"\n[rollout]\nname = "test"\n'
            f"approval_expires_s = 60\n{stages}"
        )

    def stop(self) -> None:
        self.run(self.client.close())
        self.run(self.server.__aexit__(None, None, None))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()

    def __call__(self, *arguments: str, input: str | None = None) -> Result:  # noqa: A002
        settings = ["--settings", str(self.folder / "crossfade.toml")]
        return CliRunner().invoke(app, [*arguments, *settings], env=WIDE, input=input)

    def json(self, *arguments: str) -> Any:
        result = self(*arguments, "--json")
        assert result.exit_code == 0, (result.output, result.exception)
        return orjson.loads(result.stdout)


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    monkeypatch.setattr(schema, "_SYNCHRONOUS", "OFF")
    # The server logs to standard output unless told otherwise, which commands print on here.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    found = Stack(tmp_path)
    found.start()
    try:
        yield found
    finally:
        found.stop()
        structlog.reset_defaults()


def refusal(result: Result) -> CrossfadeError:
    assert isinstance(result.exception, CrossfadeError), (result.output, result.exception)
    return result.exception


def test_a_rollout_by_hand(stack: Stack) -> None:
    before = stack("status")
    assert "no rollout was started" in before.output
    started = stack("start", "--as", "ada")
    assert "is ready: week-1, week-2, week-3" in started.output
    stack.run(stack.week.until("reconcile"))
    view = stack("status").output
    for words in (
        "test: week-1, stage 1 of 3, attempt 1: awaiting_approval",
        "expires in 60 s",
        "waits for approval of evidence",
        "error_rate",
        "PASS",
        "<= 5 %",
        "app-1",
        "last reconciliation",
    ):
        assert words in view, view
    approved = stack("approve", "--yes", "--as", "ada", "--comment", "quiet", "--tickets", "2")
    assert approved.output == "week-1 is approved; week-2 may start\n"
    stack.run(stack.week.until("apply"))
    rolled = stack("rollback", "--reason", "complaints", "--wait", "0", "--as", "ada")
    assert "still on other flags: app-1, sub-1, tap" in str(refusal(rolled))
    assert "rolling_back: flags 4 are in force at 0 of 3 live instances" in rolled.output
    assert "open incident" in stack("status").output
    stack.run(stack.week.tick())
    again = stack("rollback", "--reason", "complaints", "--as", "ada")
    assert (again.exit_code, "at 3 of 3 live instances" in again.output) == (0, True)
    with pytest.raises(Refused, match="wait until the rollback is verified"):
        raise refusal(stack("resume", "--root-cause", "x", "--fix", "y"))
    address = {"actor": "flow-run:x", "stage": 1, "attempt": 1}
    stack.run(stack.client.command("rolled_back", **address))
    resumed = stack("resume", "--root-cause", "pool too small", "--fix", "raised to 40")
    assert resumed.output == "week-2 is ready for attempt 2\n"
    listed = stack("incidents").output
    assert "complaints" in listed
    assert "pool too small / raised to 40" in listed
    log = stack("audit").output
    assert "cli:ada" in log
    assert "approved by ada" in log
    assert "served * 0 %" in log


def test_machines_read_json(stack: Stack) -> None:
    rollout = stack.json("start")
    assert rollout["phase"] == "ready"
    assert rollout["stages"][0]["targets"]["minimum_events"] == 50
    assert stack.json("status")["rollout"] == rollout
    assert stack.json("audit")[0]["verb"] == "start"
    assert stack.json("incidents") == []
    rolled = stack.json("rollback", "--reason", "x", "--scope", "critical", "--to", "0")
    assert (rolled["phase"], rolled["behind"]) == ("rolling_back", [])
    assert stack.json("incidents")[0]["scope"] == ["critical"]


def test_reject_and_cancel(stack: Stack) -> None:
    stack("start")
    stack.run(stack.week.until("reconcile"))
    with pytest.raises(UsageError, match="--comment"):
        raise refusal(stack("reject"))
    assert "week-1 is held" in stack("reject", "--comment", "two complaints").output
    assert "two complaints" in stack("status").output
    with pytest.raises(Refused, match="still serves"):
        raise refusal(stack("cancel", "--reason", "another plan"))
    stack("rollback", "--reason", "x", "--wait", "0")
    stack.run(stack.client.command("rolled_back", actor="x", stage=0, attempt=1))
    assert "rollout test is cancelled" in stack("cancel", "--reason", "another plan").output


def test_an_approval_names_what_was_looked_at(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack("start")
    with pytest.raises(Refused, match="week-1 is ready; nothing waits"):
        raise refusal(stack("approve", "--yes"))
    stack.run(stack.week.until("reconcile"))
    with pytest.raises(UsageError, match=r"waits for approval, not 000"):
        raise refusal(stack("approve", "--yes", "--evidence", "000"))
    with pytest.raises(UsageError, match="give --yes"):
        raise refusal(stack("approve"))
    with pytest.raises(ApprovalRefused, match="9 support tickets"):
        raise refusal(stack("approve", "--yes", "--tickets", "9"))
    digest = stack.json("status")["rollout"]["evidence_hash"]
    with pytest.raises(UsageError, match="approver_token"):
        raise refusal(stack("approve", "--code"))
    monkeypatch.setenv("CROSSFADE_CONTROL__APPROVER_TOKEN", "approver-token")
    told = stack("approve", "--code", "--as", "ada", "--tickets", "2")
    assert "who decides ada · tickets 2" in told.stderr
    code = told.stdout.strip()
    assert len(code) == 20
    document = stack.json("approve", "--code", "--as", "ada", "--tickets", "2")
    assert document == {"code": code, "evidence_hash": digest, "approver": "ada", "tickets": 2}
    monkeypatch.delenv("CROSSFADE_CONTROL__APPROVER_TOKEN")
    assert "approved" in stack("approve", "--yes", "--evidence", digest[:8]).output


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["rollback"], "--reason: say why"),
        (["cancel"], "--reason: say why"),
        (["resume"], "--root-cause and --fix: must be recorded"),
        (["resume", "--root-cause", "x", "--fix", " "], "--fix: must be recorded"),
        (["rollback", "--reason", "x"], "no rollout"),
        (["resume", "--root-cause", "x", "--fix", "y"], "no rollout"),
        (["approve", "--yes"], "no rollout"),
    ],
)
def test_what_can_not_be_done_is_said(stack: Stack, arguments: list[str], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        raise refusal(stack(*arguments))


def test_interrupted_watch_ends_with_130(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = 0
    real = operate._next_status

    async def interrupted(*arguments: Any) -> Any:
        nonlocal shown
        shown += 1
        if shown == 3:
            raise KeyboardInterrupt
        return await real(*arguments)

    monkeypatch.setattr(operate, "WATCH_S", 0.0)
    monkeypatch.setattr(operate, "_next_status", interrupted)
    result = stack("status", "--watch", "--json")
    assert result.exit_code == 130
    documents = [orjson.loads(line) for line in result.stdout.splitlines()]
    assert len(documents) == 3
    assert all("flags" in one for one in documents)


@pytest.mark.parametrize(
    "command",
    ["status", "start", "approve", "reject", "rollback", "resume", "cancel", "audit", "incidents"],
)
def test_help_has_an_example(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"], env=WIDE)
    assert result.exit_code == 0
    assert f"Example: crossfade {command}" in result.output


def test_an_accepted_gap_is_in_the_audit_or_not_accepted(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(stack.folder)
    where = stream("critical", 3)
    with World(stack.folder, now_us=1_700_000_000_000_000) as world:
        events = world.fill(where, 20)
        world.drop("websocket", events[4])
        world.uncover(events[4])
        asked = (
            "reconcile", "--acknowledge-gap", "app/1/critical/3/1-20",
            "--by", "Ada", "--reason", "hub's log read",
        )  # fmt: skip
        paths = '[journal]\npath = "journal.db"\n[tap]\npath = "tap.db"\n'
        toml = stack.folder / "crossfade.toml"
        toml.write_text(toml.read_text() + paths + '[reconcile]\nstate = "seals.db"\n')
        monkeypatch.setenv("CROSSFADE_CONTROL__URL", "http://127.0.0.1:9")
        assert "nothing was accepted: control server" in str(refusal(stack(*asked)))
        assert not (stack.folder / "seals.db").exists()
        monkeypatch.setenv("CROSSFADE_CONTROL__URL", stack.server.url)
        (done,) = stack.json(*asked)
        (row,) = stack.json("audit")
        assert row["command"] == {
            "verb": "acknowledge_gap", "actor": "cli:Ada", "role": "operator", **done,
        }  # fmt: skip
        table = stack("audit").output
        assert "app/1/critical/3/5-5" in table.replace("\n", "")
