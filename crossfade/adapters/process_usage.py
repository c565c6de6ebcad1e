"""What this process uses of the machine: processor time, memory, open files."""

import contextlib
import os
import resource
import sys
import time
from pathlib import Path

__all__ = ["process_usage"]

_PAGE_BYTES = resource.getpagesize()


def process_usage() -> dict[str, float]:
    """``cpu_s`` (since its start), ``rss_bytes`` and, where the system tells, ``fds``.

    Takes some ten microseconds, and some milliseconds where thousands of files are open. Where
    memory in use is not told, the most there ever was is.
    """
    found = {"cpu_s": time.process_time(), "rss_bytes": _memory_bytes()}
    with contextlib.suppress(OSError):
        # A Path for each would take ten times as long, on the loop of a hub.
        found["fds"] = float(len(os.listdir("/dev/fd")))  # noqa: PTH208
    return found


def _memory_bytes() -> float:
    try:
        pages = int(Path("/proc/self/statm").read_bytes().split()[1])
        return float(pages * _PAGE_BYTES)
    except (OSError, ValueError, IndexError):
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return float(most if sys.platform == "darwin" else most * 1_024)
