"""Runs a Python module by way of a warm server, as if it ran here.

``python -I -S warm_client.py SOCKET MODULE [ARGUMENT…]``: signals go on to the module's
process, and its exit status becomes ours. Without a server the module is run by this very
process. Imports next to nothing, since starting quickly is what it is for.
"""

import contextlib
import json
import os
import select
import signal
import socket
import sys
import time

__all__ = ["main"]

_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_POLL_S = 0.1
_LOST_STATUS = 1


def main() -> None:
    """Ask the server at ``argv[1]`` to run ``argv[2:]``, or run it ourselves."""
    path, module, *arguments = sys.argv[1:]
    try:
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        server.connect(path)
    except OSError:
        _run_here(module, arguments)
        return
    # Signals that come before there is a child wait until there is one.
    signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED)
    request = json.dumps(
        {
            "module": module,
            "arguments": arguments,
            "environment": dict(os.environ),
            "folder": os.getcwd(),  # noqa: PTH109 - pathlib is half of our start
        }
    ).encode()
    try:
        data = len(request).to_bytes(4, "big") + request
        sent = socket.send_fds(server, [data], [0, 1, 2])
        server.sendall(data[sent:])
        line = _answer(server)
    except OSError:
        line = b""
    if not line:
        # It ended, or turned us away, before it forked: nothing was started.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
        _run_here(module, arguments)
        return
    pid = int(json.loads(line)["pid"])
    for number in _FORWARDED:
        signal.signal(number, lambda received, _frame: _forward(pid, received))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
    line = _answer(server)
    if not line:
        # The server is gone, the child is not.
        while _runs(pid):
            time.sleep(_POLL_S)
        sys.exit(_LOST_STATUS)
    status = int(json.loads(line)["status"])
    if status < 0:
        with contextlib.suppress(OSError):  # SIGKILL has no handler
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)


def _answer(server: socket.socket) -> bytes:
    """One line of the server's; signals are looked at meanwhile.

    A read that waits would not do: a signal that comes between Python's last look and the
    system call is seen only when the call returns, which may be never.
    """
    line = b""
    while not line.endswith(b"\n"):
        if not select.select([server], [], [], _POLL_S)[0]:
            continue
        byte = server.recv(1)
        if not byte:
            return b""
        line += byte
    return line


def _run_here(module: str, arguments: list[str]) -> None:
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606 - no shell


def _forward(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    main()
