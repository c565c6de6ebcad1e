"""What the validation does first and last, without Prefect: the flow's function alone."""

import logging
from contextlib import asynccontextmanager
from typing import Any

import pytest

import flows.validate_flow as validation
from crossfade.settings import Settings
from tasks import findings, reconciliation


async def test_a_breach_is_told_before_any_page_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def stand_in(name: str, answer: Any = None) -> None:
        async def call(*_: Any, **__: Any) -> Any:
            done.append(name)
            return answer

        monkeypatch.setattr(validation, name, call)

    for name in ("store_result", "report_breach", "end_stale_forms", "keep_going"):
        stand_in(name)
    stand_in("compare_stores", {})
    stand_in("rollout", {})
    stand_in("chart_findings")

    async def fails(*_: Any) -> None:
        raise OSError("no page can be kept")

    monkeypatch.setattr(validation, "keep_findings", fails)
    with pytest.raises(OSError, match="no page"):
        await validation.validate.fn()
    assert done[:4] == ["compare_stores", "store_result", "rollout", "report_breach"]
    assert "keep_going" in done


@pytest.mark.parametrize("error", [OSError("gone"), KeyError("x"), RuntimeError("Prefect")])
async def test_a_chart_that_fails_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    class Client:
        async def reconciliations(self, limit: int) -> list[dict[str, Any]]:
            return [{}]

    @asynccontextmanager
    async def control() -> Any:
        yield Client()

    async def fails(**_: Any) -> None:
        raise error

    monkeypatch.setattr(findings, "control", control)
    monkeypatch.setattr(findings, "acreate_image_artifact", fails)
    monkeypatch.setattr(findings, "get_run_logger", lambda: logging.getLogger("test"))
    await findings.chart_findings.fn()
    assert f"no chart of the reconciliations: {type(error).__name__}" in caplog.text


@pytest.mark.parametrize("at_us", [None, 1_764_000_000_123_457])
def test_a_folder_that_can_not_be_read_has_no_address(
    monkeypatch: pytest.MonkeyPatch, at_us: int | None
) -> None:
    kept = Settings.model_validate({"reconcile": {"docs": "x" * 300}})
    monkeypatch.setattr(reconciliation, "settings", lambda: kept)
    assert reconciliation.docs_of({"at_us": at_us}) == ""
