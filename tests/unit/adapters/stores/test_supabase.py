"""Asking the table's functions: limits, repetition, answers that make no sense."""

import json
from collections.abc import Iterator

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.adapters.posts import Answer, PostFailed
from crossfade.adapters.stores import SupabaseReader
from crossfade.adapters.stores.supabase import ATTEMPTS, split_ranges
from crossfade.core.digest import block_of
from crossfade.core.event import to_wire
from crossfade.core.reconciliation_plan import Changes, Range
from crossfade.errors import StoreRejected, StoreUnavailable, StoreUnreachable
from crossfade.settings import SupabaseSettings
from tests.reconciliation_data import make_event, stream

LOST = stream("critical", 3)
RANGES = st.lists(
    st.builds(
        lambda partition, first, length: Range(
            stream("critical", partition), first, first + length
        ),
        st.integers(0, 9),
        st.integers(1, 200),
        st.integers(0, 300),
    ),
    max_size=8,
    unique_by=lambda one: one.stream,
)


@given(ranges=RANGES, size=st.integers(1, 40), limit=st.integers(1, 12))
def test_batches_are_limited_and_lose_nothing(ranges: list[Range], size: int, limit: int) -> None:
    batches = list(split_ranges(ranges, size, limit))
    asked = [one for batch in batches for one in batch]
    wanted = [(r.stream, s) for r in ranges for s in range(r.first, r.last + 1)]
    assert [(r.stream, s) for r in asked for s in range(r.first, r.last + 1)] == wanted
    for batch in batches:
        touched = sum(block_of(r.last, size) - block_of(r.first, size) + 1 for r in batch)
        assert 1 <= touched <= limit
    for one in asked:  # no block of one range is cut in two
        whole = next(r for r in ranges if r.stream == one.stream)
        assert one.first == whole.first or (one.first - 1) % size == 0
        assert one.last == whole.last or one.last % size == 0


class Server:
    """Answers like a project's gateway; keeps what was asked."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, dict[str, object]]] = []

    def __call__(self, path: str, content: bytes) -> Answer:
        self.asked.append((path, json.loads(content)))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return Answer(answer.status_code, answer.content)


@pytest.fixture
def reader() -> Iterator[SupabaseReader]:
    settings = SupabaseSettings.model_validate(
        {"url": "http://project.test/", "service_role_key": "sb_secret_key"}
    )
    made = SupabaseReader(settings)
    yield made
    made.close()


def serve(reader: SupabaseReader, *answers: httpx.Response | Exception) -> Server:
    server = Server(*answers)
    reader._posts.post = server  # type: ignore[method-assign]
    return server


def test_digests_are_asked_in_batches(
    reader: SupabaseReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crossfade.adapters.stores.supabase.MAX_BLOCKS", 2)
    row = [*LOST, 0, 8, 1, 8, str(2**64 - 1), 1]
    server = serve(reader, httpx.Response(200, json=[row]))
    found = list(reader.digests([Range(LOST, 1, 20)], 8))
    assert [path for path, _ in server.asked] == ["/crossfade_digests_v1"] * 2
    assert [asked["ranges"] for _, asked in server.asked] == [
        [[*LOST, 1, 16]],
        [[*LOST, 17, 20]],
    ]
    assert found[0] == (LOST, (0, 8, 1, 8, 2**64 - 1, 1, 0, 0))


def test_what_may_pass_is_asked_again(reader: SupabaseReader) -> None:
    server = serve(
        reader,
        PostFailed("TimeoutError: timed out"),
        httpx.Response(503, json={"code": "PGRST001", "message": "no connection"}),
        httpx.Response(200, json=[]),
    )
    assert reader.streams() == []
    assert len(server.asked) == ATTEMPTS == 3


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (PostFailed("ConnectionRefusedError"), StoreUnreachable),
        (httpx.Response(500, json={"code": "57014", "message": "time-out"}), StoreUnavailable),
        (httpx.Response(502, text="<html>gateway</html>"), StoreUnavailable),
        (httpx.Response(200, text="<html>paused</html>"), StoreUnavailable),
        (httpx.Response(429, text="slower"), StoreUnavailable),
        (httpx.Response(404, text="<html>nothing here</html>"), StoreRejected),
        (httpx.Response(400, json=["odd"]), StoreRejected),
        (httpx.Response(403, json={"code": "42501", "message": "denied"}), StoreRejected),
        (httpx.Response(404, json={"code": "PGRST202", "message": "no function"}), StoreRejected),
        (httpx.Response(200, json=[["app", 1]]), StoreRejected),
        (httpx.Response(200, json={"a": 1}), StoreRejected),
    ],
)
def test_errors_are_told_apart(
    reader: SupabaseReader,
    answer: httpx.Response | Exception,
    kind: type[Exception],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("crossfade.adapters.stores.supabase.ATTEMPTS", 1)
    serve(reader, answer)
    with pytest.raises(kind, match="crossfade_extents_v1") as caught:
        reader.streams()
    assert type(caught.value) is kind
    assert "sb_secret_key" not in str(caught.value)


def test_a_row_that_no_event_can_be_made_of_is_a_row_with_a_fault(reader: SupabaseReader) -> None:
    wire = to_wire(make_event(LOST, 4))
    wire |= {"time": "19999-01-01T00:00:00.000000Z", "content_hash": "00000000000000ff"}
    serve(reader, httpx.Response(200, json={"events": [wire], "floor": 1, "head": 4}))
    (row,) = reader.rows(LOST, 4, 4)
    assert (row.event.position, row.hash, row.stored) == (make_event(LOST, 4).position, 255, 255)
    assert row.fault.startswith("time: '19999")


def test_changes_are_read_and_their_absence_is_told_from_none(reader: SupabaseReader) -> None:
    def answer(changes: object) -> httpx.Response:
        return httpx.Response(200, json={"mark": "5:7", "changes": changes})

    server = serve(reader, answer([]), answer([[*LOST, 3, 9]]), answer(None))
    assert reader.changes("") == Changes("5:7", ())
    assert reader.changes("4:6") == Changes("5:7", (Range(LOST, 3, 9),))
    assert reader.changes("4:6") == Changes("5:7", None)
    assert [asked for _, asked in server.asked] == [{"since": one} for one in ("", "4:6", "4:6")]


def test_digests_made_anew_are_asked_of_another_function(reader: SupabaseReader) -> None:
    server = serve(reader, httpx.Response(200, json=[]))
    assert list(reader.digests([Range(LOST, 1, 20)], 8, anew=True)) == []
    assert [path for path, _ in server.asked] == ["/crossfade_scrub_v1"]


def test_an_answer_without_positions_is_not_understood(reader: SupabaseReader) -> None:
    serve(reader, httpx.Response(200, json={"events": [{"id": "x"}], "floor": 1, "head": 9}))
    with pytest.raises(StoreRejected, match="crossfade_fill_v1: the answer is not understood"):
        list(reader.rows(LOST, 1, 9))
