"""The journal's writing thread: gathers requests into groups and commits each in one go."""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from crossfade.adapters.journal_writer import GroupResult, Ledger, Snapshot, Upkeep
from crossfade.core.event import Draft, Event
from crossfade.errors import JournalError
from crossfade.settings import JournalSettings

__all__ = ["GroupWriter", "Request", "Sponsor"]

_log = logging.getLogger("crossfade.journal")

UPKEEP_S = 0.25
"""Cursors ride with the next group; without one they are written after this. A crash in between
sends again what was sent: every receiver drops repetitions."""
PAUSE_S = 2.0
"""After a failed write of cursors alone, for which nobody waits."""
PRUNE_PAUSE_S = 0.02
"""Between the steps of a pass while nobody publishes; else each group is followed by one step."""


class Request(NamedTuple):
    """Drafts to commit together, and where to answer."""

    drafts: Sequence[Draft]
    answer: asyncio.Future[list[Event]]


class Sponsor(Protocol):
    """The loop's side; the thread calls it through the loop only."""

    def loaded(self, snapshot: Snapshot) -> None:
        """The books were read anew."""

    def committed(self, group: Sequence[Request], result: GroupResult) -> None:
        """A group is durable."""

    def pruned(self, floors: Mapping[int, int]) -> None:
        """Floors of streams rose; the rows below them go a little later."""

    def failed(self, group: Sequence[Request], error: JournalError) -> None:
        """A group is not known to be durable."""

    def ended(self, rest: Sequence[Request], *, clean: bool) -> None:
        """The thread is over; ``rest`` was not committed, as far as it knows."""


class GroupWriter:
    """Owns the ledger from ``start`` on. Its public methods are called on the loop."""

    def __init__(self, ledger: Ledger, settings: JournalSettings, sponsor: Sponsor) -> None:
        self._ledger = ledger
        self._settings = settings
        self._sponsor = sponsor
        self._loop: asyncio.AbstractEventLoop
        self._thread = threading.Thread(target=self._run, name="journal-write", daemon=True)
        # Shared with the thread, under the condition's lock:
        self._condition = threading.Condition()
        self._requests: deque[Request] = deque()
        self._pending = 0
        self._upkeep = Upkeep({}, [], [])
        self._stopping = False
        # Of the thread alone:
        self._group: list[Request] = []
        self._failures = 0
        self._prunes = bool(settings.retention_s or settings.retention_events)
        self._prune_at = time.monotonic() + settings.prune_s
        self._in_pass = False

    def start(self) -> None:
        """Start the thread; its answers come to the running loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def submit(self, request: Request) -> None:
        """Hand over a request; a request without drafts makes cursors durable."""
        with self._condition:
            self._requests.append(request)
            self._pending += len(request.drafts)
            self._condition.notify()

    def note(
        self,
        sink: str,
        cursors: Mapping[int, int],
        parked: Sequence[tuple[str, int, int, str, int]] = (),
        unparked: Sequence[tuple[str, int, int]] = (),
    ) -> None:
        """Write cursors and parked events soon, in one transaction."""
        with self._condition:
            known = self._upkeep.cursors
            for stream_id, next_ in cursors.items():
                # An event that was parked and is taken after all lies far behind.
                known[sink, stream_id] = max(next_, known.get((sink, stream_id), 0))
            self._upkeep.parked.extend(parked)
            self._upkeep.unparked.extend(unparked)
            self._condition.notify()

    def stop(self) -> None:
        """Commit what was handed over, then end; ``Sponsor.ended`` tells when."""
        with self._condition:
            self._stopping = True
            self._condition.notify()

    def _run(self) -> None:
        clean = False
        try:
            self._write_groups()
            clean = True
        finally:
            self._ledger.close()
            with self._condition:
                rest = [*self._group, *self._requests]
                self._requests.clear()
            self._post(lambda: self._sponsor.ended(rest, clean=clean))

    def _write_groups(self) -> None:
        sound, busy = True, False
        while True:
            group, upkeep, last = self._next_group(busy)
            self._group = group
            failures = self._failures
            if group or upkeep:
                sound = self._write(group, upkeep, sound)
            self._group = []
            if last:
                return
            if self._prunes and (self._in_pass or time.monotonic() >= self._prune_at):
                sound = self._prune(sound)
            with self._condition:
                busy = len(group) > 1 or bool(self._requests)
                if self._failures > failures and not group:
                    self._condition.wait_for(self._has_work, PAUSE_S)

    def _write(self, group: list[Request], upkeep: Upkeep, sound: bool) -> bool:
        """Commit one group; answers whether the ledger's books can be trusted afterwards."""
        try:
            if not sound:
                self._reload()
            result = self._ledger.commit([one.drafts for one in group], upkeep)
        except JournalError as error:
            _log.error("a group of %d requests failed: %s", len(group), error)
            self._failures += 1
            with self._condition:
                self._upkeep = Upkeep(
                    upkeep.cursors | self._upkeep.cursors,
                    upkeep.parked + self._upkeep.parked,
                    upkeep.unparked + self._upkeep.unparked,
                )
            fault = error
            self._post(lambda: self._sponsor.failed(group, fault))
            try:
                # A commit that failed may have reached the disk all the same.
                self._reload()
            except JournalError as again:
                _log.error("the journal cannot be read anew: %s", again)
                return False
            return True
        self._post(lambda: self._sponsor.committed(group, result))
        return True

    def _prune(self, sound: bool) -> bool:
        """Make one step; answers as ``_write`` does."""
        try:
            if not sound:
                self._reload()
            step = self._ledger.prune()
        except JournalError as error:
            _log.error("old events could not be pruned: %s", error)
            self._in_pass = False
            self._prune_at = time.monotonic() + self._settings.prune_s
            return False
        self._in_pass = not step.over
        pause_s = PRUNE_PAUSE_S if self._in_pass else self._settings.prune_s
        self._prune_at = time.monotonic() + pause_s
        if step.floors:
            self._post(lambda: self._sponsor.pruned(step.floors))
        return True

    def _reload(self) -> None:
        snapshot = self._ledger.load()
        self._post(lambda: self._sponsor.loaded(snapshot))

    def _has_work(self) -> bool:
        return bool(self._requests) or self._stopping

    def _next_group(self, busy: bool) -> tuple[list[Request], Upkeep, bool]:
        """Wait for the next group, or until pruning is due; the flag says that it is the last.

        Lingering pays only where others write too: a lone writer that awaits each of its
        events would wait for company that cannot come.
        """
        condition, settings = self._condition, self._settings
        with condition:
            idle_s = max(0.0, self._prune_at - time.monotonic()) if self._prunes else None
            condition.wait_for(lambda: self._has_work() or self._upkeep, idle_s)
            if self._upkeep and not self._has_work():
                condition.wait_for(self._has_work, UPKEEP_S)
            if busy and self._requests and not self._stopping:
                condition.wait_for(
                    lambda: self._pending >= settings.group_events or self._stopping,
                    settings.linger_ms / 1_000,
                )
            group: list[Request] = []
            events = 0
            while self._requests and (not group or events < settings.group_events):
                request = self._requests.popleft()
                group.append(request)
                events += len(request.drafts)
            self._pending -= events
            upkeep, self._upkeep = self._upkeep, Upkeep({}, [], [])
            return group, upkeep, self._stopping and not self._requests

    def _post(self, call: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:
            # The loop was closed without closing the journal: nobody is left to tell.
            _log.error("the journal's event loop is gone")
