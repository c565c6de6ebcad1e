"""The deliberate breakages that the tests must kill: what breaks, where, and how.

Each is one edit of one file; the tests named are those that stand for the broken promise.
"""

# Its lines are as long as the code that they quote.
# ruff: noqa: E501

from typing import NamedTuple

__all__ = ["MUTATIONS", "Mutation"]

SEQUENCER = ("tests/unit/core/test_sequencer.py", "tests/stateful/test_sequencer.py")
SWITCH = ("tests/unit/core/test_switch.py", "tests/stateful/test_switching.py")
BREAKER = ("tests/unit/core/test_breaker.py", "tests/stateful/test_breaker.py")
ROUTING = ("tests/unit/core/test_routing.py",)
OUTBOX = ("tests/unit/core/test_outbox.py",)
READER = ("tests/unit/test_feed.py", "tests/integration/test_subscriber_hub.py")
DIGEST = ("tests/unit/core/test_digest.py",)
VOUCHING = ("tests/unit/test_vouching.py", "tests/unit/test_reconcile.py")
JOURNAL = ("tests/unit/adapters/test_journal_sqlite.py",)
RELAY = ("tests/integration/test_relay.py",)
HISTORY = ("tests/unit/local/test_hub_history.py",)
ROLLOUT = ("tests/unit/core/rollout/test_apply.py",)

_SEQ, _FLOW, _SWITCH = (
    "crossfade/core/sequencer.py",
    "crossfade/core/flow.py",
    "crossfade/core/switch.py",
)
_BREAKER = "crossfade/core/breaker.py"


class Mutation(NamedTuple):
    """``old`` occurs exactly once in ``file`` and becomes ``new``; ``promise`` is at stake."""

    name: str
    promise: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


