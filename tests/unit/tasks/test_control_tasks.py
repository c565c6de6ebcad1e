"""The tasks that talk to the control server: patience, lateness, and what they leave alone."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from crossfade.core.flags import Flags
from crossfade.core.reconciliation import Discrepancy, Kind, Reconciliation
from crossfade.core.verdict import Measurement, Verdict
from crossfade.errors import ControlDenied, ControlUnavailable, Refused, StackError, UsageError
from tasks import control_plane, preflight, recovery, validation
from tasks import incident as incidents


class Client:
    """Answers each call with the next of its answers; the last one for ever."""

    def __init__(self, **answers: Any) -> None:
        self.answers = {name: list(values) for name, values in answers.items()}
        self.commands: list[tuple[str, dict[str, Any]]] = []

    def _next(self, name: str) -> Any:
        values = self.answers[name]
        value = values.pop(0) if len(values) > 1 else values[0]
        if isinstance(value, Exception):
            raise value
        return value

    async def decision(self, stage: int, attempt: int | None) -> Any:
        return self._next("decision")

    async def status(self) -> Any:
        return self._next("status")

    async def rollout(self) -> Any:
        return self._next("rollout")

    async def incidents(self, limit: int = 100) -> Any:
        return self._next("incidents") if "incidents" in self.answers else []

    async def command(self, verb: str, **fields: Any) -> Any:
        self.commands.append((verb, fields))
        return self._next("command")


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Callable[[Client], Client]:
    def install(client: Client) -> Client:
        @asynccontextmanager
        async def control() -> AsyncIterator[Client]:
            yield client

        monkeypatch.setattr(incidents, "control", control)
        for module in (control_plane, preflight, recovery):
            monkeypatch.setattr(module, "control", control)
        return client

    async def at_once(_seconds: float) -> None:
        return None

    for module in (control_plane, recovery, validation):
        monkeypatch.setattr(module, "get_run_logger", lambda: logging.getLogger("test"))
    for module in (control_plane, preflight, recovery):
        monkeypatch.setattr(module.asyncio, "sleep", at_once)
    return install


DECISION = {
    "action": "wait",
    "reason": "soaks",
    "wait_s": 2.5,
    "rollout": {"stage": 1, "attempt": 3},
    "evidence": None,
}


async def test_an_action_of_a_newer_server_is_no_crash(serve: Callable[[Client], Client]) -> None:
    serve(Client(decision=[{"action": "dance", "rollout": {}}]))
    with pytest.raises(UsageError, match="'dance', which this version"):
        await control_plane.next_step(0, None)


async def test_a_control_server_that_is_away_is_waited_for(
    serve: Callable[[Client], Client], caplog: pytest.LogCaptureFixture
) -> None:
    gone = ControlUnavailable("gone")
    serve(Client(decision=[gone, gone, gone, DECISION]))
    step = await control_plane.next_step(1, 3)
    assert (step.action, step.wait_s, step.stage, step.attempt) == ("wait", 2.5, 1, 3)
    assert step.evidence == {}
    assert len([one for one in caplog.records if "gone" in one.message]) == 1


async def test_but_not_for_ever_and_not_a_refused_token(
    serve: Callable[[Client], Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(Client(decision=[ControlDenied("token")]))
    with pytest.raises(ControlDenied):
        await control_plane.next_step(0, None)
    monkeypatch.setattr(control_plane, "PATIENCE_S", 0.0)
    serve(Client(decision=[ControlUnavailable("gone")]))
    with pytest.raises(ControlUnavailable):
        await control_plane.next_step(0, None)


ROLLING = {"phase": "rolling_back", "incident_id": "r-1", "since_us": 1}


async def test_take_back_on_demand_commands(serve: Callable[[Client], Client]) -> None:
    client = serve(Client(rollout=[{"phase": "soaking"}], command=[ROLLING]))
    found = await recovery.take_back.fn("worried", ["critical"], 10.0, "Ada", "")
    assert found == ROLLING
    ((verb, fields),) = client.commands
    assert (verb, fields["reason"], fields["scope"], fields["to"]) == (
        "rollback", "worried", ["critical"], 10.0
    )  # fmt: skip
    assert fields["actor"].startswith("flow-run:")
    assert fields["actor"].endswith(" for Ada")


@pytest.mark.parametrize(
    "incident",
    [
        {"opened_by": "flow-run:local for Ada", "changes": []},
        {"opened_by": "monitor", "changes": [{"actor": "flow-run:local for Ada"}]},
    ],
)
@pytest.mark.parametrize(("phase", "goes_on"), [("rolling_back", True), ("soaking", False)])
async def test_a_run_that_is_started_again_does_not_command_again(
    serve: Callable[[Client], Client], incident: dict[str, Any], phase: str, goes_on: bool
) -> None:
    rollout = {**ROLLING, "phase": phase}
    client = serve(Client(rollout=[rollout], incidents=[[incident]]))
    found = await recovery.take_back.fn("worried", None, 0.0, "Ada", "")
    assert (found is not None) is goes_on
    assert client.commands == []


@pytest.mark.parametrize(
    ("rollout", "goes_on"),
    [
        (ROLLING, True),
        ({**ROLLING, "incident_id": "r-2"}, False),
        ({**ROLLING, "phase": "rolled_back"}, False),
        ({"phase": "soaking", "incident_id": None}, False),
        (None, False),
    ],
)
async def test_an_incident_told_late_takes_nothing_back(
    serve: Callable[[Client], Client], rollout: dict[str, Any] | None, goes_on: bool
) -> None:
    client = serve(Client(rollout=[rollout]))
    found = await recovery.take_back.fn("breach", None, 0.0, "", "r-1")
    assert (found == rollout and found is not None) is goes_on
    assert client.commands == []


async def test_nothing_to_take_back(serve: Callable[[Client], Client]) -> None:
    serve(Client(rollout=[None]))
    assert await recovery.take_back.fn("worried", None, 0.0, "", "") is None
    serve(Client(rollout=[{}], command=[{"phase": "rolled_back"}]))
    assert await recovery.take_back.fn("worried", None, 0.0, "", "") is None


def status(version: int) -> dict[str, Any]:
    sinks = {"websocket": {"owed": 0, "oldest_owed_ms": 0.0}}
    publisher = {
        "instance": "app", "role": "publisher", "live": True, "flag_version": version,
        "report": {"sinks": sinks},
    }  # fmt: skip
    return {
        "flags": Flags(version=5, served={"*": 0.0}).to_json(), "instances": [publisher]
    }  # fmt: skip


async def test_arrival_is_waited_for_through_an_absence(
    serve: Callable[[Client], Client], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    serve(Client(status=[status(4), ControlUnavailable("gone"), status(4), status(5)]))
    figures = await recovery.wait_for_arrival.fn(1)
    assert {"flags_followed_after_ms", "on_realtime_after_ms", "websocket_owed_after_ms",
            "arrived_after_ms", "checks"} == set(figures)  # fmt: skip
    assert figures["on_realtime_after_ms"] <= figures["flags_followed_after_ms"]
    said = [one.message for one in caplog.records]
    assert said == [
        "still waiting: flags_followed: app has 4",
        "still waiting: gone",
        "still waiting: flags_followed: app has 4",
    ]


async def test_who_never_arrives_is_named(
    serve: Callable[[Client], Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "ARRIVAL_TIMEOUT_S", 0.0)
    serve(Client(status=[status(4)]))
    with pytest.raises(StackError, match="not arrived after 0 s: flags_followed: app has 4"):
        await recovery.wait_for_arrival.fn(1)


def check(verdict: Verdict) -> Measurement:
    return Measurement(name="hub", value=1.0, limit=1.0, n=1, unit="", verdict=verdict)


@pytest.mark.parametrize(
    ("patience_s", "verdicts", "result"),
    [
        (60.0, [Verdict.FAIL, Verdict.ERROR, Verdict.PASS], "pass"),
        (0.0, [Verdict.FAIL, Verdict.PASS], "fail"),
    ],
)
async def test_preflight_is_patient(
    serve: Callable[[Client], Client],
    monkeypatch: pytest.MonkeyPatch,
    patience_s: float,
    verdicts: list[Verdict],
    result: str,
) -> None:
    left = list(verdicts)

    async def checks(_settings: Any, _client: Any) -> list[Measurement]:
        return [check(left.pop(0))]

    serve(Client())
    monkeypatch.setattr(preflight, "preflight", checks)
    monkeypatch.setattr(preflight, "settings", lambda: None)
    monkeypatch.setattr(preflight, "PATIENCE_S", patience_s)
    (found,) = await preflight.check_everything.fn()
    assert found["verdict"] == result


def reconciled(verdict: Verdict) -> dict[str, Any]:
    wrong = Discrepancy(
        Kind.MISSING, "supabase", "app/1/critical/3/17", "id", "t", "critical", "critical", ""
    )
    count = 1 if verdict is Verdict.FAIL else 0
    return Reconciliation(
        at_us=1,
        duration_ms=1.0,
        verdict=verdict,
        discrepancies=(wrong,) * count,
        discrepancy_count=count,
    ).to_json()


@pytest.mark.parametrize(
    ("verdict", "phase", "breaches"),
    [
        (Verdict.FAIL, "soaking", True),
        (Verdict.FAIL, "awaiting_approval", True),
        (Verdict.FAIL, "ready", False),
        (Verdict.FAIL, "rolling_back", False),
        (Verdict.PASS, "soaking", False),
        (Verdict.ERROR, "soaking", False),
        (Verdict.INCONCLUSIVE, "soaking", False),
    ],
)
async def test_only_a_fail_during_a_stage_is_a_breach(
    serve: Callable[[Client], Client],
    monkeypatch: pytest.MonkeyPatch,
    verdict: Verdict,
    phase: str,
    breaches: bool,
) -> None:
    given: list[tuple[Any, ...]] = []

    async def command(*arguments: Any, **fields: Any) -> None:
        given.append((*arguments, fields))
        raise Refused("the monitor was first")

    monkeypatch.setattr(validation, "command", command)
    rollout = {"phase": phase, "stage": 1, "attempt": 2}
    await validation.report_breach(reconciled(verdict), "ab" * 32, rollout)
    await validation.report_breach(reconciled(verdict), "ab" * 32, None)
    assert bool(given) is breaches
    if breaches:
        ((verb, stage, attempt, fields),) = given
        assert (verb, stage, attempt) == ("breach", 1, 2)
        # With a flow run's name the control server would not start the rollback flow.
        assert not fields["by"].startswith("flow-run:")
        assert "1 discrepancies, first missing in supabase: app/1/critical/3/17" in fields["reason"]


async def test_a_story_that_can_not_be_told_does_not_undo_the_rollback(
    serve: Callable[[Client], Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incidents, "get_run_logger", lambda: logging.getLogger("test"))
    serve(Client(incidents=[ControlUnavailable("it is away")]))
    page = await incidents.incident_page.fn("r-1")
    assert "could not be told: it is away" in page
    assert "crossfade incident show r-1 --bundle" in page


VERIFIED = {
    "id": "r",
    "stage": 1,
    "attempt": 2,
    "incident_id": "r-1",
    "since_us": 5,
    "phase": "rolling_back",
    "reason": "more",
}


@pytest.mark.parametrize(
    ("now", "again"),
    [
        ({**VERIFIED, "since_us": 9}, True),
        (VERIFIED, None),
        ({**VERIFIED, "since_us": 9, "attempt": 3}, None),
        ({**VERIFIED, "since_us": 9, "incident_id": "r-2"}, None),
        (None, None),
    ],
)
async def test_a_rollback_that_was_widened_meanwhile_is_verified_again(
    monkeypatch: pytest.MonkeyPatch, now: dict[str, Any] | None, again: bool | None
) -> None:
    given: list[dict[str, Any]] = []
    refused = [True]

    async def command(verb: str, stage: int, attempt: int, **fields: Any) -> None:
        given.append({"verb": verb, "stage": stage, "attempt": attempt, **fields})
        if refused[0]:
            raise Refused("rolled_back: as told")

    async def current() -> dict[str, Any] | None:
        return now

    monkeypatch.setattr(recovery, "command", command)
    monkeypatch.setattr(recovery, "current_rollout", current)
    monkeypatch.setattr(recovery, "get_run_logger", lambda: logging.getLogger("test"))
    if again:
        assert await recovery.settle_rollback(VERIFIED, {"missing": 0}) == now
    else:
        with pytest.raises(Refused, match="as told"):
            await recovery.settle_rollback(VERIFIED, {"missing": 0})
    refused[0] = False
    assert await recovery.settle_rollback(VERIFIED, {"missing": 0}) is None
    told = {"verb": "rolled_back", "stage": 1, "attempt": 2, "since_us": 5}
    assert given[-1] == {**told, "figures": {"missing": 0}}
