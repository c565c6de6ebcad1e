"""The shared services start, answer and end."""

import urllib.request

from tests.services import Project


def test_project_is_up_and_ends_cleanly(fresh_project: Project) -> None:
    with urllib.request.urlopen(f"{fresh_project.url}/realtime/v1/api/ping", timeout=5) as answer:
        assert answer.status == 200
    assert fresh_project.stop() == 0
    assert "stand-in for a Supabase project" in fresh_project.log.read_text()
    fresh_project.start()
