"""The simulation decides by the library's own functions, so it must keep up with them."""

import numpy as np

from benchmarks.decisions import SEED, detections, false_trips, page, promotions


def test_a_small_simulation_runs_and_is_told_as_a_page() -> None:
    found = detections("unreachable", 1.0, 10.0, 1, SEED)
    assert found.median_s is not None
    assert found.median_s < 30
    trips = false_trips(1.0, 1, np.random.default_rng(SEED))
    gates = promotions(200, np.random.default_rng(SEED))
    text = page(
        {
            "years": 1,
            "trials": 1,
            "false_trips": [trips._asdict()],
            "detection": [found._asdict()],
            "promotion": [one._asdict() for one in gates],
            "goals_met": True,
        }
    )
    assert "| unreachable | 100% |" in text
    assert "| nothing missing | 2,999 | 100.00% |" in text
