import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { isEvent } from "../src/facts.js";
import type { SwitchFact } from "../src/route.js";
import { Sequencer } from "../src/sequencer.js";
import { PACE, Switch } from "../src/switch.js";
import type { TransportName } from "../src/transport.js";
import { eventAt, flagsAt, headAt, randomOf, streamOfPartition, TOPIC } from "./world.js";

const PARTITIONS = 4;
const ALL = [0, 1, 2, 3];
const every = new Map([[TOPIC, null]]);
const pace = { ...PACE, spreadMs: 0 };

/** A switch that follows all partitions, each with a stream that stands at `next`. */
function following(next = 11): { moving: Switch; sequencer: Sequencer } {
  const moving = new Switch(pace);
  moving.follow(TOPIC, ALL);
  const positions = ALL.map((number) => ({ stream: streamOfPartition(number), next }));
  return { moving, sequencer: new Sequencer({ positions }) };
}

function step(moving: Switch, sequencer: Sequencer, nowMs: number): SwitchFact[] {
  return moving.step(nowMs, (topic, number) => sequencer.progress(topic, number), 0.5);
}

describe("the switch", () => {
  test("starts on WebSocket and stays there without flags", () => {
    const { moving, sequencer } = following();
    expect(step(moving, sequencer, 0)).toEqual([]);
    expect(moving.served("websocket")).toBe(4);
    expect(moving.wanted("realtime").size).toBe(0);
  });

  test("overlap, proof, cut, drain: the old side is kept until the drain is over", () => {
    const { moving, sequencer } = following();
    moving.flags(flagsAt(1, 100), 0, 0);
    step(moving, sequencer, 0);
    expect(moving.wanted("websocket").get(TOPIC)?.size).toBe(4);
    expect(moving.wanted("realtime").get(TOPIC)?.size).toBe(4);
    // A join alone proves nothing.
    moving.joined("realtime", every);
    expect(step(moving, sequencer, 100)).toEqual([]);
    moving.heard("realtime", every, 200);
    const facts = step(moving, sequencer, 200);
    expect(facts.map((fact) => fact.kind)).toEqual(["switched", "switched", "switched", "switched"]);
    expect(moving.served("realtime")).toBe(4);
    expect(moving.wanted("websocket").get(TOPIC)?.size).toBe(4);
    step(moving, sequencer, 200 + pace.drainMs - 1);
    expect(moving.wanted("websocket").size).toBe(1);
    step(moving, sequencer, 200 + pace.drainMs);
    expect(moving.wanted("websocket").size).toBe(0);
    expect(moving.applied).toBe(1);
  });

  test("waits for what was due when the new side proved itself", () => {
    const { moving, sequencer } = following();
    sequencer.heads([headAt(streamOfPartition(0), 12)], 0);
    moving.flags(flagsAt(1, 100), 0, 0);
    step(moving, sequencer, 0);
    moving.heard("realtime", every, 10);
    expect(step(moving, sequencer, 10)).toHaveLength(3);
    expect(moving.applied).toBe(0);
    sequencer.receive([11, 12].map((one) => eventAt(streamOfPartition(0), one)), "websocket", 20);
    expect(step(moving, sequencer, 20)).toHaveLength(1);
    expect(moving.applied).toBe(1);
  });

  test("a partition without a stream is moved on the join", () => {
    const moving = new Switch(pace);
    moving.follow(TOPIC, [0]);
    moving.flags(flagsAt(1, 100), 0, 0);
    step(moving, new Sequencer(), 0);
    moving.joined("realtime", every);
    expect(step(moving, new Sequencer(), 1)).toHaveLength(1);
  });

  test("one without a stream waits for the head that its topic's streams wait for", () => {
    const { moving } = following();
    const positions = [0, 1, 2].map((one) => ({ stream: streamOfPartition(one), next: 11 }));
    const sequencer = new Sequencer({ positions });
    moving.flags(flagsAt(1, 100), 0, 0);
    step(moving, sequencer, 0);
    moving.joined("realtime", every);
    expect(step(moving, sequencer, 1)).toHaveLength(0);
    moving.heard("realtime", every, 2);
    expect(step(moving, sequencer, 2)).toHaveLength(4);
  });

  test("late flags are ignored", () => {
    const { moving } = following();
    expect(moving.flags(flagsAt(5, 100), 0, 0)).toBe(true);
    expect(moving.flags(flagsAt(5, 0), 0, 0)).toBe(false);
    expect(moving.flags(flagsAt(4, 0), 0, 0)).toBe(false);
    expect(moving.version).toBe(5);
  });

  test("a move without a proof fails after its time, keeps the old side, and is tried again", () => {
    const { moving, sequencer } = following();
    moving.flags(flagsAt(1, 100), 0, 0);
    step(moving, sequencer, 0);
    const facts = step(moving, sequencer, pace.timeoutMs);
    expect(facts).toHaveLength(4);
    expect(facts[0]).toMatchObject({ kind: "switch_failed", to: "realtime" });
    expect(moving.failures).toBe(4);
    expect(moving.served("websocket")).toBe(4);
    expect(moving.wanted("realtime").size).toBe(0);
    // It has visibly failed: nobody need wait for it any longer.
    expect(moving.applied).toBe(1);
    step(moving, sequencer, pace.timeoutMs + 60_000);
    expect(moving.wanted("realtime").get(TOPIC)?.size).toBe(4);
  });

  test("new flags behind a cut let the drain come to its end", () => {
    const { moving, sequencer } = onRealtime();
    moving.flags(flagsAt(2, 100), 300, 0);
    step(moving, sequencer, 300);
    expect(moving.wanted("websocket").get(TOPIC)?.size).toBe(4);
    moving.heard("realtime", every, 200 + pace.drainMs);
    step(moving, sequencer, 200 + pace.drainMs);
    expect(moving.wanted("websocket").size).toBe(0);
    expect(moving.applied).toBe(2);
  });

  test("a deaf Realtime falls back at once, and comes back after a pause", () => {
    const { moving, sequencer } = onRealtime();
    const facts = step(moving, sequencer, 200 + pace.deafMs + 1);
    expect(facts).toMatchObject([{ kind: "fell_back", topic: TOPIC, partitions: ALL }]);
    expect(moving.wanted("websocket").get(TOPIC)?.size).toBe(4);
    expect(moving.fallenBack).toBe(4);
    step(moving, sequencer, 60_000);
    expect(moving.wanted("realtime").get(TOPIC)?.size).toBe(4);
  });

  test("three failed connections in a row fall back without waiting for deafness", () => {
    const { moving, sequencer } = onRealtime();
    moving.left("realtime");
    for (let attempt = 0; attempt < 3; attempt++) moving.failed("realtime");
    expect(step(moving, sequencer, 300)).toMatchObject([{ kind: "fell_back" }]);
  });

  test("after the decommission nothing falls back: WebSocket is switched off", () => {
    const { moving, sequencer } = onRealtime();
    moving.flags({ ...flagsAt(2, 0), decommissioned: true }, 300, 0);
    expect(step(moving, sequencer, 10 * pace.deafMs)).toEqual([]);
    for (let attempt = 0; attempt < pace.connectFailures; attempt++) moving.failed("realtime");
    expect(step(moving, sequencer, 10 * pace.deafMs + 1)).toEqual([]);
    expect(moving.served("realtime")).toBe(4);
    expect(moving.wanted("websocket").size).toBe(0);
  });

  test("a join ends the row of failures", () => {
    const { moving, sequencer } = onRealtime();
    moving.failed("realtime");
    moving.failed("realtime");
    moving.joined("realtime", every);
    moving.failed("realtime");
    expect(step(moving, sequencer, 300)).toEqual([]);
  });

  test("a rollback during an overlap drops the new side at once", () => {
    const { moving, sequencer } = following();
    moving.flags(flagsAt(1, 100), 0, 0);
    step(moving, sequencer, 0);
    moving.flags(flagsAt(2, 0), 10, 0);
    step(moving, sequencer, 10);
    expect(moving.wanted("realtime").size).toBe(0);
    expect(moving.applied).toBe(2);
  });

  test("I3: the output with any switch schedule is the output with none", () => {
    fc.assert(
      fc.property(fc.integer(), (seed) => {
        const out = migrate(seed, true);
        expect(out).toEqual(migrate(seed, false));
        expect(out.every((one) => one.length > 0)).toBe(true);
      }),
      { numRuns: 40 },
    );
  });

  test("every partition is always listened to somewhere, and on both sides while it moves", () => {
    fc.assert(
      fc.property(fc.integer(), (seed) => {
        const random = randomOf(seed);
        const { moving, sequencer } = following();
        let now = 0;
        let version = 0;
        for (let round = 0; round < 200; round++) {
          now += Math.floor(random() * 2_000);
          const dice = random();
          if (dice < 0.15) moving.flags(flagsAt(++version, Math.floor(random() * 5) * 25), now, random());
          else if (dice < 0.3) moving.failed("realtime");
          else if (dice < 0.4) moving.left(random() < 0.5 ? "realtime" : "websocket");
          else if (dice < 0.8) moving.heard(random() < 0.5 ? "realtime" : "websocket", every, now);
          step(moving, sequencer, now);
          const wanted = (via: TransportName): ReadonlySet<number> => moving.wanted(via).get(TOPIC) ?? new Set();
          const serving = (via: TransportName): ReadonlySet<number> => moving.serving(via).get(TOPIC) ?? new Set();
          for (const number of ALL) {
            expect(wanted("websocket").has(number) || wanted("realtime").has(number)).toBe(true);
            for (const via of ["websocket", "realtime"] as const) {
              if (serving(via).has(number)) expect(wanted(via).has(number)).toBe(true);
            }
          }
          expect(moving.served("websocket") + moving.served("realtime")).toBe(PARTITIONS);
        }
      }),
      { numRuns: 40 },
    );
  });
});

