"""The rollback's page: medians beside their goals, and what was missed."""

from benchmarks.rollback import GOALS_MS, page


def test_the_page_tells_medians_goals_and_what_was_missed() -> None:
    flags, verified, own = GOALS_MS
    text = page({flags: [500.0, 900.0, 1_500.0], verified: [16_000.0] * 3, "other": [1.0] * 3}, {})
    assert f"| {flags} | **900 ms** | 1,500 ms | < 1 s | met |" in text
    assert f"| {verified} | **16,000 ms** | 16,000 ms | < 15 s | **missed** |" in text
    assert "| other | **1 ms** | 1 ms |  |  |" in text
    assert own not in text
