"""A clock that a test holds."""


class ManualClock:
    def __init__(self) -> None:
        self.ms = 1_000

    def now_us(self) -> int:
        return self.ms * 1_000

    def monotonic_ms(self) -> int:
        return self.ms
