"""Child processes of a stack: started each in a session of its own, ended whole.

Every process of a stack carries ``MARKER`` in its environment, and its children inherit it.
That finds the ones that left their parent's process group, as Prefect's flow runs do. (Not
PostgreSQL's: it writes its title over its environment. Its children end with their parent.)
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import psutil

__all__ = [
    "MARKER",
    "end_group",
    "end_marked",
    "group_alive",
    "kill_tree",
    "marked",
    "spawn",
    "wait_gone",
]

MARKER = "_CROSSFADE_STACK"
"""The environment variable that names the stack; not a setting (those begin with CROSSFADE_)."""

_POLL_S = 0.02


async def spawn(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str],
    log: Path,
    user: int | None = None,
    folder: Path | None = None,
) -> asyncio.subprocess.Process:
    """Start ``argv`` in a new session (so also a new process group) that writes to ``log``.

    Args:
        user: the numeric id of the user (and its group) to run as; None keeps ours.

    Raises:
        OSError: the program or the log can not be opened.
    """
    with log.open("ab") as output:
        return await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=dict(environment),
            cwd=folder,
            start_new_session=True,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
        )


def group_alive(group: int) -> bool:
    """Whether any process of the group still runs; a dead one nobody waited for does not."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _not_only_zombies(group)


def end_group(group: int, number: int) -> None:
    """Send a signal to a whole process group; one that is gone already is no error."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def marked(marker: str) -> list[psutil.Process]:
    """Every running process whose environment names this stack, but for the caller itself."""
    found = []
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARKER) == marker and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def end_marked(marker: str, *, spare: Iterable[int] = (), grace_s: float = 1.0) -> list[int]:
    """End whatever still carries the marker: TERM, then KILL; returns the pids it had to end.

    Args:
        spare: pids to leave alone.
    """
    spared = set(spare)
    ended = [process for process in marked(marker) if process.pid not in spared]
    for number, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 5.0)):
        left = [process for process in ended if _runs(process)]
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.send_signal(number)
        deadline = time.monotonic() + wait_s
        while any(_runs(process) for process in left) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
    return [process.pid for process in ended]


def kill_tree(pid: int, wait_s: float) -> None:
    """SIGKILL a process with all its descendants, which may have sessions of their own.

    Returns when none of the descendants runs any more, or after ``wait_s``. (Whoever is dead
    and not yet waited for by its new parent does not run.)
    """
    with contextlib.suppress(psutil.Error):
        parent = psutil.Process(pid)
        children = parent.children(recursive=True)
        for process in (parent, *children):
            with contextlib.suppress(psutil.Error):
                process.kill()
        deadline = time.monotonic() + wait_s
        while any(_runs(process) for process in children) and time.monotonic() < deadline:
            time.sleep(_POLL_S)


def wait_gone(groups: Iterable[int], timeout_s: float) -> list[int]:
    """Wait until the groups are gone; returns those that are not after ``timeout_s``."""
    left = list(groups)
    deadline = time.monotonic() + timeout_s
    while left and time.monotonic() < deadline:
        left = [group for group in left if group_alive(group)]
        if left:
            time.sleep(_POLL_S)
    return left


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _not_only_zombies(group: int) -> bool:
    # A killed child stays in its group until its parent has waited for it.
    leader_seen = False
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if os.getpgid(process.pid) == group:
                leader_seen = True
                if process.status() != psutil.STATUS_ZOMBIE:
                    return True
    return not leader_seen
