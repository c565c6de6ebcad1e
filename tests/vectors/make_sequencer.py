"""Writes sequencer.json: schedules for a sequencer, with what must come out at each step.

Some schedules are written by hand, with the answer that the design asks for; the others are
random (lossy transports, failing sources, small buffers, epochs) and are kept only if every
event came out once and in order. Both languages replay the file; run this again only when the
algorithm is changed on purpose: ``python -m tests.vectors.make_sequencer``.
"""

import json
import random
from pathlib import Path
from typing import Any

from crossfade.core.event import Stream
from tests.vectors.replay import fact_rows, hash_of, replay, sequencer_of

__all__ = ["main"]

STREAM = ["app", 1, "orders", 0]
STREAMS = [STREAM, ["app", 1, "orders", 1], ["app", 2, "orders", 0], ["shop", 1, "system", 7]]
SCHEDULES = 30


def receive(at: int, via: str, events: list[list[int]], facts: list[Any]) -> dict[str, Any]:
    return {"op": "receive", "at": at, "via": via, "events": events, "facts": facts}


def run(*numbers: int, stream: int = 0) -> list[list[int]]:
    return [[stream, number] for number in numbers]


def tick(at: int, *fills: list[Any]) -> dict[str, Any]:
    return {"op": "tick", "at": at, "fills": list(fills)}


def heads(at: int, *rows: list[int]) -> dict[str, Any]:
    return {"op": "heads", "at": at, "heads": list(rows)}


def filled(
    at: int,
    source: str,
    events: list[list[int]],
    floor: int | None,
    head: int | None,
    facts: list[Any],
    stream: int = 0,
) -> dict[str, Any]:
    return {
        "op": "filled",
        "at": at,
        "fill": [stream, source],
        "events": events,
        "floor": floor,
        "head": head,
        "facts": facts,
    }


def failed(at: int, source: str, facts: list[Any], stream: int = 0) -> dict[str, Any]:
    return {"op": "failed", "at": at, "fill": [stream, source], "facts": facts}


SETTLE = {"op": "settle"}


