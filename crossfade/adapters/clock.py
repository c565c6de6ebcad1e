"""The machine's clock."""

import time

__all__ = ["SystemClock"]


class SystemClock:
    """Implements ``ports.Clock``."""

    def now_us(self) -> int:
        """Wall clock: microseconds since 1970, UTC."""
        return time.time_ns() // 1000

    def monotonic_ms(self) -> int:
        """Milliseconds that never go back."""
        return time.monotonic_ns() // 1_000_000
