"""The command: exit statuses, what it prints, and what it does not import."""

import contextlib
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner, Result

import crossfade.cli.reconcile as command
from crossfade.cli import app
from crossfade.core.verdict import Verdict
from crossfade.errors import InvalidEvent, UsageError
from tests.reconciliation_data import World, make_event, stream

LOST = stream("critical", 3)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Stores that the command finds by a settings file; Supabase is the double."""
    (tmp_path / "crossfade.toml").write_text(
        '[journal]\npath = "journal.db"\n[tap]\npath = "tap.db"\n'
        '[reconcile]\nblock = 8\nrecheck_s = 0.0\nstate = "seals.db"\n',
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")
    with World(tmp_path, now_us=1_700_000_000_000_000) as made:  # in the past by the real clock
        monkeypatch.setattr("crossfade.comparison.SupabaseReader", lambda settings: made.supabase)
        yield made


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["reconcile", *arguments])


def test_agreeing_stores_are_status_0(world: World) -> None:
    world.fill(LOST, 20)
    result = run()
    assert result.exit_code == 0, result.output
    assert "PASS: 20 events in 3 blocks compared" in result.stdout
    rows = [line.split() for line in result.stdout.splitlines() if "supabase" in line]
    assert rows == [["supabase", "20", "20", "0"]]
    assert "missing" not in result.stdout


def test_differing_stores_are_status_1_and_every_event_is_named(world: World) -> None:
    events = world.fill(LOST, 20)
    world.drop("supabase", events[3])
    world.alter("websocket", events[4], forged=False, data="{}")
    result = run("--full")
    assert result.exit_code == 1
    assert "missing in supabase: app/1/critical/3/4  flight.departed  [critical]" in result.stdout
    assert "altered in websocket: app/1/critical/3/5" in result.stdout
    assert "FAIL: 20 events" in result.stdout
    rows = [line.split() for line in result.stdout.splitlines() if line.startswith(" supabase")]
    header = next(line.split() for line in result.stdout.splitlines() if "expected" in line)
    assert header == ["store", "expected", "present", "missing", "altered", "in", "flight"]
    assert rows == [["supabase", "20", "19", "1", "0", "0"]]
    assert "2 discrepancies" in result.stdout


def test_a_range_is_compared_alone_and_whole(world: World) -> None:
    events = world.fill(LOST, 40)
    world.fill(stream("system", 1), 20)
    for sequence in (5, 9, 20, 21):
        world.drop("supabase", events[sequence - 1])
    result = run("--json", "--range", "app/1/critical/3/9-20")
    value = orjson.loads(result.stdout)
    assert (result.exit_code, value["checked_events"]) == (1, 12)
    assert [one["position"] for one in value["discrepancies"]] == [
        "app/1/critical/3/9",
        "app/1/critical/3/20",
    ]
    assert value["stores"]["supabase"]["expected"] == 12
    assert value["stores"]["supabase"]["in_flight"] == 0
    assert not (world.folder / "seals.db").exists()  # a part seals nothing
    assert run("--range", "app/1/critical/3/10-19").exit_code == 0
    assert run("--range", "app/1/critical/3/21").exit_code == 1
    assert run("--range", "app/1/critical/3/90-99").exit_code == 2  # nothing was checked
    for others in ((), ("--range", "app/1/critical/3/10-19")):
        error = run("--range", "app/1/critical/9/1-9", *others).exception
        assert isinstance(error, UsageError)
        assert "no store knows the stream app/1/critical/9" in str(error)


def test_phantoms_of_a_range_are_found_in_it_alone(world: World) -> None:
    world.fill(LOST, 10)
    for sequence in (11, 30):
        world.insert_phantom("supabase", make_event(LOST, sequence))
    value = orjson.loads(run("--json", "--range", "app/1/critical/3/5-20").stdout)
    assert [one["position"] for one in value["discrepancies"]] == ["app/1/critical/3/11"]


@pytest.mark.parametrize(
    "text",
    [
        "app/1/critical/3", "app/1/critical/3/9-2", "app/1/x/3/0-2",
        f"app/1/critical/3/1-{2**63}", "app/1/critical/-3/1-2",
    ],
)  # fmt: skip
def test_a_range_that_is_none_is_refused(world: World, text: str) -> None:
    world.fill(LOST, 4)
    assert isinstance(run("--range", text).exception, InvalidEvent)


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("--explain", "app/1/critical/3/1", "--full"), "--explain goes without --full"),
        (("--acknowledge-gap", "app/1/critical/3/1", "--store", "supabase"), "without --store"),
        (("--explain", "app/1/critical/3/1", "--acknowledge-gap", "x"), "--acknowledge-gap"),
        (("--by", "Ada"), "are for --acknowledge-gap"),
        (("--explain", f"app/1/critical/3/{2**70}"), "is not a position"),
    ],
)
def test_options_that_would_do_nothing_are_refused(
    world: World, arguments: tuple[str, ...], fault: str
) -> None:
    world.fill(LOST, 4)
    refused = run(*arguments).exception
    assert isinstance(refused, UsageError)
    assert fault in str(refused)


def test_many_kinds_fit_into_a_narrow_terminal(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    events = world.fill(LOST, 20)
    world.drop("supabase", events[3])
    world.alter("websocket", events[4], forged=False, data="{}")
    world.spoil_checksum("supabase", events[5])
    world.deliver(events[6], ["websocket"])
    world.swap_arrivals(events[8], events[9])
    lines = run("--full").stdout.splitlines()
    assert lines[1].split() == ["store", "journal", "websocket", "supabase", "realtime", "(live)"]
    rows = [line.rsplit(None, 4) for line in lines[3:11]]
    figures = {row[0].strip(): row[1:4] for row in rows}
    assert figures["missing"] == ["0", "0", "1"]
    assert figures["out of order"] == ["0", "1", "0"]
    assert figures["stale hash"] == ["0", "0", "1"]


def test_content_is_hashed_anew_on_demand(world: World) -> None:
    world.fill(LOST, 20)
    run()
    for _ in range(2):
        value = orjson.loads(run("--json", "--content").stdout)
        assert (value["full"], value["checked_events"]) == (True, 20)


def test_a_run_on_demand_scrubs_less_than_a_validation(world: World) -> None:
    world.fill(LOST, 200)
    run()

    def scrubbed(*arguments: str, **setting: int) -> int:
        toml = world.folder / "crossfade.toml"
        before = toml.read_text(encoding="utf-8")
        lines = "".join(f"{name} = {value}\n" for name, value in setting.items())
        toml.write_text(before + lines, encoding="utf-8")
        done = orjson.loads(run("--json", *arguments).stdout)
        toml.write_text(before, encoding="utf-8")
        return int(done["checked_events"])

    assert scrubbed() == 4 * 8
    assert scrubbed(scrub_on_demand=9) == 9 * 8
    # A run that compares nothing proves nothing.
    assert scrubbed(scrub_on_demand=0) == 0
    # What a validation does is not its affair.
    assert scrubbed(scrub_blocks=0) == 4 * 8


HEAVY = {
    "anyio", "crossfade.adapters.control", "crossfade.cli.operate", "crossfade.core.rollout",
    "crossfade.core.switch", "duckdb", "fsspec", "great_expectations", "h2", "httpcore", "httpx",
    "numpy", "pandas", "prefect", "psycopg", "pyarrow", "realtime", "scipy", "sqlalchemy",
    "structlog", "supabase", "urllib.request", "websockets",
}  # fmt: skip
"""None of it is needed for a check; each takes longer than one."""


@pytest.mark.parametrize("arguments", [["--help"], ["--json"]])
def test_a_check_imports_nothing_heavy(world: World, arguments: list[str]) -> None:
    world.fill(LOST, 20)
    settings = world.folder / "crossfade.toml"
    # The project does not answer: what asks it is imported all the same.
    settings.write_text(
        settings.read_text() + '[supabase]\nurl = "http://127.0.0.1:9"\nservice_role_key = "k"\n'
    )
    code = (
        "import sys\nfrom crossfade.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "sys.stderr.write(' '.join(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "reconcile", *arguments],
        cwd=world.folder,
        env={name: value for name, value in os.environ.items() if "proxy" not in name.lower()},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    modules = set(done.stderr.split())
    assert "crossfade.reconcile" in modules
    assert sorted(HEAVY & modules) == []
    if "--json" in arguments:
        assert "refused" in orjson.loads(done.stdout)["errors"]["supabase"]
        assert sorted(name for name in modules if name.split(".")[0] == "rich") == []


def test_the_command_runs_without_the_other_commands() -> None:
    """What they import takes longer than a check does."""
    code = (
        "import sys; sys.argv[1:] = ['reconcile', '--range', 'x']; from crossfade.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 2\n"
        "heavy = {'pandas', 'supabase', 'realtime', 'prefect', 'great_expectations', 'sqlalchemy',"
        " 'structlog', 'crossfade.cli.operate', 'crossfade.adapters.control'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.strip() == "[]"
    assert done.stderr.startswith("crossfade: 'x' is not a range")


def test_a_gap_is_accepted_by_a_person_and_shown_from_then_on(world: World) -> None:
    events = world.fill(LOST, 20)
    world.drop("websocket", events[4])
    world.uncover(events[4])
    assert run().exit_code == 2
    assert isinstance(run("--acknowledge-gap", "app/1/critical/3/1-20").exception, UsageError)
    done = run(
        "--acknowledge-gap", "app/1/critical/3/1-20", "--by", "Ada", "--reason", "hub's log read"
    )
    assert (done.exit_code, done.stdout) == (
        0,
        "accepted app/1/critical/3/5-5: hub's log read (Ada)\n",
    )
    result = run()
    assert result.exit_code == 0, result.output
    assert "accepted by Ada: app/1/critical/3/5-5  hub's log read" in result.stdout
    rows = [line.split() for line in result.stdout.splitlines() if line.startswith(" websocket")]
    assert rows == [["websocket", "20", "19", "1", "0"]]


def test_tolerated_differences_are_differences(world: World) -> None:
    events = world.fill(stream("system", 1), 2_000)
    world.drop("supabase", events[3])
    result = run("--json")
    value = orjson.loads(result.stdout)
    assert (value["verdict"], value["discrepancy_count"]) == ("pass", 1)
    assert result.exit_code == 1


def test_what_can_not_be_checked_is_status_2(world: World) -> None:
    assert run().exit_code == 2  # nothing published
    world.fill(LOST, 20)
    world.supabase.broken = "digests"
    result = run()
    assert result.exit_code == 2
    assert "supabase: digests: no answer in time" in result.stdout
    assert "ERROR: 20 events" in result.stdout


def test_json_is_the_protocols_and_nothing_else(world: World) -> None:
    world.fill(LOST, 20)
    value = orjson.loads(run("--json").stdout)
    assert value["verdict"] == "pass"
    assert value["trigger"] == "cli"
    assert value["stores"]["supabase"]["present"] == 20


def test_filters(world: World) -> None:
    lost = world.fill(LOST, 20)
    quiet = world.fill(stream("system", 1), 20)
    world.drop("supabase", lost[0])
    world.drop("websocket", quiet[0])
    one = orjson.loads(run("--json", "--store", "supabase").stdout)
    assert [found["store"] for found in one["discrepancies"]] == ["supabase"]
    one = orjson.loads(run("--json", "--category", "system").stdout)
    assert [found["category"] for found in one["discrepancies"]] == ["system"]
    wrong = run("--store", "mongodb")
    assert isinstance(wrong.exception, UsageError)
    assert "there are journal, websocket, supabase" in str(wrong.exception)


def test_explain_shows_one_event_side_by_side(world: World) -> None:
    events = world.fill(LOST, 20)
    world.alter("supabase", events[3], forged=False, data='{"note":"[bold]x","bell":1}')
    world.deliver(events[3], ["websocket"])
    result = run("--explain", "app/1/critical/3/4")
    assert result.exit_code == 1
    header = next(line for line in result.stdout.splitlines() if "journal" in line)
    assert header.split() == [
        "┃", "┃", "journal", "┃", "websocket", "┃", "websocket,", "again", "┃", "realtime", "┃",
        "supabase", "┃",
    ]  # fmt: skip
    assert '{"note":"[bold]x","bell":1}' in result.stdout
    assert "duplicated in websocket: delivered 2 times" in result.stdout
    assert "altered in supabase: data: not as in journal" in result.stdout
    value = orjson.loads(run("--json", "--explain", "app/1/critical/3/4").stdout)
    assert [len(value["stores"][name]) for name in ("journal", "websocket")] == [1, 2]
    assert value["stores"]["supabase"][0]["checksum"] == value["stores"]["journal"][0]["hash"]
    assert {one["kind"] for one in value["discrepancies"]} == {"duplicated", "altered"}


def test_explain_of_what_is_right_absent_or_foreign(world: World) -> None:
    world.fill(LOST, 20)
    fine = run("--explain", "app/1/critical/3/4")
    assert (fine.exit_code, "no discrepancy" in fine.stdout) == (0, True)
    beyond = run("--explain", "app/1/critical/3/21")
    assert (beyond.exit_code, "the journal's stream ends at 20" in beyond.stdout) == (2, True)
    world.insert_phantom("supabase", make_event(LOST, 21))
    assert run("--explain", "app/1/critical/3/21").exit_code == 1
    unknown = run("--explain", "app/1/nothing/3/4")
    assert (unknown.exit_code, "no such stream" in unknown.stdout) == (2, True)
    malformed = run("--explain", "4")
    assert isinstance(malformed.exception, InvalidEvent)


def test_explain_says_why_a_store_need_not_hold_it(world: World) -> None:
    world.fill(stream("system", 1), 5, routed=False)
    result = run("--explain", "app/1/system/1/4")
    assert result.exit_code == 0
    assert "Supabase is not owed it" in result.stdout
    assert "supabase: does not hold it" in result.stdout


def test_explain_does_not_judge_what_is_in_flight(world: World) -> None:
    world.publish(LOST, 1)
    world.journal.execute("UPDATE events SET committed_us = 4000000000000000")
    world.journal.commit()
    result = run("--explain", "app/1/critical/3/1")
    assert result.exit_code == 2
    assert "in flight" in result.stdout
    assert "no discrepancy" not in result.stdout


def test_explain_of_what_is_late_decides_nothing(world: World) -> None:
    world.route(LOST)
    world.publish(LOST, 1, to=("websocket",), owed=("supabase",))
    result = run("--explain", "app/1/critical/3/1")
    assert result.exit_code == 2
    assert "late in supabase: the publisher still owes it" in result.stdout


def test_explain_names_stores_that_can_not_be_read(world: World) -> None:
    events = world.fill(LOST, 5)
    world.supabase.broken = "rows"
    result = run("--explain", str(events[0].position))
    assert result.exit_code == 2
    assert "supabase: rows: no answer in time" in result.stdout


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys, crossfade.cli;"
        "print([m for m in ('great_expectations', 'pandas', 'prefect') if m in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    assert answer.stdout.strip() == "[]"


def test_the_status_of_every_verdict() -> None:
    from crossfade.core.reconciliation import Reconciliation

    def status(verdict: Verdict, count: int = 0) -> int:
        result = Reconciliation(at_us=0, duration_ms=0, verdict=verdict, discrepancy_count=count)
        return command._status(result)

    assert status(Verdict.PASS) == 0
    assert status(Verdict.PASS, 1) == status(Verdict.FAIL, 1) == 1
    assert status(Verdict.INCONCLUSIVE, 1) == status(Verdict.ERROR) == 2


def in_a_terminal(folder: Path, *arguments: str) -> tuple[int, bytes, bytes]:
    """Run the command with standard error as a terminal; status, standard output and the terminal's
    text."""
    control, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "crossfade.cli", "reconcile", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=terminal,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(terminal)
    shown = b""
    # The terminal ends (EIO) with the last process that holds it.
    with contextlib.suppress(OSError):
        while read := os.read(control, 4_096):
            shown += read
    output, _ = process.communicate(timeout=50)
    os.close(control)
    return process.returncode, output, shown


def test_a_bar_is_shown_in_a_terminal_and_nowhere_else(world: World) -> None:
    world.fill(LOST, 200, routed=False)
    options = ("--store", "websocket", "--full")
    status, output, shown = in_a_terminal(world.folder, *options)
    assert status == 0, shown
    assert "comparing blocks" in shown.decode()
    assert "25/25" in shown.decode()
    assert b"comparing" not in output
    assert b"PASS: 200 events in 25 blocks" in output
    status, output, shown = in_a_terminal(world.folder, *options, "--json")
    assert (status, shown) == (0, b"")
    assert orjson.loads(output)["verdict"] == "pass"
    plain = subprocess.run(
        [sys.executable, "-m", "crossfade.cli", "reconcile", *options],
        cwd=world.folder,
        capture_output=True,
        check=False,
    )
    assert (plain.returncode, plain.stderr) == (0, b"")
