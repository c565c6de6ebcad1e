"""Where an event's microseconds go between the call of ``publish`` and the hub's socket.

Each step alone, over and over, by the CPU's clock: what all of them need cannot be had for less
without leaving one out, however well the rest is built.
"""

import time
from collections.abc import Callable
from pathlib import Path

from websockets.frames import OP_TEXT, Frame

from benchmarks.figures import Figure
from benchmarks.workers.speech import content
from crossfade.adapters.journal_schema import create, open_writer
from crossfade.core.classification import Classifier
from crossfade.core.event import Event, placed
from crossfade.core.frames import encode_event, encode_frame, json_array, pack
from crossfade.drafting import Drafter

__all__ = ["steps"]

EVENTS = 20_000
GROUP = 1_000
"""Events of a commit."""
FRAME = 500
TRIES = 3
_FRAME_BYTES = 1_000_000
_INSERT = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


def steps(folder: Path) -> list[Figure]:
    """CPU of each step, the best of a few tries; the journal with durability "os"."""
    drafter = Drafter(
        Classifier(categories=["made"], heuristics=False, default="made"),
        partitions=50,
        max_event_bytes=65_536,
        now_us=lambda: time.time_ns() // 1_000,
    )
    given = [{"type": "made", "key": f"k{n % 97}", "data": content(n)} for n in range(EVENTS)]
    drafts = [drafter.draft_from(one) for one in given]
    heads: dict[int, int] = {}
    events: list[Event] = []
    for number, draft in enumerate(drafts):
        heads[draft.partition] = sequence = heads.get(draft.partition, 0) + 1
        events.append(placed(draft, "bench", 1, sequence, draft.time_us + number))
    encoded = [encode_event(one) for one in events]
    found = {
        "check, classify, serialise": _best(lambda: [drafter.draft_from(one) for one in given]),
        "position and SHA-256": _best(
            lambda: [placed(one, "bench", 1, 1, one.time_us) for one in drafts]
        ),
        "its row in SQLite": min(_rows(folder, events) for _ in range(TRIES)),
        # There are more than are remembered encoded, so each one is made.
        "its wire form": _best(lambda: [encode_event(one) for one in events]),
        "its share of a frame to the hub": _best(lambda: _frames(encoded)),
    }
    return [
        Figure(
            name=f"· {step}", unit="µs/event", better="less", value=seconds / EVENTS * 1e6,
            note="" if number else "each step by itself; the rest of the line above is threads, "
            "event loop, cursors, and what is kept in memory",
        )
        for number, (step, seconds) in enumerate(found.items())
    ]  # fmt: skip


def _best(work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(TRIES):
        started = time.process_time()
        work()
        seconds.append(time.process_time() - started)
    return min(seconds)


def _rows(folder: Path, events: list[Event]) -> float:
    path = folder / "steps.db"
    connection = open_writer(path, "os")
    try:
        create(connection)
        started = time.process_time()
        for first in range(0, len(events), GROUP):
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(
                _INSERT,
                [
                    (one.partition, one.sequence, one.id, one.type, one.time_us, one.subject,
                     one.category, one.data, one.hash, one.committed_us)
                    for one in events[first : first + GROUP]
                ],
            )  # fmt: skip
            connection.execute("COMMIT")
        return time.process_time() - started
    finally:
        connection.close()
        for file in folder.glob("steps.db*"):
            file.unlink()


def _frames(encoded: list[bytes]) -> list[bytes]:
    found = []
    for first in range(0, len(encoded), FRAME):
        for run in pack(encoded[first : first + FRAME], _FRAME_BYTES):
            frame = encode_frame("publish", request=first, events=json_array(run))
            # A client masks what it sends (RFC 6455 section 5.3).
            found.append(Frame(OP_TEXT, frame).serialize(mask=True))
    return found
