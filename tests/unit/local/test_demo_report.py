"""The report's verdict: proven only when everything was checked and is clean."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from crossfade.core.statistics import proportion_lower
from crossfade.errors import UsageError
from crossfade.local.demo_checker import Finding, HolderResult
from crossfade.local.demo_display import DemoDisplay, Figures
from crossfade.local.demo_options import DemoOptions
from crossfade.local.demo_report import DemoReport, Outage, StageRecord
from crossfade.local.demo_settings import demo_settings
from crossfade.local.demo_summary import print_summary
from crossfade.settings import Targets

FINDING = Finding("altered", "supabase", "id-7", "app/1/system/3/4", "t", "its content is X")


def holder(name: str, *findings: Finding, delivered: int = 12_000) -> HolderResult:
    return HolderResult(name, 12_000, delivered, findings)


def report(**more: object) -> DemoReport:
    values: dict[str, object] = {
        "seed": 3,
        "started_at_us": 1,
        "machine": {},
        "input": {"events": 12_000},
        "options": {},
        "stores": [holder("journal"), holder("supabase")],
        "subscribers": [holder("everything-1")],
        "follows": {"everything-1": "everything"},
        "stages": [
            StageRecord(
                stage=0,
                name="week-1",
                attempt=1,
                percent={"*": 10.0},
                outcome="approved",
                verdict="pass",
                approver="demo",
                evidence={
                    "measurements": [
                        {"name": "lost", "value": 0.0, "limit": 0.0, "relation": "==", "n": 99}
                    ]
                },
            )
        ],
        "outage": Outage(
            services=["supabase"],
            started_at_us=2,
            week="week-2",
            duration_s=8.25,
            breaker_open_s=0.5,
            owed_at_end=77,
        ),
        **more,
    }
    return DemoReport(**values)  # type: ignore[arg-type]


def test_a_clean_run_is_proven() -> None:
    found = report()
    assert found.proven
    assert found.conclusion.startswith("PROVEN: 12,000 events moved to Supabase Realtime")
    assert "an outage of 8.2 s and a rollback in week-2" in found.conclusion


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"failures": ["the breaker opens: not within 30 s"]}, "the breaker opens"),
        ({"stores": [holder("supabase", FINDING)]}, "supabase: id-7 (t) at app/1/system/3/4"),
        ({"subscribers": [holder("x", delivered=11_999)]}, "NOT PROVEN"),
        ({"stores": [], "subscribers": []}, "nothing was checked"),
    ],
)
def test_anything_else_is_not(more: dict[str, object], words: str) -> None:
    found = report(**more)
    assert not found.proven
    assert found.conclusion.startswith("NOT PROVEN: ")
    assert words in found.conclusion
    assert found.to_json()["outcome"] == "failed"


def test_what_is_said_first_is_why_it_stopped_or_else_the_bad_event() -> None:
    more = {"failures": ["week-1 is held"], "stores": [holder("supabase", FINDING)]}
    assert report(**more).conclusion == "NOT PROVEN: week-1 is held (and 1 more)"
    assert "id-7" in report(**more, completed=True).conclusion


def test_the_document_holds_every_figure(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    report(stores=[holder("supabase", FINDING)]).write(path)
    found = json.loads(path.read_bytes())
    assert found["format"] == 1
    assert found["stores"]["supabase"]["altered"] == 1
    assert found["subscribers"]["everything-1"]["follows"] == "everything"
    assert found["findings"] == [
        {
            "kind": "altered",
            "holder": "supabase",
            "id": "id-7",
            "position": "app/1/system/3/4",
            "type": "t",
            "detail": "its content is X",
        }
    ]
    assert found["stages"][0]["approver"] == "demo"
    assert found["outage"]["owed_at_end"] == 77


def test_a_report_that_can_not_be_written_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        report().write(tmp_path / "none" / "report.json")


def test_the_summary_ends_with_the_conclusion_and_names_every_finding() -> None:
    console = Console(file=io.StringIO(), width=160)
    found = report(stores=[holder("journal"), holder("supabase", FINDING)])
    print_summary(found, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert text.rstrip().splitlines()[-1].startswith("NOT PROVEN: ")
    assert "supabase: id-7" in text
    assert "week-1" in text
    assert "lost 0 == 0 (n=99)" in text
    assert "0.50 s" in text


def test_plain_lines_without_a_terminal() -> None:
    console = Console(file=io.StringIO(), width=60, force_terminal=False)
    figures = Figures(total=10)
    with DemoDisplay(console, figures) as display:
        display.tick()
        display.say("the stack is up")
        figures.published = 4
        figures.status = {"stores": {"supabase": {"owed": 3, "breaker": "open"}}}
        display._line_due = 0.0
        display.tick()
        display.tick()
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(lines) == 2
    assert lines[0].endswith("s  the stack is up")
    assert "published 4" in lines[1]
    assert "supabase owed 3, breaker open" in lines[1]


def test_the_demo_scales_times_and_counts_but_not_what_must_hold() -> None:
    settings = demo_settings(DemoOptions(events=Path("x"), seed=5))
    defaults = Targets()
    for stage in settings.rollout.stages:
        for name in ("confidence", "error_rate", "latency_ratio", "adoption"):
            assert getattr(stage.targets, name) == getattr(defaults, name)
    demanded = [stage.targets.delivery for stage in settings.rollout.stages]
    assert demanded == [0.941, 0.99, defaults.delivery]
    # What is demanded can just be shown by so many events with none missing.
    for share, n in zip(demanded, (50, 300, 2_999), strict=True):
        assert proportion_lower(n, n, defaults.confidence) >= share
        assert proportion_lower(n - 1, n, defaults.confidence) < share
    assert [stage.percent for stage in settings.rollout.stages] == [
        {"*": 10.0},
        {"*": 50.0},
        {"*": 100.0},
    ]
    assert settings.rollout.salt == "demo-5"


def test_too_few_events_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 3,000 events"):
        DemoOptions(events=Path("x"), limit=5)
