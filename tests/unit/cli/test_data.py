"""publish and classify, run through the entry point as the shell would."""

import gzip
import io
import json
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from crossfade.cli import main

Run = Callable[..., tuple[int, str, str]]
GOOD = (
    '{"id":"a","type":"flight.departed","time":"2013-01-01T00:00:00Z","key":"N1","data":{"n":1}}\n'
)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run the command with a journal in ``tmp_path`` and no other side."""
    (tmp_path / "crossfade.toml").write_text(
        f'[journal]\npath = "{tmp_path / "journal.db"}"\n[websocket]\nurl = ""\n'
        "[publisher]\nmax_event_bytes = 300\n"
    )
    monkeypatch.chdir(tmp_path)

    def run_(*arguments: str, stdin: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["crossfade", *arguments])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        status = 0
        try:
            main()
        except SystemExit as error:
            status = int(error.code or 0)
        captured = capfd.readouterr()
        return status, captured.out, captured.err

    return run_


def journaled(tmp_path: Path) -> list[str]:
    connection = sqlite3.connect(tmp_path / "journal.db")
    rows = connection.execute("select id from events order by committed_us, sequence").fetchall()
    connection.close()
    return [str(row[0]) for row in rows]


def line(number: int, **more: object) -> str:
    return json.dumps({"id": f"id-{number}", "type": "t", "data": number, **more}) + "\n"


def test_a_compressed_file_is_published_whole(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl.gz"
    path.write_bytes(gzip.compress("".join(line(n) for n in range(1_234)).encode()))
    status, _, err = run("publish", str(path))
    assert (status, err) == (0, "published 1,234 events\n")
    assert len(journaled(tmp_path)) == 1_234


def test_standard_input_is_published_and_told_as_json(run: Run, tmp_path: Path) -> None:
    status, out, _ = run("publish", "-", "--json", stdin=GOOD + line(2))
    assert status == 0
    assert json.loads(out) == {"published": 2, "owed": {}}
    assert journaled(tmp_path) == ["a", "id-2"]


def test_publishing_a_file_again_publishes_nothing_twice(run: Run, tmp_path: Path) -> None:
    (tmp_path / "f.jsonl").write_text(line(1) + line(2))
    assert run("publish", "f.jsonl")[0] == 0
    assert run("publish", "f.jsonl")[0] == 0
    assert sorted(journaled(tmp_path)) == ["id-1", "id-2"]


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        ("{nonsense\n", "not valid JSON"),
        (line(3, datum=1), 'unknown field "datum"'),
        ('{"type":"t"}\n', 'field "data" is missing'),
        (line(3, time="yesterday"), "time: 'yesterday' is not RFC 3339"),
        (line(3, key=5), "key: must be a string"),
        (line(3, data="x" * 400), "data: 402 bytes, at most 300"),
    ],
)
def test_a_bad_line_stops_in_one_line_and_what_was_before_it_is_durable(
    run: Run, tmp_path: Path, bad: str, fault: str
) -> None:
    status, _, err = run("publish", "-", stdin=line(1) + line(2) + bad + line(4))
    assert status == 2
    said, error = err.splitlines()
    assert said == "published 2 events"
    assert error.startswith("crossfade: standard input: line 3: ")
    assert fault in error
    assert journaled(tmp_path) == ["id-1", "id-2"]


def test_a_journal_from_a_later_version_is_left_alone(run: Run, tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "journal.db")
    connection.execute("pragma user_version = 99")
    connection.close()
    before = (tmp_path / "journal.db").read_bytes()
    status, _, err = run("publish", "-", stdin=GOOD)
    assert status == 2
    assert err.splitlines()[0] == "published 0 events"
    assert "journal.db" in err.splitlines()[1]
    assert len(err.splitlines()) == 2
    assert (tmp_path / "journal.db").read_bytes() == before


def test_a_rate_is_kept_roughly(run: Run, tmp_path: Path) -> None:
    began = time.monotonic()
    status, _, _ = run("publish", "-", "--rate", "100", stdin="".join(map(line, range(60))))
    assert status == 0
    # 60 events at 100 a second; never faster, and how much slower is the machine's affair.
    assert time.monotonic() - began > 0.5
    assert len(journaled(tmp_path)) == 60


def test_classify_counts_by_category_and_rule(run: Run, tmp_path: Path) -> None:
    with (tmp_path / "crossfade.toml").open("a") as file:
        file.write(
            "[classification]\nheuristics = false\n[[classification.rules]]\n"
            'name = "departures"\ncategory = "user_activity"\ntype = "flight.*"\n'
            '[[classification.rules]]\nname = "late"\ncategory = "critical"\nfield = "late"\n'
        )
    status, out, _ = run("classify", "-", "--json", stdin=GOOD * 3 + line(1))
    assert status == 0
    assert json.loads(out) == {
        "events": 4,
        "categories": {
            "critical": 0,
            "performance": 0,
            "user_activity": 3,
            "system": 1,
            "debug": 0,
        },
        "rules": [
            {
                "category": "user_activity",
                "topic": "user_activity",
                "rule": "departures",
                "events": 3,
                "types": ["flight.departed"],
            },
            {
                "category": "system",
                "topic": "system",
                "rule": "default",
                "events": 1,
                "types": ["t"],
            },
        ],
        "unused_rules": ["late"],
    }
    (tmp_path / "sample.jsonl").write_text(GOOD + line(1))
    status, out, _ = run("classify", str(tmp_path / "sample.jsonl"))
    assert status == 0
    assert "departures" in out
    assert "50.0 %" in out
    assert "rules that caught nothing: late" in out
    assert "categories without an event: critical, performance, debug" in out


def test_classify_names_a_bad_line(run: Run) -> None:
    status, _, err = run("classify", "-", stdin=GOOD + "[]\n")
    assert status == 2
    assert err == "crossfade: standard input: line 2: must be an object, not list\n"


@pytest.mark.parametrize(
    ("rules", "fault"),
    [
        ('[[classification.rules]]\nname = "r"\ncategory = "gold"\ntype = "x"\n', "gold"),
        ('[[classification.rules]]\nname = "r"\ncategory = "debug"\npattern = "("\n', "rule r"),
        ('[[classification.rules]]\nname = "r"\ncategory = "debug"\n', "sets no condition"),
        ('default = "gold"\n', "gold"),
    ],
)
def test_classify_names_what_is_wrong_with_the_rules(
    run: Run, tmp_path: Path, rules: str, fault: str
) -> None:
    with (tmp_path / "crossfade.toml").open("a") as file:
        file.write("[classification]\n" + rules)
    status, out, err = run("classify", "-", stdin=GOOD)
    assert (status, out) == (2, "")
    assert fault in err
    assert err.count("\n") == 1


def test_classify_of_nothing_and_of_no_file(run: Run, tmp_path: Path) -> None:
    status, out, _ = run("classify", "-", "--json", stdin="")
    assert (status, json.loads(out)["events"]) == (0, 0)
    assert run("classify", "-", stdin="")[0] == 0
    status, _, err = run("classify", str(tmp_path / "nowhere.jsonl"))
    assert status == 2
    assert "nowhere.jsonl" in err
