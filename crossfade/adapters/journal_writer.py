"""The journal's writing side, as plain synchronous code that runs in the journal's own thread.

``Ledger`` turns a group of requests into one transaction: it assigns sequences, computes the
content hashes, writes events, heads, routes, cursors and parked events, and commits. Either
all of a group is in the file afterwards, or nothing of it.
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from crossfade.adapters.journal_lease import Lease
from crossfade.adapters.journal_reader import JournalStream
from crossfade.adapters.journal_retention import Pruner, PruneStep
from crossfade.adapters.journal_schema import create, open_writer, unavailable
from crossfade.core.event import Draft, Event, Stream, placed
from crossfade.core.outbox import Route, RouteChange, route_change
from crossfade.errors import InvalidEvent, JournalError, SettingsError

__all__ = ["GroupResult", "Ledger", "Routing", "Snapshot", "Upkeep"]

Routing = Mapping[str, Callable[[str, int], bool]]
"""Per sink: whether it is owed the events of a topic's partition from now on."""

_LOOKUP = 500
_INSERT = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


class Upkeep(NamedTuple):
    """Cursors (everything below is done), parked events, and events (sink, stream, sequence) that
    are parked no more; to be written with the next group.
    """

    cursors: dict[tuple[str, int], int]
    parked: list[tuple[str, int, int, str, int]]
    unparked: list[tuple[str, int, int]]

    def __bool__(self) -> bool:
        return bool(self.cursors or self.parked or self.unparked)


class Snapshot(NamedTuple):
    """What the file holds, for the books in memory."""

    streams: list[JournalStream]
    routes: list[tuple[str, int, Route]]
    cursors: list[tuple[str, int, int]]
    parked: dict[str, int]
    epoch: int


class GroupResult(NamedTuple):
    """What a transaction changed. ``answers`` has one item per request: its events, in order
    (those that were already there included), or the fault of this request alone. ``placed`` is
    what is new, each with the number of its stream, in the order of commit.
    """

    answers: list[list[Event] | InvalidEvent]
    placed: list[tuple[int, Event]]
    born: list[tuple[int, Stream]]
    heads: dict[int, int]
    routes: list[tuple[str, int, RouteChange]]


@dataclass(slots=True)
class _Open:
    stream_id: int
    head: int
    routed: frozenset[str]