MUTATIONS = (
    Mutation("no deduplication", "I2", _SEQ,
             "if sequence == following and not flow.waits:",
             "if sequence <= following and not flow.waits:", SEQUENCER),
    Mutation("buffered duplicates are kept", "I2", _SEQ,
             "held = flow.buffer.get(sequence)\n        if held is not None:",
             "held = flow.buffer.get(sequence)\n        if False:", SEQUENCER),
    Mutation("heads are not looked at", "I2", _SEQ,
             "            flow.mark(head.sequence, now_ms)\n            if flow.marks and not",
             "            if flow.marks and not", SEQUENCER),
    Mutation("a short page advances next", "I2", _SEQ,
             "        if not answered or not flow.ahead:\n            return facts\n        if flow.next",
             "        flow.next = max(flow.next, fill.last + 1)\n"
             "        if not answered or not flow.ahead:\n            return facts\n        if flow.next",
             SEQUENCER),
    Mutation("an event above a full buffer is forgotten", "I10", _SEQ,
             "            else:\n                flow.mark(sequence, now_ms)\n        else:",
             "            else:\n                pass\n        else:", SEQUENCER),
    Mutation("what is evicted is forgotten", "I10", _FLOW,
             "        del self.buffer[sequence]\n        self.mark(sequence, now_ms)",
             "        del self.buffer[sequence]", SEQUENCER),
    Mutation("the lowest is evicted", "I10", _FLOW,
             "sequence = self.order.pop()", "sequence = self.order.pop(0)", SEQUENCER),
    Mutation("the buffer has no limit", "I10", _SEQ,
             "if self._held >= self._buffer_events:", "if False:", SEQUENCER),
    Mutation("marks have no limit", "I10", _FLOW,
             "if len(marks) < MARKS:", "if True:",
             ("tests/unit/core/test_flow.py", *SEQUENCER)),
    Mutation("a new epoch does not wait", "I2", _SEQ,
             "flow.waits = any(", "flow.waits = False and any(", SEQUENCER),
    Mutation("a waiting epoch is never released", "I2", _SEQ,
             "        if len(flow.lane) > 1:\n            self._release(flow.lane, facts, now_ms)",
             "", SEQUENCER),
    Mutation("one store's floor is proof enough", "I2", _FLOW,
             "if floors and min(floors) > self.next:\n            last = min(floors) - 1",
             "if floors and max(floors) > self.next:\n            last = max(floors) - 1", SEQUENCER),
    Mutation("a store that did not answer counts as empty", "I2", _FLOW,
             "if len(answers) < len(self.answers):", "if False:", SEQUENCER),
    Mutation("the authority's silence is proof", "I2", _FLOW,
             "    if by_authority:\n", "    if False:\n", SEQUENCER),
    Mutation("an old epoch's end is given up at once", "I2", _FLOW,
             "and self.attempts >= SUPERSEDED_ROUNDS", "and True", SEQUENCER),
    Mutation("fills are not one at a time", "I10", _SEQ,
             "                or flow.fill is not None\n", "", SEQUENCER),
    Mutation("fills do not wait for the grace", "I2", _SEQ,
             "                or now_ms - flow.gap_ms < self._grace_ms\n", "", SEQUENCER),
    Mutation("the next source is never asked", "I2", _SEQ,
             "flow.turn = (flow.turn + 1) % len(self._sources)", "flow.turn = flow.turn", SEQUENCER),
    Mutation("no pause between rounds", "I10", _SEQ,
             "flow.not_before_ms = now_ms + min(pause_ms, self._retry_max_ms)",
             "flow.not_before_ms = now_ms", SEQUENCER),
    Mutation("another content passes unnoticed", "I2", _SEQ,
             "                    flow.recent[sequence & _RECENT_MASK] != event[11]\n",
             "                    False\n", SEQUENCER),
    Mutation("positions from before the restart are ignored", "I1", _SEQ,
             "flow = self._add(stream, following)\n",
             "flow = self._add(stream, 1)\n", SEQUENCER),
    Mutation("cut without proof", "I3", _SWITCH,
             "if route.proven and route.snapshot is None:", "if route.snapshot is None:", SWITCH),
    Mutation("cut before the snapshot is delivered", "I3", _SWITCH,
             "            and all(one.next > snapshot.get(one.stream, 0) for one in known)\n", "",
             SWITCH),
    Mutation("a join is proof", "I3", _SWITCH,
             "if not known and _covers(self._joined[to], route)",
             "if _covers(self._joined[to], route)", SWITCH),
    Mutation("proof outlives its connection", "I3", _SWITCH,
             "                route.proven = False\n                route.snapshot = None", "                pass",
             SWITCH),
    Mutation("stale flags are taken", "I3", _SWITCH,
             "flags.version <= self._flags.version", "False", SWITCH),
    Mutation("a deaf Realtime is believed", "I5", _SWITCH,
             "if silent_ms <= self._pace.deaf_ms:", "if True:", SWITCH),
    Mutation("failed connections move nobody", "I5", _SWITCH,
             "if self._failures >= self._pace.connect_failures:", "if False:", SWITCH),
    Mutation("a switch never gives up", "I10", _SWITCH,
             "elif now_ms - route.since_ms >= self._pace.timeout_ms:", "elif False:", SWITCH),
    Mutation("break before make", "I3", "crossfade/core/route.py",
             "return via == self.side or self.phase is not Phase.STEADY",
             "return via == (self.target if self.phase is Phase.OVERLAP else self.side)", SWITCH),
    Mutation("persisted ahead of the effect", "I2", "crossfade/subscriber.py",
             "if isinstance(self._current, Event):\n            pending", "if False:\n            pending",
             READER),
    Mutation("what waits to be taken is persisted as handled", "I2", "crossfade/subscriber.py",
             "pending = self._feed.pending()", "pending = {}", READER),
    Mutation("altered content is handed over", "I2", "crossfade/feed.py",
             "        if event.is_intact():\n            return True", "        if True:\n            return True",
             READER),
    Mutation("the hand-over queue has no limit", "I10", "crossfade/feed.py",
             "if len(queue) >= self._limit:", "if False:", READER),
    Mutation("the breaker's window is pooled", "breaker", _BREAKER,
             "failing = min(one.failures / one.calls for one in full)",
             "failing = sum(one.failures for one in full) / calls", BREAKER),
    Mutation("at the limit is above the limit", "breaker", _BREAKER,
             "if failing > policy.failure_rate:", "if failing >= policy.failure_rate:", BREAKER),
    Mutation("any number of probes", "breaker", _BREAKER,
             "if breaker.state is BreakerState.HALF_OPEN and breaker.calls:", "if False:", BREAKER),
    Mutation("a hung call never ends", "breaker", _BREAKER,
             "if now_ms >= one.deadline_ms)", "if False)", BREAKER),
    Mutation("the open time does not grow", "breaker", _BREAKER,
             "policy.open_ms * 2 ** min(opened - 1, 32)", "policy.open_ms", BREAKER),
    Mutation("the cohort is drawn anew at each percentage", "I4", "crossfade/core/routing.py",
             "return frozenset(ranking(salt, topic, partitions)[",
             'return frozenset(ranking(f"{salt}{percent}", topic, partitions)[', ROUTING),
    Mutation("the cohort is rounded down", "I4", "crossfade/core/routing.py",
             "math.ceil(round(", "math.floor(round(", ROUTING),
    Mutation("a cursor goes back", "I1", "crossfade/core/outbox.py",
             "stream.next = max(stream.next, next_)", "stream.next = next_", OUTBOX),
    Mutation("a route begins one too late", "I1", "crossfade/core/outbox.py",
             "return RouteChange(open=head + 1)", "return RouteChange(open=head + 2)", OUTBOX),
    Mutation("what a closed route still owes is dropped", "I1", "crossfade/core/outbox.py",
             "high = self.head if last is None else min(last, self.head)",
             "high = self.head if last is None else 0", OUTBOX),
    Mutation("the cursor moves before the sink has it", "I1", "crossfade/relay.py",
             "        error, result = await self._attempt(call, lambda: self._deliver(batch), len(batch))",
             "        self._advance(batch)\n"
             "        error, result = await self._attempt(call, lambda: self._deliver(batch), len(batch))",
             RELAY),
    Mutation("known ids are journaled again", "I1", "crossfade/adapters/journal_writer.py",
             "event = known.get(draft.id)\n                if event is None:",
             "event = None\n                if event is None:", JOURNAL),
    Mutation("answered before it is committed", "I1", "crossfade/adapters/journal_writer.py",
             '                work()\n                self._connection.execute("COMMIT")',
             '                work()\n                self._connection.execute("ROLLBACK")', JOURNAL),
    Mutation("the hub takes repetitions", "I2", "crossfade/local/hub_history.py",
             "        if sequence <= held.head:\n            return False", "", HISTORY),
    Mutation("the hub's history has no limit", "I10", "crossfade/local/hub_history.py",
             "while self._events > self._limit_events or self._bytes > self._limit_bytes:",
             "while False:", HISTORY),
    Mutation("nothing is a PASS", "I7", "crossfade/core/verdict.py",
             "default=Verdict.INCONCLUSIVE", "default=Verdict.PASS",
             ("tests/unit/core/test_verdict.py",)),
    Mutation("the table is not asked what it has of sealed blocks", "I9", "crossfade/vouching.py",
             "agrees = same_content(table, run.owed) and table.is_clean", "agrees = True", VOUCHING),
    Mutation("a run of sealed blocks that differs is left at that", "I9", "crossfade/comparison.py",
             "doubtful += run.blocks", "pass", VOUCHING),
    Mutation("a changed checksum of a suspect is nothing", "I9", "crossfade/drilling.py",
             "part._replace(stale=len(one.odd))", "part", VOUCHING),
)  # fmt: skip
