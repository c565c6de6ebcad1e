"""The steps of one event are those that the publisher still has."""

from pathlib import Path

from benchmarks import steps
from crossfade.core.frames import ENCODED_EVENTS


def test_every_step_is_measured(tmp_path: Path) -> None:
    figures = steps.steps(tmp_path)
    assert [figure.name for figure in figures] == [
        "· check, classify, serialise",
        "· position and SHA-256",
        "· its row in SQLite",
        "· its wire form",
        "· its share of a frame to the hub",
    ]
    assert all(figure.value > 0 for figure in figures)
    # Else "its wire form" would tell of looking up.
    assert steps.EVENTS > 2 * ENCODED_EVENTS
