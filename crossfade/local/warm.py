"""Starts Python modules in a process that has imported them already.

``python -m crossfade.local.warm --socket PATH --import MODULE…`` imports the modules once and
then forks a child for every run that ``warm_client`` asks for. The child gets the client's
environment, working folder and standard streams, and runs the module as ``python -m`` would,
without the seconds of imports: a flow run of the embedded stack starts in 0.2 s instead of
2 to 8 s. Whoever can write to the socket can run code as this user: it belongs in a folder
that only its owner can enter.

Until the imports are done, which have low priority (they compete with a stack that is
starting), nobody listens and clients start their module themselves. A forked child has only
the thread that forked, so this process must have no other one (Linux only: macOS's own
libraries do not bear it); it refuses to serve otherwise.
"""

import argparse
import contextlib
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import structlog

__all__ = ["MAX_PATH_BYTES", "Job", "WarmServer", "client_command", "main"]

MAX_PATH_BYTES = 100
"""Longest path that a socket may have everywhere (Linux: 107, macOS: 103)."""

_LOOK_S = 1.0
_NICE = 10
_REQUEST_S = 5.0
_MAX_REQUEST_BYTES = 4_000_000
_log = structlog.get_logger("crossfade.warm")


class Job(NamedTuple):
    """What a child is to run."""

    module: str
    arguments: list[str]
    environment: dict[str, str]
    folder: str


def client_command(path: Path, module: str) -> list[str]:
    """The command line that runs ``module`` by way of the server at ``path``."""
    client = Path(__file__).with_name("warm_client.py")
    return [sys.executable, "-I", "-S", str(client), str(path), module]


