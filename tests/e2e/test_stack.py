"""``crossfade up`` as a user runs it: two stacks side by side, crashes, taken ports.

Without Prefect, whose part is in the short demo run.
"""

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest

from crossfade.local.addresses import HOST
from crossfade.local.processes import MARKER

pytestmark = [pytest.mark.stack, pytest.mark.timeout(120)]

WITHOUT = ("--without", "prefect", "--without", "worker")
START_S = 60.0


class Up:
    """One ``crossfade up`` in a state folder."""

    def __init__(
        self,
        state: Path,
        *arguments: str,
        output: str = "out",
        environment: dict[str, str] | None = None,
    ) -> None:
        self.state = state
        self.output = state.with_suffix(f".{output}")
        command = [sys.executable, "-m", "crossfade.cli", "up", "--state", str(state)]
        with self.output.open("wb") as output_file:
            self.process = subprocess.Popen(
                [*command, *WITHOUT, *arguments],
                stdout=output_file,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={k: v for k, v in os.environ.items() if not k.startswith("SUPABASE_")}
                | (environment or {}),
                start_new_session=True,
            )

    @property
    def text(self) -> str:
        return self.output.read_text()

    def ready(self) -> dict[str, Any]:
        """Wait until it is up and return its ``stack.json``."""
        deadline = time.monotonic() + START_S
        while not (self.state / "stack.json").is_file():
            assert self.process.poll() is None, self.text
            assert time.monotonic() < deadline, self.text
            time.sleep(0.05)
        found: dict[str, Any] = json.loads((self.state / "stack.json").read_bytes())
        return found

    def family(self) -> list[psutil.Process]:
        """Every process that this stack started, guardian and PostgreSQL's children included."""
        services = self.ready()["services"].values()
        found = [psutil.Process(service["pid"]) for service in services]
        found += [child for parent in found for child in parent.children(recursive=True)]
        # PostgreSQL writes its title over its environment, so the marker alone is not enough.
        marker = psutil.Process(self.ready()["services"]["hub"]["pid"]).environ()[MARKER]
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process not in found and process.environ().get(MARKER) == marker:
                    found.append(process)
        return found

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=30)


