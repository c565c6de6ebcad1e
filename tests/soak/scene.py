"""What a soak runs, and what it does to it."""

import random
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

from crossfade.local.addresses import free_port
from tests.services import Project
from tests.torture.ground import Child, Ground, Stuck
from tests.torture.stores import Case, check, held_by_tap

__all__ = ["KILLS", "SWITCHES", "Soak", "Stuck"]

SWITCHES: dict[str, dict[str, object]] = {
    "refuse": {"refuse": True},
    "hang": {"hang": True},
    "slow": {"slow_ms": 300},
    "drop live": {"drop_live": True},
    "lose replication": {"replication": False},
}
"""Faults of the stand-in that are switched on for a while."""
_SOUND: dict[str, object] = {
    "refuse": False, "hang": False, "slow_ms": 0, "drop_live": False, "replication": True,
}  # fmt: skip
KILLS = ("hub", "publisher", "subscriber", "control")
"""Processes that get SIGKILL and are started again."""
READERS = 2
BATCH = 10


class Soak:
    """One publisher at a steady rate, a hub, a tap, subscribers on both transports, control."""

    def __init__(self, folder: Path, project: Project, rate: float, seed: int) -> None:
        self._project = project
        self._dice = random.Random(seed)
        self._rate = rate
        self._folder = folder
        self._source, self._topic = f"s{uuid.uuid4().hex[:10]}", f"t{uuid.uuid4().hex[:10]}"
        self._stop = folder / "stop"
        self._acknowledged = folder / "acknowledged"
        control = {
            "url": f"http://127.0.0.1:{free_port()}",
            "database_url": f"sqlite:///{folder / 'control.db'}",
            "operator_token": "operator",
            "instance_token": "instance",
        }
        # Bounds that fill within the warm-up: what grows after that grows for ever.
        self._ground = Ground(
            folder, project, {"control": control, "websocket": {"history_events": 2_000}}
        )
        self._children: dict[str, Child] = {}
        self.faults: Counter[str] = Counter()

    def __enter__(self) -> "Soak":
        self._ground.__enter__()
        for name in ("control", *(f"subscriber {n}" for n in range(READERS)), "publisher"):
            self._start(name)
        for child in self._children.values():
            child.wait_for("ready")
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.touch()
        for child in self._children.values():
            child.kill()
        self._ground.__exit__(None, None, None)

    def processes(self) -> dict[str, int]:
        """Name and pid of everything that runs."""
        found = {name: child.pid for name, child in self._children.items()}
        found |= {"hub": self._ground.hub.pid, "tap": self._ground.tap.pid}
        if self._project.service is not None:
            found["stand-in"] = self._project.service.pid
        return found

    def published(self) -> int:
        """How many events are durable."""
        if not self._acknowledged.exists():
            return 0
        return self._acknowledged.read_bytes().count(b"\n")

    def disturb(self, *, kills: bool) -> str:
        """One random fault from its beginning to its end; answers its name.

        Raises:
            Stuck: what was killed did not come back.
        """
        name = self._dice.choice([*SWITCHES, *(KILLS if kills else ())])
        self.faults[name] += 1
        if name in SWITCHES:
            self._project.fault(**SWITCHES[name])
            time.sleep(self._dice.uniform(0.5, 4.0))
            self._project.fault(**_SOUND)
            return name
        if name == "hub":
            with self._ground.instead_of("hub"):
                time.sleep(0.2)
            return name
        if name == "subscriber":
            name = f"subscriber {self._dice.randrange(READERS)}"
        self._children[name].kill()
        time.sleep(self._dice.uniform(0.0, 2.0))
        self._start(name).wait_for("ready")
        return name

    def finish(self) -> list[str]:
        """End the load, wait until everything has come, and compare all stores.

        Raises:
            Stuck: something never came.
        """
        self._stop.touch()
        self._children["publisher"].wait_for("drained")
        ids = self._acknowledged.read_text().split()
        given = {id_: int(id_.rpartition("-")[2]) for id_ in ids}
        found: list[str] = []
        self._ground.until(
            lambda: held_by_tap(self._ground.tap_path, self._source) >= len(given),
            "the tap's last event",
        )
        for number in range(READERS):
            effects = self._effects(number)
            case = Case(
                source=self._source,
                given=given,
                acknowledged=frozenset(ids),
                journal=self._folder / f"{self._source}.db",
                tap=self._ground.tap_path,
                database_url=self._project.database_url,
                effects=effects,
                # A hub that was killed may be sent again what it had delivered.
                may_repeat=frozenset({"websocket"}),
            )
            findings = check(case)
            deadline = time.monotonic() + 40
            while findings and time.monotonic() < deadline:
                time.sleep(0.5)  # the last events may be under way
                findings = check(case)
            found += [f"subscriber {number}: {finding}" for finding in findings]
        return found

    def _effects(self, number: int) -> Path:
        return self._folder / f"effects-{number}.db"

    def _start(self, name: str) -> Child:
        role, _, number = name.partition(" ")
        order: dict[str, Any] = {"topic": self._topic}
        if role == "publisher":
            role = "source"
            order |= {
                "source": self._source,
                "acknowledged": str(self._acknowledged),
                "stop": str(self._stop),
                "batch": BATCH,
                "pause_s": BATCH / self._rate,
            }
        elif role == "subscriber":
            order |= {"together": True, "effects": str(self._effects(int(number)))}
        child = self._children[name] = self._ground.start(role, **order)
        return child
