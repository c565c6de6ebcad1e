import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { isEvent } from "../src/facts.js";
import { Sequencer } from "../src/sequencer.js";
import { eventAt, headAt, randomOf, streamOfPartition } from "./world.js";

describe("the sequencer", () => {
  test("I2: whatever is lost, doubled, late or out of order, each stream is 1, 2, 3, …", () => {
    fc.assert(
      fc.property(
        fc.integer(),
        fc.integer({ min: 1, max: 3 }),
        fc.integer({ min: 1, max: 60 }),
        fc.constantFrom(2, 5, 1_000),
        (seed, streams, length, bufferEvents) => {
          const random = randomOf(seed);
          const sequencer = new Sequencer({ bufferEvents, holeGraceMs: 100 });
          const out: number[][] = Array.from({ length: streams }, () => []);
          const take = (facts: ReturnType<Sequencer["receive"]>): void => {
            for (const fact of facts) {
              if (!isEvent(fact)) throw new Error(`a fact that is no event: ${fact.kind}`);
              out[fact.partition]?.push(fact.sequence);
            }
          };
          const frames: { via: string; partition: number; sequence: number }[] = [];
          for (let partition = 0; partition < streams; partition++) {
            for (let sequence = 1; sequence <= length; sequence++) {
              for (const via of ["websocket", "realtime"]) {
                if (random() > 0.3) frames.push({ via, partition, sequence });
                if (random() < 0.1) frames.push({ via, partition, sequence });
              }
            }
          }
          // Neighbours change places: late and out of order, as networks do it.
          for (let at = 0; at + 5 < frames.length; at++) {
            const other = at + Math.floor(random() * 5);
            [frames[at], frames[other]] = [frames[other]!, frames[at]!];
          }
          let now = 0;
          for (const { via, partition, sequence } of frames) {
            now += 20;
            take(sequencer.receive([eventAt(streamOfPartition(partition), sequence)], via, now));
            for (const fill of sequencer.tick(now)) {
              if (random() < 0.4) take(sequencer.fillFailed(fill, now));
              else {
                const events = page(fill.first, Math.min(fill.last, fill.first + 2), fill.stream.partition);
                take(sequencer.filled(fill, events, 1, length, now));
              }
            }
          }
          for (let partition = 0; partition < streams; partition++) {
            sequencer.heads([headAt(streamOfPartition(partition), length)], now);
          }
          for (let round = 0; round < 500 && sequencer.holes > 0; round++) {
            now += 5_000;
            for (const fill of sequencer.tick(now)) {
              take(sequencer.filled(fill, page(fill.first, fill.last, fill.stream.partition), 1, length, now));
            }
          }
          const all = Array.from({ length }, (_, number) => number + 1);
          expect(out).toEqual(out.map(() => all));
          expect(sequencer.buffered).toBe(0);
        },
      ),
      { numRuns: 60 },
    );
  });

  test("I10: the buffer never holds more than its limit", () => {
    const sequencer = new Sequencer({ bufferEvents: 10 });
    const events = Array.from({ length: 100 }, (_, at) => eventAt(streamOfPartition(0), at + 2));
    sequencer.receive(events, "websocket", 0);
    expect(sequencer.buffered).toBe(10);
    expect(sequencer.continuity(0)[0]?.evicted).toBe(90);
  });

  test("the rolling hash is the sum of the hashes mod 2^64", () => {
    fc.assert(
      fc.property(fc.array(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), { maxLength: 40 }), (hashes) => {
        const sequencer = new Sequencer();
        const events = hashes.map((hash, at) => ({
          ...eventAt(streamOfPartition(0), at + 1),
          hash: hash.toString(16).padStart(16, "0"),
        }));
        sequencer.receive(events, "websocket", 0);
        const sum = BigInt.asUintN(64, hashes.reduce((all, one) => all + one, 0n));
        expect(sequencer.continuity()[0]?.rollingHash ?? "0".repeat(16)).toBe(sum.toString(16).padStart(16, "0"));
      }),
    );
  });

  test("an unknown transport is a mistake of the caller", () => {
    expect(() => new Sequencer().receive([], "carrier pigeon", 0)).toThrow(RangeError);
  });
});

function page(first: number, last: number, partition: number) {
  const count = Math.max(0, last - first + 1);
  return Array.from({ length: count }, (_, at) => eventAt(streamOfPartition(partition), first + at));
}
