from crossfade.local.supabase.presence import MAX_CALLS, WINDOW_S, CallLimit, Present


def test_who_comes_changes_and_goes() -> None:
    present = Present()
    came = present.track("a1", "ann", {"mood": "ok"}, "r1")
    first = {"mood": "ok", "phx_ref": "r1"}
    assert came == {"joins": {"ann": {"metas": [first]}}, "leaves": {}}
    changed = present.track("a1", "ann", {"mood": "meh"}, "r2")
    second = {"mood": "meh", "phx_ref": "r2", "phx_ref_prev": "r1"}
    assert changed == {
        "joins": {"ann": {"metas": [second]}},
        "leaves": {"ann": {"metas": [first]}},
    }
    assert present.track("a1", "ann", {"mood": "meh"}, "r3") is None
    assert present.state() == {"ann": {"metas": [second]}}
    assert present.untrack("a1") == {"joins": {}, "leaves": {"ann": {"metas": [second]}}}
    assert present.untrack("a1") is None
    assert present.state() == {}


def test_a_key_may_be_present_more_than_once() -> None:
    present = Present()
    present.track("phone", "ann", {"n": 1}, "r1")
    present.track("laptop", "ann", {"n": 2}, "r2")
    assert [meta["n"] for meta in present.state()["ann"]["metas"]] == [1, 2]
    present.untrack("phone")
    assert [meta["n"] for meta in present.state()["ann"]["metas"]] == [2]


def test_calls_are_limited_in_windows() -> None:
    calls = CallLimit()
    assert [calls.allows(1.0) for _ in range(MAX_CALLS + 1)] == [True] * MAX_CALLS + [False]
    assert not calls.allows(1.0 + WINDOW_S)
    assert calls.allows(1.1 + WINDOW_S)