def by_hand() -> list[dict[str, Any]]:
    """Small schedules whose answers follow from DESIGN section 5."""
    lost = ["lost", 0]
    return [
        {"name": "in order", "steps": [receive(0, "websocket", run(1, 2, 3), run(1, 2, 3))]},
        {
            "name": "both transports: the first counts, the second is a duplicate",
            "steps": [
                receive(0, "websocket", run(1, 2), run(1, 2)),
                receive(5, "realtime", run(1, 2, 3), run(3)),
                receive(9, "websocket", run(3), []),
            ],
        },
        {
            "name": "a later event waits for the earlier one",
            "steps": [
                receive(0, "websocket", run(3, 2), []),
                receive(10, "realtime", run(1), run(1, 2, 3)),
            ],
        },
        {
            "name": "a hole younger than the grace asks nobody",
            "steps": [
                receive(0, "websocket", run(1, 3), run(1)),
                tick(249),
                tick(250, [0, 2, 2, "hub"]),
                tick(400),
                filled(420, "hub", run(2), 1, 3, run(2, 3)),
            ],
        },
        {
            "name": "a head shows that the tail is missing",
            "steps": [
                receive(0, "realtime", run(1), run(1)),
                heads(100, [0, 4, 1]),
                tick(350, [0, 2, 4, "hub"]),
                filled(360, "hub", run(2, 3), 1, 4, run(2, 3)),
                tick(600, [0, 4, 4, "hub"]),
                filled(610, "hub", run(4), 1, 4, run(4)),
            ],
        },
        {
            "name": "a source that fails hands over to the next, and nothing is given up",
            "steps": [
                receive(0, "websocket", run(1, 3), run(1)),
                tick(300, [0, 2, 2, "hub"]),
                failed(310, "hub", []),
                tick(320, [0, 2, 2, "supabase"]),
                failed(330, "supabase", []),
                tick(600),
                tick(830, [0, 2, 2, "hub"]),
                filled(840, "hub", run(2), 1, 3, run(2, 3)),
            ],
        },
        {
            "name": "an empty page of a source that lags proves nothing",
            "steps": [
                receive(0, "websocket", run(1, 3), run(1)),
                tick(300, [0, 2, 2, "hub"]),
                filled(310, "hub", [], 1, 1, []),
                tick(320, [0, 2, 2, "supabase"]),
                filled(330, "supabase", [], 1, 1, []),
                tick(5_000, [0, 2, 2, "hub"]),
                filled(5_010, "hub", run(2), 1, 3, run(2, 3)),
            ],
        },
        {
            "name": "lost: every source says that its floor is above",
            "steps": [
                receive(0, "websocket", run(1, 9), run(1)),
                tick(300, [0, 2, 8, "hub"]),
                filled(310, "hub", [], 6, 9, []),
                tick(320, [0, 2, 8, "supabase"]),
                filled(330, "supabase", [], 5, 9, [[*lost, 2, 4, "retention"]]),
                tick(600, [0, 5, 8, "hub"]),
                filled(610, "hub", run(6, 7, 8), 6, 9, []),
                tick(620, [0, 5, 5, "supabase"]),
                filled(630, "supabase", run(5), 5, 9, run(5, 6, 7, 8, 9)),
            ],
        },
        {
            "name": "a subscriber that begins at the earliest skips what nobody holds",
            "steps": [
                receive(0, "websocket", run(5, 6), []),
                tick(300, [0, 1, 4, "hub"]),
                filled(310, "hub", [], 4, 6, []),
                tick(320, [0, 1, 4, "supabase"]),
                filled(330, "supabase", [], None, None, []),
                tick(340, [0, 4, 4, "hub"]),
                filled(350, "hub", run(4), 4, 6, run(4, 5, 6)),
            ],
        },
        {
            "name": "it skips again when the floors rise before anything was handed over",
            "steps": [
                receive(0, "websocket", run(5), []),
                tick(300, [0, 1, 4, "hub"]),
                filled(310, "hub", [], 3, 5, []),
                tick(320, [0, 1, 4, "supabase"]),
                filled(330, "supabase", [], None, None, []),
                tick(340, [0, 3, 4, "hub"]),
                filled(350, "hub", [], 5, 5, []),
                tick(360, [0, 3, 4, "supabase"]),
                filled(370, "supabase", [], None, None, run(5)),
            ],
        },
        {
            "name": "a page that helps makes the pauses short again",
            "steps": [
                receive(0, "websocket", run(1, 5), run(1)),
                tick(300, [0, 2, 4, "hub"]),
                failed(310, "hub", []),
                tick(320, [0, 2, 4, "supabase"]),
                failed(330, "supabase", []),
                tick(829),
                tick(830, [0, 2, 4, "hub"]),
                filled(840, "hub", run(2), 1, 5, run(2)),
                tick(850, [0, 3, 4, "hub"]),
                failed(860, "hub", []),
                tick(870, [0, 3, 4, "supabase"]),
                failed(880, "supabase", []),
                tick(1_379),
                tick(1_380, [0, 3, 4, "hub"]),
                filled(1_390, "hub", run(3, 4), 1, 5, run(3, 4, 5)),
            ],
        },
        {
            "name": "latest: begins at the first event seen; a stream born later, at 1",
            "options": {"start": "latest"},
            "steps": [
                receive(0, "websocket", run(41, 42), run(41, 42)),
                SETTLE,
                receive(10, "websocket", run(2, stream=1), []),
                receive(20, "realtime", run(1, stream=1), run(1, 2, stream=1)),
            ],
        },
        {
            "name": "latest: a head seen first sets the beginning behind it",
            "options": {"start": "latest"},
            "steps": [
                heads(0, [0, 10, 1]),
                SETTLE,
                receive(5, "realtime", run(10), []),
                receive(6, "websocket", run(11), run(11)),
            ],
        },
        {
            "name": "a position resumes where it stood, and is never moved by itself",
            "options": {"positions": [[0, 8]]},
            "steps": [
                receive(0, "websocket", run(7), []),
                receive(1, "websocket", run(10), []),
                tick(300, [0, 8, 9, "hub"]),
                filled(301, "hub", run(8, 9), 1, 10, run(8, 9, 10)),
            ],
        },
        {
            "name": "the same position with another content is a conflict; the first stays",
            "steps": [
                receive(0, "websocket", run(1), run(1)),
                receive(
                    1, "realtime", [[0, 1, 1]],
                    [["conflict", 0, 1, hash_of(0, 1, 0), hash_of(0, 1, 1), "realtime"]],
                ),
                receive(2, "websocket", run(3), []),
                receive(
                    3, "realtime", [[0, 3, 2]],
                    [["conflict", 0, 3, hash_of(0, 3, 0), hash_of(0, 3, 2), "realtime"]],
                ),
                receive(4, "realtime", run(2), run(2, 3)),
            ],
        },
        {
            "name": "a full buffer drops the highest and fetches it again",
            "options": {"buffer_events": 2},
            "steps": [
                receive(0, "websocket", run(4, 5), []),
                receive(1, "websocket", run(2), []),
                receive(2, "websocket", run(6), []),
                receive(3, "websocket", run(1), run(1, 2)),
                tick(300, [0, 3, 3, "hub"]),
                filled(310, "hub", run(3), 1, 6, run(3, 4)),
                tick(320, [0, 5, 6, "hub"]),
                filled(330, "hub", run(5, 6), 1, 6, run(5, 6)),
            ],
        },
        {
            "name": "a new epoch waits until the old one is complete",
            "steps": [
                receive(0, "websocket", run(1, 3), run(1)),
                receive(10, "websocket", run(1, 2, stream=2), []),
                tick(300, [0, 2, 2, "hub"]),
                filled(310, "hub", run(2), 1, 3, [[0, 2], [0, 3], [2, 1], [2, 2]]),
            ],
        },
        {
            "name": "an epoch that ended with its journal is given up after three rounds",
            "steps": [
                receive(0, "websocket", run(1), run(1)),
                heads(5, [0, 2, 1]),
                receive(10, "websocket", run(1, stream=2), []),
                tick(300, [0, 2, 2, "hub"]),
                filled(310, "hub", [], None, None, []),
                tick(311, [0, 2, 2, "supabase"]),
                filled(312, "supabase", [], 1, 1, []),
                tick(1_000, [0, 2, 2, "hub"]),
                filled(1_001, "hub", [], None, None, []),
                tick(1_002, [0, 2, 2, "supabase"]),
                filled(1_003, "supabase", [], 1, 1, []),
                tick(3_000, [0, 2, 2, "hub"]),
                filled(3_001, "hub", [], None, None, []),
                tick(3_002, [0, 2, 2, "supabase"]),
                filled(
                    3_003, "supabase", [], 1, 1, [["lost", 0, 2, 2, "superseded"], [2, 1]]
                ),
            ],
        },
        {
            "name": "heads of an epoch that is over hold the next one back before it is seen",
            "steps": [
                {"op": "meet", "at": 0, "heads": [[0, 2, 1], [2, 5, 1]]},
                receive(1, "websocket", run(1, stream=2), []),
                receive(2, "websocket", run(1, 2), [[0, 1], [0, 2], [2, 1]]),
            ],
        },
        {
            "name": "no more fills at once than allowed",
            "options": {"fills": 1},
            "steps": [
                receive(0, "websocket", [[0, 2], [1, 2]], []),
                tick(300, [0, 1, 1, "hub"]),
                tick(301),
                filled(310, "hub", run(1), 1, 2, run(1, 2)),
                tick(311, [1, 1, 1, "hub"]),
                filled(312, "hub", run(1, stream=1), 1, 2, run(1, 2, stream=1), stream=1),
            ],
        },
    ]  # fmt: skip


