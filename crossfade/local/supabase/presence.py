"""Who is present on a topic. Pure: what happens returns the diff to tell everybody.

A channel tracks at most one state; several channels may share a key.
"""

import secrets
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["MAX_CALLS", "WINDOW_S", "CallLimit", "Present", "new_reference"]

MAX_CALLS = 5
WINDOW_S = 30.0
"""The real server's limit of one channel's calls in a window; above it the channel is closed."""

_Metas = dict[str, dict[str, list[dict[str, Any]]]]
Diff = dict[str, _Metas]


def new_reference() -> str:
    """A ``phx_ref``: what tells two states of a key apart."""
    return secrets.token_urlsafe(12)


@dataclass(slots=True)
class CallLimit:
    """Counts a channel's presence calls in windows of ``WINDOW_S``."""

    count: int = 0
    ends_s: float = float("-inf")

    def allows(self, now_s: float) -> bool:
        """Whether one more call is let through; counts it if so."""
        if now_s > self.ends_s:
            self.count, self.ends_s = 0, now_s + WINDOW_S
        if self.count >= MAX_CALLS:
            return False
        self.count += 1
        return True


@dataclass(slots=True)
class Present:
    """The tracked states of one topic, by whoever tracks them."""

    states: dict[Hashable, tuple[str, dict[str, Any]]] = field(default_factory=dict)

    def state(self) -> _Metas:
        """Everybody, as ``presence_state`` tells it."""
        grouped: _Metas = {}
        for key, meta in self.states.values():
            grouped.setdefault(key, {"metas": []})["metas"].append(meta)
        return grouped

    def track(
        self, who: Hashable, key: str, payload: Mapping[str, Any], reference: str
    ) -> Diff | None:
        """Set or replace the state of ``who``; None when it is what it was."""
        former = self.states.get(who)
        meta: dict[str, Any] = {**payload, "phx_ref": reference}
        leaves: _Metas = {}
        if former is not None:
            if _without_references(former[1]) == dict(payload):
                return None
            meta["phx_ref_prev"] = former[1]["phx_ref"]
            leaves = _one(*former)
        self.states[who] = (key, meta)
        return {"joins": _one(key, meta), "leaves": leaves}

    def untrack(self, who: Hashable) -> Diff | None:
        """Forget ``who``; None when nothing was tracked."""
        former = self.states.pop(who, None)
        return None if former is None else {"joins": {}, "leaves": _one(*former)}


def _one(key: str, meta: dict[str, Any]) -> _Metas:
    return {key: {"metas": [meta]}}


def _without_references(meta: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in meta.items() if name not in ("phx_ref", "phx_ref_prev")}
