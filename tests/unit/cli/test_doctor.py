"""doctor, run through the entry point as the shell would: what it prints and its exit status."""

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from crossfade import doctor as doctor_module
from crossfade.cli import main
from crossfade.core.finding import Finding, Level, green, red
from crossfade.doctor import CHECKS, Examination

Run = Callable[..., tuple[int, str, str]]
AMBER = Finding(name="clock", level=Level.AMBER, detail="2,000 ms behind", action="let NTP set it")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Examination]:
    return []


@pytest.fixture
def run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    asked: list[Examination],
) -> Run:
    """Run the command in an empty folder; ``found`` is what the checks find."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def run_(*arguments: str, found: Iterable[Finding] = ()) -> tuple[int, str, str]:
        async def examine(what: Examination, names: list[str] | None = None) -> list[Finding]:
            asked.append(what)
            return [one for one in found if not names or one.name in names]

        monkeypatch.setattr(doctor_module, "examine", examine)
        monkeypatch.setattr(sys, "argv", ["crossfade", "doctor", *arguments])
        status = 0
        try:
            main()
        except SystemExit as error:
            status = int(error.code or 0)
        captured = capfd.readouterr()
        return status, captured.out, captured.err

    return run_


def test_green_and_amber_go_and_red_does_not(run: Run) -> None:
    fine = green("disk", "10 GB free")
    assert run(found=[fine])[0] == 0
    status, out, _ = run(found=[fine, AMBER])
    assert status == 0
    assert "amber  clock" in out
    assert "→ let NTP set it" in out
    assert out.rstrip().endswith("1 green, 1 amber")
    status, out, _ = run(found=[fine, red("keys", "missing", "set them")])
    assert status == 1
    assert out.rstrip().endswith("1 green, 1 red")


def test_json(run: Run) -> None:
    status, out, _ = run("--json", found=[AMBER, red("keys", "missing", "set them")])
    assert status == 1
    document = json.loads(out)
    assert document["status"] == 1
    assert document["checks"] == [
        AMBER.to_json(),
        {
            "name": "keys", "level": "red", "detail": "missing", "action": "set them",
            "value": None, "unit": "",
        },
    ]  # fmt: skip


def test_what_is_examined(run: Run, asked: list[Examination]) -> None:
    run()
    assert (asked[-1].plan, asked[-1].traffic) == (None, None)
    run("--plan", "pro", "--rate", "50", "--rate", "5", "--subscribers", "20")
    what = asked[-1]
    assert what.plan is not None
    assert what.plan.messages_per_s == 500
    assert what.traffic is not None
    assert (what.traffic.topics, what.traffic.subscribers) == ((50.0, 5.0), 20)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--plan", "gratis"), "'gratis': must be one of free, pro"),
        (("--only", "nothing"), f"the checks are {', '.join(CHECKS)}"),
        (("--settings", "missing.toml"), "missing.toml"),
    ],
)
def test_it_could_not_run(run: Run, arguments: tuple[str, ...], words: str) -> None:
    status, out, err = run(*arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert words in err


def test_nothing_of_a_server_reaches_the_terminal_raw(run: Run) -> None:
    _, out, _ = run(found=[red("supabase", "\x1b[2J[red]gone", "look")])
    assert "\x1b[2J" not in out
    assert "[red]gone" in out, "no markup either"
