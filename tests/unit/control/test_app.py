"""The server over real HTTP: tokens, errors, long polls, and a rollout from end to end."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import httpx
import orjson
import pytest
from pydantic import SecretStr

from crossfade.adapters.flag_follower import FlagFollower
from crossfade.control.app import MAX_BODY_BYTES
from crossfade.control.auth import Approval, approval_code, is_approval_code
from crossfade.control.monitor import Monitor
from crossfade.control.server import ControlServer
from crossfade.core.telemetry import Role
from crossfade.core.telemetry_totals import Window
from crossfade.errors import (
    ApprovalRefused,
    ControlDenied,
    PortTaken,
    Refused,
    SettingsError,
    UsageError,
)
from tests.rollouts import (
    a_measurement,
    a_reconciliation,
    hub_report,
    publisher_report,
    reader_report,
)
from tests.unit.control.conftest import OPERATOR, Running, client_of, settings_in

FLOW = "flow-run:gray-fox"


class Week:
    """Drives a rollout as the week's flow does, with healthy instances that report."""

    def __init__(self, server: Any, client: Any, clock: Any) -> None:
        self.server, self.client, self.clock = server, client, clock
        self.second = 0

    async def tick(self, seconds: int = 1, **publisher: Any) -> None:
        """Seconds of healthy reports; ``publisher`` changes the publisher's sink."""
        for _ in range(seconds):
            self.clock.advance(1)
            self.second += 1
            version = (await self.client.flags()).version
            for report in (
                publisher_report(self.second, flag_version=version, sink=publisher),
                reader_report(self.second, flag_version=version),
                reader_report(self.second, "tap", Role.TAP, flag_version=version),
            ):
                await self.client.report(report)

    async def step(self) -> str:
        """Ask what is next and do it; the action."""
        rollout = await self.client.rollout()
        decision = await self.client.decision(rollout["stage"], rollout["attempt"])
        address = {
            "actor": FLOW,
            "stage": decision["rollout"]["stage"],
            "attempt": decision["rollout"]["attempt"],
        }
        match decision["action"]:
            case "begin":
                await self.client.command("begin", **address)
            case "preflight":
                checks = [a_measurement("doctor").to_json()]
                await self.client.command("preflight", checks=checks, **address)
            case "apply":
                await self.client.command("applied", **address)
            case "soaked":
                await self.client.command("soaked", **address)
            case "wait":
                await self.tick()
            case "reconcile":
                await self.tick()
                digest = await self.client.reconciliation(a_reconciliation(at_us=self.clock.at_us))
                await self.client.command("reconciled", reconciliation=digest, **address)
            case "ask_approval":
                await self.client.command(
                    "approve",
                    evidence_hash=decision["evidence"]["hash"],
                    approver="ada",
                    **address,
                )
        return str(decision["action"])

    async def until(self, action: str, limit: int = 60) -> None:
        """Steps until ``action`` was done."""
        for _ in range(limit):
            if await self.step() == action:
                return
        raise AssertionError(f"{action} did not come; {await self.client.rollout()}")

    async def start(self) -> None:
        plan = self.server.service.settings.rollout.model_dump(mode="json")
        await self.client.start("test", plan, "cli:ada")


async def phase_is(client: Any, phase: str) -> None:
    """Waits, at most ten seconds, for the rollout's phase."""
    async with asyncio.timeout(10):
        while (await client.rollout())["phase"] != phase:  # noqa: ASYNC110 - over HTTP
            await asyncio.sleep(0.02)


async def test_three_weeks_with_a_breach_in_the_second(running: Running) -> None:
    async with running() as (server, client, clock):
        week = Week(server, client, clock)
        await week.start()
        await week.until("ask_approval")
        rollout = await client.rollout()
        assert (rollout["stage"], rollout["phase"]) == (1, "ready")
        await week.until("apply")
        assert (await client.flags()).served == {"*": 50}
        await week.tick(breaker="open", probes_failed=1)
        await phase_is(client, "rolling_back")
        assert (await client.rollout())["actor"] == "monitor"
        assert (await client.flags()).served == {"*": 0}
        assert (await client.flags()).written == {"*": 50}
        status = await client.status()
        assert "breaker" in status["incident"]["reason"]
        address = {"actor": FLOW, "stage": 1, "attempt": 1}
        await client.command("rolled_back", figures={"took_s": 1.5}, **address)
        await client.command("resume", root_cause="outage", fix="over", **address)
        await week.until("ask_approval")
        await week.until("ask_approval")
        rollout = await client.rollout()
        assert rollout["phase"] == "completed"
        assert [(one["stage"], one["attempt"]) for one in rollout["approvals"]] == [
            (0, 1),
            (1, 2),
            (2, 1),
        ]
        decision = await client.decision(2)
        assert decision["action"] == "finished"
        (incident,) = await client.incidents()
        assert (incident["root_cause"], incident["figures"]) == ("outage", {"took_s": 1.5})
        verbs = [row["verb"] for row in await client.audit(limit=1_000)]
        assert verbs.count("approve") == 3
        assert {"start", "breach", "rolled_back", "resume"} <= set(verbs)


