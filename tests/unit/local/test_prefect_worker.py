"""Orphaned runs are found by their process, and go on or end as what they are."""

from typing import Any, cast

import pytest

from crossfade.errors import Refused
from crossfade.local.prefect_api import PrefectApi
from crossfade.local.prefect_worker import recover


class FakeApi:
    """The calls that ``recover`` makes."""

    def __init__(self, *runs: dict[str, Any], refuses: str = "") -> None:
        self.rows = list(runs)
        self.states: dict[str, str] = {}
        self.refuses = refuses

    async def runs(self, *, states: tuple[str, ...]) -> list[dict[str, Any]]:
        return [run for run in self.rows if run["state_type"] in states]

    async def flow_name(self, flow_id: str) -> str:
        return flow_id

    async def set_state(self, run_id: str, kind: str, message: str = "") -> None:
        assert message
        if run_id == self.refuses:
            raise Refused("no")
        self.states[run_id] = kind
        next(run for run in self.rows if run["id"] == run_id)["state_type"] = kind


def run(name: str, flow: str, state: str, pid: str | None) -> dict[str, Any]:
    return {
        "id": name,
        "name": name,
        "flow_id": flow,
        "deployment_id": f"{flow}-1",
        "state_type": state,
        "infrastructure_pid": pid,
    }


async def recovered(api: FakeApi) -> list[str]:
    return await recover(cast(PrefectApi, api), lambda pid: pid == 1)


@pytest.mark.parametrize(
    ("flow", "state", "pid", "becomes"),
    [
        ("rollout-week", "RUNNING", "2", "SCHEDULED"),
        ("rollout-week", "RUNNING", "host:2", "SCHEDULED"),
        ("rollout-week", "RUNNING", "1", None),
        ("rollout-week", "RUNNING", "host:1", None),
        ("rollback", "RUNNING", "2", "SCHEDULED"),
        ("backfill", "RUNNING", None, "SCHEDULED"),
        ("validate", "RUNNING", "2", "CRASHED"),
        ("report", "RUNNING", "2", "CRASHED"),
        ("validate", "PENDING", None, "SCHEDULED"),
        ("rollout-week", "CANCELLING", "2", "CANCELLED"),
        ("rollout-week", "CRASHED", "2", "SCHEDULED"),
        ("rollback", "CRASHED", None, "SCHEDULED"),
        ("validate", "CRASHED", "2", None),
        ("rollout-week", "FAILED", "2", None),
        ("rollout-week", "PAUSED", None, None),
        ("rollout-week", "SCHEDULED", None, None),
    ],
)
async def test_recover(flow: str, state: str, pid: str | None, becomes: str | None) -> None:
    api = FakeApi(run("one", flow, state, pid))
    names = await recovered(api)
    assert api.states == ({} if becomes is None else {"one": becomes})
    assert names == ([] if becomes is None else ["one"])


async def test_a_refusal_does_not_stop_the_others() -> None:
    api = FakeApi(
        run("one", "rollback", "RUNNING", "2"),
        run("two", "rollback", "RUNNING", "2"),
        refuses="one",
    )
    assert await recovered(api) == ["two"]


@pytest.mark.parametrize("later", ["COMPLETED", "CANCELLED", "FAILED", "PAUSED", "CRASHED"])
async def test_a_crash_that_another_run_came_after_is_over(later: str) -> None:
    api = FakeApi(
        run("second", "rollback", later, None),
        run("first", "rollback", "CRASHED", None),
        run("other", "rollout-week", "CRASHED", None),
    )
    expected = {"other": "SCHEDULED"}
    if later == "CRASHED":
        expected["second"] = "SCHEDULED"
    await recovered(api)
    assert api.states == expected
