"""The named points between a process's steps, and how it stops at one of them.

The product knows nothing of this: the child process of a torture case wraps the seams before
it starts. A point stops the whole process, every thread of it, so that its killer finds it
exactly there.
"""

import functools
import importlib
import inspect
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

__all__ = ["POINTS", "Seam", "arm", "find"]


def _any(*_: Any) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Seam:
    """Where a point is: before or after a call of ``target`` (``module:name.of.attribute``).

    ``only`` looks at the call's arguments and says whether it counts.
    """

    target: str
    when: Literal["before", "after"]
    only: Callable[..., bool] = _any


def _parks(_: Any, __: Any, upkeep: Any) -> bool:
    return bool(upkeep.parked)


def _moves_cursors(_: Any, __: Any, upkeep: Any) -> bool:
    return bool(upkeep.cursors)


def _has_events(_: Any, __: Any, frame: dict[str, Any]) -> bool:
    return bool(frame.get("events"))


def _has_batch(_: Any, batch: Any, *__: Any) -> bool:
    return bool(batch)


_JOURNAL = "crossfade.adapters.journal_sqlite:Journal"
_LEDGER = "crossfade.adapters.journal_writer:Ledger"
_LINK = "crossfade.adapters.hub_link:HubLink"
_STORE = "crossfade.adapters.supabase:SupabaseEventStore"
_HUB = "crossfade.local.hub:Hub"
_RECORDING = "crossfade.adapters.recording_sqlite:Recording"
_POSITIONS = "crossfade.adapters.positions:PositionFile"

POINTS: dict[str, dict[str, Seam]] = {
    "publisher": {
        "called, not journaled": Seam(f"{_JOURNAL}.append", "before"),
        "written, not committed": Seam("crossfade.adapters.journal_writer:_Group.write", "after"),
        "committed, nobody told": Seam(f"{_LEDGER}.commit", "after"),
        "told, before the caller is": Seam(f"{_JOURNAL}.append", "after"),
        "before the hub is sent to": Seam(f"{_LINK}.send", "before"),
        "hub sent to, no answer yet": Seam(
            "websockets.asyncio.client:ClientConnection.send", "after"
        ),
        "hub answered, cursor not moved": Seam(f"{_LINK}.send", "after"),
        "cursor moved, not durable": Seam(f"{_JOURNAL}.advance", "after"),
        "cursor durable": Seam(f"{_LEDGER}.commit", "after", _moves_cursors),
        "connected, heads not told": Seam(f"{_LINK}._expect", "after"),
        "before a pruning step": Seam(f"{_LEDGER}.prune", "before"),
        "pruned, not committed": Seam("crossfade.adapters.journal_retention:Pruner.step", "after"),
        "pruned, nobody told": Seam(f"{_LEDGER}.prune", "after"),
        "closing": Seam("crossfade.publisher:Publisher.close", "before"),
        "lease not given back": Seam(f"{_LEDGER}.close", "before"),
    },
    "relay": {
        "read, not sent": Seam("crossfade.backlog:Backlog.take", "after"),
        "before the ingest": Seam(f"{_STORE}.ingest", "before"),
        "stored, answer not read": Seam("crossfade.adapters.supabase:_screen", "before"),
        "answered, cursor not moved": Seam(f"{_STORE}.ingest", "after"),
        "before the heads": Seam(f"{_STORE}.heads", "before"),
        "after the heads": Seam(f"{_STORE}.heads", "after"),
        "before a bisection": Seam("crossfade.relay:Relay._bisect", "before"),
        "after a bisection": Seam("crossfade.relay:Relay._bisect", "after"),
        "before it parks": Seam(f"{_JOURNAL}.park", "before"),
        "parked, not durable": Seam(f"{_JOURNAL}.park", "after"),
        "park not committed": Seam(f"{_LEDGER}.commit", "before", _parks),
        "park committed": Seam(f"{_LEDGER}.commit", "after", _parks),
    },
    "hub": {
        "got events, nothing kept": Seam(f"{_HUB}._publish", "before", _has_events),
        "kept, not offered": Seam(f"{_HUB}._offer", "before"),
        "offered, not answered": Seam(f"{_HUB}._publish", "after", _has_events),
        "catching a reader up": Seam("crossfade.local.hub_client:Client._collect", "after"),
        "before the heads": Seam("crossfade.local.hub_client:Client.send_heads", "before"),
    },
    "tap": {
        "received, not recorded": Seam("crossfade.tap:Tap.events", "before"),
        "recorded, not committed": Seam(f"{_RECORDING}._commit", "before", _has_batch),
        "inside its transaction": Seam(f"{_RECORDING}._row", "after"),
        "committed": Seam(f"{_RECORDING}._commit", "after", _has_batch),
    },
    "subscriber": {
        "received, not sequenced": Seam("crossfade.feed:Feed.events", "before"),
        "handed over, no effect": Seam("crossfade.subscriber:Subscriber.__anext__", "after"),
        "effect, no position": Seam("tests.torture.effects:Effects.add", "after"),
        "before positions are saved": Seam(f"{_POSITIONS}._save", "before"),
        "saved beside, not replaced": Seam("pathlib:Path.replace", "before"),
        "positions replaced": Seam(f"{_POSITIONS}._save", "after"),
    },
}
"""Per role: what has just happened, or is about to, when the process stops."""

TOLD_ONCE = frozenset({"closing", "lease not given back", "connected, heads not told"})
"""Points that a process passes once in its life."""


class _Stop:
    def __init__(self, nth: int, marks: Path) -> None:
        self._nth = nth
        self._marks = marks
        self._passed = 0
        self._lock = threading.Lock()

    def passed(self) -> None:
        with self._lock:
            self._passed += 1
            if self._passed != self._nth:
                return
        with self._marks.open("a") as file:
            file.write("stopped\n")
        os.kill(os.getpid(), signal.SIGSTOP)


def arm(role: str, point: str, nth: int, marks: Path) -> None:
    """Stop this process when ``point`` is passed for the ``nth`` time.

    Raises:
        LookupError: the product has no such seam any more; the matrix must follow it.
    """
    seam = POINTS[role][point]
    owner, name = find(seam)
    setattr(owner, name, _wrapped(getattr(owner, name), seam, _Stop(nth, marks)))


def find(seam: Seam) -> tuple[Any, str]:
    """The object that holds the seam's attribute, and the attribute's name.

    Raises:
        LookupError: the product has no such seam any more; the matrix must follow it.
    """
    module, _, path = seam.target.partition(":")
    owner: Any = importlib.import_module(module)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent, None)
    if not hasattr(owner, name):
        raise LookupError(f"{seam.target} is gone")
    return owner, name


def _wrapped(original: Any, seam: Seam, stop: _Stop) -> Any:
    def look(when: str, arguments: tuple[Any, ...]) -> None:
        if when == seam.when and seam.only(*arguments):
            stop.passed()

    if inspect.iscoroutinefunction(original):

        @functools.wraps(original)
        async def waited(*arguments: Any, **named: Any) -> Any:
            look("before", arguments)
            result = await original(*arguments, **named)
            look("after", arguments)
            return result

        return waited

    @functools.wraps(original)
    def called(*arguments: Any, **named: Any) -> Any:
        look("before", arguments)
        result = original(*arguments, **named)
        look("after", arguments)
        return result

    return called
