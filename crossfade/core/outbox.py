"""What each sink is owed: routes (which sequences at all) minus what is done (the cursor).

A partition that enters the written cohort is owed from its next sequence on; when it leaves,
its open route is closed at the last committed one. ``Outbox`` is a sans-I/O object in the
manner of a protocol's state machine (docs/adr/0001): it owns the bookkeeping of one sink and
sees the world only through its arguments.
"""

from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Outbox", "Route", "RouteChange", "Span", "route_change"]


class Route(NamedTuple):
    """Sequences that a sink is owed: ``first`` to ``last``; ``last`` None while it is open."""

    first: int
    last: int | None = None


class Span(NamedTuple):
    """A run of committed sequences of one stream that is owed and not done."""

    stream_id: int
    first: int
    last: int


class RouteChange(NamedTuple):
    """Close the open route at ``close`` (None: there is none to close), or open one at ``open``."""

    open: int | None = None
    close: int | None = None


def route_change(*, is_open: bool, wanted: bool, head: int) -> RouteChange | None:
    """How a stream's routing to a sink changes before its next event is committed.

    ``head`` is the stream's last committed sequence; None when nothing changes.
    """
    if wanted and not is_open:
        return RouteChange(open=head + 1)
    if is_open and not wanted:
        return RouteChange(close=head)
    return None


class _Stream:
    __slots__ = ("head", "next", "routes")

    def __init__(self) -> None:
        self.head = 0
        self.next = 1
        self.routes: list[Route] = []

    def spans(self) -> Iterator[tuple[int, int]]:
        for first, last in self.routes:
            low = max(first, self.next)
            high = self.head if last is None else min(last, self.head)
            if low <= high:
                yield low, high

    def owed(self) -> int:
        return sum(high - low + 1 for low, high in self.spans())


class Outbox:
    """One sink's bookkeeping over all streams; streams are named by the journal's numbers."""

    def __init__(self) -> None:
        self._streams: dict[int, _Stream] = {}
        self._owing: dict[int, int] = {}
        self._owed = 0

    @property
    def owed(self) -> int:
        """How many committed events this sink is owed."""
        return self._owed

    def spans(self) -> Iterator[Span]:
        """Everything owed, per stream the oldest run first."""
        for stream_id in list(self._owing):
            for low, high in self._streams[stream_id].spans():
                yield Span(stream_id, low, high)

    def next_span(self, stream_id: int, after: int) -> Span | None:
        """The first owed run of a stream at or above sequence ``after``."""
        stream = self._streams.get(stream_id)
        if stream is not None:
            for low, high in stream.spans():
                if high >= after:
                    return Span(stream_id, max(low, after), high)
        return None

    def owing(self) -> list[int]:
        """The streams with something owed."""
        return list(self._owing)

    def cursor(self, stream_id: int) -> int:
        """Everything below it is done."""
        stream = self._streams.get(stream_id)
        return 1 if stream is None else stream.next

    def routes(self, stream_id: int) -> tuple[Route, ...]:
        """The stream's routes to this sink, in order."""
        stream = self._streams.get(stream_id)
        return () if stream is None else tuple(stream.routes)

    def done_heads(self) -> Iterator[tuple[int, int, int]]:
        """Per stream that was ever routed: its number, the last sequence done, its first route's
        first sequence.

        A stream whose route is open and of which nothing is done yet has the head before its
        route: a quiet partition that joins the cohort must be provable on the new transport.
        """
        for stream_id, stream in self._streams.items():
            if not stream.routes:
                continue
            first = stream.routes[0].first
            if stream.next > first or stream.routes[-1].last is None:
                yield stream_id, max(stream.next, first) - 1, first

    def committed(self, stream_id: int, head: int) -> None:
        """A stream's head has risen."""
        stream = self._get(stream_id)
        stream.head = max(stream.head, head)
        self._settle(stream_id, stream)

    def opened(self, stream_id: int, first: int, last: int | None = None) -> None:
        """A route begins at ``first`` (above every earlier one)."""
        stream = self._get(stream_id)
        stream.routes.append(Route(first, last))
        self._settle(stream_id, stream)

    def closed(self, stream_id: int, last: int) -> None:
        """The stream's open route ends with ``last``."""
        stream = self._get(stream_id)
        if stream.routes and stream.routes[-1].last is None:
            stream.routes[-1] = stream.routes[-1]._replace(last=last)
        self._settle(stream_id, stream)

    def done(self, stream_id: int, next_: int) -> None:
        """The sink has everything below ``next_``; a cursor never goes back."""
        stream = self._get(stream_id)
        stream.next = max(stream.next, next_)
        self._settle(stream_id, stream)

    def _get(self, stream_id: int) -> _Stream:
        stream = self._streams.get(stream_id)
        if stream is None:
            stream = self._streams[stream_id] = _Stream()
        return stream

    def _settle(self, stream_id: int, stream: _Stream) -> None:
        owed = stream.owed()
        self._owed += owed - self._owing.get(stream_id, 0)
        if owed:
            self._owing[stream_id] = owed
        else:
            self._owing.pop(stream_id, None)
