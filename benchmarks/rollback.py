"""How long a rollback and a scheduled validation take, and Prefect's share of each.

``python -m benchmarks.rollback [--rounds 3] [--json] [--write]``: the embedded stack, a publisher
and subscribers under load; each round runs a week's deployment into its soak, commands a breach
as the monitor does, and lets the rollback flow do the rest. Medians; alone on the machine, please.

Exit statuses: 0 measured, 1 a rollback or a validation did not end well, 2 wrong usage.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from crossfade import Publisher, Subscriber
from crossfade.adapters.control import ControlClient
from crossfade.core.fallback import arrival
from crossfade.core.verdict import Verdict, worst
from crossfade.errors import ControlUnavailable
from crossfade.local.prefect import ROLLBACK, VALIDATE, WEEKS
from crossfade.local.prefect_api import FINAL_STATES, PrefectApi
from crossfade.local.stack import Stack
from crossfade.settings import Settings

__all__ = ["main"]

RATE = 100
SUBSCRIBERS = 3
POLL_S = 0.02
LOOK_S = 0.25
WAIT_S = 240.0
LONGEST_S = 1_200.0
"""The bench is given up after that."""


GOALS_MS = {
    "breach → flags followed everywhere": 1_000.0,
    "breach → rollback verified": 15_000.0,
    "validation: its own work": 1_000.0,
}


PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks-rollback.md"
_ABOUT = f"""# Benchmarks of the rollback

Written by `make bench-rollback ARGS="--write"`; not by hand. The embedded stack, {RATE} events/s
and {SUBSCRIBERS} subscribers on Realtime. Each round lets a week's deployment come to its soak,
gives the command that the monitor gives on a breach, and waits for what follows:

- **flags followed**: every live instance reports the new flags; no flow is in this way;
- **everybody on WebSocket**: every subscriber reports that it listens there again;
- **the rollback flow runs**: Prefect's share: its event, automation, worker and process;
- **verified**: the flow has waited for everybody, compared journal and WebSocket, and recorded it;
- **a validation's own work**: comparing the three stores; the flow around it adds the suites of
  expectations, its records and Prefect's tasks, and Prefect's share is from due to running.