async def test_an_approval_is_checked_against_the_evidence_as_it_is_now(running: Running) -> None:
    async with running() as (server, client, clock):
        week = Week(server, client, clock)
        await week.start()
        await week.until("reconcile")
        decision = await client.decision(0)
        assert decision["action"] == "ask_approval"
        frozen = decision["evidence"]
        assert frozen["hash"] == decision["rollout"]["evidence_hash"]
        await week.tick(failures=4)
        await week.tick(failures=0)
        address = {"actor": "cli:ada", "stage": 0, "attempt": 1, "approver": "ada"}
        with pytest.raises(ApprovalRefused, match="got worse since: error_rate"):
            await client.command("approve", evidence_hash=frozen["hash"], **address)
        with pytest.raises(ApprovalRefused, match="names evidence 000000000000"):
            await client.command("approve", evidence_hash="0" * 64, **address)
        assert (await client.decision(0))["evidence"] == frozen


async def test_an_approval_that_nobody_gave_is_held(running: Running) -> None:
    async with running() as (server, client, clock):
        week = Week(server, client, clock)
        await week.start()
        await week.until("reconcile")
        clock.advance(61)
        decision = await client.decision(0)
        assert decision["action"] == "stopped"
        assert "nobody approved within 60 s" in decision["reason"]
        assert decision["rollout"]["phase"] == "held"
        assert server.service.commands["hold", "done"] == 1


async def test_a_reconciliation_that_fails_is_a_breach(running: Running) -> None:
    async with running() as (server, client, clock):
        week = Week(server, client, clock)
        await week.start()
        await week.until("soaked")
        await week.tick()
        bad = a_reconciliation("fail", discrepancy_count=1, at_us=clock.at_us)
        await client.reconciliation(bad)
        await phase_is(client, "rolling_back")  # though the monitor's second is an hour here


async def test_a_long_poll_is_woken_at_once(running: Running) -> None:
    async with running() as (server, client, clock):
        week = Week(server, client, clock)
        await week.start()
        waiting = asyncio.create_task(client.flags(after=1, wait_s=30))
        await week.until("preflight")
        async with asyncio.timeout(10):
            flags = await waiting
        assert (flags.version, flags.served) == (2, {"*": 10})


async def test_a_long_poll_without_news_ends(running: Running) -> None:
    async with running() as (_, client, _clock):
        flags = await client.flags(after=1, wait_s=0.05)
        assert flags.version == 1


async def test_an_instance_with_later_flags_is_outrun(running: Running) -> None:
    async with running() as (_, client, _clock):
        assert (await client.flags(after=41)).version == 42
        with pytest.raises(UsageError, match="not a version"):
            await client.flags(after=1 << 60)


async def test_stopping_ends_long_polls(running: Running) -> None:
    async with running() as (server, client, _clock):
        waiting = asyncio.create_task(client.flags(after=1, wait_s=30))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        server.service.release()
        async with asyncio.timeout(10):
            assert (await waiting).version == 1


OPERATOR_ONLY = [
    ("GET", "/v1/status"),
    ("GET", "/v1/rollout"),
    ("POST", "/v1/rollout"),
    ("GET", "/v1/rollout/decision?stage=0"),
    ("POST", "/v1/rollout/commands"),
    ("GET", "/v1/reconciliations"),
    ("POST", "/v1/reconciliations"),
    ("GET", "/v1/audit"),
    ("GET", "/v1/incidents"),
    ("GET", "/v1/telemetry"),
]


