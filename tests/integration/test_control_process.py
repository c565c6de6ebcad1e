"""``python -m crossfade.control`` as a process: signals, exit statuses, a kill in between."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from crossfade.local.addresses import free_port

TOKEN = "operator-secret"


def write_settings(folder: Path, port: int, **changes: str) -> Path:
    lines = {
        "url": f"http://127.0.0.1:{port}",
        "database_url": f"sqlite:///{folder / 'control.db'}",
        "operator_token": TOKEN,
        "instance_token": "instance-secret",
        **changes,
    }
    path = folder / "crossfade.toml"
    path.write_text("[control]\n" + "".join(f'{key} = "{value}"\n' for key, value in lines.items()))
    return path


def call(port: int, method: str, path: str, body: object = None) -> dict[str, object]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {TOKEN}"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        found: dict[str, object] = json.load(answer)
        return found


@contextmanager
def control(settings: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "crossfade.control", "--settings", str(settings)],
        stderr=subprocess.PIPE,
        text=True,
        env={name: value for name, value in os.environ.items() if "CROSSFADE" not in name},
    )
    try:
        deadline = time.monotonic() + 30
        while True:
            assert process.poll() is None, process.stderr and process.stderr.read()
            try:
                call(port, "GET", "/healthz")
                break
            except (urllib.error.URLError, ConnectionError):
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=10)


def test_sigterm_ends_it_cleanly_even_with_a_long_poll_open(tmp_path: Path) -> None:
    port = free_port()
    settings = write_settings(tmp_path, port)
    with control(settings, port) as process:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/flags?after=1&wait_s=30",
            headers={"Authorization": f"Bearer {TOKEN}"},
        )
        import threading

        answers: list[int] = []

        def poll() -> None:
            with urllib.request.urlopen(request, timeout=20) as answer:
                answers.append(answer.status)

        thread = threading.Thread(target=poll)
        thread.start()
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=15) == 0
        thread.join(10)
        assert answers == [200]
        assert process.stderr is not None
        log = process.stderr.read()
    assert "control server listens" in log
    assert "Traceback" not in log
    assert TOKEN not in log


def test_killed_and_started_again_it_goes_on(tmp_path: Path) -> None:
    port = free_port()
    settings = write_settings(tmp_path, port)
    with control(settings, port) as process:
        call(port, "POST", "/v1/rollout", {"name": "x", "plan": {}, "actor": "cli:ada"})
        rolled = call(
            port,
            "POST",
            "/v1/rollout/commands",
            {"verb": "rollback", "actor": "cli:ada", "reason": "complaints"},
        )
        process.kill()
        process.wait(timeout=10)
    with control(settings, port):
        assert call(port, "GET", "/v1/rollout") == rolled
        assert rolled["phase"] == "rolling_back"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"operator_token": ""}, "crossfade control: control.operator_token: must be set"),
        ({"database_url": "nonsense"}, "crossfade control: control.database_url: can not be"),
        ({"colour": "red"}, "crossfade control: control.colour: unknown setting"),
    ],
)
def test_bad_settings_are_one_line_and_status_2(
    tmp_path: Path, changes: dict[str, str], line: str
) -> None:
    settings = write_settings(tmp_path, 0, **changes)
    assert_refused(settings, line)


def test_a_taken_port_is_one_line_and_status_2(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = write_settings(tmp_path, taken.getsockname()[1])
        assert_refused(settings, "crossfade control: control server: 127.0.0.1:")


def assert_refused(settings: Path, line: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "crossfade.control", "--settings", str(settings)],
        capture_output=True,
        text=True,
        timeout=30,
        env={name: value for name, value in os.environ.items() if "CROSSFADE" not in name},
    )
    assert done.returncode == 2
    assert done.stderr.startswith(line), done.stderr
    assert done.stderr.count("\n") == 1


def test_the_command_line_says_who_is_not_there(tmp_path: Path) -> None:
    settings = write_settings(tmp_path, free_port())
    done = subprocess.run(
        [sys.executable, "-m", "crossfade.cli", "status", "--settings", str(settings)],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("crossfade: control server http://127.0.0.1:")
    assert done.stderr.count("\n") == 1
