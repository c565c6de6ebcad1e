"""``crossfade drill``, ``cut-over`` and ``decommission`` against a control server."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from crossfade.errors import Refused
from tests.unit.cli.test_operate import Stack, refusal, stack

__all__ = ["stack"]


@contextmanager
def reporting(stack: Stack) -> Iterator[None]:
    """Instances report every few milliseconds."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(0.02):
            stack.run(stack.week.tick())

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(10)


def test_a_drill_by_hand(stack: Stack) -> None:
    stack("start")
    with pytest.raises(Refused, match="nobody"):
        raise refusal(stack("drill"))
    stack.run(stack.week.until("apply"))
    with reporting(stack):
        done = stack("drill", "--points", "3", "--as", "ada")
        assert done.exit_code == 0, (done.output, done.exception)
        assert "drill passed: 3 points were back after" in done.output
        record = stack.json("drill", "--scope", "critical")
    assert (record["scope"], record["points"], record["passed"]) == (["critical"], 5, True)


def test_the_end_is_a_dry_run_without_the_name(stack: Stack) -> None:
    stack("start")
    for verb in ("cut-over", "decommission"):
        with pytest.raises(Refused, match="week-1 is ready"):
            raise refusal(stack(verb))
    for _ in range(3):
        stack.run(stack.week.until("ask_approval"))
    stack.run(stack.week.tick())
    dry = stack("cut-over")
    assert dry.exit_code == 0, (dry.output, dry.exception)
    assert "dry run: test would be cut over" in dry.output
    assert "nothing was changed" in dry.output
    assert stack.json("status")["rollout"]["phase"] == "completed"
    with pytest.raises(Refused, match="type the rollout's name"):
        raise refusal(stack("cut-over", "--confirm", "tset"))
    assert stack("cut-over", "--confirm", "test").output == "test is cut over\n"
    with pytest.raises(Refused, match="runs on for another"):
        raise refusal(stack("decommission"))
