"""Events for tests of stores."""

import uuid

from crossfade.core.event import Event, content_hash


def make_event(
    sequence: int,
    *,
    source: str = "app",
    topic: str = "critical",
    partition: int = 0,
    epoch: int = 1,
    data: str | None = None,
    id: str | None = None,  # noqa: A002 - the attribute's name
    time_us: int = 1_700_000_000_000_000,
    type: str = "flight.departed",  # noqa: A002
    subject: str = "N14228",
) -> Event:
    """An intact event; its id depends on its position unless given."""
    place = f"{source}/{epoch}/{topic}/{partition}/{sequence}"
    event = Event(
        id=id or str(uuid.uuid5(uuid.NAMESPACE_URL, place)),
        source=source,
        type=type,
        time_us=time_us + sequence,
        subject=subject,
        category="critical",
        topic=topic,
        partition=partition,
        epoch=epoch,
        sequence=sequence,
        data=data if data is not None else f'{{"n":{sequence},"word":"départ"}}',
        hash=0,
    )
    return event._replace(hash=content_hash(event))


def make_events(first: int, last: int, **options: object) -> list[Event]:
    """The events of a range of one stream."""
    return [make_event(number, **options) for number in range(first, last + 1)]  # type: ignore[arg-type]
