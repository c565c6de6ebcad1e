"""Token buckets, and what a call to Supabase costs of a plan's quota.

The bucket is the classic one (a meter as in ITU-T I.371's generic cell rate algorithm): it
fills at a rate up to its burst, and may go into debt when something turns out dearer than
thought; the debt is waited off.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

__all__ = ["Quota", "TokenBucket", "frames_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenBucket:
    """``tokens`` as of ``at_ms`` on a clock that never goes back; below 0 is a debt."""

    rate_per_s: float
    burst: float
    tokens: float
    at_ms: int

    @classmethod
    def full(cls, rate_per_s: float, burst: float, now_ms: int) -> "TokenBucket":
        """A bucket that was left alone for long."""
        return cls(rate_per_s=rate_per_s, burst=burst, tokens=burst, at_ms=now_ms)

    def at(self, now_ms: int) -> "TokenBucket":
        """The same bucket at a later time."""
        gained = max(0, now_ms - self.at_ms) * self.rate_per_s / 1_000
        return replace(
            self, tokens=min(self.burst, self.tokens + gained), at_ms=max(now_ms, self.at_ms)
        )

    def take(self, tokens: float) -> "TokenBucket":
        """Spend; a negative number gives back. Never above the burst."""
        return replace(self, tokens=min(self.burst, self.tokens - tokens))

    def wait_ms(self, tokens: float) -> float:
        """How long until so many are there (a full bucket is enough for anything)."""
        lacking = min(tokens, self.burst) - self.tokens
        return 0.0 if lacking <= 0 else lacking / self.rate_per_s * 1_000


class Quota(NamedTuple):
    """What one publisher may cost: Realtime counts a frame when it is sent and once for every
    subscriber that it is delivered to.

    ``subscribers`` is how many receive a topic, the tap among them.
    """

    messages_per_s: float
    subscribers: int
    frame_limit_bytes: int

    def cost(self, frames: float) -> float:
        """Frames in messages: frames x (subscribers + 1)."""
        return frames * (self.subscribers + 1)

    def affordable_bytes(self, messages: float, topics: int) -> int:
        """How long a batch of so many topics may be for its frames to cost at most this.

        Each topic has a last frame that need not be full; one frame each is always allowed.
        """
        frames = int(messages / (self.subscribers + 1) + 1e-9)
        return max(1, frames - topics + 1) * self.frame_limit_bytes


def frames_of(sizes: Mapping[str, int], frame_limit_bytes: int) -> int:
    """Frames that a batch becomes, about; ``sizes`` are its bytes per topic."""
    return sum(max(1, math.ceil(size / frame_limit_bytes)) for size in sizes.values())
