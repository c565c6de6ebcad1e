"""Flags: who is served by what."""

import json

from hypothesis import given
from hypothesis import strategies as st

from crossfade.core.flags import EVERYTHING, Flags

shares = st.dictionaries(st.sampled_from(["critical", "system", EVERYTHING]), st.floats(0, 100))
some_flags = st.builds(
    Flags,
    version=st.integers(0, 9),
    partitions=st.integers(1, 60),
    written=shares,
    served=shares,
    kill=st.booleans(),
)


@given(some_flags, st.sampled_from(["critical", "system", "debug", "new"]))
def test_what_is_served_is_written(flags: Flags, topic: str) -> None:
    for partition in range(flags.partitions):
        assert not flags.serves(topic, partition) or flags.writes(topic, partition)


@given(some_flags)
def test_json_round_trip(flags: Flags) -> None:
    assert Flags.from_json(json.loads(json.dumps(flags.to_json()))) == flags


def test_kill_serves_nobody_and_keeps_writing() -> None:
    flags = Flags(served={EVERYTHING: 100}, kill=True)
    assert not any(flags.serves("critical", number) for number in range(50))
    assert all(flags.writes("critical", number) for number in range(50))


def test_a_category_goes_before_the_rest_and_topics_have_a_category() -> None:
    flags = Flags(served={EVERYTHING: 50, "critical": 10}, topics={"cancelled": "critical"})
    assert flags.served_percent("cancelled") == 10
    assert flags.served_percent("debug") == 50


def test_the_default_serves_nobody() -> None:
    assert not any(Flags().writes("critical", number) for number in range(50))
