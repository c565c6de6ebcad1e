"""Comparing the stores, and the suites of expectations over the result."""

import asyncio
import importlib
import threading
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from crossfade.core.reconciliation import Reconciliation, SuiteResult
from crossfade.core.verdict import Measurement
from crossfade.data_docs import page_of
from crossfade.reconcile import Judge, reconcile
from tasks.settings_source import settings
from tasks.spreading import Spreading

__all__ = ["LEGACY_STORES", "compare_stores", "docs_of", "preload"]

LEGACY_STORES = ("journal", "websocket")
"""What a rollback compares: Supabase may be what broke."""

_ALL_STORES = ("journal", "websocket", "supabase")


def preload() -> None:
    """Import the expectations in the background: Great Expectations takes 4 to 13 s.

    Called while a stage soaks, so that its gate does not wait for an import.
    """
    threading.Thread(target=_preload, name="preload", daemon=True).start()


@task(
    name="compare-stores",
    task_run_name="compare {stores}",
    retries=2,
    retry_delay_seconds=[2, 5],
    timeout_seconds=3_600,
    cache_policy=NO_CACHE,
    persist_result=False,
)
async def compare_stores(
    trigger: str,
    stores: tuple[str, ...] = _ALL_STORES,
    full: bool = False,
    content: bool = False,
    measurements: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """One reconciliation's result, judged by the suites when all stores were compared.

    What is hashed in bulk is shared out by the task runner of the settings (``spreading``).

    ``measurements`` are a stage's own, as the evidence has them. The suite ``delivery`` holds
    them together and is shown with the others; it is the evidence that decides on them.
    """
    judge = _judge if stores == _ALL_STORES else None
    result = await asyncio.to_thread(_compare, trigger, stores, full, content, judge)
    if measurements and judge:
        result = await asyncio.to_thread(_with_delivery, result, measurements)
    get_run_logger().info(
        "%s: %s events checked, %s discrepancies",
        result.verdict.value,
        f"{result.checked_events:,}",
        f"{result.discrepancy_count:,}",
    )
    return result.to_json()


def _compare(
    trigger: str, stores: tuple[str, ...], full: bool, content: bool, judge: Judge | None
) -> Reconciliation:
    with Spreading(settings()) as spreading:
        return reconcile(
            settings(),
            trigger=trigger,
            full=full,
            content=content,
            stores=stores,
            judge=judge,
            wrap=spreading.wrap,
        )


def _judge(result: Reconciliation) -> list[SuiteResult]:
    found: list[SuiteResult] = _import_expectations().validate(
        result, docs=settings().reconcile.docs
    )
    return found


def docs_of(result: dict[str, Any]) -> str:
    """The address of Great Expectations' pages of a result; "" where none are kept."""
    found = page_of(settings().reconcile.docs, result.get("at_us"))
    return "" if found is None else settings().control.url.rstrip("/") + found


def _with_delivery(
    result: Reconciliation, measurements: Iterable[dict[str, Any]]
) -> Reconciliation:
    made = [Measurement.from_json(one) for one in measurements if one["name"] != "reconciliation"]
    suites = _import_expectations().validate(result, measurements=made, suites=["delivery"])
    return replace(result, suites=(*result.suites, *suites))


def _preload() -> None:
    _import_expectations().preload()


def _import_expectations() -> Any:
    return importlib.import_module("expectations")
