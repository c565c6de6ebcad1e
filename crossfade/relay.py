"""From the journal to one sink: what is owed, in order, through a breaker, until it is done.

One relay serves one sink (``supabase``, or ``websocket`` for the legacy side). It keeps one
batch under way; a cursor moves only when the sink has taken the batch, so an outage is a
longer queue and never a loss, and a repeated batch is the sink's to recognise.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from crossfade.adapters.clock import SystemClock
from crossfade.backlog import Backlog
from crossfade.core.breaker import Breaker, BreakerPolicy, BreakerState, Outcome, StateChange, Step
from crossfade.core.event import Event, Head, Position
from crossfade.core.outbox import Outbox
from crossfade.core.telemetry import SinkWindow
from crossfade.errors import (
    Closed,
    JournalError,
    StoreRejected,
    StoreUnavailable,
    StoreUnreachable,
)
from crossfade.ports import Clock, IngestResult, Journal
from crossfade.relay_pace import Pace
from crossfade.relay_stats import SinkStats
from crossfade.settings import RelaySettings

__all__ = ["Deliver", "Relay", "SendHeads"]

_log = logging.getLogger("crossfade.relay")

Deliver = Callable[[Sequence[Event]], Awaitable[IngestResult | None]]
SendHeads = Callable[[Sequence[Head]], Awaitable[None]]

HEADS_PER_CALL = 5_000
_JOURNAL_PAUSE_S = 1.0
_CONFLICTS_LOGGED = 20


class Relay:
    """Owns one task. Not started until ``start``; ``close`` ends it.

    Args:
        deliver: hands events over; returns when the sink has them. Raises StoreUnavailable
            (nothing is known of the outcome: the same batch is sent again), StoreUnreachable
            (the same, and no connection) or StoreRejected (the sink will never take this
            batch: it is bisected down to the event at fault, which is parked). Anything else
            it raises counts as a failure and is logged with its trace.
        heads: records and sends heads; None for a sink that makes its own.
        gather_s: no batch that is not full follows another sooner.
        pace: bounds what is sent; None for no bound.
        on_change: told of each change of the breaker's state.
    """

    def __init__(
        self,
        journal: Journal,
        sink: str,
        deliver: Deliver,
        *,
        settings: RelaySettings,
        policy: BreakerPolicy,
        heads: SendHeads | None = None,
        gather_s: float = 0.0,
        pace: Pace | None = None,
        clock: Clock | None = None,
        uniform: Callable[[float, float], float] = random.uniform,
        on_change: Callable[[StateChange], None] | None = None,
    ) -> None:
        self.sink = sink
        self.conflicts = 0
        """Positions that the sink holds with another content, since the start."""
        self._journal = journal
        self._deliver = deliver
        self._heads = heads
        self._settings = settings
        self._gather_s = gather_s
        self._pace = pace
        self._clock = clock or SystemClock()
        self._uniform = uniform
        self._on_change = on_change
        self._breaker = Breaker(policy=policy)
        self._backlog = Backlog(journal, sink)
        self._work: deque[list[Event]] = deque()
        self._again: set[Position] = set()
        self._stats = SinkStats(policy.slow_call_ms)
        self._failures = 0
        self._heads_at_ms = 0
        self._read_ms = self._now_ms() - round(gather_s * 1_000)
        # Whether the sink took anything since the batch in hand was read: only a sink that
        # works otherwise may be believed that it is an event that is at fault.
        self._proven = False
        self._needs_proof = False
        self._wake = asyncio.Event()
        self._nudge = asyncio.Event()
        self._progress = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        journal.listen(self._wake.set)

    # -- what others see and do ----------------------------------------------------------

    @property
    def breaker(self) -> BreakerState:
        """The breaker's state."""
        return self._breaker.state

    @property
    def owed(self) -> int:
        """How many committed events the sink is owed."""
        return self._outbox.owed

    @property
    def last_error(self) -> str:
        """The newest failure's text; "" if there was none."""
        return self._stats.last_error

    def start(self) -> None:
        """Start the relay's task."""
        self._task = asyncio.create_task(self._run(), name=f"relay-{self.sink}")

    async def close(self) -> None:
        """End the task; a batch under way may or may not have arrived, and stays owed."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def drained(self) -> None:
        """Return when nothing is owed."""
        while self.owed:
            self._progress.clear()
            await self._progress.wait()

    def hint(self) -> None:
        """The sink was seen to work again (its connection is back): try at once."""
        if self._breaker.state is BreakerState.OPEN:
            self._breaker = self._breaker.hinted(self._clock.monotonic_ms())
        self._nudge.set()

    def set_mode(self, mode: BreakerState, reason: str) -> None:
        """Set the breaker by hand; see ``Breaker.set_mode``."""
        self._take(self._breaker.set_mode(mode, self._clock.monotonic_ms(), reason))
        self._nudge.set()

    def again(self, event: Event) -> None:
        """Give a parked event once more, out of its order: the sink has what came after it."""
        if event.position not in self._again:
            self._again.add(event.position)
            self._journal.unpark(self.sink, event, taken=False)
            self._work.append([event])
            self._wake.set()

    def window(self) -> SinkWindow:
        """Counters since the last call."""
        oldest_ms = 0.0
        if self._work:
            oldest_ms = max(0.0, (self._clock.now_us() - self._work[0][0].committed_us) / 1_000)
        return self._stats.take(
            owed=self.owed,
            oldest_owed_ms=oldest_ms,
            breaker=self._breaker.state.value,
            probes_failed=self._breaker.probes_failed,
        )

    def put_back(self, window: SinkWindow) -> None:
        """The window could not be reported: count it into the next one."""
        self._stats.put_back(window)

    # -- the task ------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            try:
                await self._step()
            except Closed:
                return
            except JournalError as error:
                _log.error("%s: cannot read what is owed: %s", self.sink, error)
                await asyncio.sleep(_JOURNAL_PAUSE_S)

    async def _step(self) -> None:
        self._wake.clear()
        pause_ms: float | None = None
        if not self._work and self.owed:
            pause_ms = await self._read()
        heads_due = self._heads is not None and self._now_ms() >= self._heads_at_ms
        if not self._work and not heads_due:
            wait_ms = self._heads_at_ms - self._now_ms() if self._heads is not None else None
            if pause_ms is not None:
                await asyncio.sleep(min(pause_ms, wait_ms or pause_ms) / 1_000)
            else:
                await _either(self._wake, wait_ms)
            return
        step = self._breaker.acquire(self._now_ms())
        self._take(step)
        if step.call is None:
            await self._wait_for_breaker()
            return
        closed = self._breaker.state is not BreakerState.HALF_OPEN
        if self._work and not self._needs_proof and not (heads_due and closed):
            await self._send_batch(step.call)
        else:
            await self._send_heads(step.call)

    async def _read(self) -> float | None:
        """Take the next batch in hand; answers how long (ms) to wait when it may not go yet."""
        if self._gather_s and self.owed < self._settings.batch_events:
            # Paced from the last batch, so that what comes after a pause goes at once.
            await asyncio.sleep(self._gather_s - (self._now_ms() - self._read_ms) / 1_000)
        self._read_ms = self._now_ms()
        limit, size = self._settings.batch_events, self._settings.batch_bytes
        if self._pace is not None:
            streams = map(self._journal.head, self._outbox.owing())
            topics = {head.stream.topic for head in streams}
            wait_ms, limit, size = self._pace.allowance(self.owed, len(topics), self._now_ms())
            if wait_ms > 0:
                return wait_ms
        batch = await self._backlog.take(limit, size)
        if batch:
            self._work.append(batch)
            self._proven = self._heads is None
        return None

    async def _send_batch(self, call: int) -> None:
        batch = self._work[0]
        if self._pace is not None:
            self._pace.sends(batch)
        error, result = await self._attempt(call, lambda: self._deliver(batch), len(batch))
        if error is None:
            self._work.popleft()
            self._proven = True
            if result is not None:
                self._look_at(result)
            if self._pace is not None:
                self._pace.sent(batch, None if result is None else result.frames)
            self._advance(batch)
        elif isinstance(error, StoreRejected):
            self._bisect(batch, error)

    async def _send_heads(self, call: int) -> None:
        send = self._heads
        if send is None:
            raise RuntimeError("a relay without heads was asked for them")
        self._heads_at_ms = self._now_ms() + round(self._settings.heads_s * 1_000)
        heads = [
            Head(self._journal.head(stream_id).stream, sequence, floor)
            for stream_id, sequence, floor in self._outbox.done_heads()
        ]

        async def send_all() -> None:
            for start in range(0, max(1, len(heads)), HEADS_PER_CALL):
                await send(heads[start : start + HEADS_PER_CALL])

        probing = self._needs_proof or self._breaker.state is BreakerState.HALF_OPEN
        if not heads and not probing:
            self._take(self._breaker.forget(call))
            return
        if self._pace is not None:
            self._pace.heads({head.stream.topic for head in heads}, self._now_ms())
        error, _ = await self._attempt(call, send_all, 0)
        if error is None:
            self._proven, self._needs_proof = True, False

    async def _attempt(
        self, call: int, make: Callable[[], Awaitable[IngestResult | None]], events: int
    ) -> tuple[Exception | None, IngestResult | None]:
        """Make one call; settle it with the breaker, count it, pause if it failed."""
        started_ms = self._now_ms()
        error: Exception | None = None
        result: IngestResult | None = None
        outcome = Outcome.SUCCESS
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                result = await make()
        except StoreRejected as refusal:
            error, outcome = refusal, Outcome.REFUSED
        except (StoreUnreachable, TimeoutError, OSError) as failure:
            error, outcome = failure, Outcome.UNREACHABLE
        except StoreUnavailable as failure:
            error, outcome = failure, Outcome.FAILURE
        except Closed:
            raise
        except Exception as failure:  # noqa: BLE001 - logged; the relay goes on
            _log.exception("%s: the call broke", self.sink)
            error, outcome = failure, Outcome.FAILURE
        now_ms = self._now_ms()
        text = "" if error is None else _text(error, self._settings.timeout_s)
        self._stats.called(outcome, now_ms - started_ms, events if error is None else 0, text)
        self._take(self._breaker.settle(call, outcome, now_ms - started_ms, now_ms))
        if outcome in (Outcome.SUCCESS, Outcome.REFUSED):
            self._failures = 0
        else:
            self._failures += 1
            if self._failures == 1:
                _log.warning("%s: %s", self.sink, text)
            if self._breaker.state is not BreakerState.OPEN:
                await self._back_off()
        return error, result

    def _bisect(self, batch: list[Event], error: StoreRejected) -> None:
        if len(batch) > 1:
            self._work.popleft()
            middle = len(batch) // 2
            # Per partition the order stays: the older half is tried, and done, first.
            self._work.extendleft((batch[middle:], batch[:middle]))
        elif not self._proven:
            self._needs_proof = True
        else:
            self._work.popleft()
            event = batch[0]
            _log.error("%s: parked %s (id %s): %s", self.sink, event.position, event.id, error)
            self._again.discard(event.position)
            self._journal.park(self.sink, event, str(error))
            if self._pace is not None:
                self._pace.stepped_over(1)
            self._progress.set()

    def _advance(self, events: Sequence[Event]) -> None:
        cursors: dict[int, int] = {}
        # In order per stream, so its last one is what counts: a look-up each, not per event.
        last = {(event.topic, event.partition, event.epoch): event for event in events}
        for event in last.values():
            stream_id = self._journal.stream_id(event.stream)
            if stream_id is not None:
                cursors[stream_id] = event.sequence + 1
        for event in events if self._again else ():
            if event.position in self._again:
                self._again.discard(event.position)
                self._journal.unpark(self.sink, event, taken=True)
        self._journal.advance(self.sink, cursors)
        self._progress.set()

    def _look_at(self, result: IngestResult) -> None:
        for conflict in result.conflicts[:_CONFLICTS_LOGGED]:
            _log.error(
                "%s: conflict: %s is there with another content (stored %x, ours %x)",
                self.sink,
                conflict.position,
                conflict.stored & 0xFFFF_FFFF_FFFF_FFFF,
                conflict.offered & 0xFFFF_FFFF_FFFF_FFFF,
            )
        self.conflicts += len(result.conflicts)
        for warning in result.warnings:
            _log.warning("%s: %s", self.sink, warning)

    async def _back_off(self) -> None:
        """Full jitter (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/)."""
        longest = self._settings.retry_initial_s * 2 ** min(self._failures - 1, 20)
        pause_s = self._uniform(0.0, min(longest, self._settings.retry_max_s))
        self._nudge.clear()
        await _either(self._nudge, pause_s * 1_000)

    async def _wait_for_breaker(self) -> None:
        wait_ms: float | None = None
        if self._breaker.state is BreakerState.OPEN:
            wait_ms = self._breaker.until_ms - self._now_ms()
        self._nudge.clear()
        await _either(self._nudge, wait_ms)

    def _take(self, step: Step) -> None:
        self._breaker = step.breaker
        for fact in step.facts:
            _log.warning(
                "%s: breaker %s -> %s: %s", self.sink, fact.before, fact.after, fact.reason
            )
            if self._on_change is not None:
                self._on_change(fact)

    def _now_ms(self) -> int:
        return self._clock.monotonic_ms()

    @property
    def _outbox(self) -> Outbox:
        return self._journal.outbox(self.sink)


async def _either(event: asyncio.Event, wait_ms: float | None) -> None:
    """Wait for ``event``, at most so long (None: for ever)."""
    with suppress(TimeoutError):
        async with asyncio.timeout(None if wait_ms is None else max(0.0, wait_ms) / 1_000):
            await event.wait()


def _text(error: BaseException, timeout_s: float) -> str:
    if isinstance(error, TimeoutError) and not str(error):
        return f"no answer in {timeout_s:g} s"
    return f"{type(error).__name__}: {error}"
