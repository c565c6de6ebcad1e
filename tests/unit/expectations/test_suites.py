"""Every expectation passes on data that is right and fails on data wrong in just that way."""

import importlib
import os
import re
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from crossfade.cli import app
from crossfade.core.reconciliation import Reconciliation
from crossfade.core.verdict import Measurement, Verdict
from crossfade.data_docs import run_folder, runs
from crossfade.errors import UsageError
from tests.reconciliation_data import World, stream

# Great Expectations takes seconds to import: one worker does.
pytestmark = [pytest.mark.xdist_group("expectations"), pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def expectations() -> ModuleType:
    import expectations

    expectations.preload()
    return expectations


def measurement(name: str, relation: str, value: float | None, limit: float) -> Measurement:
    return Measurement(
        name=name, value=value, limit=limit, n=9, unit="ms", verdict=Verdict.PASS, relation=relation
    )


MEASUREMENTS = (
    measurement("latency", "<=", 3.0, 5.0),
    measurement("delivery", ">=", 0.9999, 0.999),
    measurement("lost", "==", 0.0, 0.0),
)


@pytest.fixture(scope="module")
def result() -> Iterator[Reconciliation]:
    """A comparison of stores that agree, in an exact category and another."""
    with tempfile.TemporaryDirectory() as folder, World(Path(folder)) as world:
        world.fill(stream("critical", 3), 20)
        world.fill(stream("system", 7), 20)
        world.fill(stream("debug", 7), 9, routed=False)
        yield world.reconcile()


@pytest.fixture(scope="module")
def material(expectations: ModuleType, result: Reconciliation) -> Any:
    return expectations.Material(result, MEASUREMENTS)


Spoil = Callable[[pd.DataFrame], pd.DataFrame]


def without_last_row(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.iloc[:-1]


def none_left(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(expected=0)


def put(column: str, value: Any, row: int = 0) -> Spoil:
    """One cell is another."""

    def spoil(frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.copy()
        if value is None or (isinstance(value, str) and frame[column].dtype.kind in "if"):
            frame[column] = frame[column].astype(object)
        frame.iloc[row, frame.columns.get_loc(column)] = value
        return frame

    return spoil


def in_store(store: str, category: str, column: str, value: Any) -> Spoil:
    """One cell of a roll-up is another."""

    def spoil(frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.copy()
        which = (frame["store"] == store) & (frame["category"] == category)
        assert which.sum() == 1
        frame.loc[which, column] = value
        return frame

    return spoil


def in_category(category: str, column: str, value: Any) -> Spoil:
    def spoil(frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.copy()
        frame.loc[category, column] = value
        return frame

    return spoil


COUNTS: dict[str, Spoil] = {
    "table-is-complete": without_last_row,
    "blocks-are-all-there": in_store("journal", "system", "blocks", 2),
    "events-are-all-there": in_store("journal", "system", "expected", 19),
    "something-was-compared": none_left,
}
for _store in ("journal", "websocket", "supabase"):
    for _what, _column, _value in (("count", "held", 19), ("content", "held_total", "f" * 16)):
        COUNTS[f"{_store}-{_what}-exact"] = in_store(_store, "critical", _column, _value)
        COUNTS[f"{_store}-{_what}-tolerated"] = in_store(_store, "system", _column, _value)

CONTENTS: dict[str, Spoil] = {
    "table-is-complete": without_last_row,
    "all-are-counted": in_category("system", "total", 1),
    "no-missing-critical": in_category("critical", "missing", 1),
    "no-duplicated-critical": in_category("critical", "duplicated", 1),
    "no-altered-critical": in_category("critical", "altered", 1),
    "no-reserialised-critical": in_category("critical", "reserialised", 1),
    "no-stale-hash-critical": in_category("critical", "stale_hash", 1),
    "no-phantom-critical": in_category("critical", "phantom", 1),
    "no-out-of-order-critical": in_category("critical", "out_of_order", 1),
    "others-within-tolerance": in_category("system", "share", 0.002),
    "nothing-is-late": in_category("system", "late", 1),
    "everything-was-covered": in_category("system", "uncovered", 1),
}

SHAPE: dict[str, Spoil] = {
    "batch-is-complete": without_last_row,
    "id-is-unique": put("id", "app-critical-3-2"),
    "sequence-counts-from-1": put("sequence", 0),
    "partition-is-a-number": put("partition", -1),
    "time-is-plausible": put("time_us", 1_000_000),
    "type-is-a-name": put("type", "flight departed"),
    "category-is-known": put("category", "important"),
    "topic-has-its-category": put("category", "system"),
    "topic-is-configured": put("topic", "gates"),
    "data-is-json": put("data", '{"delay":'),
    "data-has-a-size": put("bytes", 65_537),
    "checksum-is-of-the-content": put("intact", "no"),
}
for _name in ("id", "source", "type", "time_us", "subject", "category", "topic", "data"):
    SHAPE[f"{_name}-is-there"] = put(_name, None)
for _name in ("time_us", "epoch", "partition", "sequence"):
    SHAPE[f"{_name}-is-an-integer"] = put(_name, "12")

DELIVERY: dict[str, Spoil] = {
    "table-is-complete": without_last_row,
    "names-are-unique": put("name", "lost"),
    "none-failed": put("verdict", "fail"),
    "none-broke": put("verdict", "error"),
    "all-are-conclusive": put("verdict", "inconclusive"),
    "passed-with-a-value": put("value", float("nan")),
    "passed-with-observations": put("n", 0),
    "relations-are-known": put("relation", "~"),
    "passed-with-at-most-its-limit": put("value", 5.01, 0),
    "passed-with-at-least-its-limit": put("value", 0.9989, 1),
    "passed-with-its-limit": put("value", 1.0, 2),
}

SPOILED = {"counts": COUNTS, "contents": CONTENTS, "shape": SHAPE, "delivery": DELIVERY}
WARNINGS = {"topic-is-configured"} | {name for name in COUNTS if name.endswith("-tolerated")}
HELD_BACK = {
    "something-was-compared", "nothing-is-late", "everything-was-covered", "all-are-conclusive",
    "passed-with-a-value", "passed-with-observations",
}  # fmt: skip
BROKEN = {"none-broke", "relations-are-known"}


def module_of(suite: str) -> ModuleType:
    return sys.modules[f"expectations.{suite}"]


def test_every_expectation_is_shown_to_fail(material: Any) -> None:
    """A rule without a case below is a rule that nobody has seen fail."""
    for suite, cases in SPOILED.items():
        names = [rule.name for rule in module_of(suite).rules(material)]
        assert len(set(names)) == len(names)
        assert set(names) == set(cases)


@pytest.mark.parametrize(
    ("suite", "name"),
    [(suite, name) for suite, cases in SPOILED.items() for name in cases],
)
def test_it_fails_on_data_wrong_in_just_that_way(
    expectations: ModuleType, material: Any, suite: str, name: str
) -> None:
    module = module_of(suite)
    (rule,) = (rule for rule in module.rules(material) if rule.name == name)
    frame = SPOILED[suite][name](module.frame(material))
    outcome = expectations.run._result(suite, [rule], expectations.run._run(frame, [rule]))
    assert [text.split(":")[0] for text in outcome.failed] == [name]
    assert rule.reason in outcome.failed[0]
    assert len(rule.reason) > 20
    expected = Verdict.FAIL
    if name in WARNINGS:
        expected = Verdict.PASS
    elif name in HELD_BACK:
        expected = Verdict.INCONCLUSIVE
    elif name in BROKEN:
        expected = Verdict.ERROR
    assert outcome.verdict is expected


def test_they_pass_on_data_that_is_right(expectations: ModuleType, result: Reconciliation) -> None:
    outcomes = expectations.validate(result, measurements=MEASUREMENTS)
    assert {one.suite: (one.verdict, one.failed) for one in outcomes} == dict.fromkeys(
        ("contents", "counts", "delivery", "shape"), (Verdict.PASS, ())
    )
    assert {one.suite: one.expectations for one in outcomes} == {
        suite: len(cases) for suite, cases in SPOILED.items()
    }
    assert result.with_suites(outcomes).verdict is Verdict.PASS


def test_real_faults_fail_the_suites_that_look_at_them(
    expectations: ModuleType, tmp_path: Path
) -> None:
    with World(tmp_path) as world:
        events = world.fill(stream("critical", 3), 20)
        world.fill(stream("system", 7), 20)
        world.drop("supabase", events[3])
        world.alter("websocket", events[4], forged=False, data="{}")
        world.deliver(events[5], ["websocket"])
        outcomes = {one.suite: one for one in expectations.validate(world.reconcile())}
    assert outcomes["shape"].verdict is Verdict.PASS
    assert "delivery" not in outcomes
    assert [text.split(":")[0] for text in outcomes["contents"].failed] == [
        "no-missing-critical", "no-duplicated-critical", "no-altered-critical",
    ]  # fmt: skip
    assert [text.split(":")[0] for text in outcomes["counts"].failed] == [
        "websocket-content-exact", "supabase-count-exact", "supabase-content-exact",
    ]  # fmt: skip
    assert "critical/3 in supabase" in outcomes["counts"].failed[1]


def test_a_damaged_journal_row_fails_the_shape(expectations: ModuleType, tmp_path: Path) -> None:
    with World(tmp_path) as world:
        world.fill(stream("critical", 3), 20)
        world.journal.execute("UPDATE events SET data = 'no json', time_us = 5 WHERE sequence = 7")
        world.journal.commit()
        (shape,) = expectations.validate(world.reconcile(), suites=["shape"])
    assert shape.verdict is Verdict.FAIL
    assert [text.split(":")[0] for text in shape.failed] == [
        "time-is-plausible",
        "data-is-json",
        "checksum-is-of-the-content",
    ]
    assert "app/1/critical/3/7" in shape.failed[1]


def test_nothing_to_judge_is_inconclusive(
    expectations: ModuleType, result: Reconciliation, tmp_path: Path
) -> None:
    """Neither an empty journal nor a result that came as JSON passes for want of rows (I7)."""
    with World(tmp_path) as world:
        empty = world.reconcile()
    travelled = Reconciliation.from_json(result.to_json())
    for one in (empty, travelled):
        outcomes = {it.suite: it.verdict for it in expectations.validate(one, measurements=[])}
        for suite in ("counts", "shape", "delivery"):
            assert outcomes[suite] is Verdict.INCONCLUSIVE
        assert one.with_suites(expectations.validate(one)).verdict is Verdict.INCONCLUSIVE
    lost_rows = replace(result, evidence=replace(result.evidence, rollups=()))  # type: ignore[type-var]
    (counts,) = expectations.validate(lost_rows, suites=["counts"])
    assert counts.verdict is Verdict.INCONCLUSIVE


def test_a_suite_that_breaks_is_an_error_not_a_fail(
    expectations: ModuleType, result: Reconciliation, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = module_of("counts")
    right = counts.frame
    monkeypatch.setattr(counts, "frame", lambda material: right(material).drop(columns=["held"]))
    (outcome,) = expectations.validate(result, suites=["counts"])
    assert outcome.verdict is Verdict.ERROR
    assert 'could not be evaluated: Error: The column "held"' in outcome.failed[0]
    monkeypatch.setattr(counts, "frame", lambda material: 1 / 0)
    (outcome,) = expectations.validate(result, suites=["counts"])
    assert (outcome.verdict, outcome.expectations) == (Verdict.ERROR, 0)
    assert outcome.failed == ("the suite itself broke: ZeroDivisionError: division by zero",)
    assert result.with_suites([outcome]).verdict is Verdict.ERROR


def test_a_rule_that_stands_there_twice_is_an_error(
    expectations: ModuleType, result: Reconciliation, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = module_of("contents")
    right = contents.rules
    monkeypatch.setattr(contents, "rules", lambda material: [*right(material), *right(material)])
    (outcome,) = expectations.validate(result, suites=["contents"])
    assert outcome.verdict is Verdict.ERROR
    assert "two rules have the same name" in outcome.failed[0]


def test_a_suite_that_is_dropped_in_runs(
    expectations: ModuleType,
    result: Reconciliation,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "house_rules.py").write_text(
        "import pandas as pd\n"
        "from expectations.engine import gxe\n"
        "from expectations.rule import Rule\n"
        'SUITE = "house"\n'
        "def frame(material):\n"
        "    events = material.reconciliation.evidence.sample\n"
        '    return pd.DataFrame({"subject": [event.subject for event in events]})\n'
        "def rules(material):\n"
        '    yield Rule("airports", "we only fly from Newark",\n'
        '        gxe.ExpectColumnValuesToBeInSet(column="subject", value_set=["EWR"]))\n',
        encoding="utf-8",
    )
    monkeypatch.setattr(expectations, "__path__", [*expectations.__path__, str(tmp_path)])
    assert "house" in expectations.suite_names()
    (outcome,) = expectations.validate(result, suites=["house"])
    assert outcome.verdict is Verdict.FAIL
    assert outcome.failed[0].startswith("airports: we only fly from Newark (49 rows: 0, 1, 2, 3, 4")
    sys.modules.pop("expectations.house_rules")


def test_an_unknown_suite_is_refused(expectations: ModuleType, result: Reconciliation) -> None:
    with pytest.raises(ValueError, match="no such suite: nonsense"):
        expectations.validate(result, suites=["nonsense"])


def test_it_is_quiet_and_sends_nothing(
    expectations: ModuleType,
    result: Reconciliation,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    # The services of other tests in this process have threads that connect all the time.
    others = set(threading.enumerate()) - {threading.current_thread()}
    connect = socket.socket.connect

    def refuse(one: socket.socket, address: tuple[str, int]) -> None:
        if threading.current_thread() not in others:
            raise AssertionError("a connection was opened")
        connect(one, address)

    monkeypatch.setattr(socket.socket, "connect", refuse)
    with pytest.raises(AssertionError, match="was opened"), socket.socket() as probe:
        probe.connect(("127.0.0.1", 9))
    expectations.validate(result)
    assert os.environ["GX_ANALYTICS_ENABLED"] == "False"
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


@pytest.mark.parametrize("spoiled", [False, True])
def test_a_gate_shows_the_delivery_suite_and_leaves_its_decision_to_the_evidence(
    expectations: ModuleType, result: Reconciliation, spoiled: bool
) -> None:
    reconciliation = importlib.import_module("tasks.reconciliation")
    made = [one.to_json() for one in MEASUREMENTS]
    # It can not be judged before it is there: the run that asks makes it.
    made.append({**made[0], "name": "reconciliation", "verdict": "inconclusive", "value": None})
    if spoiled:
        made[0]["value"] = 6.0  # a PASS beyond its limit
    judged = result.with_suites(reconciliation._judge(result))
    shown = reconciliation._with_delivery(judged, made)
    assert [suite.suite for suite in shown.suites] == ["contents", "counts", "shape", "delivery"]
    assert shown.suites[-1].verdict is (Verdict.FAIL if spoiled else Verdict.PASS)
    assert shown.verdict is judged.verdict is Verdict.PASS


def test_the_suites_own_pages_are_kept_for_the_newest_runs(
    expectations: ModuleType,
    result: Reconciliation,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    docs = importlib.import_module("expectations.docs")
    monkeypatch.setattr(docs, "RUNS_KEPT", 2)
    others = ["2024Z", "20250101T000000Z", "20250101T000000.000000Z"]
    kept_elsewhere = tmp_path / "elsewhere"
    kept_elsewhere.mkdir()
    tmp_path = tmp_path / "docs"
    for other in others[:2]:
        (tmp_path / other).mkdir(parents=True)
    (tmp_path / others[2]).symlink_to(kept_elsewhere)
    for later in range(3):
        run = replace(result, at_us=result.at_us + later)
        found = expectations.validate(run, suites=["contents"], docs=tmp_path)
    kept = sorted(one.name for one in tmp_path.iterdir() if one.name not in others)
    assert len(list(tmp_path.iterdir())) == len(kept) + len(others)
    assert kept == [run_folder(tmp_path, result.at_us + later).name for later in (1, 2)]
    folder = run_folder(tmp_path, result.at_us + 2)
    listed = (folder / "index.html").read_text(encoding="utf-8")
    for suite in found:
        held = f"{suite.expectations - len(suite.failed)} of {suite.expectations} expectations hold"
        assert f'<a href="{suite.suite}.html">{suite.suite}</a>: {held}' in listed
    page = (folder / "contents.html").read_text(encoding="utf-8")
    assert "tolerance" in page
    assert 'href="index.html"' in page
    # Whole without the network, and nothing in it runs: an event may have been the example.
    assert not re.search(r"<script|<link|<img|\son\w+=|https?:|\.\./", page)
    assert "default-src 'none'" in page
    (run,) = runs(tmp_path, 1)
    assert (run["at_us"], run["verdict"]) == (result.at_us + 2, "pass")
    assert run["suites"] == [{"suite": "contents", "expectations": 12, "held": 12}]


def test_what_an_event_smuggles_into_a_page_does_not_run(expectations: ModuleType) -> None:
    still = importlib.import_module("expectations.docs").still
    page = still(
        "<html><body><p onclick='a()' title=\"x\">kept</p><SCRIPT>bad()</SCRIPT\n>"
        '<img src="//evil.example/x"><link href="//evil.example"></body>\n</html>\n',
        "<suite>",
    )
    assert "kept" in page
    assert "&lt;suite&gt;" in page
    assert not re.search(r"bad\(|onclick|evil", page)


def test_pages_that_can_not_be_written_decide_nothing(
    expectations: ModuleType, result: Reconciliation, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    found = expectations.validate(result, suites=["contents"], docs=tmp_path / "file")
    assert {one.verdict for one in found} == {Verdict.PASS}


def test_the_command_judges_keeps_the_pages_and_says_where_they_are(
    expectations: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "crossfade.toml").write_text(
        '[journal]\npath = "journal.db"\n[tap]\npath = "tap.db"\n'
        '[control]\nurl = "http://control.example:8780/"\n'
        '[reconcile]\nstate = "seals.db"\nrecheck_s = 0.0\ndocs = "pages"\n',
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    with World(tmp_path, now_us=1_700_000_000_000_000) as world:
        world.drop("supabase", world.fill(stream("critical", 3), 20)[3])
        monkeypatch.setattr("crossfade.comparison.SupabaseReader", lambda _: world.supabase)
        done = CliRunner().invoke(app, ["reconcile", "--docs"])
    assert done.exit_code == 1, done.output
    (run,) = runs(tmp_path / "pages", 9)
    assert (run["verdict"], [one["suite"] for one in run["suites"]]) == (
        "fail",
        ["contents", "counts", "shape"],
    )
    assert "suite contents: fail, 11 of 12 expectations hold\n  no-missing-critical" in done.stdout
    page = f"pages: pages/{run_folder(Path(), run['at_us'])}/index.html\n"
    assert page + f"served at http://control.example:8780/data-docs?at_us={run['at_us']}\n" in (
        done.stdout
    )
    (tmp_path / "crossfade.toml").write_text("", encoding="utf-8")
    refused = CliRunner().invoke(app, ["reconcile", "--docs"])
    assert isinstance(refused.exception, UsageError)
