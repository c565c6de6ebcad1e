"""What a project may use of Realtime, and the rates that are held against it.

The names are those of the real server's tenant settings. Pure: ``now_s`` is an argument.
"""

from collections import deque
from dataclasses import dataclass

from crossfade.core.plans import PlanLimits

__all__ = ["TICK_S", "Quotas", "Rate"]

TICK_S = 5.0
"""How often the real server looks at a rate: a flood of less than this is let through."""
_TICKS = 12


@dataclass(slots=True)
class Quotas:
    """The limits of the project; 0 stands for none.

    Attributes:
        max_events_per_second: broadcasts and presence messages sent, plus their deliveries.
        max_joins_per_second: ``phx_join`` of all connections together.
        max_concurrent_users: connections with at least one channel.
        max_channels_per_client: channels of one connection.
        max_payload_size_in_kb: of one broadcast (a thousand bytes each).
        private_only: whether public channels are refused.
        suspend: whether every handshake is refused.
        tick_s: how often rates are looked at.
    """

    max_events_per_second: int = 0
    max_joins_per_second: int = 0
    max_concurrent_users: int = 0
    max_channels_per_client: int = 100
    max_payload_size_in_kb: int = 3_000
    private_only: bool = False
    suspend: bool = False
    tick_s: float = TICK_S

    @classmethod
    def of_plan(cls, plan: PlanLimits, *, tick_s: float = TICK_S) -> "Quotas":
        """What a plan of Supabase allows."""
        return cls(
            plan.messages_per_s,
            plan.joins_per_s,
            plan.connections,
            plan.channels_per_connection,
            plan.broadcast_bytes // 1_000,
            tick_s=tick_s,
        )


class Rate:
    """Events per second, averaged over the ticks of the last minute.

    Args:
        tick_s: how long a tick is; the real server's are ``TICK_S``.
        now_s: the start.
    """

    def __init__(self, tick_s: float, now_s: float) -> None:
        self.reset(tick_s, now_s)

    def reset(self, tick_s: float, now_s: float) -> None:
        """Forget everything, as the real server does when a limit is changed."""
        self._tick_s = tick_s
        self._ticks: deque[int] = deque(maxlen=_TICKS)
        self._count = 0
        self._ends_s = now_s + self._tick_s

    def add(self, now_s: float, number: int = 1) -> None:
        """Count what happens now."""
        self._turn(now_s)
        self._count += number

    def per_second(self, now_s: float) -> float:
        """The average over the completed ticks; 0 before the first."""
        self._turn(now_s)
        return sum(self._ticks) / (len(self._ticks) * self._tick_s) if self._ticks else 0.0

    def exceeds(self, limit: int, now_s: float) -> bool:
        """Whether the average has reached ``limit`` per second; never for a limit of 0."""
        return limit > 0 and self.per_second(now_s) >= limit

    def _turn(self, now_s: float) -> None:
        """Complete the ticks that ended before ``now_s``; of a long silence only the last."""
        if now_s < self._ends_s:
            return
        passed = int((now_s - self._ends_s) // self._tick_s)
        self._ticks.append(self._count)
        self._ticks.extend([0] * min(passed, _TICKS))
        self._count = 0
        self._ends_s += (passed + 1) * self._tick_s
