"""The routing flags: one small versioned document that every instance follows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from crossfade.core.routing import cohort

__all__ = ["DEFAULT_CATEGORIES", "EVERYTHING", "Flags"]

DEFAULT_CATEGORIES = ("critical", "performance", "user_activity", "system", "debug")
EVERYTHING = "*"
"""The category key that holds for every category without an entry of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """What is written to Supabase and who is served by Realtime.

    ``written`` and ``served`` map a category (or ``"*"``) to a percentage of each of its
    topics' partitions. Reads and writes move apart: a rollback lowers ``served`` at once
    and leaves ``written``, so that the table stays complete; a shadow stage raises
    ``written`` only. What is served is always written too. ``kill`` overrides everything:
    nobody is served by Realtime. ``topics`` maps every topic to its category.
    ``decommissioned``: WebSocket is switched off, so that everything is written to Supabase
    and served by Realtime, whatever the maps and ``kill`` say. ``breakers`` maps a sink to the
    mode that an operator put its breakers into (``core.breaker``); no entry: they decide alone.
    """

    version: int = 0
    salt: str = "crossfade"
    partitions: int = 50
    topics: Mapping[str, str] = field(
        default_factory=lambda: {name: name for name in DEFAULT_CATEGORIES}
    )
    written: Mapping[str, float] = field(default_factory=dict)
    served: Mapping[str, float] = field(default_factory=dict)
    kill: bool = False
    decommissioned: bool = False
    breakers: Mapping[str, str] = field(default_factory=dict)

    def served_percent(self, topic: str) -> float:
        """The percentage of ``topic``'s partitions that Realtime serves."""
        if self.decommissioned:
            return 100.0
        return 0.0 if self.kill else self._percent(self.served, topic)

    def written_percent(self, topic: str) -> float:
        """The percentage of ``topic``'s partitions that are dual-written."""
        if self.decommissioned:
            return 100.0
        return max(self._percent(self.written, topic), self._percent(self.served, topic))

    def serves(self, topic: str, partition: int) -> bool:
        """Whether subscribers of this partition listen to Realtime."""
        return partition in cohort(self.salt, topic, self.partitions, self.served_percent(topic))

    def writes(self, topic: str, partition: int) -> bool:
        """Whether this partition is written to Supabase as well."""
        return partition in cohort(self.salt, topic, self.partitions, self.written_percent(topic))

    def _percent(self, shares: Mapping[str, float], topic: str) -> float:
        category = self.topics.get(topic, topic)
        return float(shares.get(category, shares.get(EVERYTHING, 0.0)))

    def to_json(self) -> dict[str, Any]:
        """The document as JSON values."""
        return {
            "version": self.version,
            "salt": self.salt,
            "partitions": self.partitions,
            "topics": dict(self.topics),
            "written": dict(self.written),
            "served": dict(self.served),
            "kill": self.kill,
            "decommissioned": self.decommissioned,
            "breakers": dict(self.breakers),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Flags":
        """Read what ``to_json`` wrote.

        Raises:
            KeyError, TypeError, ValueError: when it is not such a document.
        """
        return cls(
            version=int(value["version"]),
            salt=str(value["salt"]),
            partitions=int(value["partitions"]),
            topics={str(k): str(v) for k, v in value["topics"].items()},
            written={str(k): float(v) for k, v in value["written"].items()},
            served={str(k): float(v) for k, v in value["served"].items()},
            kill=bool(value["kill"]),
            decommissioned=bool(value.get("decommissioned", False)),
            breakers={str(k): str(v) for k, v in value.get("breakers", {}).items()},
        )
