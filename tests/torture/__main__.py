"""The crash matrix: every process killed with SIGKILL at every named point between its steps.

``make torture`` (``python -m tests.torture [--seeds 3] [--role hub …] [--json]``). Each case
publishes events with known ids, stops one process at the point, kills it, starts it again, and
compares the input with the journal, the tap's recording, the Supabase table and a consumer's
effects, by a checker that shares no code with the product.

Exit statuses: 0 every store is as it must be, 1 something is missing, doubled or altered, or a
point was never reached, 2 wrong usage.
"""

import argparse
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import orjson
from rich.console import Console
from rich.progress import BarColumn as Bar
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.services import running_postgres, running_project
from tests.torture.cases import Outcome, matrix, run
from tests.torture.ground import Ground
from tests.torture.seams import POINTS

ROLES = (*POINTS, "supabase")


def main(arguments: list[str] | None = None) -> int:
    """Run the matrix; print a table, or JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.torture",
        description="SIGKILL at every named point; then all stores are compared.",
        epilog="example: make torture ARGS='--seeds 5 --role publisher --role relay'",
    )
    parser.add_argument("--seeds", type=int, default=3, help="runs of each point (default 3)")
    parser.add_argument("--first-seed", type=int, default=1, help="to repeat a certain run")
    parser.add_argument("--role", action="append", choices=ROLES, default=[], help="only this one")
    parser.add_argument("--point", default="", help="only points whose name holds this text")
    parser.add_argument("--json", action="store_true", help="print the outcomes as JSON")
    options = parser.parse_args(arguments)
    plans = [
        plan
        for plan in matrix(options.seeds, tuple(options.role), options.first_seed)
        if options.point in plan.point
    ]
    if not plans:
        parser.error(f"--point {options.point!r}: no such point")
    outcomes: list[Outcome] = []
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), Bar(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        tempfile.TemporaryDirectory(prefix="crossfade-torture-") as name,
        running_postgres() as postgres,
        running_project(Path(name), postgres.create_database()) as project,
        Ground(Path(name), project) as ground,
        Progress(*columns, console=console) as progress,
    ):
        task = progress.add_task("", total=len(plans))
        for plan in plans:
            progress.update(task, description=f"{plan.role}: {plan.point}"[:44].ljust(44))
            outcome = run(ground, plan)
            outcomes.append(outcome)
            for finding in outcome.findings:
                console.print(f"{plan.role}, {plan.point}, seed {plan.seed}: {finding}")
            progress.advance(task)
    unreached = _unreached(outcomes)
    if options.json:
        cases = [outcome.to_json() for outcome in outcomes]
        sys.stdout.buffer.write(orjson.dumps({"cases": cases, "unreached": unreached}) + b"\n")
    else:
        Console().print(_table(outcomes))
    for place in unreached:
        console.print(f"never reached: {place}")
    return 1 if unreached or any(outcome.findings for outcome in outcomes) else 0


def _unreached(outcomes: list[Outcome]) -> list[str]:
    """Points at which no run ever stood: such a case has tested nothing."""
    reached: dict[str, bool] = defaultdict(bool)
    for outcome in outcomes:
        reached[f"{outcome.plan.role}: {outcome.plan.point}"] |= outcome.reached
    return [place for place, was in reached.items() if not was]


def _table(outcomes: list[Outcome]) -> Table:
    table = Table(title="SIGKILL at every point")
    for heading in ("role", "stopped", "runs", "reached", "findings", "seconds"):
        table.add_column(heading, justify="left" if heading in ("role", "stopped") else "right")
    groups: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        groups[outcome.plan.role, outcome.plan.point].append(outcome)
    for (role, point), found in groups.items():
        table.add_row(
            role,
            point,
            str(len(found)),
            str(sum(one.reached for one in found)),
            str(sum(len(one.findings) for one in found)),
            f"{sum(one.seconds for one in found):.1f}",
        )
    return table


if __name__ == "__main__":
    raise SystemExit(main())
