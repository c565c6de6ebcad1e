"""Who is followed and what is broken: reproducible, and only what the input can bear."""

import pytest

from crossfade.local.demo_checker import Expected
from crossfade.local.demo_observer import DemoFailed
from crossfade.local.demo_options import Sabotage, flights_file
from crossfade.local.demo_readers import read_input
from crossfade.local.demo_verify import choose


@pytest.fixture(scope="module")
def flights() -> list[Expected]:
    return read_input(flights_file())


def test_the_seed_decides_and_repeats(flights: list[Expected]) -> None:
    first = choose(flights, 1)
    assert choose(flights, 1) == first
    others = {choose(flights, seed).keys for seed in range(2, 12)}
    assert len(others) == 10


def test_two_aircraft_and_an_airport_with_enough_events(flights: list[Expected]) -> None:
    for seed in range(5):
        *aircraft, airport = choose(flights, seed).keys
        assert airport in {"EWR", "JFK", "LGA"}
        assert len(set(aircraft)) == 2
        for key in aircraft:
            assert sum(one.key == key for one in flights) >= 15


def test_the_victims_come_after_the_weeks(flights: list[Expected]) -> None:
    for seed in range(20):
        victims = choose(flights, seed).victims
        assert set(victims) == set(Sabotage)
        assert len({one.id for one in victims.values()}) == len(Sabotage)
        assert min(one.line for one in victims.values()) > len(flights) * 0.9


def test_a_short_input_takes_its_busiest_aircraft(flights: list[Expected]) -> None:
    few = flights[:200]
    *aircraft, _ = choose(few, 1).keys
    assert len(set(aircraft)) == 2


def test_an_input_without_keys_is_refused(flights: list[Expected]) -> None:
    with pytest.raises(DemoFailed, match="too few keys"):
        choose([one._replace(key="") for one in flights[:200]], 1)
