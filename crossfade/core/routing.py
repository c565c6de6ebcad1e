"""Which partition a key has, and which partitions belong to a cohort.

Bucketing is a plain salted SHA-256 so that it can be written again in any language and
never changes under a library's upgrade (``tests/vectors/routing.json`` pins it).
"""

import hashlib
import math
from functools import lru_cache

__all__ = ["cohort", "cohort_size", "partition_of", "ranking"]


@lru_cache(maxsize=65_536)
def partition_of(topic: str, key: str, partitions: int) -> int:
    """The partition of ``key`` in ``topic``: a number from 0 to ``partitions`` − 1."""
    return _hash64(f"{topic}\x1f{key}") % partitions


@lru_cache(maxsize=1_024)
def ranking(salt: str, topic: str, partitions: int) -> tuple[int, ...]:
    """All partitions of ``topic`` in the order in which they join the cohort."""
    return tuple(
        sorted(
            range(partitions),
            key=lambda number: (_hash64(f"{salt}\x1f{topic}\x1f{number}"), number),
        )
    )


def cohort_size(partitions: int, percent: float) -> int:
    """⌈percent · partitions / 100⌉, free of floating-point surprises at exact shares."""
    return max(0, min(partitions, math.ceil(round(percent * partitions, 6) / 100)))


@lru_cache(maxsize=4_096)
def cohort(salt: str, topic: str, partitions: int, percent: float) -> frozenset[int]:
    """The partitions of ``topic`` that are in the cohort at ``percent``.

    Exact (``cohort_size``), sticky, and growing only: the cohort at a lower percentage is
    a subset of the one at a higher.
    """
    return frozenset(ranking(salt, topic, partitions)[: cohort_size(partitions, percent)])


def _hash64(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
