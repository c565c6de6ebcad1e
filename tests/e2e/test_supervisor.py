"""The supervisor and its guardian, over small real processes."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from crossfade.errors import StackError
from crossfade.local.processes import MARKER, marked
from crossfade.local.supervisor import ServiceSpec, ServiceState, ServiceStatus, Supervisor

# A service that says when it is ready and has a child in a session of its own, which ignores TERM.
SERVICE = """
import pathlib, signal, subprocess, sys, time
child = subprocess.Popen(
    [sys.executable, "-c",
     "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"],
    start_new_session=True,
)
pathlib.Path(sys.argv[1]).write_text(str(child.pid))
time.sleep(600)
"""


def spec(
    folder: Path, name: str, code: str = SERVICE, *, needs: tuple[str, ...] = (), **more: object
) -> ServiceSpec:
    flag = folder / f"{name}.ready"

    async def healthy() -> bool:
        return flag.exists() and bool(flag.read_text())

    return ServiceSpec(
        name=name,
        command=[sys.executable, "-c", textwrap.dedent(code), str(flag)],
        environment={"PATH": os.environ.get("PATH", os.defpath)},
        log=folder / f"{name}.log",
        healthy=healthy,
        needs=needs,
        **more,  # type: ignore[arg-type]
    )


def until(condition: Callable[[], bool], what: str, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def test_services_start_after_what_they_need_and_all_are_ended(tmp_path: Path) -> None:
    changes: list[tuple[str, ServiceState]] = []

    def note(status: ServiceStatus) -> None:
        changes.append((status.name, status.state))

    specs = [
        spec(tmp_path, "third", uses=("second",)),
        spec(tmp_path, "second", needs=("first",)),
        spec(tmp_path, "first"),
    ]
    async with Supervisor(specs, marker="m1", on_change=note) as supervisor:
        started = {status.name: status for status in supervisor.statuses}
        assert {status.state for status in started.values()} == {ServiceState.READY}
        pids = [status.pid for status in started.values()]
        children = [int((tmp_path / f"{name}.ready").read_text()) for name in started]
        ready = changes.index(("first", ServiceState.READY))
        assert ready < changes.index(("second", ServiceState.STARTING))
        assert ready > changes.index(("third", ServiceState.STARTING))
        guardian = supervisor.guardian.pid
    for earlier, later in (("third", "second"), ("second", "first")):
        assert changes.index((earlier, ServiceState.STOPPED)) < changes.index(
            (later, ServiceState.STOPPING)
        )
    # Their children too, though they left the process group and ignore TERM.
    assert not [pid for pid in (*pids, *children, guardian) if pid is not None and runs(pid)]
    assert not marked("m1")


async def test_a_service_that_ends_is_reported_with_its_log(tmp_path: Path) -> None:
    dies = """
    import pathlib, sys, time
    pathlib.Path(sys.argv[1]).write_text("1")
    time.sleep(0.3)
    sys.exit("disk on fire")
    """
    async with Supervisor(
        [spec(tmp_path, "frail", dies), spec(tmp_path, "firm")], marker="m2"
    ) as s:
        async with asyncio.timeout(20):
            assert await s.death() == "frail"
        frail = next(status for status in s.statuses if status.name == "frail")
        assert frail.state is ServiceState.DIED
        assert "status 1" in frail.note
        assert str(tmp_path / "frail.log") in frail.note
        assert "disk on fire" in frail.note
    assert not marked("m2")


async def test_a_service_that_dies_while_others_start_ends_the_start_at_once(
    tmp_path: Path,
) -> None:
    frail = """
    import pathlib, sys, time
    pathlib.Path(sys.argv[1]).write_text("1")
    time.sleep(1)
    sys.exit("lost its disk")
    """
    specs = [spec(tmp_path, "frail", frail), spec(tmp_path, "slow", "import time; time.sleep(600)")]
    began = time.monotonic()
    with pytest.raises(StackError, match=r"frail ended with status 1.*lost its disk"):
        async with Supervisor(specs, marker="m9", start_timeout_s=600.0):
            pytest.fail("it must not start")
    assert time.monotonic() - began < 30
    assert not marked("m9")


async def test_a_child_in_the_group_that_hides_is_ended_with_its_parent(tmp_path: Path) -> None:
    # Without the marker in its environment, as PostgreSQL's, and deaf to TERM.
    hider = """
    import pathlib, subprocess, sys, time
    code = (
        "import pathlib, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        f"pathlib.Path({sys.argv[1]!r}).write_text(str(__import__('os').getpid())); time.sleep(600)"
    )
    subprocess.Popen([sys.executable, "-c", code], env={})
    time.sleep(600)
    """
    async with Supervisor([spec(tmp_path, "hider", hider)], marker="m10"):
        child = int((tmp_path / "hider.ready").read_text())
        assert runs(child)
    until(lambda: not runs(child), "the child is ended")


async def test_a_start_that_fails_ends_what_had_started(tmp_path: Path) -> None:
    specs = [spec(tmp_path, "firm"), spec(tmp_path, "broken", "raise SystemExit('no config')")]
    with pytest.raises(StackError, match=r"broken ended with status 1.*no config"):
        async with Supervisor(specs, marker="m3"):
            pytest.fail("it must not start")
    assert not marked("m3")


async def test_a_service_that_never_becomes_healthy_is_named(tmp_path: Path) -> None:
    specs = [spec(tmp_path, "deaf", "import time; time.sleep(600)")]
    with pytest.raises(StackError, match=r"within 1 s: deaf is not healthy"):
        async with Supervisor(specs, marker="m4", start_timeout_s=1.0):
            pytest.fail("it must not start")
    assert not marked("m4")


async def test_killed_services_are_no_death_and_can_be_revived(tmp_path: Path) -> None:
    specs = [spec(tmp_path, "base"), spec(tmp_path, "top", needs=("base",))]
    async with Supervisor(specs, marker="m5") as supervisor:
        before = {status.name: status.pid for status in supervisor.statuses}
        for name in before:
            (tmp_path / f"{name}.ready").unlink()
        await supervisor.kill("top", "base")
        assert {status.state for status in supervisor.statuses} == {ServiceState.KILLED}
        assert not marked("m5") or {p.pid for p in marked("m5")} == {supervisor.guardian.pid}
        await supervisor.revive("base", "top")
        after = {status.name: status.pid for status in supervisor.statuses}
        assert {status.state for status in supervisor.statuses} == {ServiceState.READY}
        assert not set(before.values()) & set(after.values())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await supervisor.death()
    assert not marked("m5")


async def test_a_service_that_ignores_the_signal_is_killed_after_its_grace(tmp_path: Path) -> None:
    stubborn = """
    import pathlib, signal, sys, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pathlib.Path(sys.argv[1]).write_text("1")
    time.sleep(600)
    """
    specs = [spec(tmp_path, "stubborn", stubborn, grace_s=0.3)]
    async with Supervisor(specs, marker="m6") as supervisor:
        pass
    assert "killed" in supervisor.statuses[0].note
    assert not marked("m6")


PARENT = """
import asyncio, json, os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.e2e.test_supervisor import spec
from crossfade.local.supervisor import Supervisor