class Ledger:
    """The writer's view of the file. Not thread-safe: one thread owns it.

    Args:
        routing: which sinks are owed a partition's events; asked once per stream and group.
        pruner: what may go.
        now_us: the wall clock.
        epoch: of a new journal; an existing one keeps its own.
    """

    def __init__(
        self,
        path: Path,
        *,
        source: str,
        epoch: int,
        durability: str,
        token: str,
        routing: Routing,
        pruner: Pruner,
        now_us: Callable[[], int],
    ) -> None:
        self._path = path
        self._source = source
        self._epoch = epoch
        self._durability = durability
        self._routing = routing
        self._pruner = pruner
        self._now_us = now_us
        self._lease = Lease(path, token, now_us())
        self._connection: sqlite3.Connection
        self._streams: dict[tuple[str, int], _Open] = {}
        self._last_us = 0
        self._next_stream = 1

    def open(self) -> Snapshot:
        """Take the lease and read the books.

        Raises:
            JournalTooNew, JournalLocked, JournalUnavailable: nothing was changed.
            SettingsError: the journal is another source's.
        """
        connection = open_writer(self._path, self._durability)
        try:
            self._lease.lock()
            self._connection = connection
            self._transaction(self._begin)
            return self.load()
        except BaseException:
            self._lease.unlock()
            connection.close()
            raise

    def close(self) -> None:
        """Give the lease back and close; the file is left without a write-ahead log."""
        try:
            self._transaction(lambda: self._lease.give_back(self._connection))
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except (JournalError, sqlite3.Error):
            # The lease stays behind as of a process that died; the next writer takes it over.
            return
        finally:
            self._connection.close()
            self._lease.unlock()

    def load(self) -> Snapshot:
        """Read the books anew (also after a failed commit, whose outcome is not known).

        Raises:
            JournalUnavailable: unreadable, or its heads do not match its events.
        """
        try:
            return self._load()
        except sqlite3.Error as error:
            raise unavailable(self._path, error) from error

    def commit(self, requests: Sequence[Sequence[Draft]], upkeep: Upkeep) -> GroupResult:
        """Write a group in one transaction.

        Raises:
            JournalUnavailable, JournalLocked: nothing of the group is known to be durable;
                ``load`` before the next commit.
        """
        group = _Group(self._connection, self._streams, self._source, self._epoch)
        group.last_us, group.next_stream = self._last_us, self._next_stream
        now_us = self._now_us()

        def write() -> None:
            self._lease.check(self._connection)
            group.place(requests, self._routing, now_us)
            group.write(upkeep)

        self._transaction(write)
        self._streams.update(group.touched)
        self._last_us, self._next_stream = group.last_us, group.next_stream
        return group.result()

    def prune(self) -> PruneStep:
        """Make one step of pruning.

        Raises:
            JournalUnavailable, JournalLocked: ``load`` before the next commit.
        """
        steps: list[PruneStep] = []

        def work() -> None:
            self._lease.check(self._connection)
            steps.append(self._pruner.step(self._connection, self._now_us()))

        self._transaction(work)
        return steps[0]

    def _transaction(self, work: Callable[[], None]) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                work()
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise unavailable(self._path, error) from error

    def _begin(self) -> None:
        create(self._connection)
        meta = dict(self._connection.execute("SELECT key, value FROM meta").fetchall())
        if meta.get("source", self._source) != self._source:
            raise SettingsError(
                [
                    f"publisher.source: the journal {self._path} is of source "
                    f"{meta['source']!r}, not {self._source!r}; give each source its own journal"
                ]
            )
        for key, value in (("source", self._source), ("epoch", str(self._epoch))):
            self._connection.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", (key, value))
        self._lease.take(self._connection)

    def _load(self) -> Snapshot:
        run = self._connection.execute
        (epoch,) = run("SELECT value FROM meta WHERE key = 'epoch'").fetchone()
        self._epoch = int(epoch)
        rows = run(
            "SELECT stream_id, source, epoch, topic, partition, head, floor FROM streams "
            "ORDER BY stream_id"
        ).fetchall()
        routes = [
            (sink, stream_id, Route(first, last))
            for sink, stream_id, first, last in run(
                "SELECT sink, stream_id, first, last FROM routes ORDER BY stream_id, first"
            )
        ]
        open_ones: dict[int, set[str]] = {}
        for sink, stream_id, route in routes:
            if route.last is None:
                open_ones.setdefault(stream_id, set()).add(sink)
        self._streams = {}
        for stream_id, _, stream_epoch, topic, partition, head, _ in rows:
            last = run(
                "SELECT sequence, committed_us FROM events WHERE stream_id = ? "
                "ORDER BY sequence DESC LIMIT 1",
                (stream_id,),
            ).fetchone()
            if last is not None and last[0] != head:
                raise sqlite3.DatabaseError(
                    f"stream {topic}/{partition} has head {head} but events up to {last[0]}"
                )
            self._last_us = max(self._last_us, 0 if last is None else last[1])
            if stream_epoch == self._epoch:
                routed = frozenset(open_ones.get(stream_id, ()))
                self._streams[topic, partition] = _Open(stream_id, head, routed)
        self._next_stream = max((row[0] for row in rows), default=0) + 1
        return Snapshot(
            streams=[JournalStream(row[0], Stream(*row[1:5]), row[5], row[6]) for row in rows],
            routes=routes,
            cursors=run("SELECT sink, stream_id, next FROM cursors").fetchall(),
            parked=dict(run("SELECT sink, count(*) FROM parked GROUP BY sink").fetchall()),
            epoch=self._epoch,
        )


