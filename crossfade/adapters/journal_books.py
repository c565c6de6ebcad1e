"""What a journal's process knows of it without asking the file: streams, heads, what is owed.

Lives on the event loop; the writing thread tells it of each commit.
"""

from collections.abc import Mapping, Sequence

from crossfade.adapters.journal_reader import JournalStream
from crossfade.adapters.journal_writer import GroupResult, Snapshot
from crossfade.core.event import Head, Stream
from crossfade.core.outbox import Outbox
from crossfade.core.recent import Recent

__all__ = ["Books"]


class Books:
    """Kept by ``load`` (everything anew) and ``commit`` (what one group changed)."""

    def __init__(self, sinks: Sequence[str]) -> None:
        self._streams: dict[int, JournalStream] = {}
        self._ids: dict[Stream, int] = {}
        self._outboxes = {sink: Outbox() for sink in sinks}
        self.parked: dict[str, int] = dict.fromkeys(sinks, 0)
        self.recent = Recent()
        """The newest of them."""
        self.events = 0
        """How many events were ever committed."""

    def outbox(self, sink: str) -> Outbox:
        """The books of one sink; replaced by ``load``, so do not keep it."""
        return self._outboxes[sink]

    def stream_id(self, stream: Stream) -> int | None:
        """The journal's number for a stream."""
        return self._ids.get(stream)

    def head(self, stream_id: int) -> Head:
        """A stream's last committed sequence and floor."""
        one = self._streams[stream_id]
        return Head(one.stream, one.head, one.floor)

    def heads(self) -> list[Head]:
        """The last committed sequence and the floor of every stream."""
        return [Head(one.stream, one.head, one.floor) for one in self._streams.values()]

    def load(self, snapshot: Snapshot) -> None:
        """Take over what the file holds; cursors never go back."""
        self.recent.clear()
        for one in snapshot.streams:
            self._streams[one.stream_id] = one
            self._ids[one.stream] = one.stream_id
        self.events = sum(one.head for one in snapshot.streams)
        for sink, before in list(self._outboxes.items()):
            after = self._outboxes[sink] = Outbox()
            for name, stream_id, route in snapshot.routes:
                if name == sink:
                    after.opened(stream_id, route.first, route.last)
            for name, stream_id, next_ in snapshot.cursors:
                if name == sink:
                    after.done(stream_id, next_)
            for one in snapshot.streams:
                after.committed(one.stream_id, one.head)
                after.done(one.stream_id, before.cursor(one.stream_id))
        for sink, count in snapshot.parked.items():
            self.parked[sink] = max(count, self.parked.get(sink, 0))

    def pruned(self, floors: Mapping[int, int]) -> None:
        """Streams, by number, hold nothing below these sequences any more."""
        for stream_id, floor in floors.items():
            self._streams[stream_id] = self._streams[stream_id]._replace(floor=floor)

    def commit(self, result: GroupResult) -> None:
        """Take over what one transaction changed."""
        for stream_id, stream in result.born:
            self._streams[stream_id] = JournalStream(stream_id, stream, 0, 1)
            self._ids[stream] = stream_id
        for sink, stream_id, change in result.routes:
            if change.open is not None:
                self._outboxes[sink].opened(stream_id, change.open)
            elif change.close is not None:
                self._outboxes[sink].closed(stream_id, change.close)
        for stream_id, head in result.heads.items():
            self.events += head - self._streams[stream_id].head
            self._streams[stream_id] = self._streams[stream_id]._replace(head=head)
            for outbox in self._outboxes.values():
                outbox.committed(stream_id, head)
        self.recent.committed(result.placed)