async def test_tokens(running: Running, tmp_path: Any) -> None:
    async with (
        running() as (server, _client, _clock),
        httpx.AsyncClient(base_url=server.url) as http,
    ):
        for method, path in [*OPERATOR_ONLY, ("GET", "/v1/flags"), ("POST", "/v1/telemetry")]:
            for header in ("", "Bearer", "Bearer wrong", f"Basic {OPERATOR}", OPERATOR):
                answer = await http.request(method, path, headers={"Authorization": header})
                assert answer.status_code == 401, (method, path, header)
                assert "error" in answer.json()
        for path in ("/healthz", "/metrics", "/", "/plain"):
            assert (await http.get(path)).status_code == 200
        async with client_of(server, settings_in(tmp_path), "instance") as instance:
            assert (await instance.flags()).version == 1
            await instance.report(publisher_report(1))
            with pytest.raises(ControlDenied, match="may only read flags"):
                await instance.status()
            with pytest.raises(ControlDenied):
                await instance.command("rollback", actor="x", reason="y")


BAD_CALLS: list[tuple[Any, type[Exception], str]] = [
    (lambda c: c.command("begin", actor="x", stage=0, attempt=1), UsageError, "no rollout"),
    (lambda c: c.decision(0), UsageError, "no rollout"),
    (lambda c: c.decision(-1), UsageError, "not a stage"),
    (lambda c: c.start("x", {"stages": []}, "y"), UsageError, "plan"),
    (lambda c: c.start("x", {"stagez": 1}, "y"), UsageError, "plan"),
    (lambda c: c.start("", {}, "y"), UsageError, "name and actor"),
    (lambda c: c.start("x", {"partitions": 7}, "y"), Refused, "7 partitions"),
    (lambda c: c.reconciliation({"verdict": "good"}), UsageError, "good"),
    (lambda c: c.audit(limit=0), UsageError, "limit"),
    (lambda c: c.audit(limit=10_001), UsageError, "limit"),
    (lambda c: c.audit(after="x"), UsageError, "whole number"),
    (lambda c: c.audit(after=1 << 70), UsageError, "out of range"),
]


async def test_bad_requests(running: Running) -> None:
    async with running() as (_, client, _clock):
        for call, error, why in BAD_CALLS:
            with pytest.raises(error, match=why):
                await call(client)


BAD_REPORTS: list[dict[str, Any]] = [
    {"role": "boss"},
    {"instance": ""},
    {"instance": "x" * 201},
    {"instance": 7},
    {"interval_ms": 0},
    {"interval_ms": "x"},
    {"at_us": 1.5},
    {"sinks": {"supabase": {"calls": -1, "latency_ms": {"counts": {}}}}},
    {"sinks": {"supabase": {"failures": 1, "latency_ms": {"counts": {}}}}},
    {"sinks": {"supabase": {"latency_ms": {"counts": {"x": 1}}}}},
    {"sinks": {"supabase": {"latency_ms": {"counts": {"5000": 1}}}}},
    {"sinks": {"supabase": {"latency_ms": {"counts": {"5": 0.5}}}}},
    {"sinks": {"supabase": {"latency_ms": {"counts": []}}}},
    {"sinks": {"supabase": {"unknown": 1, "latency_ms": {"counts": {}}}}},
    {"sinks": []},
    {"transports": {"realtime": {"cohort": "9", "latency_ms": {"counts": {}}}}},
    {"transports": {"realtime": {"serving": {"t": "xyz"}, "latency_ms": {"counts": {}}}}},
    {"transports": {"realtime": {"serving": {"t": 5}, "latency_ms": {"counts": {}}}}},
    {"transports": {"realtime": {"serving": {"t": "f" * 1_025}, "latency_ms": {"counts": {}}}}},
    {"resources": {"cpu_s": "x"}},
    {"totals": {"lost": "3"}},
    {"totals": {str(number): 1 for number in range(51)}},
    {"surprise": 1},
]


async def test_malformed_reports_are_refused(running: Running) -> None:
    async with (
        running() as (server, _client, _clock),
        httpx.AsyncClient(
            base_url=server.url, headers={"Authorization": f"Bearer {OPERATOR}"}
        ) as http,
    ):
        for change in BAD_REPORTS:
            body = {**publisher_report(1).to_json(), **change}
            answer = await http.post("/v1/telemetry", content=orjson.dumps(body))
            assert answer.status_code == 400, (change, answer.text)
            assert answer.json()["error"].startswith("report:")
        assert server.service.observations.reports == 0


