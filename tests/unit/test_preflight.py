"""The gate before a stage: the doctor's checks, the instances and the flags."""

from typing import Any, cast

import pytest

from crossfade import preflight as gate
from crossfade.adapters.control import ControlClient
from crossfade.core.finding import Finding, Level
from crossfade.core.verdict import Measurement, Verdict, worst
from crossfade.doctor import CHECKS, Examination
from crossfade.errors import ControlUnavailable
from crossfade.preflight import preflight
from crossfade.settings import Settings


def instance(role: str, *, version: int = 3, live: bool = True) -> dict[str, Any]:
    return {"instance": f"one-{role}", "role": role, "live": live, "flag_version": version}


def status(*instances: dict[str, Any], kill: bool = False) -> dict[str, Any]:
    rollout = {"stage": 1, "stages": [{"percent": {"*": 10}}, {"percent": {"*": 20, "debug": 50}}]}
    return {
        "flags": {"version": 3, "kill": kill},
        "instances": list(instances),
        "rollout": rollout,
    }


ALIVE = status(instance("publisher"), instance("subscriber"), instance("tap"))


class FakeControl:
    def __init__(self, answer: dict[str, Any] | Exception) -> None:
        self.answer = answer

    async def status(self) -> dict[str, Any]:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class FakeDoctor:
    """Finds everything green but what it is told."""

    def __init__(self) -> None:
        self.asked: list[tuple[Examination, list[str]]] = []
        self.found: dict[str, Finding] = {}

    async def __call__(self, what: Examination, names: Any) -> list[Finding]:
        self.asked.append((what, list(names)))
        fine = {name: Finding(name=name, level=Level.GREEN, detail="fine") for name in names}
        return list({**fine, **self.found}.values())


@pytest.fixture(autouse=True)
def doctor(monkeypatch: pytest.MonkeyPatch) -> FakeDoctor:
    made = FakeDoctor()
    monkeypatch.setattr(gate, "examine", made)
    return made


async def checked(answer: dict[str, Any] | Exception = ALIVE) -> dict[str, Measurement]:
    control = cast(ControlClient, FakeControl(answer))
    return {one.name: one for one in await preflight(Settings(), control)}


async def test_everything_is_fine(doctor: FakeDoctor) -> None:
    found = await checked()
    assert list(found) == [*gate.CHECKS, "live_publishers", "live_subscribers", "flags"]
    assert worst(one.verdict for one in found.values()) is Verdict.PASS
    ((what, names),) = doctor.asked
    assert set(names) <= set(CHECKS), "each is one of the doctor's"
    assert (what.percent, what.status) == (50, ALIVE)


@pytest.mark.parametrize(
    ("finding", "verdict", "detail"),
    [
        (Finding(name="keys", level=Level.AMBER, detail="d", action="a"), Verdict.PASS, "d"),
        (Finding(name="keys", level=Level.RED, detail="d", action="a"), Verdict.FAIL, "d: a"),
        (
            Finding(name="keys", level=Level.RED, detail="d", action="a", broken=True),
            Verdict.ERROR,
            "d: a",
        ),
    ],
)
async def test_what_the_doctor_finds_is_what_the_gate_says(
    doctor: FakeDoctor, finding: Finding, verdict: Verdict, detail: str
) -> None:
    doctor.found = {"keys": finding}
    found = await checked()
    assert (found["keys"].verdict, found["keys"].detail) == (verdict, detail)
    assert worst(one.verdict for one in found.values()) is verdict


async def test_no_control_server(doctor: FakeDoctor) -> None:
    found = await checked(ControlUnavailable("no answer within 5 s"))
    assert found["control"].verdict is Verdict.ERROR
    assert found["control"].detail == "no answer within 5 s"
    assert found["project"].verdict is Verdict.PASS, "the others are looked at all the same"
    assert "flags" not in found
    ((_, names),) = doctor.asked
    assert not {"control", "quota"} & set(names), "they would ask the control server again"


async def test_before_any_rollout_the_whole_way_is_looked_at(doctor: FakeDoctor) -> None:
    await checked({**ALIVE, "rollout": None})
    assert doctor.asked[0][0].percent == 100


@pytest.mark.parametrize(
    ("answer", "failed", "words"),
    [
        (status(instance("subscriber")), "live_publishers", "start the application"),
        (
            status(instance("publisher"), instance("subscriber", live=False)),
            "live_subscribers",
            "start a Subscriber",
        ),
        (
            status(instance("publisher"), instance("subscriber", version=2)),
            "flags",
            "flags 3 not yet at one-subscriber",
        ),
        (
            status(instance("publisher"), instance("subscriber"), kill=True),
            "flags",
            "the kill flag is set",
        ),
    ],
)
async def test_instances(answer: dict[str, Any], failed: str, words: str) -> None:
    found = await checked(answer)
    assert [name for name, one in found.items() if one.verdict is not Verdict.PASS] == [failed]
    assert words in found[failed].detail