class WarmServer:
    """Forks children for whoever connects to a socket.

    Args:
        path: of the socket; a former one is replaced.
        parent: the process whose end ends this one.

    Raises:
        OSError: the socket can not be made.
    """

    def __init__(self, path: Path, parent: int) -> None:
        self._parent = parent
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        path.unlink(missing_ok=True)
        former = os.umask(0o177)
        try:
            self._listener.bind(os.fspath(path))
        finally:
            os.umask(former)
        self._listener.listen(64)
        self._children: dict[int, socket.socket] = {}

    def serve(self) -> Job | None:
        """Fork children for clients until the parent process is gone or SIGTERM comes.

        Returns in every child with its job, and with None in this process at the end.
        """
        ended = False

        def end(_number: int, _frame: Any) -> None:
            nonlocal ended
            ended = True

        wake_read, wake_write = socket.socketpair()
        for one in (wake_read, wake_write):
            one.setblocking(False)
        signal.set_wakeup_fd(wake_write.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(wake_read, selectors.EVENT_READ)
            listening = True
            while not ended and (listening or self._children):
                for key, _ in selector.select(_LOOK_S):
                    if key.fileobj is wake_read:
                        with contextlib.suppress(BlockingIOError):
                            wake_read.recv(4_096)
                    elif key.fileobj is self._listener:
                        client, _address = self._listener.accept()
                        job = self._take(client, selector)
                        if job is not None:
                            signal.set_wakeup_fd(-1)
                            wake_read.close()
                            wake_write.close()
                            return job
                    else:
                        self._lost(key.fileobj, selector)
                self._reap(selector)
                if listening and os.getppid() != self._parent:
                    # Nobody can ask us any more who knows whether we still run.
                    selector.unregister(self._listener)
                    listening = False
        signal.set_wakeup_fd(-1)
        return None

    def _take(self, client: socket.socket, selector: selectors.BaseSelector) -> Job | None:
        """Read a request and fork; the job in the child, None here."""
        files: list[int] = []
        try:
            client.settimeout(_REQUEST_S)
            request, files = _receive(client)
            job = Job(**request)
            sys.stdout.flush()
            sys.stderr.flush()
            pid = os.fork()
        except (OSError, ValueError, TypeError) as error:
            _log.warning("a request was not understood", reason=str(error))
            for number in files:
                os.close(number)
            client.close()
            return None
        if pid == 0:
            self._become(job, client, files)
            return job
        for number in files:
            os.close(number)
        self._children[pid] = client
        selector.register(client, selectors.EVENT_READ)
        _send(client, {"pid": pid})
        return None

    def _become(self, job: Job, client: socket.socket, files: list[int]) -> None:
        """In the child: everything of the server's off, everything of the client's on."""
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for one in (self._listener, client, *self._children.values()):
            one.close()
        self._children.clear()
        for target, number in enumerate(files):
            os.dup2(number, target)
            os.close(number)
        os.environ.clear()
        os.environ.update(job.environment)
        with contextlib.suppress(OSError):
            os.chdir(job.folder)
        gc.unfreeze()

    def _lost(self, client: Any, selector: selectors.BaseSelector) -> None:
        """A client is gone before its child: whoever ended it meant the child."""
        with contextlib.suppress(OSError):
            if client.recv(1):
                return
        selector.unregister(client)
        for pid, one in self._children.items():
            if one is client:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _reap(self, selector: selectors.BaseSelector) -> None:
        while self._children:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            client = self._children.pop(pid, None)
            if client is not None:
                with contextlib.suppress(KeyError, ValueError):
                    selector.unregister(client)
                _send(client, {"status": os.waitstatus_to_exitcode(status)})
                client.close()


def main() -> None:
    """Import, serve, and in a child run its module."""
    parser = argparse.ArgumentParser(prog="python -m crossfade.local.warm", description=__doc__)
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--import", dest="modules", action="append", default=[])
    parser.add_argument("--preload", help="module:function called once, after the imports")
    parser.add_argument("--in-child", help="module:function called first in every child")
    options = parser.parse_args()
    parent = os.getppid()
    began = time.monotonic()
    _import_with_low_priority(options.modules, options.preload)
    in_child = _function(options.in_child) if options.in_child else None
    others = [one.name for one in threading.enumerate() if one is not threading.main_thread()]
    if others:
        sys.exit(f"warm: can not fork beside other threads: {', '.join(others)}")
    # What is there now is kept for good: no child shall copy it by counting references.
    gc.collect()
    gc.freeze()
    _log.info("warm", after_s=round(time.monotonic() - began, 1))
    job = WarmServer(options.socket, parent).serve()
    if job is None:
        return
    if in_child is not None:
        in_child()
    sys.argv[1:] = job.arguments
    runpy.run_module(job.module, run_name="__main__", alter_sys=True)


def _import_with_low_priority(modules: list[str], preload: str | None) -> None:
    """Import in a thread of its own: on Linux a thread has its own niceness, and it ends."""
    failure: list[BaseException] = []

    def work() -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        try:
            for name in modules:
                importlib.import_module(name)
            if preload:
                _function(preload)()
        except BaseException as error:  # noqa: BLE001 - raised again below
            failure.append(error)

    thread = threading.Thread(target=work, name="imports")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]


def _function(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def _receive(client: socket.socket) -> tuple[dict[str, Any], list[int]]:
    data, files, _flags, _address = socket.recv_fds(client, 65_536, 3)
    while len(data) < 4:
        more = client.recv(65_536)
        if not more:
            raise ValueError("cut short")
        data += more
    size = int.from_bytes(data[:4], "big")
    if size > _MAX_REQUEST_BYTES:
        raise ValueError(f"{size} bytes, at most {_MAX_REQUEST_BYTES}")
    while len(data) < 4 + size:
        more = client.recv(65_536)
        if not more:
            raise ValueError("cut short")
        data += more
    if len(files) != 3:
        raise ValueError("standard streams are missing")
    return json.loads(data[4:]), list(files)


def _send(client: socket.socket, message: dict[str, int]) -> None:
    # A client that is gone is seen at its socket.
    with contextlib.suppress(OSError):
        client.sendall(json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    main()