class _Group:
    """One transaction in the making; the ledger's books change only when it is committed."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        streams: Mapping[tuple[str, int], _Open],
        source: str,
        epoch: int,
    ) -> None:
        self._connection = connection
        self._known = streams
        self._source = source
        self._epoch = epoch
        self.touched: dict[tuple[str, int], _Open] = {}
        self.last_us = 0
        self.next_stream = 1
        self._answers: list[list[Event] | InvalidEvent] = []
        self._placed: list[tuple[int, Event]] = []
        self._rows: list[tuple[object, ...]] = []
        self._born: list[tuple[int, Stream]] = []
        self._routes: list[tuple[str, int, RouteChange]] = []

    def result(self) -> GroupResult:
        heads = {one.stream_id: one.head for one in self.touched.values()}
        return GroupResult(self._answers, self._placed, self._born, heads, self._routes)

    def place(self, requests: Sequence[Sequence[Draft]], routing: Routing, now_us: int) -> None:
        """Give every new event its position and hash; find those that are already there."""
        given = [[draft for draft in drafts if not draft.minted] for drafts in requests]
        known = self._existing([draft.id for drafts in given for draft in drafts])
        for drafts, may_repeat in zip(requests, given, strict=True):
            try:
                # A fault in one draft refuses its whole request, before it takes a sequence.
                self._check_repeats(may_repeat, known)
            except InvalidEvent as error:
                self._answers.append(error)
                continue
            events = []
            for draft in drafts:
                event = known.get(draft.id)
                if event is None:
                    event = known[draft.id] = self._place_one(draft, routing, now_us)
                events.append(event)
            self._answers.append(events)

    def write(self, upkeep: Upkeep) -> None:
        run, many = self._connection.execute, self._connection.executemany
        for stream_id, stream in self._born:
            run("INSERT INTO streams VALUES (?, ?, ?, ?, ?, 0, 1)", (stream_id, *stream))
        many(_INSERT, self._rows)
        many(
            "UPDATE streams SET head = ? WHERE stream_id = ?",
            [(one.head, one.stream_id) for one in self.touched.values()],
        )
        for sink, stream_id, change in self._routes:
            if change.open is not None:
                run("INSERT INTO routes VALUES (?, ?, ?, NULL)", (sink, stream_id, change.open))
            else:
                run(
                    "UPDATE routes SET last = ? WHERE sink = ? AND stream_id = ? AND last IS NULL",
                    (change.close, sink, stream_id),
                )
        many(
            "DELETE FROM parked WHERE sink = ? AND stream_id = ? AND sequence = ?",
            upkeep.unparked,
        )
        many("INSERT OR REPLACE INTO parked VALUES (?, ?, ?, ?, ?)", upkeep.parked)
        many(
            "INSERT INTO cursors VALUES (?, ?, ?) "
            "ON CONFLICT (sink, stream_id) DO UPDATE SET next = max(next, excluded.next)",
            [(sink, stream_id, next_) for (sink, stream_id), next_ in upkeep.cursors.items()],
        )

    def _check_repeats(self, drafts: Sequence[Draft], known: Mapping[str, Event]) -> None:
        ours: dict[str, tuple[str, str, str]] = {}
        for draft in drafts:
            event = known.get(draft.id)
            content = (draft.type, draft.subject, draft.data)
            stored = ours.get(draft.id)
            if event is not None:
                stored = (event.type, event.subject, event.data)
            if stored is not None and stored != content:
                where = f" at {event.position}" if event is not None else " in the same call"
                raise InvalidEvent(
                    f"id: {draft.id!r} was published with another content{where}; "
                    "an id names one event for ever"
                )
            ours[draft.id] = content

    def _place_one(self, draft: Draft, routing: Routing, now_us: int) -> Event:
        key = (draft.topic, draft.partition)
        one = self.touched.get(key)
        if one is None:
            one = self.touched[key] = self._enter(key, routing)
        one.head = sequence = one.head + 1
        self.last_us = max(now_us, self.last_us + 1)
        event = placed(draft, self._source, self._epoch, sequence, self.last_us)
        self._placed.append((one.stream_id, event))
        self._rows.append(
            (
                one.stream_id, sequence, draft.id, draft.type, draft.time_us, draft.subject,
                draft.category, draft.data, event.hash, self.last_us,
            )
        )  # fmt: skip
        return event

    def _enter(self, key: tuple[str, int], routing: Routing) -> _Open:
        """The stream's first event in this group: it is born, and its routes change, here."""
        one = self._known.get(key)
        if one is None:
            one = _Open(self.next_stream, 0, frozenset())
            self.next_stream += 1
            self._born.append((one.stream_id, Stream(self._source, self._epoch, *key)))
        routed = set(one.routed)
        for sink, wants in routing.items():
            change = route_change(is_open=sink in routed, wanted=wants(*key), head=one.head)
            if change is not None:
                self._routes.append((sink, one.stream_id, change))
                routed.symmetric_difference_update({sink})
        # A new one, because the group may fail and the ledger's own must not have moved.
        return _Open(one.stream_id, one.head, frozenset(routed))

    def _existing(self, ids: Sequence[str]) -> dict[str, Event]:
        found: dict[str, Event] = {}
        for start in range(0, len(ids), _LOOKUP):
            some = ids[start : start + _LOOKUP]
            marks = ",".join("?" * len(some))
            for row in self._connection.execute(
                "SELECT e.id, s.source, e.type, e.time_us, e.subject, e.category, s.topic, "  # noqa: S608 - marks only
                "s.partition, s.epoch, e.sequence, e.data, e.checksum, e.committed_us "
                f"FROM events e JOIN streams s USING (stream_id) WHERE e.id IN ({marks})",
                some,
            ):
                found[row[0]] = Event(*row)
        return found
