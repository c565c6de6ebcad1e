"""A relay's breaker, from the settings."""

from crossfade.core.breaker import BreakerPolicy
from crossfade.settings import BreakerSettings

__all__ = ["breaker_policy"]


def breaker_policy(settings: BreakerSettings, timeout_s: float) -> BreakerPolicy:
    """The breaker's policy from the settings; ``timeout_s`` is the relay's own time-out."""
    return BreakerPolicy(
        failure_rate=settings.failure_rate,
        window_ms=round(settings.window_s * 1_000),
        sub_windows=settings.sub_windows,
        minimum_calls=settings.minimum_calls,
        slow_call_ms=settings.slow_call_ms,
        slow_rate=settings.slow_rate,
        consecutive_unreachable=settings.consecutive_connection_failures,
        unreachable_window_ms=round(settings.connection_window_s * 1_000),
        open_ms=round(settings.open_s * 1_000),
        open_max_ms=round(settings.open_max_s * 1_000),
        half_open_ms=round(settings.half_open_s * 1_000),
        # The relay gives a call up by itself; this is the breaker's own safety net.
        call_ms=round(timeout_s * 2_000) + 1_000,
    )
