"""A form's approval where the plan separates approver and operator (``make test-prefect``).

Not collected by a plain ``pytest``: its name is not a test's.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from crossfade.control.auth import Approval, approval_code
from crossfade.local.prefect import WEEKS
from crossfade.local.prefect_api import PrefectApi
from tests.flows.test_weeks import WAIT_S, form_of, reach
from tests.flows.world import FlowWorld

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("prefect"), pytest.mark.timeout(600)]

TOKEN = "approver-token"


@pytest.fixture
async def separate(world: FlowWorld) -> AsyncIterator[FlowWorld]:
    """The world with an approver's token that the control server has and the worker has not."""
    plain = world.control.environment
    world.control.environment = {**plain, "CROSSFADE_CONTROL__APPROVER_TOKEN": TOKEN}
    await asyncio.to_thread(world.fresh_rollout, approver_differs=True)
    yield world
    world.control.environment = plain
    await asyncio.to_thread(world.fresh_rollout)


async def test_a_form_approves_with_the_approver_s_code_only(
    separate: FlowWorld, api: PrefectApi
) -> None:
    async with separate.client() as control:
        run_id = await api.run(WEEKS[0])
        form = await form_of(api, run_id)
        assert "code" in form.fields
        waiting = await reach(control, "awaiting_approval")
        answer = {"decision": "approve", "approver": "Ada", "tickets": 1}
        settings = separate.settings.control.model_copy(update={"approver_token": SecretStr(TOKEN)})
        place = (waiting["id"], 0, 1, waiting["evidence_hash"])
        code, other = (approval_code(settings, Approval(*place, n, "Ada")) for n in (1, 2))
        for number, wrong in enumerate(({}, {"code": "0" * 20}, {"code": other})):
            await api.answer(run_id, {**answer, **wrong})
            form = await form_of(api, run_id, after=form.expires)
            assert "this needs the approver's token, or the code" in form.description, number
            assert (await reach(control, "awaiting_approval"))["approvals"] == []
        await api.answer(run_id, {**answer, "code": code})
        run = await api.wait(run_id, WAIT_S)
        assert run["state"]["message"] == "week-1 was approved"
        audit = await control.audit()
        given = {row["verb"]: row["command"].get("role") for row in audit}
        assert (given["begin"], given["approve"]) == ("operator", "approver")
        assert code not in str(audit)
