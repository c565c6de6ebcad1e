"""The guardian: a small child that outlives a crash of the supervisor and cleans up after it.

It holds the reading end of a pipe. Lines tell it which process groups belong to the stack;
the end of the file without a farewell means that the supervisor died (SIGKILL, the machine's
out-of-memory killer, a bug), and everything recorded is ended: first by each group's own
signal, then by SIGKILL, then whatever still carries the stack's marker.

Lines: ``+ GROUP SIGNAL`` a group and how it is asked to end; ``- GROUP`` it has ended;
``forget PATH`` a file to remove after a crash; ``bye`` nothing is left to do.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from crossfade.local.processes import MARKER, end_group, end_marked, wait_gone

__all__ = ["Guardian", "clean_up", "main", "read_orders"]

GRACE_S = 3.0
"""How long a group may take to end by itself after a crash of the supervisor."""


class Guardian:
    """The supervisor's handle on its guardian.

    Everything is said in single small writes to a pipe, so a guardian that is gone never
    blocks the supervisor; ``alive`` tells.
    """

    def __init__(self, marker: str) -> None:
        environment = {**os.environ, MARKER: marker}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "crossfade.local.guardian"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def watch(self, group: int, number: int = signal.SIGTERM) -> None:
        """Record a process group and the signal that asks it to end."""
        self._say(f"+ {group} {int(number)}")

    def unwatch(self, group: int) -> None:
        """The group has ended."""
        self._say(f"- {group}")

    def forget(self, path: Path) -> None:
        """A file that is to vanish with a crashed stack."""
        self._say(f"forget {path}")

    def dismiss(self) -> None:
        """The stack ended in order: the guardian leaves without touching anything."""
        self._say("bye")
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _say(self, line: str) -> None:
        if self._process.stdin is not None:
            with contextlib.suppress(OSError, ValueError):
                self._process.stdin.write(line.encode() + b"\n")
                self._process.stdin.flush()


def read_orders(lines: Iterable[str]) -> tuple[dict[int, int], list[Path], bool]:
    """Fold the supervisor's lines: groups with their signals, files to remove, whether it said bye.

    A line cut short by the crash is ignored: it is the last, and its process carries the marker.
    """
    groups: dict[int, int] = {}
    files: list[Path] = []
    for line in lines:
        order, _, rest = line.rstrip("\n").partition(" ")
        if order == "bye":
            return groups, files, True
        if order == "forget" and line.endswith("\n"):
            files.append(Path(rest))
        elif order == "+" and line.endswith("\n"):
            group, _, number = rest.partition(" ")
            groups[int(group)] = int(number)
        elif order == "-" and line.endswith("\n"):
            groups.pop(int(rest), None)
    return groups, files, False


def clean_up(groups: dict[int, int], files: Iterable[Path], marker: str) -> None:
    """End the recorded groups, then everything that carries the marker; remove the files."""
    for group, number in groups.items():
        end_group(group, number)
    for group in wait_gone(groups, GRACE_S):
        end_group(group, signal.SIGKILL)
    end_marked(marker, grace_s=0.5)
    for path in files:
        with contextlib.suppress(OSError):
            path.unlink()


def main() -> None:
    """Read orders until the supervisor is gone."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups, files, farewell = read_orders(sys.stdin)
    if not farewell:
        clean_up(groups, files, os.environ[MARKER])


if __name__ == "__main__":
    main()
