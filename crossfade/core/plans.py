"""The limits of Supabase's plans, and what a stream of events costs of them.

Realtime counts every frame once when it is sent and once for every subscriber that gets it.
Limits: Supabase's page "Realtime Limits" (docs/guides/realtime/limits), as of 2026; a project's
own can be raised by Supabase's support, so everything here takes them as an argument.
"""

from collections.abc import Sequence
from typing import NamedTuple

from crossfade.errors import UsageError

__all__ = [
    "PLANS",
    "READER_CONNECTIONS",
    "PlanLimits",
    "Traffic",
    "affordable_subscribers",
    "exceeded_at",
    "frames_per_s",
    "messages_per_s",
    "most_subscribers",
    "plan_named",
]


READER_CONNECTIONS = 10
"""Most connections that one reader opens; it needs one for every 100 topics that it follows."""


class PlanLimits(NamedTuple):
    """What a plan allows a project's Realtime; all figures are per project unless they say so."""

    name: str
    messages_per_s: int
    """Frames sent plus frames delivered, a second; above it channels are closed."""
    broadcast_bytes: int
    """Longest payload of one broadcast. Realtime counts a KB as 1,000 bytes."""
    connections: int
    """Concurrent clients."""
    joins_per_s: int
    channels_per_connection: int = 100


PLANS = {
    plan.name: plan
    for plan in (
        PlanLimits("free", 100, 256_000, 200, 100),
        PlanLimits("pro", 500, 3_000_000, 500, 500),
        PlanLimits("pro-no-cap", 2_500, 3_000_000, 10_000, 2_500),
        PlanLimits("team", 2_500, 3_000_000, 10_000, 2_500),
        PlanLimits("enterprise", 2_500, 3_000_000, 10_000, 2_500),
        PlanLimits("self-hosted", 100, 3_000_000, 200, 100),
    )
}
"""By name. ``enterprise`` has at least these; the contract says the rest. ``self-hosted`` are the
server's own defaults (``TENANT_MAX_EVENTS_PER_SECOND`` and so on in its environment)."""


def plan_named(name: str) -> PlanLimits:
    """The limits of a plan.

    Raises:
        UsageError: no plan has this name; the message lists those that exist.
    """
    try:
        return PLANS[name]
    except KeyError:
        raise UsageError(f"plan {name!r}: must be one of {', '.join(PLANS)}") from None


class Traffic(NamedTuple):
    """What goes through Realtime once every partition is in the cohort."""

    topics: Sequence[float]
    """Events a second of each topic."""
    subscribers: int
    """Connections that receive every topic; the tap is one of them."""
    event_bytes: float = 600.0
    """Mean size of an event's wire object."""
    publishers: int = 1
    batches_per_s: float = 1 / 0.03
    """Most batches a publisher sends a second: 1 / ``relay.poll_s``."""
    frame_limit_bytes: int = 200_000
    """``relay.frame_limit_bytes``."""
    heads_per_s: float = 1.0
    """Heads frames a second and topic of each publisher: 1 / ``relay.heads_s``."""


def frames_per_s(traffic: Traffic, percent: float = 100.0) -> float:
    """Frames a second that the publishers send when ``percent`` of the partitions are moved.

    An upper bound. A batch becomes one frame per topic in it and one more for every
    ``frame_limit_bytes`` that it is longer than that, so a topic has at most a frame per event
    and about one per batch. Heads cost the same at any percentage but 0.
    """
    share = percent / 100.0
    if share <= 0:
        return 0.0
    batches = traffic.batches_per_s * traffic.publishers
    events = sum(
        min(rate * share, batches + rate * share * traffic.event_bytes / traffic.frame_limit_bytes)
        for rate in traffic.topics
    )
    return events + len(traffic.topics) * traffic.heads_per_s * traffic.publishers


def messages_per_s(traffic: Traffic, percent: float = 100.0) -> float:
    """What Realtime counts for it: frames x (subscribers + 1)."""
    return frames_per_s(traffic, percent) * (traffic.subscribers + 1)


def exceeded_at(traffic: Traffic, limit: float) -> int | None:
    """The lowest whole percentage at which the limit is exceeded; ``None``: it holds at 100 %."""
    if messages_per_s(traffic) <= limit:
        return None
    # Monotone in the percentage, and a hundred sums are cheaper than being clever.
    return next(p for p in range(1, 101) if messages_per_s(traffic, p) > limit)


def affordable_subscribers(traffic: Traffic, limit: float, percent: float = 100.0) -> int | None:
    """Most subscribers that the limit has room for; ``None``: any number, nothing is sent."""
    frames = frames_per_s(traffic, percent)
    return None if frames == 0 else max(0, int(limit / frames + 1e-9) - 1)


def most_subscribers(traffic: Traffic, plan: PlanLimits) -> int:
    """Most subscribers at 100 % by both of a plan's limits: messages and connections."""
    by_messages = affordable_subscribers(traffic, plan.messages_per_s)
    return plan.connections if by_messages is None else min(by_messages, plan.connections)
