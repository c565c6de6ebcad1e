"""The log of changes, the streams' ends by the index alone, and digests made anew."""

import json
import struct
from base64 import b64decode

import psycopg
import pytest

from tests.contract.events import make_event, make_events
from tests.integration.schema.database import Database

pytestmark = pytest.mark.xdist_group("schema")  # one set of services

STREAM = ["app", 1, "critical", 0]


def changes(database: Database, since: str) -> list[list[object]] | None:
    found: list[list[object]] | None = database.call("crossfade_changes_v1", since=since)["changes"]
    return None if found is None else sorted(found, key=str)


def mark(database: Database) -> str:
    answer = database.call("crossfade_changes_v1", since="")
    assert answer["changes"] == []
    return str(answer["mark"])


def test_updates_and_deletes_are_told_and_inserts_are_not(database: Database) -> None:
    database.ingest(make_events(1, 600), live=False)
    since = mark(database)
    database.ingest(make_events(601, 700), live=False)
    database.ingest(make_events(1, 10), live=False)  # skipped
    assert changes(database, since) == []
    run = database.connection.execute
    run("update crossfade.events set subject = 'x' where sequence in (7, 9, 300)")
    assert changes(database, since) == [[*STREAM, 300, 300], [*STREAM, 7, 9]]
    later = mark(database)
    run("update crossfade.events set partition = 5, sequence = 900 where sequence = 8")
    run("delete from crossfade.events where sequence > 690 and partition = 0")
    moved = [["app", 1, "critical", 5, 900, 900], [*STREAM, 8, 8]]
    assert changes(database, later) == sorted([*moved, [*STREAM, 691, 700]], key=str)
    run("set session_replication_role = replica")
    run("update crossfade.events set subject = 'y' where sequence = 20")
    run("reset session_replication_role")
    assert [*STREAM, 20, 20] in (changes(database, later) or [])


def test_a_change_that_commits_late_is_told_late(database: Database) -> None:
    database.ingest(make_events(1, 5), live=False)
    with psycopg.connect(database.url) as other:
        other.execute("update crossfade.events set subject = 'x' where sequence = 2")
        since = mark(database)  # it can not see that change yet
        other.commit()
    assert changes(database, since) == [[*STREAM, 2, 2]]


def test_what_can_not_be_told_is_null(database: Database) -> None:
    database.ingest(make_events(1, 5), live=False)
    since = mark(database)
    seconds, _, xid = since.partition(":")
    assert changes(database, f"{seconds}:{int(xid) + 10**6}") is None  # of another database
    assert changes(database, f"{int(seconds) - 30 * 86_400}:{xid}") is None  # pruned meanwhile
    database.connection.execute("alter table crossfade.events disable trigger log_deletes")
    assert changes(database, since) is None
    database.connection.execute("alter table crossfade.events enable always trigger log_deletes")
    assert changes(database, since) == []
    database.connection.execute("truncate crossfade.events")
    assert changes(database, since) is None


def test_extents_are_the_streams_ends(database: Database) -> None:
    assert database.call("crossfade_extents_v1") == []
    database.ingest(make_events(3, 40), live=False)
    database.ingest(make_events(1, 5, topic="debug", partition=4), live=False)
    database.ingest([make_event(9, topic="debug", partition=11)], live=False)
    assert database.call("crossfade_extents_v1") == [
        [*STREAM, 3, 40],
        ["app", 1, "debug", 4, 1, 5],
        ["app", 1, "debug", 11, 9, 9],
    ]


def test_the_index_alone_answers_digests(database: Database) -> None:
    """Reading rows takes some seventeen times as long."""
    database.ingest(make_events(1, 2_000), live=False)
    database.connection.execute("vacuum analyze crossfade.events")
    plan = database.connection.execute(
        "explain select sum(hash), count(*) filter (where hash <> checksum) from crossfade.events "
        "where source = 'app' and epoch = 1 and topic = 'critical' and partition = 0 "
        "and sequence between 257 and 512"
    ).fetchall()
    assert any("Index Only Scan using events_pkey" in row[0] for row in plan)