class World:
    """Publisher, lossy transports and failing sources for one random schedule."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.length = [self.random.randint(5, 40) for _ in STREAMS]
        self.sent = [0] * len(STREAMS)
        self.now = 0
        self.options: dict[str, Any] = {
            "buffer_events": self.random.choice([3, 8, 1_000]),
            "fills": self.random.choice([1, 2, 8]),
            "hole_grace_ms": self.random.choice([50, 250]),
        }
        self.positions = {
            number: self.random.randint(1, self.length[number])
            for number in range(len(STREAMS))
            if self.random.random() < 0.3
        }
        self.options["positions"] = [[one, at] for one, at in sorted(self.positions.items())]
        self.sequencer = sequencer_of(self.options, STREAMS)
        self.steps: list[dict[str, Any]] = []
        self.asked: list[tuple[int, Any]] = []
        self.late: list[tuple[str, list[list[int]]]] = []
        self.out: list[list[Any]] = []

    def step(self, step: dict[str, Any]) -> None:
        outcome = replay(self.sequencer, STREAMS, step, self.asked)
        if step["op"] == "tick":
            step["fills"] = outcome
        elif step["op"] in {"receive", "filled", "failed"}:
            step["facts"] = outcome
            self.out += outcome
        self.steps.append(step)

    def publish(self) -> None:
        """Some new events, over one or both transports, or lost, late or twice."""
        random = self.random
        fresh: list[list[int]] = []
        for _ in range(random.randint(0, 6)):
            # The second epoch of a stream begins only when the first is all sent.
            choices = [
                number
                for number in range(len(STREAMS))
                if self.sent[number] < self.length[number]
                and (number != 2 or self.sent[0] == self.length[0])
            ]
            if not choices:
                break
            number = random.choice(choices)
            self.sent[number] += 1
            fresh.append([number, self.sent[number]])
        for via in ("websocket", "realtime"):
            kept = [event for event in fresh if random.random() > 0.35]
            if random.random() < 0.3:
                random.shuffle(kept)
            if random.random() < 0.2:
                self.late.append((via, kept))
            elif kept:
                again = kept[:1] if random.random() < 0.2 else []
                self.step({"op": "receive", "at": self.now, "via": via, "events": kept + again})
        if self.late and random.random() < 0.3:
            via, events = self.late.pop(random.randrange(len(self.late)))
            if events:
                self.step({"op": "receive", "at": self.now, "via": via, "events": events})

    def announce(self) -> None:
        rows = [[number, sent, 1] for number, sent in enumerate(self.sent) if sent]
        if rows:
            self.step({"op": "heads", "at": self.now, "heads": rows})

    def answer(self, failing: float) -> None:
        """Answer some of the fills under way, not always well."""
        random = self.random
        for number, fill in list(self.asked):
            if random.random() < 0.5 and failing:
                continue
            place = [number, fill.source]
            if random.random() < failing:
                self.step({"op": "failed", "at": self.now, "fill": place})
                continue
            head = self.sent[number] if fill.source == "hub" else max(0, self.sent[number] - 3)
            if not failing:
                head = self.sent[number]
            last = min(fill.last, head)
            events = [[number, one] for one in range(fill.first, last + 1)]
            events = events[: random.randint(0 if failing else 1, 10)]
            self.step({
                "op": "filled", "at": self.now, "fill": place, "events": events,
                "floor": 1 if head else None, "head": head or None,
            })  # fmt: skip

    def play(self) -> dict[str, Any]:
        if self.random.random() < 0.5:
            self.step({"op": "settle"})
        while self.sent != self.length:
            self.now += self.random.choice([1, 10, 60, 200, 700])
            self.publish()
            if self.random.random() < 0.3:
                self.announce()
            self.step({"op": "tick", "at": self.now})
            self.answer(0.25)
        self.announce()
        while self.sequencer.holes or self.asked:
            self.now += 1_000
            self.step({"op": "tick", "at": self.now})
            self.answer(0.0)
            assert self.now < 1_000_000, "the schedule does not end"
        self.check()
        return {"options": self.options, "steps": self.steps}

    def check(self) -> None:
        """I2: 1, 2, 3, … per stream, from its position on, and no other fact."""
        for number, length in enumerate(self.length):
            got = [row[1] for row in self.out if row[0] == number]
            assert got == list(range(self.positions.get(number, 1), length + 1)), (number, got)
        assert all(isinstance(row[0], int) for row in self.out), "a fact that is no event"


def finish(case: dict[str, Any], streams: list[list[Any]]) -> dict[str, Any]:
    """Replay a case, compare what it expects, and add how things stand at its end."""
    sequencer = sequencer_of(case.get("options", {}), streams)
    asked: list[tuple[int, Any]] = []
    for count, step in enumerate(case["steps"]):
        outcome = replay(sequencer, streams, step, asked)
        wanted = step.get("fills" if step["op"] == "tick" else "facts", outcome)
        assert outcome == wanted, f"{case['name']}: step {count}: {outcome} is not {wanted}"
    order = {Stream(*row): number for number, row in enumerate(streams)}
    positions = sorted([order[one], at] for one, at in sequencer.positions().items())
    continuity = {
        source: {**report.to_json(), "lost": fact_rows(report.lost, order)}
        for source, report in sequencer.continuity(10_000).items()
    }
    return {**case, "end": {"positions": positions, "continuity": continuity}}


def main() -> None:
    cases = [finish(case, STREAMS) for case in by_hand()]
    for seed in range(SCHEDULES):
        case = {"name": f"random schedule {seed}", **World(seed).play()}
        cases.append(finish(case, STREAMS))
    about = (
        "An event is [stream, sequence] or [stream, sequence, variant]; its hash is "
        "((stream + 1) * 1000003 + sequence * 31 + variant) * 0x9E3779B97F4A7C15 mod 2^64. A fill "
        "is answered by [stream, source]. The report at the end is taken at 10000 ms."
    )
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    path = Path(__file__).with_name("sequencer.json")
    path.write_text(
        f'{{"about":{json.dumps(about)},\n"streams":{json.dumps(STREAMS)},\n"cases":[\n{lines}\n]}}\n',
        encoding="utf-8",
    )
    print(f"{path.name}: {len(cases)} schedules, {path.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