function onRealtime(): { moving: Switch; sequencer: Sequencer } {
  const found = following();
  found.moving.flags(flagsAt(1, 100), 0, 0);
  step(found.moving, found.sequencer, 0);
  found.moving.heard("realtime", every, 200);
  step(found.moving, found.sequencer, 200);
  expect(found.moving.served("realtime")).toBe(4);
  return found;
}

/** A stream of events over two lossy transports, of which only what is wanted is heard. */
function migrate(seed: number, switches: boolean): number[][] {
  const random = randomOf(seed);
  const moving = new Switch(pace);
  moving.follow(TOPIC, ALL);
  const sequencer = new Sequencer();
  const out: number[][] = ALL.map(() => []);
  const heads = ALL.map(() => 0);
  const take = (facts: ReturnType<Sequencer["receive"]>): void => {
    for (const fact of facts) {
      if (!isEvent(fact)) throw new Error(fact.kind);
      out[fact.partition]?.push(fact.sequence);
    }
  };
  let now = 0;
  let version = 0;
  const realtimeDown = (): boolean => Math.floor(now / 9_000) % 3 === 2;
  for (let round = 0; round < 400; round++) {
    now += 100;
    const publishing = round < 350;
    const number = Math.floor(random() * PARTITIONS);
    const lost = { websocket: random() < 0.1, realtime: random() < 0.3 };
    const flip = random();
    const percent = Math.floor(random() * 5) * 25;
    if (publishing) heads[number]!++;
    if (switches && flip < 0.02) moving.flags(flagsAt(++version, percent), now, 0);
    step(moving, sequencer, now);
    for (const via of ["websocket", "realtime"] as const) {
      if (via === "realtime" && realtimeDown()) continue;
      const wanted = moving.wanted(via).get(TOPIC);
      if (wanted === undefined) continue;
      if (publishing && !lost[via] && wanted.has(number)) {
        take(sequencer.receive([eventAt(streamOfPartition(number), heads[number]!)], via, now));
      }
      if (round % 10 === 0) {
        const known = [...wanted].filter((one) => heads[one]! > 0);
        sequencer.heads(known.map((one) => headAt(streamOfPartition(one), heads[one]!)), now);
        moving.heard(via, new Map([[TOPIC, wanted]]), now);
      }
    }
    for (const fill of sequencer.tick(now)) {
      const count = fill.last - fill.first + 1;
      const events = Array.from({ length: count }, (_, at) => eventAt(fill.stream, fill.first + at));
      take(sequencer.filled(fill, events, 1, heads[fill.stream.partition]!, now));
    }
  }
  for (const [number, head] of heads.entries()) {
    if (head > 0) sequencer.heads([headAt(streamOfPartition(number), head)], now);
  }
  for (let round = 0; round < 20; round++) {
    now += 5_000;
    for (const fill of sequencer.tick(now)) {
      const count = fill.last - fill.first + 1;
      const events = Array.from({ length: count }, (_, at) => eventAt(fill.stream, fill.first + at));
      take(sequencer.filled(fill, events, 1, heads[fill.stream.partition]!, now));
    }
  }
  expect(out).toEqual(heads.map((head) => Array.from({ length: head }, (_, at) => at + 1)));
  return out;
}