async def main():
    folder = Path(sys.argv[1])
    async with Supervisor([spec(folder, "a"), spec(folder, "b")], marker="m7") as supervisor:
        supervisor.guardian.forget(folder / "stack.json")
        (folder / "stack.json").write_text("{}")
        pids = [status.pid for status in supervisor.statuses] + [supervisor.guardian.pid]
        pids += [int((folder / f"{name}.ready").read_text()) for name in "ab"]
        print(json.dumps(pids), flush=True)
        await supervisor.death()

asyncio.run(main())
"""


def test_nothing_is_left_after_the_parent_was_killed(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path), str(root)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(root)},
    ) as parent:
        assert parent.stdout is not None
        pids = json.loads(parent.stdout.readline())
        assert len(pids) == 5
        assert all(runs(pid) for pid in pids)
        parent.send_signal(signal.SIGKILL)
    until(lambda: not any(runs(pid) for pid in pids), "everything is ended by the guardian")
    assert not marked("m7")
    assert not (tmp_path / "stack.json").exists()


def test_a_parent_that_dies_before_it_recorded_a_child_leaves_none_either(tmp_path: Path) -> None:
    # The marker finds what the guardian was never told about.
    environment = {**os.environ, MARKER: "m8"}
    stray = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"], env=environment
    )
    guardian = subprocess.Popen(
        [sys.executable, "-m", "crossfade.local.guardian"],
        stdin=subprocess.PIPE,
        env=environment,
        start_new_session=True,
    )
    assert guardian.stdin is not None
    guardian.stdin.write(b"+ 12")  # cut short
    guardian.stdin.close()
    assert stray.wait(timeout=20) == -signal.SIGTERM
    assert guardian.wait(timeout=20) == 0
