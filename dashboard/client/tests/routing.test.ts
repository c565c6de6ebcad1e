import { createHash } from "node:crypto";

import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { serves, servedPercent, writes, writtenPercent, NO_FLAGS, readFlags } from "../src/flags.js";
import { cohort, cohortSize, partitionOf, ranking } from "../src/routing.js";
import { sha256First64 } from "../src/sha256.js";
import { vectors } from "./vectors.js";

interface Routing {
  partition_of: [topic: string, key: string, partitions: number, expected: number][];
  cohort: [salt: string, topic: string, partitions: number, percent: number, expected: number[]][];
}

const rows = vectors<Routing>("routing");
const percents = fc.integer({ min: 0, max: 10_000 }).map((value) => value / 100);
const partitions = fc.integer({ min: 1, max: 300 });

describe("SHA-256", () => {
  test("equals the platform's, at every length around a block's end", () => {
    for (let length = 0; length < 200; length++) {
      const text = "é".repeat(length % 7) + "x".repeat(length);
      const digest = createHash("sha256").update(text).digest();
      expect(sha256First64(text)).toEqual([digest.readUInt32BE(0), digest.readUInt32BE(4)]);
    }
  });
});

describe("routing", () => {
  test("has vectors", () => {
    expect(rows.partition_of.length).toBeGreaterThan(10);
    expect(rows.cohort.length).toBeGreaterThan(10);
  });

  test.each(rows.partition_of)("partitionOf(%s, %s, %i) is %i", (topic, key, count, expected) => {
    expect(partitionOf(topic, key, count)).toBe(expected);
  });

  test.each(rows.cohort)("cohort(%s, %s, %i, %d)", (salt, topic, count, percent, expected) => {
    expect([...cohort(salt, topic, count, percent)].sort((a, b) => a - b)).toEqual(expected);
  });

  test("I4: the cohort is exact", () => {
    fc.assert(
      fc.property(partitions, fc.integer({ min: 0, max: 10_000 }), (count, hundredths) => {
        const exact = Number((BigInt(hundredths * count) + 9_999n) / 10_000n);
        expect(cohortSize(count, hundredths / 100)).toBe(exact);
        expect(cohort("s", "t", count, hundredths / 100).size).toBe(exact);
      }),
    );
  });

  test("I4: the cohort only grows", () => {
    fc.assert(
      fc.property(partitions, percents, percents, (count, one, other) => {
        const small = cohort("s", "t", count, Math.min(one, other));
        const large = cohort("s", "t", count, Math.max(one, other));
        expect([...small].every((number) => large.has(number))).toBe(true);
      }),
    );
  });

  test("the ranking is a permutation", () => {
    fc.assert(
      fc.property(partitions, (count) => {
        const sorted = [...ranking("s", "t", count)].sort((a, b) => a - b);
        expect(sorted).toEqual(Array.from({ length: count }, (_, number) => number));
      }),
    );
  });
});

describe("flags", () => {
  const flags = readFlags({
    version: 3,
    salt: "crossfade",
    partitions: 50,
    topics: { critical: "critical", billing: "critical", system: "system" },
    written: { "*": 20 },
    served: { critical: 10 },
    kill: false,
  });

  test("a topic follows its category, and every category without an entry follows *", () => {
    expect(servedPercent(flags, "billing")).toBe(10);
    expect(servedPercent(flags, "system")).toBe(0);
    expect(writtenPercent(flags, "system")).toBe(20);
    expect(writtenPercent(flags, "unheard-of")).toBe(20);
  });

  test("what is served is written", () => {
    for (let number = 0; number < 50; number++) {
      if (serves(flags, "critical", number)) expect(writes(flags, "critical", number)).toBe(true);
    }
    expect([3, 16, 28, 34, 41].every((number) => serves(flags, "critical", number))).toBe(true);
  });

  test("once WebSocket is switched off nothing takes anybody back to it", () => {
    const ended = { ...flags, served: {}, written: {}, kill: true, decommissioned: true };
    expect(serves(ended, "critical", 3)).toBe(true);
    expect(writes(ended, "critical", 3)).toBe(true);
  });

  test("kill overrides what is served and leaves what is written", () => {
    const killed = { ...flags, kill: true };
    expect(serves(killed, "critical", 3)).toBe(false);
    expect(writes(killed, "critical", 3)).toBe(true);
  });

  test("before the first document nobody is served", () => {
    expect(serves(NO_FLAGS, "critical", 3)).toBe(false);
  });

  test.each([null, 1, "x", {}, { ...flags, version: "3" }, { ...flags, partitions: 0 }])(
    "%o is no flags document",
    (value) => expect(() => readFlags(value)).toThrow(TypeError),
  );
});
