"""Plays one step of a schedule of sequencer.json on a sequencer."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from crossfade.core.continuity import Lost
from crossfade.core.event import Event, Head, Stream, hash_from_hex, hash_to_hex
from crossfade.core.flow import Fill
from crossfade.core.sequencer import Fact, Sequencer

__all__ = ["fact_rows", "hash_of", "replay", "sequencer_of"]

_MULTIPLIER = 0x9E37_79B9_7F4A_7C15


def hash_of(stream: int, sequence: int, variant: int = 0) -> str:
    """The hash that the vectors give an event: a formula that both languages can write."""
    value = ((stream + 1) * 1_000_003 + sequence * 31 + variant) * _MULTIPLIER
    return format(value & 0xFFFF_FFFF_FFFF_FFFF, "016x")


def sequencer_of(options: Mapping[str, Any], streams: Sequence[Sequence[Any]]) -> Sequencer:
    """A sequencer with a case's options."""
    known = dict(options)
    positions = {Stream(*streams[one]): at for one, at in known.pop("positions", [])}
    return Sequencer(positions=positions, **known)


def replay(
    sequencer: Sequencer,
    streams: Sequence[Sequence[Any]],
    step: Mapping[str, Any],
    asked: list[tuple[int, Fill]],
) -> list[list[Any]]:
    """Do one step; ``asked`` holds the fills under way. Answers facts, or a tick's fills."""
    order = {Stream(*row): number for number, row in enumerate(streams)}
    operation, now = step["op"], step.get("at", 0)
    if operation == "receive":
        return fact_rows(sequencer.receive(_events(streams, step), step["via"], now), order)
    if operation == "heads":
        sequencer.heads(_heads(streams, step), now)
    elif operation == "meet":
        sequencer.meet(_heads(streams, step), now)
    elif operation == "settle":
        sequencer.settle()
    elif operation == "tick":
        fills = [(order[fill.stream], fill) for fill in sequencer.tick(now)]
        asked += fills
        return [[number, fill.first, fill.last, fill.source] for number, fill in fills]
    else:
        number, source = step["fill"]
        found = next(one for one in asked if one[0] == number and one[1].source == source)
        asked.remove(found)
        if operation == "failed":
            return fact_rows(sequencer.fill_failed(found[1], now), order)
        events = _events(streams, step)
        facts = sequencer.filled(found[1], events, step["floor"], step["head"], now)
        return fact_rows(facts, order)
    return []


def fact_rows(facts: Iterable[Fact], order: Mapping[Stream, int]) -> list[list[Any]]:
    """Facts as the vectors write them."""
    rows: list[list[Any]] = []
    for fact in facts:
        if isinstance(fact, Event):
            number = order[fact.stream]
            variant = 0
            while hash_of(number, fact.sequence, variant) != hash_to_hex(fact.hash):
                variant += 1
            rows.append([number, fact.sequence, variant] if variant else [number, fact.sequence])
        elif isinstance(fact, Lost):
            rows.append(["lost", order[fact.stream], fact.first, fact.last, fact.reason])
        else:
            kept, offered = hash_to_hex(fact.kept), hash_to_hex(fact.offered)
            number = order[fact.position.stream]
            rows.append(["conflict", number, fact.position.sequence, kept, offered, fact.via])
    return rows


def _events(streams: Sequence[Sequence[Any]], step: Mapping[str, Any]) -> list[Event]:
    return [_event(streams, *row) for row in step["events"]]


def _event(streams: Sequence[Sequence[Any]], number: int, sequence: int, variant: int = 0) -> Event:
    stream = Stream(*streams[number])
    return Event(
        id=f"{number}-{sequence}",
        source=stream.source,
        type="test",
        time_us=0,
        subject="",
        category=stream.topic,
        topic=stream.topic,
        partition=stream.partition,
        epoch=stream.epoch,
        sequence=sequence,
        data="{}",
        hash=hash_from_hex(hash_of(number, sequence, variant)),
    )


def _heads(streams: Sequence[Sequence[Any]], step: Mapping[str, Any]) -> list[Head]:
    return [Head(Stream(*streams[one]), head, floor) for one, head, floor in step["heads"]]