The goals are for a machine that does nothing else.
"""


class Scene(NamedTuple):
    """The running stack and what is asked of it."""

    control: ControlClient
    prefect: PrefectApi


class Failed(Exception):
    """Something did not end well: no figure is made of it."""


def main(arguments: list[str] | None = None) -> int:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.rollback",
        description="Breach to flags, breach to verified rollback, a validation; Prefect's share.",
        epilog="example: python -m benchmarks.rollback --rounds 5 --json",
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds (default 3)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--write", action="store_true", help=f"write docs/{PAGE.name}")
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    machine = _machine()
    try:
        found = asyncio.run(_measure(options.rounds))
    except Failed as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except TimeoutError:
        sys.stderr.write(f"given up: {options.rounds} rounds took longer than {LONGEST_S:g} s\n")
        return 1
    if options.write:
        PAGE.write_text(page(found, machine), encoding="utf-8")
    medians = {name: round(statistics.median(values), 1) for name, values in found.items()}
    if options.json:
        document = {
            name: {"median_ms": medians[name], "goal_ms": GOALS_MS.get(name), "all_ms": values}
            for name, values in found.items()
        }
        sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    else:
        Console(width=None if sys.stdout.isatty() else 110).print(_table(found, medians))
    return 0


def page(found: Mapping[str, list[float]], machine: Mapping[str, object]) -> str:
    """docs/benchmarks-rollback.md: a row for each figure."""
    facts = ", ".join(f"{name} {value}" for name, value in machine.items())
    lines = [
        _ABOUT,
        f"This run: {facts}; {len(next(iter(found.values())))} rounds.",
        "",
        "| figure | median | slowest | goal | |",
        "|---|---:|---:|---:|---|",
    ]
    for name, values in found.items():
        median = statistics.median(values)
        goal = GOALS_MS.get(name)
        shown = "" if goal is None else f"< {goal / 1e3:g} s"
        met = "" if goal is None else "met" if median <= goal else "**missed**"
        lines.append(f"| {name} | **{median:,.0f} ms** | {max(values):,.0f} ms | {shown} | {met} |")
    return "\n".join([*lines, ""])


def _machine() -> dict[str, object]:
    """What one must know of the machine to read the figures."""
    return {
        "cores": os.cpu_count(),
        "load before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "prefect": version("prefect"),
    }


def _table(found: Mapping[str, list[float]], medians: Mapping[str, float]) -> Table:
    made = Table(title=f"Rollback and validation, medians of {len(next(iter(found.values())))}")
    for heading in ("figure", "median", "slowest", "goal", "met"):
        made.add_column(heading, justify="left" if heading == "figure" else "right", no_wrap=True)
    for name, values in found.items():
        goal = GOALS_MS.get(name)
        met = "" if goal is None else "yes" if medians[name] <= goal else "no"
        shown = "" if goal is None else f"< {goal / 1e3:g} s"
        made.add_row(name, f"{medians[name]:,.0f} ms", f"{max(values):,.0f} ms", shown, met)
    return made


async def _measure(rounds: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="crossfade-rollback-") as folder:
        # PostgreSQL, run as another user when we are root, must reach its own folder.
        await asyncio.to_thread(Path(folder).chmod, 0o755)
        async with asyncio.timeout(LONGEST_S), _scene(Path(folder)) as scene:
            for number in range(rounds):
                sys.stderr.write(f"round {number + 1} of {rounds}\n")
                for name, value in {
                    **await _rollback(scene),
                    **await _validation(scene),
                }.items():
                    found.setdefault(name, []).append(round(value, 1))
                await scene.control.command(
                    "resume",
                    actor="bench",
                    root_cause="the bench asked for it",
                    fix="nothing to mend",
                    **await _address(scene),
                )
    return found


@asynccontextmanager
async def _scene(folder: Path) -> AsyncIterator[Scene]:
    stages = [{"name": "week-1", "percent": {"*": 100.0}, "soak_s": 3_600.0}]
    base = Settings.model_validate(
        {
            "publisher": {"source": "bench/rollback"},
            "rollout": {"name": "bench", "stages": stages},
            # Scheduled ones would come in between.
            "reconcile": {"every_s": 86_400.0, "grace_s": 2.0},
        }
    )
    async with AsyncExitStack() as exits:
        stack = await exits.enter_async_context(Stack(base, folder / "stack"))
        settings = stack.settings
        publisher = await exits.enter_async_context(Publisher(settings))
        tasks = [asyncio.create_task(_publish(publisher))]
        for number in range(SUBSCRIBERS):
            subscriber = Subscriber(settings, instance=f"bench-{number}")
            tasks.append(asyncio.create_task(_read(await exits.enter_async_context(subscriber))))
        exits.push_async_callback(_end, tasks)
        scene = Scene(
            await exits.enter_async_context(ControlClient(settings.control, "operator")),
            await exits.enter_async_context(PrefectApi.of(settings.prefect)),
        )
        plan = settings.rollout.model_dump(mode="json")
        await scene.control.start(settings.rollout.name, plan, "bench")
        yield scene


async def _publish(publisher: Publisher) -> None:
    number = 0
    while True:
        number += 1
        await publisher.publish("order.placed", {"number": number}, key=f"customer-{number % 40}")
        await asyncio.sleep(1.0 / RATE)


async def _read(subscriber: Subscriber) -> None:
    async for _ in subscriber:
        pass


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _rollback(scene: Scene) -> dict[str, float]:
    """A week into its soak with everybody on Realtime, a breach, and what follows."""
    await scene.prefect.run(WEEKS[0])
    await _until(scene, lambda status: status["rollout"]["phase"] == "soaking", LOOK_S, "the soak")
    await asyncio.sleep(3.0)  # a few seconds of Realtime for everybody
    before = {run["id"] for run in await scene.prefect.runs(deployments=[ROLLBACK])}
    began = time.time()
    await scene.control.command(
        "breach", actor="bench", reason="the bench", measurements=[], **await _address(scene)
    )
    followed = await _until(scene, _follows, POLL_S, "the flags")
    arrived = await _until(scene, _arrived, POLL_S, "everybody on WebSocket")
    await _until(
        scene, lambda status: status["rollout"]["phase"] == "rolled_back", LOOK_S, "the rollback"
    )
    runs = await scene.prefect.runs(deployments=[ROLLBACK])
    mine = [run for run in runs if run["id"] not in before]
    if len(mine) != 1:
        raise Failed(f"{len(mine)} rollback runs for one breach")
    run = await scene.prefect.wait(mine[0]["id"], WAIT_S)
    if run["state_type"] != "COMPLETED":
        raise Failed(f"the rollback is {run['state_name']}: {run['state']['message']}")
    incident = (await scene.control.incidents())[0]
    started = _seconds(run["start_time"])
    return {
        "breach → flags followed everywhere": (followed - began) * 1e3,
        "breach → everybody on WebSocket": (arrived - began) * 1e3,
        "breach → the rollback flow runs (Prefect)": (started - began) * 1e3,
        "breach → rollback verified": float(incident["figures"]["verified_after_ms"]),
    }


async def _validation(scene: Scene) -> dict[str, float]:
    run = await scene.prefect.wait(await scene.prefect.run(VALIDATE), WAIT_S)
    if run["state_type"] not in FINAL_STATES or run["state_type"] == "CRASHED":
        raise Failed(f"the validation is {run['state_name']}: {run['state']['message']}")
    result = (await scene.control.reconciliations(limit=1))[0]
    own = float(result.get("duration_ms") or result["result"]["duration_ms"])
    due, began, ended = (
        _seconds(run[name]) for name in ("expected_start_time", "start_time", "end_time")
    )
    return {
        "validation: its own work": own,
        "validation: due → its flow runs (Prefect)": (began - due) * 1e3,
        "validation: its flow (suites, records, Prefect's tasks)": (ended - began) * 1e3,
        "validation: due → done": (ended - due) * 1e3,
    }


async def _address(scene: Scene) -> dict[str, int]:
    rollout = await scene.control.rollout() or {}
    return {"stage": int(rollout["stage"]), "attempt": int(rollout["attempt"])}


def _follows(status: Mapping[str, Any]) -> bool:
    return next(one for one in arrival(status) if one.name == "flags_followed").verdict == "pass"


def _arrived(status: Mapping[str, Any]) -> bool:
    return worst(one.verdict for one in arrival(status)) is Verdict.PASS


async def _until(
    scene: Scene, holds: Callable[[Mapping[str, Any]], bool], poll_s: float, what: str
) -> float:
    """The time (seconds since 1970) at which the control server's status says so."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        with suppress(ControlUnavailable):
            if holds(await scene.control.status()):
                return time.time()
        await asyncio.sleep(poll_s)
    rollout = await scene.control.rollout() or {}
    raise Failed(f"{what} did not come; it is {rollout.get('phase')}: {rollout.get('reason')}")


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


if __name__ == "__main__":
    raise SystemExit(main())