def gone(processes: list[psutil.Process]) -> bool:
    _, left = psutil.wait_procs(processes, timeout=20)
    return not [one for one in left if one.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture
def stacks(tmp_path: Path) -> Iterator[list[Up]]:
    started: list[Up] = []
    yield started
    for up in started:
        if up.process.poll() is None:
            up.process.terminate()
            up.process.wait(timeout=30)


def test_two_stacks_side_by_side_and_nothing_left_of_either(
    stacks: list[Up], tmp_path: Path
) -> None:
    stacks += [Up(tmp_path / "one"), Up(tmp_path / "two")]
    one, two = stacks
    described = [one.ready(), two.ready()]
    names = {"postgres", "supabase", "hub", "control", "tap"}
    assert all(set(each["services"]) == names for each in described)
    ports = [each["services"][name]["url"] for each in described for name in names - {"tap"}]
    assert len(set(ports)) == len(ports)

    # Each is its own: its own keys, its own database, with the migrations applied.
    for each in described:
        key = each["supabase"]["service_role_key"]
        health = httpx.post(
            f"{each['supabase']['url']}/rest/v1/rpc/crossfade_health_v1",
            json={},
            headers={"apikey": key, "Authorization": f"Bearer {key}"},
        )
        assert health.status_code == 200
        assert health.json()["partition_today"] is True
        with psycopg.connect(each["supabase"]["database_url"]) as connection:
            assert connection.execute("select count(*) from crossfade.events").fetchone() == (0,)
    foreign = described[1]["supabase"]["service_role_key"]
    refused = httpx.post(
        f"{described[0]['supabase']['url']}/rest/v1/rpc/crossfade_health_v1",
        json={},
        headers={"apikey": foreign, "Authorization": f"Bearer {foreign}"},
    )
    assert refused.status_code == 401

    for up in stacks:
        for name in ("stack.json", "crossfade.toml", "secrets.json"):
            assert stat.S_IMODE((up.state / name).stat().st_mode) == 0o600
        secrets = json.loads((up.state / "secrets.json").read_bytes()).values()
        for process in up.family():
            assert not any(secret in part for secret in secrets for part in process.cmdline())

    # The same folder a second time is refused.
    again = Up(tmp_path / "one", output="again")
    assert again.process.wait(timeout=30) == 2
    assert "a stack already runs there" in again.text
    assert one.process.poll() is None

    families = [up.family() for up in stacks]
    assert all(len(family) >= 10 for family in families)
    assert one.end(signal.SIGTERM) == 130
    assert gone(families[0])
    assert not (one.state / "stack.json").exists()
    assert two.end(signal.SIGKILL) == -signal.SIGKILL
    assert gone(families[1])
    assert not (two.state / "stack.json").exists()


def test_a_project_of_ones_own_is_used_instead_of_the_stand_in(
    stacks: list[Up], tmp_path: Path
) -> None:
    # The project is another stack's stand-in.
    bare = [part for name in ("hub", "control", "tap") for part in ("--without", name)]
    stacks.append(Up(tmp_path / "project", *bare))
    project = stacks[0].ready()["supabase"]
    environment = {
        "SUPABASE_URL": project["url"],
        "SUPABASE_ANON_KEY": project["anon_key"],
        "SUPABASE_SERVICE_ROLE_KEY": project["service_role_key"],
    }
    stacks.append(Up(tmp_path / "own", environment=environment))
    described = stacks[1].ready()
    assert set(described["services"]) == {"hub", "control", "tap"}
    assert described["supabase"]["url"] == project["url"]

    wrong = {**environment, "SUPABASE_SERVICE_ROLE_KEY": project["anon_key"][:-3] + "xyz"}
    for number, (given, reason) in enumerate(
        [
            (wrong, "refuses the service role's key"),
            ({"SUPABASE_URL": project["url"]}, "supabase.anon_key: needed with supabase.url"),
            ({**environment, "SUPABASE_URL": "http://127.0.0.1:9"}, "connection attempts failed"),
        ]
    ):
        refused = Up(tmp_path / f"refused-{number}", environment=given)
        assert refused.process.wait(timeout=30) == 2
        assert reason in refused.text
    stacks[1].end(signal.SIGTERM)


def test_what_is_published_into_a_stack_comes_out_of_tail(stacks: list[Up], tmp_path: Path) -> None:
    bare = [part for name in ("postgres", "supabase", "tap") for part in ("--without", name)]
    stacks.append(Up(tmp_path / "one", *bare))
    stacks[0].ready()
    base = [sys.executable, "-m", "crossfade.cli"]
    state = ["--state", str(tmp_path / "one")]
    record = tmp_path / "record.jsonl"
    options = ["--from", "earliest", "--key", "N1", "--json", "--record", str(record)]
    with subprocess.Popen(
        [*base, "tail", *state, *options],
        stdout=subprocess.PIPE,
        text=True,
    ) as tail:
        lines = "".join(
            json.dumps({"id": f"id-{n}", "type": "t", "key": f"N{n % 2}", "data": n}) + "\n"
            for n in range(1, 8)
        )
        done = subprocess.run(
            [*base, "publish", "-", *state],
            input=lines,
            text=True,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "published 7 events\n")
        assert tail.stdout is not None
        seen = [json.loads(tail.stdout.readline()) for _ in range(4)]
        tail.send_signal(signal.SIGINT)
        assert tail.wait(timeout=30) == 130
    assert [one["data"] for one in seen] == ["1", "3", "5", "7"]
    assert [json.loads(line) for line in record.read_text().splitlines()] == seen


def test_a_service_that_dies_ends_the_stack_and_names_its_log(
    stacks: list[Up], tmp_path: Path
) -> None:
    stacks.append(Up(tmp_path / "one"))
    up = stacks[0]
    family = [psutil.Process(one["pid"]) for one in up.ready()["services"].values()]
    psutil.Process(up.ready()["services"]["hub"]["pid"]).kill()
    assert up.process.wait(timeout=30) == 1
    assert f"hub ended with signal 9; see {up.state}/logs/hub.log" in up.text
    assert gone(family)


def test_a_taken_port_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as server:
        port = server.getsockname()[1]
        up = Up(tmp_path / "one", "--control-port", str(port))
        assert up.process.wait(timeout=30) == 2
    assert f"port {port} for control is taken" in up.text
    assert len(up.text.splitlines()) == 1
    assert not up.state.exists()


def test_an_unknown_service_is_refused(tmp_path: Path) -> None:
    up = Up(tmp_path / "one", "--without", "redis")
    assert up.process.wait(timeout=30) == 2
    assert "unknown service redis" in up.text
    assert not up.state.exists()
