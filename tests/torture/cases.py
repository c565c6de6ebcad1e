"""One case: run everything, stop one process at a point, kill it, start it again, compare."""

import random
import signal
import sqlite3
import time
import uuid
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.torture.ground import Child, Ground, Stuck
from tests.torture.seams import POINTS, TOLD_ONCE
from tests.torture.stores import Case, check, held_by_tap

__all__ = ["ANY_MOMENT", "Outcome", "Plan", "matrix", "run"]

ANY_MOMENT = "any moment"
"""A point that is none: SIGKILL after a random time."""
EVENTS = 240
POISON = 97
_KEYS = 11


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do: which role is stopped where, how often passed before, and with what dice."""

    role: str
    point: str
    seed: int
    events: int = EVENTS

    @property
    def nth(self) -> int:
        """The passing at which it stops."""
        if self.point in TOLD_ONCE:
            return 1
        return 1 + random.Random(f"{self.role}{self.point}{self.seed}").randrange(3)

    @property
    def poison(self) -> bool:
        """Whether some events are refused by the store, so that bisection and parking happen."""
        return any(word in self.point for word in ("park", "bisection"))

    @property
    def prunes(self) -> bool:
        """Whether the journal keeps only the newest few events of a stream."""
        return "prun" in self.point

    @property
    def together(self) -> bool:
        """Whether the consumer keeps its position in one transaction with the effect."""
        return self.role != "subscriber" or (
            self.seed % 2 == 0 and "position" not in self.point and "saved" not in self.point
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a plan; ``findings`` is empty when every store is as it must be."""

    plan: Plan
    reached: bool
    findings: tuple[str, ...]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        return {
            "role": self.plan.role,
            "point": self.plan.point,
            "seed": self.plan.seed,
            "nth": self.plan.nth,
            "reached": self.reached,
            "findings": list(self.findings),
            "seconds": round(self.seconds, 3),
        }


def matrix(seeds: int, roles: tuple[str, ...] = (), first_seed: int = 1) -> list[Plan]:
    """Every point of every role, and a random moment of each, with ``seeds`` seeds."""
    chosen = roles or (*POINTS, "supabase")
    return [
        Plan(role, point, seed)
        for seed in range(first_seed, first_seed + seeds)
        for role in chosen
        for point in (*POINTS.get(role, ()), ANY_MOMENT)
    ]


def run(ground: Ground, plan: Plan) -> Outcome:
    """Run one case; never raises for what the product does wrong: that is a finding."""
    started = time.monotonic()
    try:
        reached, findings = _run(ground, plan)
    except Stuck as stuck:
        reached, findings = True, [f"stuck: {stuck}"]
    return Outcome(plan, reached, tuple(findings), time.monotonic() - started)


def _run(ground: Ground, plan: Plan) -> tuple[bool, list[str]]:
    source, topic = f"s{uuid.uuid4().hex[:10]}", f"t{uuid.uuid4().hex[:10]}"
    given = {f"{source}-{number}": number for number in range(1, plan.events + 1)}
    files = {
        name: ground.folder / f"{source}.{name}"
        for name in ("acknowledged", "effects", "positions", "db")
    }
    publishing = {
        "source": source,
        "topic": topic,
        "seed": plan.seed,
        "poison": plan.poison,
        "prunes": plan.prunes,
        "acknowledged": str(files["acknowledged"]),
        "input": [
            {
                "id": id_,
                "type": "made",
                "key": f"key-{number % _KEYS}",
                "data": {"n": number, "text": "é" * (number % 40)},
            }
            for id_, number in given.items()
        ],
    }
    reading = {
        "topic": topic,
        "together": plan.together,
        "effects": str(files["effects"]),
        "positions": str(files["positions"]),
    }
    with ExitStack() as exits:
        reached = _crash(ground, plan, publishing, reading, exits)
        _settle(ground, source, files["effects"], plan.events)
        case = Case(
            source=source,
            given=given,
            acknowledged=frozenset(files["acknowledged"].read_text().split()),
            journal=files["db"],
            tap=ground.tap_path,
            database_url=ground.project.database_url,
            effects=files["effects"],
            poison=frozenset(
                id_ for id_, number in given.items() if plan.poison and number % POISON == 0
            ),
            may_repeat=_may_repeat(plan),
            pruned=plan.prunes,
        )
        return reached, check(case)


