"""How much a relay may send now: within the plan's quota, and gently after an outage.

Both bounds make batches larger or later, never smaller than what is owed in the end: what may
not go yet stays in the journal, and packs better for the waiting.
"""

import logging
from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple

from crossfade.backlog import weight
from crossfade.core.event import Event
from crossfade.core.plans import plan_named
from crossfade.core.quota import Quota, TokenBucket, frames_of
from crossfade.errors import SettingsError, UsageError
from crossfade.settings import RelaySettings

__all__ = ["Allowance", "Pace", "quota_of"]

_log = logging.getLogger("crossfade.relay")


BURST_S = 0.2
"""So many seconds' worth of the quota may go at once."""


class Allowance(NamedTuple):
    """What the next batch may be: after ``wait_ms``, at most ``events`` and ``bytes``."""

    wait_ms: float
    events: int
    bytes: int


def quota_of(settings: RelaySettings, topics: int) -> Quota | None:
    """The quota that the settings name; None where there is none.

    Args:
        topics: how many there are, for a warning when their heads alone exceed it.

    Raises:
        SettingsError: no such plan, or frames longer than it takes.
    """
    rate = settings.messages_per_s
    if settings.plan:
        try:
            plan = plan_named(settings.plan)
        except UsageError as error:
            raise SettingsError([f"relay.plan: {error}"]) from None
        if settings.frame_limit_bytes > plan.broadcast_bytes:
            raise SettingsError(
                [
                    f"relay.frame_limit_bytes: {settings.frame_limit_bytes} is more than the plan "
                    f"{plan.name} takes ({plan.broadcast_bytes})"
                ]
            )
        rate = rate or plan.messages_per_s
    if not rate:
        return None
    quota = Quota(rate * settings.quota_share, settings.subscribers, settings.frame_limit_bytes)
    heads = quota.cost(topics / settings.heads_s)
    if heads > quota.messages_per_s:
        _log.warning(
            "heads of %d topics for %d subscribers cost %.0f messages/s, the quota is %.0f: "
            "fewer topics, a larger relay.heads_s or another plan",
            topics,
            settings.subscribers,
            heads,
            quota.messages_per_s,
        )
    return quota


class Pace:
    """The books of both bounds; ``now_ms`` is an argument everywhere.

    *Catch-up*: each event that becomes owed brings the allowance to send it, up to a batch's
    worth; what was owed before drains at ``catch_up_events_per_s`` beside. So the rate of the
    live traffic is never a bound, and an outage's backlog does not arrive as one flood.
    """

    def __init__(self, settings: RelaySettings, quota: Quota | None, now_ms: int) -> None:
        self._settings = settings
        self._quota = quota
        self._messages: TokenBucket | None = None
        if quota is not None:
            # Realtime looks at the average of whole ticks (of 5 s): little at once, so that
            # also the first of them stays below the limit; and at least one frame.
            burst = max(quota.messages_per_s * BURST_S, quota.cost(1))
            self._messages = TokenBucket.full(quota.messages_per_s, burst, now_ms)
        self._catch_up: TokenBucket | None = None
        if settings.catch_up_events_per_s:
            rate = settings.catch_up_events_per_s
            # A fuller batch is worth more than an even flow.
            burst = max(settings.batch_events, rate / 10)
            self._catch_up = TokenBucket.full(rate, burst, now_ms)
        self._seen = 0
        self._sent = 0

    def allowance(self, owed: int, topics: int, now_ms: int) -> Allowance:
        """What may be read and sent, with so much owed to so many topics."""
        wait_ms, events, size = 0.0, self._settings.batch_events, self._settings.batch_bytes
        if self._catch_up is not None:
            arrived = owed + self._sent
            bucket = self._catch_up.at(now_ms).take(self._seen - arrived)
            self._catch_up, self._seen = bucket, arrived
            # Waits for a tenth of a batch rather than sending one event at a time.
            wait_ms = bucket.wait_ms(min(owed, max(1, events // 10)))
            events = max(1, min(events, int(bucket.tokens)))
        if self._messages is not None and self._quota is not None:
            messages = self._messages = self._messages.at(now_ms)
            wait_ms = max(wait_ms, messages.wait_ms(self._quota.cost(max(1, topics))))
            size = min(size, self._quota.affordable_bytes(messages.tokens, topics))
        return Allowance(wait_ms, events, size)

    def sends(self, batch: Sequence[Event]) -> None:
        """A call is made; what it costs is taken now, whatever becomes of it."""
        if self._messages is not None and self._quota is not None:
            self._messages = self._messages.take(self._cost(batch))

    def sent(self, batch: Sequence[Event], frames: int | None) -> None:
        """The sink took a batch; ``frames`` is what it says that went out."""
        self._sent += len(batch)
        if self._catch_up is not None:
            self._catch_up = self._catch_up.take(len(batch))
        if frames is not None and self._messages is not None and self._quota is not None:
            self._messages = self._messages.take(self._quota.cost(frames) - self._cost(batch))

    def heads(self, topics: Collection[str], now_ms: int) -> None:
        """Heads are sent, at once: without them the transport counts as deaf. They go first."""
        if self._messages is not None and self._quota is not None:
            self._messages = self._messages.at(now_ms).take(self._quota.cost(len(topics)))

    def stepped_over(self, events: int) -> None:
        """Events that are not owed any more without having been sent."""
        self._sent += events

    def _cost(self, batch: Sequence[Event]) -> float:
        quota = self._quota
        if quota is None:
            return 0.0
        sizes: Counter[str] = Counter()
        for event in batch:
            sizes[event.topic] += weight(event)
        return quota.cost(frames_of(sizes, quota.frame_limit_bytes))