async def test_bodies_that_are_no_object_or_too_large(running: Running) -> None:
    async with (
        running() as (server, _client, _clock),
        httpx.AsyncClient(
            base_url=server.url, headers={"Authorization": f"Bearer {OPERATOR}"}
        ) as http,
    ):
        for body in (b"", b"[]", b"{", b"\xff", b"x" * (MAX_BODY_BYTES + 1)):
            assert (await http.post("/v1/rollout", content=body)).status_code == 400


async def test_one_rollout_at_a_time(running: Running) -> None:
    async with running() as (server, client, clock):
        week = Week(server, client, clock)
        await week.start()
        with pytest.raises(Refused, match="rollout test is ready"):
            await week.start()
        await client.command("cancel", actor="cli:ada", stage=0, attempt=1, reason="another plan")
        await week.start()
        assert (await client.rollout())["phase"] == "ready"


async def test_a_new_rollout_does_not_pull_the_rug_from_a_completed_one(running: Running) -> None:
    async with running() as (server, client, clock):
        week = Week(server, client, clock)
        await week.start()
        for _ in range(3):
            await week.until("ask_approval")
        with pytest.raises(Refused, match="still serves somebody"):
            await week.start()
        assert (await client.flags()).served == {"*": 100}


async def test_a_restart_goes_on(running: Running) -> None:
    async with running() as (server, client, clock):
        week = Week(server, client, clock)
        await week.start()
        await week.until("soaked")
        before = await client.rollout()
        figures = {
            one["name"]: one["n"] for one in (await client.status())["evidence"]["measurements"]
        }
    async with running() as (server, client, held):
        assert held is clock
        assert await client.rollout() == before
        after = (await client.status())["evidence"]["measurements"]
        assert {one["name"]: one["n"] for one in after} == figures
        week = Week(server, client, clock)
        week.second = 10_000
        await week.until("ask_approval")
        assert (await client.rollout())["stage"] == 1


async def test_status_tells_everything(running: Running) -> None:
    async with running() as (server, client, clock):
        week = Week(server, client, clock)
        await week.start()
        await week.until("apply")
        await week.tick(2, owed=7, oldest_owed_ms=1_500.0, last_error="timed out")
        status = await client.status()
        assert status["stores"]["supabase"] == {
            "owed": 7,
            "oldest_owed_ms": 1_500.0,
            "lag_ms": 1_500.0,
            "breaker": "closed",
            "last_error": "timed out",
        }
        assert status["rates"]["published_per_s"] == 400
        assert status["rates"]["supabase_per_s"] == 200
        assert {one["instance"] for one in status["instances"]} == {"app-1", "sub-1", "tap"}
        assert all(one["live"] and one["flag_version"] == 2 for one in status["instances"])
        assert status["evidence"]["measurements"]
        assert (status["incident"], status["reconciliation"]) == (None, None)
        windows = await client.telemetry()
        assert sum(one["reports"] for one in windows) <= 6


async def test_a_service_is_counted_and_nothing_waits_for_it(running: Running) -> None:
    async with running() as (server, client, clock):
        week = Week(server, client, clock)
        await week.start()
        monitor = Monitor(server.service)
        await week.until("apply")
        for second in range(1, 5):
            await week.tick()
            await client.report(hub_report(second, cpu_s=float(second), rss_bytes=5e7))
            await monitor.look()
        await week.until("soaked")
        await server.service.save_telemetry(final=True)
        used = Window(0, 0)
        for row in await client.telemetry():
            used.merge(Window.from_json(row))
        assert (used.usage["hub"].cpu_s, used.usage["hub"].rss_bytes) == (3.0, 5e7)
        assert used.usage["control"].cpu_s > 0
        assert used.usage["control"].rss_bytes > 1e6
        names = {one["instance"] for one in (await client.status())["instances"]}
        assert names == {"app-1", "sub-1", "tap"}, "what follows flags"