def test_a_scrub_trusts_no_column(fresh_database: Database) -> None:
    database = fresh_database  # it is not the same afterwards
    database.ingest(make_events(1, 600), live=False)
    ranges = [[*STREAM, 1, 256], [*STREAM, 300, 600]]
    digests = database.call("crossfade_digests_v1", ranges=ranges, block=256)
    assert database.call("crossfade_scrub_v1", ranges=ranges, block=256) == digests
    # A column that does not follow its row, as after damage on the disk.
    run = database.connection.execute
    run("alter table crossfade.events alter column hash drop expression")
    run("update crossfade.events set data = '{}' where sequence = 5")
    assert database.call("crossfade_digests_v1", ranges=ranges, block=256) == digests
    scrubbed = database.call("crossfade_scrub_v1", ranges=ranges, block=256)
    assert scrubbed[1:] == digests[1:]
    assert scrubbed[0][:8] == digests[0][:8]
    assert scrubbed[0][8] != digests[0][8]
    assert scrubbed[0][9] == 1


def test_the_inlined_hash_is_the_same_and_inlined(database: Database) -> None:
    """A call for every row would cost a third more."""
    database.ingest(make_events(1, 50), live=False)
    columns = 'source, epoch, topic, partition, sequence, id, type, "time", subject, category, data'
    query = f"from crossfade.events where hash <> crossfade.content_hash_inline_v1({columns})"
    assert database.connection.execute(f"select count(*) {query}").fetchone() == (0,)
    plan = database.connection.execute(f"explain select 1 {query}").fetchall()
    assert "sha256" in str(plan)
    assert "content_hash" not in str(plan)


@pytest.mark.parametrize(
    ("ranges", "block"), [([], 0), ([[*STREAM, 1, 10**9]], 1), ([[*STREAM, 1, 1]] * 10_001, 1)]
)
def test_a_scrub_has_limits(database: Database, ranges: list[object], block: int) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        database.connection.execute(
            "select public.crossfade_scrub_v1(%s, %s)", (json.dumps(ranges), block)
        )


def integers(text: str) -> list[int]:
    data = b64decode(text)
    return list(struct.unpack(f">{len(data) // 8}q", data))


def test_hashes_are_those_of_the_rows_content(database: Database) -> None:
    events = make_events(1, 300)
    database.ingest(events, live=False)
    ranges = [[*STREAM, 3, 5], [*STREAM, 400, 500], [*STREAM, 299, 302]]
    run = database.connection.execute
    run("update crossfade.events set checksum = 7 where sequence = 4")
    first, second = database.call("crossfade_hashes_v1", ranges=ranges)
    assert (first[0], integers(first[1]), first[3]) == (0, [3, 4, 5], [4])
    assert integers(first[2]) == [event.hash for event in events[2:5]]
    assert (second[0], integers(second[1]), second[3]) == (2, [299, 300], [])
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="200000 are allowed"):
        database.call("crossfade_hashes_v1", ranges=[[*STREAM, 1, 200_001]])


def test_rows_of_many_ranges_come_in_pages(database: Database) -> None:
    database.ingest(make_events(1, 1_500), live=False)
    answer = database.call("crossfade_rows_v1", ranges=[[*STREAM, 7, 7], [*STREAM, 2, 4]])
    assert [event["sequence"] for event in answer["events"]] == [7, 2, 3, 4]
    assert not answer["more"]
    assert answer["events"][0]["content_hash"] == answer["events"][0]["hash"]
    answer = database.call("crossfade_rows_v1", ranges=[[*STREAM, 1, 900], [*STREAM, 901, 1_500]])
    assert [event["sequence"] for event in answer["events"]] == list(range(1, 1_001))
    assert answer["more"]
    big = json.dumps("x" * 900_000)
    database.ingest([make_event(2_000 + n, data=big) for n in range(7)], live=False)
    answer = database.call("crossfade_rows_v1", ranges=[[*STREAM, 2_000, 2_006]])
    assert (len(answer["events"]), answer["more"]) == (5, True)
