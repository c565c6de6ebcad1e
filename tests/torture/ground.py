"""The ground a torture case stands on: one project, one hub, one tap, and processes to kill."""

import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

from crossfade.local.addresses import free_port
from tests.services import ROOT, Project

__all__ = ["Child", "Ground", "Stuck"]

DEADLINE_S = 40.0
"""Longest wait for anything; a case that takes longer has failed."""
_POLL_S = 0.01
_PARTITIONS = 4


class Stuck(Exception):
    """Something that had to come did not."""


class Child:
    """A process of a case, told what to do by a file and heard through its marks."""

    def __init__(self, role: str, folder: Path, order: dict[str, Any]) -> None:
        self.role = role
        name = f"{role}-{uuid.uuid4().hex[:8]}"
        self._marks = folder / f"{name}.marks"
        self._log = folder / f"{name}.log"
        path = folder / f"{name}.json"
        path.touch(0o600)
        path.write_bytes(orjson.dumps({"point": "", **order, "marks": str(self._marks)}))
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.torture.child", role, str(path)],
                stdout=log, stderr=log, cwd=ROOT,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def marks(self) -> list[str]:
        return self._marks.read_text().split() if self._marks.exists() else []

    def wait_for(self, *words: str) -> str:
        """The first of ``words`` that it says.

        Raises:
            Stuck: it ended, or said nothing of the kind in time; with the end of its log.
        """
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            ended = self._process.poll() is not None
            said = self.marks()
            for word in words:
                if word in said:
                    return word
            if ended:
                break
            time.sleep(_POLL_S)
        raise Stuck(f"{self.role}: none of {words} came; {self._log.read_text()[-2_000:]}")

    def kill(self) -> None:
        """SIGKILL, which also ends a stopped process."""
        if self.alive:
            self._process.send_signal(signal.SIGKILL)
        self._process.wait(20)

    def end(self) -> None:
        """SIGTERM; SIGKILL if it does not go."""
        if self.alive:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()


class Ground:
    """A hub and a tap over a project; cases with sources of their own share them.

    ``sections`` are settings that replace those of ``settings``.
    """

    def __init__(
        self, folder: Path, project: Project, sections: dict[str, dict[str, Any]] | None = None
    ) -> None:
        self.folder = folder
        self.project = project
        self._sections = sections or {}
        self._hub_url = f"ws://127.0.0.1:{free_port()}"
        self.tap_path = folder / "tap.db"
        self.hub: Child
        self.tap: Child

    def __enter__(self) -> Self:
        self.hub = self.start("hub")
        self.tap = self.start("tap")
        self.tap.wait_for("ready")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.tap.end()
        self.hub.kill()

    def start(self, role: str, **order: Any) -> Child:
        """Start a process of the ground or of a case."""
        topic = order.get("topic", "critical")
        settings = self.settings(order.pop("source", "app"), topic)
        for section, fields in self._sections.items():
            settings[section] = {**settings.get(section, {}), **fields}
        if order.get("prunes"):
            settings["journal"] |= {"retention_events": 5, "prune_s": 0.05}
        child = Child(
            role,
            self.folder,
            {
                "settings": settings,
                "partitions": _PARTITIONS,
                **order,
            },
        )
        if role == "hub":
            child.wait_for("ready")
        return child

    def settings(self, source: str, topic: str) -> dict[str, Any]:
        """Quick time-outs, small batches: many steps in little time."""
        project = self.project
        return {
            "journal": {
                "path": str(self.folder / f"{source}.db"),
                "epoch": 1,
                "durability": "os",  # a killed process loses no page that it had written
                "group_events": 50,
            },
            "publisher": {"source": source, "drain_s": 20},
            "relay": {
                "batch_events": 40,
                "heads_s": 0.1,
                "poll_s": 0.01,
                "retry_initial_s": 0.02,
                "retry_max_s": 0.2,
                "timeout_s": 4,
            },
            "breaker": {"open_s": 0.1, "open_max_s": 0.5, "slow_call_ms": 60_000},
            "websocket": {"url": self._hub_url, "token": "t", "heads_s": 0.1},
            "supabase": {
                "url": project.url,
                "anon_key": project.anon_key,
                "service_role_key": project.service_role_key,
                "access_token": project.token(),
                "database_url": project.database_url,
            },
            "subscriber": {
                "deaf_s": 1.0,
                "drain_s": 0.1,
                "switch_spread_s": 0.05,
                "retry_initial_s": 0.05,
                "retry_max_s": 0.3,
                "return_initial_s": 0.2,
                "hole_grace_ms": 100,
            },
            "tap": {"path": str(self.tap_path), "commit_s": 0.05},
            "rollout": {"partitions": _PARTITIONS},
            "classification": {"categories": [topic], "heuristics": False, "default": topic},
        }

    @contextmanager
    def instead_of(self, role: str, **order: Any) -> Iterator[Child]:
        """The ground's hub or tap, armed; afterwards a sound one is back."""
        old: Child = getattr(self, role)
        old.kill() if role == "hub" else old.end()
        child = self.start(role, **order)
        try:
            yield child
        finally:
            child.kill()
            setattr(self, role, self.start(role))

    @staticmethod
    def until(condition: Callable[[], bool], what: str) -> None:
        """Poll; raises ``Stuck`` with ``what`` when it does not come."""
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            if time.monotonic() > deadline:
                raise Stuck(f"{what}: not within {DEADLINE_S:g} s")
            time.sleep(0.02)
