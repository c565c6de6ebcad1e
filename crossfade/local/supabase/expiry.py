"""The end of a channel whose token is not renewed in time."""

import asyncio
import time

from crossfade.local.supabase.channels import Channel
from crossfade.local.supabase.tokens import Claims

__all__ = ["EXPIRED", "expel_when_expired"]

EXPIRED = "Token has expired 0 seconds ago"
_LONGEST_S = 86_400.0  # the loop's clock can not wait for ever


def expel_when_expired(channel: Channel, claims: Claims) -> None:
    """Close ``channel`` once ``claims`` expire; replaces the wait for its former token."""
    if channel.expires is not None:
        channel.expires()
    left_s = max(0.0, claims.expires_s - time.time())
    loop = asyncio.get_running_loop()
    if left_s > _LONGEST_S:
        timer = loop.call_later(_LONGEST_S, expel_when_expired, channel, claims)
    else:
        timer = loop.call_later(left_s, channel.expel, EXPIRED)
    channel.expires = timer.cancel
