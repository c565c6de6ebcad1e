"""What a reader counts per transport between two reports."""

from collections.abc import Mapping, Sequence

from crossfade.core.event import Event, Head
from crossfade.core.statistics import HistogramBuilder
from crossfade.core.telemetry import TransportWindow

__all__ = ["TransportCounts"]


class TransportCounts:
    """One transport's counters; ``take`` starts them anew.

    Latency is from the publisher's commit to here, for what came live: an event of a
    history that was asked for (``replays``) says nothing about the transport.
    """

    def __init__(self) -> None:
        self.connected = False
        self.connections = 0
        self.head_ms: int | None = None
        self._reported_connections = 0
        self._received = 0
        self._delivered = 0
        self._cohort = 0
        self._duplicates = 0
        self._latency = HistogramBuilder()
        self._replayed: dict[tuple[str, int, str, int], int] = {}

    def replays(self, heads: Sequence[Head]) -> None:
        """Events up to these heads come from a history."""
        for head in heads:
            self._replayed[head.stream] = max(head.sequence, self._replayed.get(head.stream, 0))

    def received(self, count: int) -> None:
        """So many events arrived, of whatever use."""
        self._received += count

    def is_replay(self, event: Event) -> bool:
        """Whether it comes from a history."""
        # By number, as in the sequencer: source, epoch, topic, partition; 9 is the sequence.
        place = (event[1], event[8], event[6], event[7])
        return event[9] <= self._replayed.get(place, 0)

    def first(self, events: Sequence[Event]) -> None:
        """These came by this transport before any other."""
        self._delivered += len(events)

    def delivered(
        self, events: Sequence[Event], cohort: Mapping[str, frozenset[int]], now_us: int
    ) -> None:
        """These were the first of their kind."""
        self.first(events)
        for event in events:
            if event.partition in cohort.get(event.topic, ()):
                self._cohort += 1
            if event.committed_us and not self.is_replay(event):
                self.observe((now_us - event.committed_us) / 1_000)

    def observe(self, latency_ms: float) -> None:
        """Count one latency."""
        self._latency.observe(latency_ms)

    def take(self, partitions: int, now_ms: int, duplicates: int | None = None) -> TransportWindow:
        """Everything since the last call.

        ``duplicates`` are those of all time; without them, what was received and not first.
        """
        reconnects = max(0, self.connections - max(1, self._reported_connections))
        window = TransportWindow(
            connected=self.connected,
            received=self._received,
            delivered=self._delivered,
            cohort=self._cohort,
            duplicates=(
                max(0, self._received - self._delivered)
                if duplicates is None
                else duplicates - self._duplicates
            ),
            reconnects=reconnects,
            head_age_ms=None if self.head_ms is None else float(now_ms - self.head_ms),
            partitions=partitions,
            latency_ms=self._latency.take(),
        )
        self._reported_connections = self.connections
        self._duplicates = duplicates or 0
        self._received = self._delivered = self._cohort = 0
        return window
