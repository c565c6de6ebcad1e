"""Which journalled event a frame of an application's own format is.

``Recogniser`` is a sans-I/O object: it is told what the journal committed and what frames
held, and says which event each of them is, as it was delivered.
"""

from collections import OrderedDict, deque

from crossfade.core.codec import Codec, Received, canonical, from_stamp, seen_through
from crossfade.core.event import Event

__all__ = ["KNOWN_EVENTS", "Recogniser"]

KNOWN_EVENTS = 100_000
"""Most events of the journal that are remembered; the oldest are forgotten first."""


class Recogniser:
    """Recovers positions. What comes back altered keeps its position and its altered content,
    where an identity is carried; where the content is the identity it is nobody's.

    Args:
        limit_events: most events remembered of what the journal committed.
    """

    def __init__(self, codec: Codec, limit_events: int = KNOWN_EVENTS) -> None:
        self._codec = codec
        self._limit = limit_events
        self._known: OrderedDict[str, tuple[Event, Received]] = OrderedDict()
        self._waiting: dict[Received, deque[str]] = {}
        self._last: OrderedDict[Received, Event] = OrderedDict()

    @property
    def needs_journal(self) -> bool:
        """Whether ``learn`` must be told of what is committed."""
        return self._codec.identity != "stamp"

    def learn(self, event: Event) -> None:
        """The journal committed an event; in order of commit.

        Raises:
            InvalidEvent: the codec can not carry it.
        """
        if event.id in self._known:
            return
        seen = seen_through(self._codec, event)
        self._known[event.id] = (event, seen)
        if self._codec.identity == "content":
            self._waiting.setdefault(seen, deque()).append(event.id)
        if len(self._known) > self._limit:
            self._forget()

    def recognise(self, received: Received) -> Event | None:
        """The event as it was delivered; None when it is not known (yet).

        Raises:
            InvalidEvent: it can not be read.
        """
        received = canonical(received)
        if self._codec.identity == "stamp":
            return from_stamp(received.mark, received.data)
        if self._codec.identity == "id":
            known = self._known.get(received.mark)
            return None if known is None else _as_delivered(*known, received)
        waiting = self._waiting.get(received)
        if not waiting:
            # Known and used up: delivered once more.
            return self._last.get(received)
        event, _ = self._known[waiting.popleft()]
        if not waiting:
            del self._waiting[received]
        self._last[received] = event
        if len(self._last) > self._limit:
            self._last.popitem(last=False)
        return event

    def _forget(self) -> None:
        id_, (_, seen) = self._known.popitem(last=False)
        waiting = self._waiting.get(seen)
        if waiting and waiting[0] == id_:
            waiting.popleft()
            if not waiting:
                del self._waiting[seen]


def _as_delivered(event: Event, expected: Received, received: Received) -> Event:
    """The journal's event with whatever differs from what its own frame would tell."""
    if received == expected:
        return event
    return event._replace(
        type=event.type if received.type == expected.type else received.type,
        subject=event.subject if received.subject == expected.subject else received.subject,
        data=event.data if received.data == expected.data else received.data,
    )
