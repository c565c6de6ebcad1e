"""A sample of the crash matrix; ``make torture`` runs all of it."""

from collections.abc import Iterator

import pytest

from tests.services import Project
from tests.torture.cases import Plan, matrix, run
from tests.torture.ground import Ground
from tests.torture.seams import POINTS, Seam, find

SAMPLE = (
    Plan("publisher", "committed, nobody told", 1, events=120),
    Plan("relay", "stored, answer not read", 2, events=120),
    Plan("hub", "offered, not answered", 1, events=120),
    Plan("tap", "inside its transaction", 1, events=120),
    Plan("subscriber", "effect, no position", 2, events=120),
)


@pytest.fixture(scope="module")
def ground(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with Ground(tmp_path_factory.mktemp("torture"), project) as standing:
        yield standing


@pytest.mark.timeout(180)  # six processes each, on a machine that may be busy with others
@pytest.mark.parametrize("plan", SAMPLE, ids=lambda plan: f"{plan.role}: {plan.point}")
def test_i1_a_killed_process_leaves_no_store_missing_or_doubling(
    ground: Ground, plan: Plan
) -> None:
    outcome = run(ground, plan)
    assert outcome.reached
    assert outcome.findings == ()


@pytest.mark.parametrize("role", POINTS)
def test_every_seam_is_still_there(role: str) -> None:
    for seam in POINTS[role].values():
        owner, name = find(seam)
        assert callable(getattr(owner, name))


def test_a_seam_that_is_gone_is_told() -> None:
    with pytest.raises(LookupError, match=r"Hub\.fly is gone"):
        find(Seam("crossfade.local.hub:Hub.fly", "before"))


def test_the_matrix_has_every_point_and_a_random_moment_of_each_role() -> None:
    plans = matrix(2)
    assert len(set(plans)) == 2 * (sum(map(len, POINTS.values())) + len(POINTS) + 1)
    assert {plan.seed for plan in plans} == {1, 2}
