"""A module run by way of the warm server is as if it were run directly."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from crossfade.local.warm import client_command

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks without exec")

WAIT_S = 30.0
ROOT = Path(__file__).parents[3]

PROBE = """
import json, os, random, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))
print(json.dumps({
    "pid": os.getpid(), "argv": sys.argv[1:], "cwd": os.getcwd(), "mark": os.environ.get("MARK"),
    "warmed": "warmed" in sys.modules, "told": os.environ.get("TOLD"),
    "name": __name__, "random": random.random(), "server": os.environ.get("ONLY_SERVER"),
}), flush=True)
print("to stderr", file=sys.stderr, flush=True)
what = sys.argv[1] if len(sys.argv) > 1 else ""
if what == "exit":
    sys.exit(7)
while what == "wait":
    time.sleep(0.05)  # not in one go: a signal just before the call is seen after it
if what == "raise":
    raise ValueError("no")
"""
WARMED = """
import os
def once():
    open(os.environ["ONCE"], "a").write("x")
def child():
    os.environ["TOLD"] = "yes"
"""


class Warm:
    """A server with its modules in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "warm.sock"
        self.once = folder / "once"
        (folder / "probe.py").write_text(PROBE)
        (folder / "warmed.py").write_text(WARMED)
        self.environment = {
            "PATH": os.defpath,
            "PYTHONPATH": f"{ROOT}:{folder}",
            "ONCE": str(self.once),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "crossfade.local.warm", "--socket", str(self.socket),
             "--import", "warmed", "--preload", "warmed:once", "--in-child", "warmed:child"],
            env={**self.environment, "ONLY_SERVER": "1"},
        )  # fmt: skip
        self.clients: list[subprocess.Popen[str]] = []
        until(self.socket.exists)

    def end(self) -> None:
        for one in (self.process, *self.clients):
            one.kill()
            one.wait()
            for stream in (one.stdout, one.stderr):
                if stream is not None:
                    stream.close()

    def client(self, *arguments: str, **options: Path) -> subprocess.Popen[str]:
        made = subprocess.Popen(
            [*client_command(options.get("socket", self.socket), "probe"), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env={**self.environment, "MARK": "mine"},
        )
        self.clients.append(made)
        return made


def until(look: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def runs(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def first_line(client: subprocess.Popen[str]) -> dict[str, Any]:
    assert client.stdout is not None
    found: dict[str, Any] = json.loads(client.stdout.readline())
    return found


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    made = Warm(tmp_path_factory.mktemp("warm"))
    yield made
    made.end()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Warm]:
    """A server for this test alone."""
    made = Warm(tmp_path)
    yield made
    made.end()


def test_a_child_is_what_it_was_asked_to_be(warm: Warm) -> None:
    clients = [warm.client("a", "b") for _ in range(3)]
    outputs = [client.communicate(timeout=WAIT_S) for client in clients]
    told = [json.loads(out) for out, _ in outputs]
    for one, (_, err) in zip(told, outputs, strict=True):
        assert one["argv"] == ["a", "b"]
        assert one["cwd"] == str(warm.folder)
        assert (one["mark"], one["told"], one["server"]) == ("mine", "yes", None)
        assert (one["warmed"], one["name"]) == (True, "__main__")
        assert err == "to stderr\n"
    assert [client.returncode for client in clients] == [0, 0, 0]
    assert len({one["pid"] for one in told}) == 3
    assert len({one["random"] for one in told}) == 3
    assert warm.once.read_text() == "x"


@pytest.mark.parametrize(("what", "status"), [("exit", 7), ("raise", 1)])
def test_exit_status(warm: Warm, what: str, status: int) -> None:
    client = warm.client(what)
    _, err = client.communicate(timeout=WAIT_S)
    assert client.returncode == status
    assert ("ValueError: no" in err) is (what == "raise")


def test_signals_reach_the_child(warm: Warm) -> None:
    client = warm.client("wait")
    first_line(client)
    client.terminate()
    assert client.wait(WAIT_S) == 9
    client = warm.client("wait")
    os.kill(first_line(client)["pid"], signal.SIGKILL)
    assert client.wait(WAIT_S) == -signal.SIGKILL


def test_a_killed_client_takes_its_child_along(warm: Warm) -> None:
    client = warm.client("wait")
    child = first_line(client)["pid"]
    client.kill()
    client.wait(WAIT_S)
    until(lambda: not runs(child))
    assert warm.client().wait(WAIT_S) == 0


def test_without_a_server_the_module_runs_all_the_same(own: Warm) -> None:
    own.process.kill()
    own.process.wait()
    client = own.client("exit")
    told = first_line(client)
    assert client.wait(WAIT_S) == 7
    assert told["pid"] == client.pid
    assert told["warmed"] is False


def test_a_child_outlives_the_server(own: Warm) -> None:
    client = own.client("wait")
    child = first_line(client)["pid"]
    own.process.kill()
    own.process.wait()
    assert runs(child)
    assert client.poll() is None
    client.terminate()
    assert client.wait(WAIT_S) == 1
    until(lambda: not runs(child))


def test_a_server_that_can_not_import_serves_nobody(warm: Warm) -> None:
    other = warm.folder / "other.sock"
    server = subprocess.Popen(
        [sys.executable, "-m", "crossfade.local.warm", "--socket", str(other),
         "--import", "nothing_of_this_name"],
        env=warm.environment, stderr=subprocess.PIPE,
    )  # fmt: skip
    _, err = server.communicate(timeout=WAIT_S)
    assert warm.client("exit", socket=other).wait(WAIT_S) == 7
    assert server.returncode == 1
    assert b"nothing_of_this_name" in err


def test_a_server_with_another_thread_refuses_to_fork(warm: Warm) -> None:
    (warm.folder / "threaded.py").write_text(
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(30,), name='other', daemon=True).start()\n"
    )
    server = subprocess.Popen(
        [sys.executable, "-m", "crossfade.local.warm", "--socket", str(warm.folder / "t.sock"),
         "--import", "threaded"],
        env=warm.environment, stderr=subprocess.PIPE,
    )  # fmt: skip
    _, err = server.communicate(timeout=WAIT_S)
    assert server.returncode == 1
    assert b"can not fork beside other threads: other" in err


def test_it_goes_when_its_parent_goes(warm: Warm) -> None:
    """A worker that is killed leaves no warm process, but the runs that it forked go on."""
    path = warm.folder / "child.sock"
    parent = subprocess.Popen(
        [sys.executable, "-c",
         "import subprocess, sys, time\n"
         "print(subprocess.Popen([sys.executable, '-m', 'crossfade.local.warm', '--socket', "
         f"{str(path)!r}], stdout=subprocess.DEVNULL).pid, flush=True)\n"
         "time.sleep(60)"],
        env=warm.environment, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert parent.stdout is not None
    server = int(parent.stdout.readline())
    parent.stdout.close()
    until(path.exists)
    client = warm.client("wait", socket=path)
    child = first_line(client)["pid"]
    parent.kill()
    parent.wait()
    time.sleep(1.5)
    assert runs(server)
    assert runs(child)
    client.terminate()
    assert client.wait(WAIT_S) == 9
    until(lambda: not runs(server))
    with contextlib.suppress(ProcessLookupError):
        os.kill(server, signal.SIGKILL)


def test_the_imports_low_priority_is_not_the_childrens(warm: Warm) -> None:
    client = warm.client("wait")
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, first_line(client)["pid"]) == own
    client.terminate()
    client.wait(WAIT_S)


def test_only_the_owner_can_ask(warm: Warm) -> None:
    assert warm.socket.stat().st_mode & 0o077 == 0


def test_nonsense_is_turned_away(warm: Warm) -> None:
    import socket

    for data in (b"", b"\x00\x00", b"\xff\xff\xff\xff", b"\x00\x00\x00\x02{}"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
            one.connect(str(warm.socket))
            one.sendall(data)
            one.shutdown(socket.SHUT_WR)
            one.settimeout(WAIT_S)
            assert one.recv(100) == b""
    assert warm.client().wait(WAIT_S) == 0
