from crossfade.subscriber_counts import TransportCounts


def test_reconnects_are_the_connections_after_the_first() -> None:
    counts = TransportCounts()
    assert counts.take(0, 0).reconnects == 0
    counts.connections = 1
    assert counts.take(0, 0).reconnects == 0
    counts.connections = 4
    assert counts.take(0, 0).reconnects == 3
    assert counts.take(0, 0).reconnects == 0


def test_every_window_starts_anew() -> None:
    counts = TransportCounts()
    counts.received(5)
    counts.observe(3.0)
    window = counts.take(7, 0)
    assert (window.received, window.duplicates, window.partitions, window.latency_ms.n) == (
        5, 5, 7, 1,
    )  # fmt: skip
    window = counts.take(7, 0)
    assert (window.received, window.duplicates, window.latency_ms.n) == (0, 0, 0)
