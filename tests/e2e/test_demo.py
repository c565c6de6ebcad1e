"""The demo as the README runs it, on a part of the flights: proven, and broken on purpose."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil
import pytest

from crossfade.control.dashboard import bundled_dashboard

pytestmark = [pytest.mark.e2e, pytest.mark.stack, pytest.mark.xdist_group("demo")]

RUN_S = 400
FEW = ("--limit", "4000", "--rate", "100", "--soak", "2")
FAULTS = ("missing", "duplicated", "altered", "out_of_order", "unexpected")


def demo(tmp_path: Path, *arguments: str) -> tuple[int, str, dict[str, Any]]:
    """Run the demo; its exit status, what it printed, and its report."""
    report = tmp_path / "report.json"
    # Not under tmp_path: a Unix socket's path may have little more than a hundred bytes.
    with tempfile.TemporaryDirectory(prefix="cf") as scratch:
        found = subprocess.run(
            [sys.executable, "-m", "crossfade.cli", "demo", "--report", str(report), *arguments],
            capture_output=True,
            text=True,
            timeout=RUN_S,
            env={**os.environ, "TMPDIR": scratch, "COLUMNS": "200"},
            check=False,
        )
        assert not list(Path(scratch).glob("crossfade-demo-*")), "the state folder is removed"
        assert not _left(scratch), "nothing is left running"
    assert report.is_file(), found.stdout + found.stderr
    return found.returncode, found.stdout, json.loads(report.read_bytes())


def _left(folder: str) -> list[str]:
    return [
        " ".join(process.info["cmdline"])
        for process in psutil.process_iter(["cmdline"])
        if any(folder in part for part in process.info["cmdline"] or ())
    ]


@pytest.mark.timeout(RUN_S + 20)
def test_a_whole_migration_with_an_outage_is_proven(tmp_path: Path) -> None:
    status, output, report = demo(tmp_path, *FEW)
    last = output.rstrip().splitlines()[-1]
    assert status == 0, output
    assert last.startswith("PROVEN: 4,000 events moved to Supabase Realtime in 3 weeks")
    assert report["outcome"] == "proven"
    assert report["findings"] == report["failures"] == []
    # Where the pages were built, it says how to watch.
    links = [line for line in output.splitlines() if "#token=page." in line]
    assert len(links) == (0 if bundled_dashboard() is None else 2)

    assert list(report["stores"]) == ["journal", "websocket", "relayed", "supabase"]
    assert len(report["subscribers"]) == 5
    for name, figures in {**report["stores"], **report["subscribers"]}.items():
        assert figures["expected"] == figures["delivered"] > 0, name
        assert [figures[fault] for fault in FAULTS] == [0] * 5, name
    for name in ("journal", "websocket", "supabase"):
        assert report["stores"][name]["expected"] == 4_000
    follows = [one["follows"] for one in report["subscribers"].values()]
    assert follows[:2] == ["everything"] * 2
    assert all(one.startswith("key ") for one in follows[2:])

    weeks = [(one["name"], one["attempt"], one["outcome"]) for one in report["stages"]]
    assert weeks == [
        ("week-1", 1, "approved"),
        ("week-2", 1, "rolled_back"),
        ("week-2", 2, "approved"),
        ("week-3", 1, "approved"),
    ]
    for one in report["stages"]:
        if one["outcome"] == "approved":
            assert one["approver"] == "demo"
            assert one["verdict"] == one["evidence"]["verdict"] == "pass"
            assert one["evidence"]["hash"] == one["evidence_hash"]
            measured = {row["name"]: row for row in one["evidence"]["measurements"]}
            assert measured["delivery"]["value"] == 100
            assert measured["delivery"]["n"] > 0

    outage = report["outage"]
    assert outage["week"] == "week-2"
    assert outage["incident"]
    assert outage["root_cause"]
    assert 0 < outage["breaker_open_s"] <= outage["flag_applied_s"]
    assert outage["flag_applied_s"] <= outage["rollback_verified_s"] <= outage["resumed_s"]
    assert outage["breaker_open_s"] < outage["duration_s"]
    assert outage["owed_at_end"] > 0
    assert outage["drain_s"] > 0
    # Subscribers went on without Supabase: each of the two got what was published meanwhile.
    assert min(outage["delivered_during"][f"everything-{n}"] for n in (1, 2)) > 0
    for store in ("journal", "websocket", "supabase"):
        assert report["reconciliation"]["stores"][store]["present"] > 0
        assert report["rows"]["websocket"] == 4_000


@pytest.mark.timeout(RUN_S + 20)
def test_whatever_is_broken_on_purpose_is_named(tmp_path: Path) -> None:
    kinds = {
        "drop-in-relay": ("missing", "relayed"),
        "alter-row": ("altered", "supabase"),
        "double-in-subscriber": ("duplicated", "everything-1"),
    }
    options = [part for kind in kinds for part in ("--sabotage", kind)]
    status, output, report = demo(tmp_path, *FEW, "--weeks", "1", "--seed", "7", *options)
    assert status == 1, output
    assert report["outcome"] == "failed"
    assert report["outage"] is None
    assert report["seed"] == 7
    found = {(one["kind"], one["holder"], one["id"]) for one in report["findings"]}
    victims = report["options"]["sabotage"]
    expected = {(*kinds[kind], event_id) for kind, event_id in victims.items()}
    # The altered row is seen before the backfill as well; nothing else is wrong anywhere.
    assert found == expected | {("altered", "relayed", victims["alter-row"])}
    for event_id in victims.values():
        assert event_id in output
    assert all(one["position"] for one in report["findings"])
    assert output.rstrip().splitlines()[-1].startswith("NOT PROVEN: relayed: ")
