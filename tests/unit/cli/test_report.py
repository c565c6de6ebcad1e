"""``crossfade report``: a table, a document and a page of the same figures."""

from html.parser import HTMLParser
from pathlib import Path

import pytest

from crossfade.errors import UsageError
from tests.unit.cli.test_operate import Stack, refusal, stack

__all__ = ["stack"]

VOID = {"meta"}


class Balanced(HTMLParser):
    """Fails unless every element that is opened is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_before_the_first_rollout(stack: Stack, tmp_path: Path) -> None:
    assert "no rollout was started" in stack("report").output
    assert stack("report", "--html", str(tmp_path / "r.html")).exit_code == 0
    assert "No rollout was started yet" in (tmp_path / "r.html").read_text()


def test_weeks_recovery_and_incidents_against_their_targets(stack: Stack, tmp_path: Path) -> None:
    stack("start", "--name", "<b>flights</b>")
    stack.run(stack.week.until("reconcile"))
    stack("approve", "--yes", "--as", "ada", "--tickets", "2")
    stack.run(stack.week.until("apply"))
    stack.run(stack.client.command("rollback", actor="cli:ada", reason="<script>"))
    address = {"stage": 1, "attempt": 1, "actor": "flow-run:x"}
    stack.run(stack.client.command("rolled_back", figures={"arrived_after_ms": 812.5}, **address))
    stack.run(stack.server.service.save_telemetry(final=True))
    shown = stack("report").output
    for part in ("week-1", "pass: 2 tickets (<= 5), n=2", "approved by", "ada", "incidents: 1"):
        assert part in shown, shown
    assert "recovery: pass: 0.812 s (<= 15), n=1" in shown
    document = stack.json("report")
    (week,) = document["weeks"]
    assert week["measurements"]["delivery"]["detail"].startswith("at least 9")
    assert (document["recoveries_ms"], document["recovery"]["verdict"]) == ([812.5], "pass")
    page = tmp_path / "report.html"
    assert stack("report", "--html", str(page)).exit_code == 0
    parser = Balanced()
    parser.feed(page.read_text())
    assert parser.open == []
    assert "svg" in page.read_text()
    assert "<script" not in page.read_text()
    assert "“<b>flights</b>”: rolled back" in parser.text
    with pytest.raises(UsageError, match="Is a directory"):
        raise refusal(stack("report", "--html", str(tmp_path)))