async def test_metrics_and_page(running: Running) -> None:
    async with running() as (server, client, clock), httpx.AsyncClient(base_url=server.url) as http:
        week = Week(server, client, clock)
        await week.start()
        await week.until("apply")
        await week.tick(2, breaker="open", probes_failed=1, owed=5)
        await phase_is(client, "rolling_back")
        text = (await http.get("/metrics")).text
        for line in (
            'crossfade_rollout_phase{phase="rolling_back"} 1.0',
            'crossfade_served_percent{category="critical"} 0.0',
            'crossfade_written_percent{category="critical"} 10.0',
            'crossfade_measurement_verdict{measurement="breaker",verdict="fail"} 1.0',
            'crossfade_owed_events{store="supabase"} 5.0',
            'crossfade_breaker_open{store="supabase"} 1.0',
            'crossfade_instances{role="subscriber"} 1.0',
            'crossfade_commands_total{outcome="done",verb="breach"} 1.0',
            "crossfade_incident_open 1.0",
        ):
            assert line in text.splitlines(), line
        await client.report(
            publisher_report(99, resources={"cpu_s": 2.5, "fds": 7.0, "queue": 3.0})
        )
        tab = {"role": Role.PAGE, "resources": {"queue": 9.0}}
        await client.report(reader_report(99, "tab", **tab))
        text = (await http.get("/metrics")).text
        labels = 'instance="app-1",role="publisher"'
        assert f"crossfade_process_cpu_seconds_total{{{labels}}} 2.5" in text
        assert f"crossfade_process_open_fds{{{labels}}} 7.0" in text
        queue = 'crossfade_resource{instance="app-1",name="queue",role="publisher"} 3.0'
        told = [line for line in text.splitlines() if line.startswith("crossfade_resource{")]
        assert told == [queue], "no page, and nothing twice"
        await client.report(hub_report(99, cpu_s=1.5, clients=4.0))
        text = (await http.get("/metrics")).text
        labels = 'instance="hub-1",role="hub"'
        assert f"crossfade_process_cpu_seconds_total{{{labels}}} 1.5" in text
        assert 'crossfade_resource{instance="hub-1",name="clients",role="hub"} 4.0' in text
        assert 'crossfade_instances{role="hub"} 1.0' in text
        assert 'crossfade_process_resident_bytes{instance="control",role="control"}' in text
        page = (await http.get("/plain")).text
        assert "rolling_back" in page
        assert "breaker" in page
        assert OPERATOR not in page + text