def _may_repeat(plan: Plan) -> frozenset[str]:
    """Where a repetition is what is promised.

    A hub that was killed has forgotten what it delivered without having answered; the tap
    records every delivery, and subscribers drop the repetitions. A consumer whose positions
    are in a file of their own gets again what it had handled since they were saved.
    """
    stores = set()
    if plan.role == "hub":
        stores.add("websocket")
    if not plan.together:
        stores.add("subscriber")
    return frozenset(stores)


def _crash(
    ground: Ground,
    plan: Plan,
    publishing: dict[str, Any],
    reading: dict[str, Any],
    exits: ExitStack,
) -> bool:
    armed = {
        "armed_role": plan.role,
        "point": "" if plan.point == ANY_MOMENT else plan.point,
        "nth": plan.nth,
    }
    if plan.role in ("hub", "tap"):
        with ground.instead_of(plan.role, topic=publishing["topic"], **armed) as victim:
            publisher = _start(ground, exits, "publisher", publishing)
            _start(ground, exits, "subscriber", reading)
            reached = _stopped(plan, victim, publisher)
        publisher.wait_for("drained")
        return reached
    if plan.role == "subscriber":
        victim = _start(ground, exits, "subscriber", {**reading, **armed})
        publisher = _start(ground, exits, "publisher", publishing)
        reached = _stopped(plan, victim, victim)
        victim.kill()
        _start(ground, exits, "subscriber", reading)
        publisher.wait_for("drained")
        return reached
    _start(ground, exits, "subscriber", reading)
    if plan.role == "supabase":
        publisher = _start(ground, exits, "publisher", publishing)
        publisher.wait_for("ready")
        _sleep(plan)
        _kill_project(ground)
        publisher.wait_for("drained")
        return True
    victim = _start(ground, exits, "publisher", {**publishing, **armed})
    reached = _stopped(plan, victim, victim)
    victim.kill()
    _start(ground, exits, "publisher", publishing).wait_for("drained")
    return reached


def _start(ground: Ground, exits: ExitStack, role: str, order: dict[str, Any]) -> Child:
    child = ground.start(role, **order)
    exits.callback(child.kill)
    return child


def _stopped(plan: Plan, victim: Child, publisher: Child) -> bool:
    """Wait until the victim stands at its point; False when it never came there."""
    if plan.point == ANY_MOMENT:
        publisher.wait_for("ready")
        _sleep(plan)
        return True
    if victim is publisher:
        return victim.wait_for("stopped", "drained") == "stopped"
    victim.wait_for("stopped")
    return True


def _sleep(plan: Plan) -> None:
    time.sleep(random.Random(plan.seed).random() * 0.4)


def _kill_project(ground: Ground) -> None:
    ground.project.stop(signal.SIGKILL)
    time.sleep(0.3)
    ground.project.start()


def _settle(ground: Ground, source: str, effects: Path, events: int) -> None:
    """Wait for what is still under way; whether it is right is the checker's business."""
    ground.until(
        lambda: held_by_tap(ground.tap_path, source) >= events, f"{events} events in the recording"
    )
    ground.until(lambda: _handled(effects) >= events, f"{events} events handled")


def _handled(effects: Path) -> int:
    with closing(sqlite3.connect(f"file:{effects}?mode=ro", uri=True, timeout=5)) as connection:
        (count,) = connection.execute(
            "SELECT count(*) FROM (SELECT DISTINCT epoch, topic, partition, sequence FROM effects)"
        ).fetchone()
    return int(count)
