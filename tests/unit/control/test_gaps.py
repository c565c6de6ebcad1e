"""Accepted gaps in the audit: who, when, which range and why, once each."""

from pathlib import Path
from typing import Any

import pytest

from crossfade.core.gaps import gaps_from_json
from crossfade.errors import ControlDenied, CrossfadeError, UsageError
from tests.rollouts import a_reconciliation
from tests.unit.control.conftest import Running, client_of, settings_in


def gap(last: int = 7, **changes: Any) -> dict[str, Any]:
    place = f"app/1/critical/3/5-{last}"
    return {"range": place, "by": "Ada", "reason": "hub's log read", "at_us": 77, **changes}


async def accepted(client: Any) -> list[dict[str, Any]]:
    return [row for row in await client.audit(limit=100) if row["verb"] == "acknowledge_gap"]


async def test_who_when_which_and_why(running: Running) -> None:
    async with running() as (_, client, clock):
        clock.advance(5)
        assert await client.accept_gaps([gap(), gap(8), gap()]) == 2
        first, second = await accepted(client)
        assert (first["actor"], first["at_us"]) == ("cli:Ada", clock.now_us())
        assert first["command"] == {
            "verb": "acknowledge_gap", "actor": "cli:Ada", "role": "operator", **gap(),
        }  # fmt: skip
        assert first["facts"] == [{"kind": "gap_accepted", "detail": gap()}]
        assert second["command"]["range"] == "app/1/critical/3/5-8"
        assert await client.accept_gaps([gap()]) == 0
        # The same range accepted once more, by somebody else, is another decision.
        assert await client.accept_gaps([gap(by="Bob", at_us=78)]) == 1
        assert len(await accepted(client)) == 3


async def test_no_result_rests_on_a_gap_that_the_audit_does_not_have(running: Running) -> None:
    async with running() as (_, client, _clock):
        await client.accept_gaps([gap()])
        for _ in range(2):
            await client.reconciliation(a_reconciliation(gaps=[gap(), gap(9)]))
        rows = await accepted(client)
        assert [(row["command"]["range"], row["command"]["role"]) for row in rows] == [
            ("app/1/critical/3/5-7", "operator"),
            ("app/1/critical/3/5-9", "server"),
        ]
        with pytest.raises(UsageError, match="not a range"):
            await client.reconciliation(a_reconciliation(gaps=[gap(range="x")]))


async def test_a_gap_is_in_the_audit_before_the_result_that_rests_on_it(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running() as (server, client, _clock):

        def cut_off(*_: object) -> None:
            raise CrossfadeError("cut off")

        with monkeypatch.context() as patch:
            patch.setattr(server.service.store, "accept_gaps", cut_off)
            with pytest.raises(CrossfadeError, match="cut off"):
                await server.service.add_reconciliation(a_reconciliation(gaps=[gap()]))
        assert await client.reconciliations(5) == []
        with monkeypatch.context() as patch:
            patch.setattr(server.service.records, "add_reconciliation", cut_off)
            with pytest.raises(CrossfadeError, match="cut off"):
                await server.service.add_reconciliation(a_reconciliation(gaps=[gap()]))
        assert len(await accepted(client)) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        gap(by=" "),
        gap(reason=""),
        gap(range="app/1/critical/3"),
        gap(at_us="soon"),
        gap(range=5),
        gap(by=None),
        gap(reason=["x"]),
        gap(reason="x" * 2_001),
        {"range": 5},
        {"by": "Ada"},
    ],
)
async def test_what_is_no_gap_is_refused_whole(running: Running, wrong: dict[str, Any]) -> None:
    async with running() as (_, client, _clock):
        with pytest.raises(UsageError):
            await client.accept_gaps([gap(), wrong])
        assert await accepted(client) == []


async def test_only_the_operators_token_accepts(running: Running, tmp_path: Path) -> None:
    async with running() as (server, client, _):
        async with client_of(server, settings_in(tmp_path), "instance") as instance:
            with pytest.raises(ControlDenied):
                await instance.accept_gaps([gap()])
        assert await accepted(client) == []


@pytest.mark.parametrize("wrong", [5, "x", None, [{}]])
def test_a_gap_is_an_object(wrong: object) -> None:
    with pytest.raises(UsageError, match="each must be"):
        gaps_from_json([wrong])
