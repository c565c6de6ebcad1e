"""What a person who approves may look at: the evidence as a table and a chart."""

import base64
from typing import Any, NamedTuple

from prefect import task
from prefect.artifacts import acreate_image_artifact, acreate_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.tasks import exponential_backoff

from crossfade.core.telemetry_totals import Window
from crossfade.core.trend import Trend, chart, trends
from tasks.control_plane import Step, control
from tasks.pages import stage_name, verdict_mark

__all__ = ["Shown", "keep_evidence"]

_PAGE = 1_000
_MOST_PAGES = 50
"""Longest part of an attempt that is drawn: 50,000 windows, 17 days of 30 s each."""


class Shown(NamedTuple):
    """The two artifacts of one evidence (their ids), and how its figures went."""

    table: str
    chart: str
    trends: tuple[Trend, ...]


@task(
    name="evidence",
    task_run_name="keep the evidence",
    retries=8,
    retry_delay_seconds=exponential_backoff(0.5),
    timeout_seconds=120,
    cache_policy=NO_CACHE,
    persist_result=False,
)
async def keep_evidence(step: Step) -> Shown:
    """Keep the evidence of a stage that waits as a table and a chart; returns their ids."""
    name, evidence_hash = stage_name(step), str(step.rollout.get("evidence_hash") or "")
    about = f"{name}, attempt {step.attempt}, evidence {evidence_hash}"
    found = trends(
        await _windows(int(step.evidence["since_us"])),
        step.rollout["stages"][step.stage]["targets"],
    )
    table = await acreate_table_artifact(
        key="evidence", table=_rows(step.evidence), description=f"## {about}"
    )
    picture = base64.b64encode(chart(found, f"{name}, attempt {step.attempt}").encode()).decode()
    image = await acreate_image_artifact(
        key="evidence-chart",
        image_url=f"data:image/svg+xml;base64,{picture}",
        description=f"## {about}",
    )
    return Shown(str(table), str(image), found)


async def _windows(since_us: int) -> list[Window]:
    found: list[Window] = []
    async with control() as client:
        for _ in range(_MOST_PAGES):
            after_us = found[-1].to_us if found else since_us
            rows = await client.telemetry(after_us, _PAGE)
            found += [Window.from_json(row) for row in rows]
            if len(rows) < _PAGE:
                break
    return found


def _rows(evidence: dict[str, Any]) -> list[dict[str, Any]]:
    """Every measurement in full; one that is required and missing is a row as well."""
    measured = evidence.get("measurements", [])
    rows = [
        {
            "measurement": one["name"],
            "value": "–" if one["value"] is None else f"{one['value']:g} {one['unit']}".strip(),
            "limit": "–" if one["limit"] is None else f"{one['relation']} {one['limit']:g}",
            "n": one["n"],
            "verdict": verdict_mark(one["verdict"]),
            "detail": one["detail"],
        }
        for one in measured
    ]
    missing = [
        {
            "measurement": name,
            "value": "–",
            "limit": "–",
            "n": 0,
            "verdict": verdict_mark("inconclusive"),
            "detail": "required and not measured",
        }
        for name in evidence.get("required", ())
        if name not in {one["name"] for one in measured}
    ]
    return rows + missing