async def test_a_database_that_fails_answers_503_without_its_statement(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy.exc import OperationalError

    async with (
        running() as (server, _client, _clock),
        httpx.AsyncClient(base_url=server.url) as http,
    ):

        def fail() -> None:
            raise OperationalError("SELECT secret", {}, Exception("disk full"))

        monkeypatch.setattr(server.service.store, "ping", fail)
        answer = await http.get("/healthz")
        assert answer.status_code == 503
        assert "secret" not in answer.text


async def test_settings_that_would_leave_the_door_open(tmp_path: Any) -> None:
    for tokens, why in (
        ({"operator_token": ""}, r"control\.operator_token: must be set"),
        ({"instance_token": ""}, r"control\.instance_token: must be set"),
        ({"instance_token": OPERATOR}, "must differ"),
        ({"url": "https://127.0.0.1:0"}, "not an http URL"),
        ({"url": "http://127.0.0.1:99999"}, r"control\.url"),
    ):
        with pytest.raises(SettingsError, match=why):
            await ControlServer(settings_in(tmp_path, control=tokens)).__aenter__()


async def test_a_port_that_is_taken_is_one_line(running: Running, tmp_path: Any) -> None:
    async with running() as (server, _client, _clock):
        settings = settings_in(tmp_path, control={"url": server.url})
        with pytest.raises(PortTaken, match="in use"):
            await ControlServer(settings).__aenter__()


async def test_followers_outlive_the_server_and_catch_up(running: Running) -> None:
    async with AsyncExitStack() as stack, asyncio.timeout(30):
        async with running() as (server, client, clock):
            settings = server.service.settings
            instance = await stack.enter_async_context(client_of(server, settings, "instance"))
            follower = await stack.enter_async_context(
                FlagFollower(instance, retry_initial_s=0.01, retry_max_s=0.05)
            )
            await follower.newer(0)
            week = Week(server, client, clock)
            await week.start()
            await week.until("apply")
            await follower.newer(1)
            assert follower.flags.served == {"*": 10}
        while follower.connected:  # noqa: ASYNC110 - it notices by itself
            await asyncio.sleep(0.01)
        assert follower.flags.served == {"*": 10}, "the last known flags stay in force"
        async with running(control={"url": server.url}) as (server, client, clock):
            await client.command("rollback", actor="cli:ada", reason="complaints")
            await follower.newer(2)
            assert follower.flags.served == {"*": 0}


async def test_where_the_approver_differs_the_approver_s_token_approves(running: Running) -> None:
    approver = {"control": {"approver_token": "approver-token"}}
    async with running(**approver) as (server, client, clock):
        week = Week(server, client, clock)
        plan = server.service.settings.rollout.model_dump(mode="json")
        await client.start("test", {**plan, "approver_differs": True}, "cli:bob")
        await week.until("reconcile")
        waiting = await client.rollout()
        answer = {
            "actor": "cli:ada", "stage": 0, "attempt": 1, "approver": "ada",
            "evidence_hash": waiting["evidence_hash"],
        }  # fmt: skip
        with pytest.raises(ControlDenied, match="needs the approver's token"):
            await client.command("approve", **answer)
        async with client_of(server, server.service.settings, "approver") as other:
            with pytest.raises(ControlDenied, match="may only look and give approve"):
                await other.command("rollback", actor="cli:ada", reason="mine")
            assert (await other.command("approve", **answer))["stage"] == 1
        given = {row["verb"]: row["command"].get("role") for row in await client.audit()}
        assert (given["begin"], given["approve"]) == ("operator", "approver")


async def test_a_code_proves_the_approver_for_one_evidence_and_stays_out_of_the_audit(
    running: Running,
) -> None:
    """What a person types into Prefect's form, which the worker sends with its own token."""
    approver = {"control": {"approver_token": "approver-token"}}
    async with running(**approver) as (server, client, clock):
        control = server.service.settings.control
        week = Week(server, client, clock)
        plan = server.service.settings.rollout.model_dump(mode="json")
        await client.start("test", {**plan, "approver_differs": True}, "cli:bob")
        await week.until("reconcile")
        waiting = await client.rollout()
        answer = {
            "actor": FLOW, "stage": 0, "attempt": 1, "approver": "ada",
            "evidence_hash": waiting["evidence_hash"],
        }  # fmt: skip
        answer["tickets"] = 2
        right = Approval(waiting["id"], 0, 1, waiting["evidence_hash"], 2, "ada")
        foreign = control.model_copy(update={"approver_token": SecretStr("operator-secret")})
        for wrong in (
            "",
            "0" * 20,
            approval_code(control, right._replace(attempt=2)),
            approval_code(control, right._replace(stage=1)),
            approval_code(control, right._replace(evidence_hash="another")),
            approval_code(control, right._replace(rollout="another")),
            approval_code(control, right._replace(approver="eve")),
            approval_code(control, right._replace(tickets=0)),
            approval_code(foreign, right),
        ):
            with pytest.raises(ControlDenied, match="or the code that"):
                await client.command("approve", **answer, code=wrong)
        code = approval_code(control, right)
        # It opens nothing else: not even the same approval under another verb.
        with pytest.raises(UsageError, match="unknown field code"):
            await client.command("hold", actor=FLOW, stage=0, attempt=1, reason="x", code=code)
        # By name the operator still may not.
        bob = approval_code(control, right._replace(approver="bob"))
        with pytest.raises(ApprovalRefused, match="bob started"):
            await client.command("approve", **{**answer, "approver": "bob"}, code=bob)
        assert (await client.command("approve", **answer, code=f" {code} "))["stage"] == 1
        audit = await client.audit()
        assert next(row for row in audit if row["verb"] == "approve")["command"]["role"] == (
            "approver"
        )
        assert code not in str(audit)


async def test_without_an_approver_s_token_no_code_is_right(running: Running) -> None:
    async with running() as (server, _client, _clock):
        control = server.service.settings.control
        approval = Approval("x", 0, 1, "h", 0, "ada")
        assert not is_approval_code("", control, approval)
        with pytest.raises(UsageError, match="approver_token"):
            approval_code(control, approval)


async def test_i8_of_many_approvals_at_once_one_moves_one_stage(running: Running) -> None:
    async with running() as (server, client, clock):
        week = Week(server, client, clock)
        await week.start()
        await week.until("reconcile")
        waiting = await client.rollout()

        async def approve(by: int) -> int:
            answer = {
                "actor": f"cli:{by}", "stage": 0, "attempt": 1, "approver": str(by),
                "evidence_hash": waiting["evidence_hash"],
            }  # fmt: skip
            try:
                return int((await client.command("approve", **answer))["stage"])
            except ApprovalRefused:
                return 0

        assert sum(await asyncio.gather(*map(approve, range(8)))) == 1
        after = await client.rollout()
        assert (after["phase"], after["stage"], len(after["approvals"])) == ("ready", 1, 1)
        assert [row["verb"] for row in await client.audit()].count("approve") == 1
