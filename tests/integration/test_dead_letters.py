"""The table's dead letters, read by `crossfade parked` straight from the database."""

import pytest

from crossfade.adapters.dead_letters import dead_letters
from crossfade.errors import StoreUnavailable
from tests.services import Project

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("supabase")]


def test_dead_letters_name_the_position_the_id_and_the_reason(project: Project) -> None:
    project.sql("delete from crossfade.dead_letters where source = 'letters'")
    project.sql(
        "insert into crossfade.dead_letters (reason, source, epoch, topic, partition, sequence, "
        "event_id, stored, offered, data, received_at) values ('position', 'letters', 1, 't', 3, "
        "7, 'id-7', 1, 2, '{}', '2026-01-02T03:04:05.000006Z')"
    )
    url = project.settings().supabase.database_url.get_secret_value()
    (found,) = [one for one in dead_letters(url) if one["position"].startswith("letters/")]
    assert found == {
        "position": "letters/1/t/3/7",
        "id": "id-7",
        "reason": "the table holds something else at this position",
        "at": "2026-01-02T03:04:05.000006Z",
    }
    project.sql("delete from crossfade.dead_letters where source = 'letters'")


def test_a_database_that_is_not_there_is_said_without_its_password() -> None:
    with pytest.raises(StoreUnavailable) as caught:
        dead_letters("postgresql://me:s3cret@127.0.0.1:1/none")
    assert "s3cret" not in str(caught.value)
    assert "OperationalError (supabase.database_url)" in str(caught.value)
