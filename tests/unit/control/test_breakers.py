"""Breakers by hand: in the flags, in the audit log, and kept through the rollout's own changes."""

from pathlib import Path
from typing import Any

import pytest

from crossfade.core.flags import Flags
from crossfade.errors import ControlDenied, UsageError
from tests.unit.control.conftest import Running, client_of, settings_in

WHY = {"reason": "maintenance", "actor": "cli:ann"}


async def test_a_mode_reaches_the_flags_and_the_audit_log_and_stays(running: Running) -> None:
    async with running() as (_, client, _clock):
        version = (await client.flags()).version
        answer = await client.set_breaker("supabase", "forced_open", **WHY)
        assert answer == {"version": version + 1, "breakers": {"supabase": "forced_open"}}
        assert (await client.flags()).breakers == {"supabase": "forced_open"}
        again = await client.set_breaker("supabase", "forced_open", **WHY)
        assert again["version"] == version + 1
        # A rollout's own changes of the flags leave it alone.
        await client.start("test", {}, "cli:ann")
        await client.command("cancel", actor="cli:ann", stage=0, attempt=1, reason="no")
        assert (await client.flags()).breakers == {"supabase": "forced_open"}
        await client.set_breaker("websocket", "disabled", **WHY)
        answer = await client.set_breaker("supabase", "closed", **WHY)
        assert answer["breakers"] == {"websocket": "disabled"}
        rows = [row for row in await client.audit(limit=100) if row["verb"] == "breaker"]
        assert [row["command"]["mode"] for row in rows] == [
            "forced_open", "forced_open", "disabled", "closed",
        ]  # fmt: skip
        assert {(row["actor"], row["command"]["reason"]) for row in rows} == {
            ("cli:ann", "maintenance")
        }
        assert rows[0]["facts"][0]["detail"]["sink"] == "supabase"


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"sink": "moon"}, "sink: must be one of application, websocket, supabase"),
        ({"mode": "open"}, "mode: must be one of forced_open, disabled, metrics_only, closed"),
        ({"reason": " "}, "reason: must not be empty"),
        ({"actor": ""}, "actor: must not be empty"),
    ],
)
async def test_what_is_no_mode_is_refused(
    running: Running, tmp_path: Path, change: dict[str, Any], fault: str
) -> None:
    async with running() as (server, client, _):
        version = (await client.flags()).version
        with pytest.raises(UsageError, match=fault):
            await client.set_breaker(**{"sink": "supabase", "mode": "disabled", **WHY, **change})
        async with client_of(server, settings_in(tmp_path), "instance") as instance:
            with pytest.raises(ControlDenied):
                await instance.set_breaker("supabase", "disabled", **WHY)
        assert (await client.flags()).version == version


def test_older_documents_have_no_modes() -> None:
    document = Flags().to_json()
    del document["breakers"]
    assert Flags.from_json(document) == Flags()
    assert Flags.from_json(Flags(breakers={"a": "b"}).to_json()).breakers == {"a": "b"}
