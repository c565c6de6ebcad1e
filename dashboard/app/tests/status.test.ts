import { describe, expect, test } from "vitest";

import { parsePosition } from "../src/ops/inspector.js";
import { meanPercent, merged, percentOf, quantile } from "../src/ops/status.js";
import { limitText, valueText } from "../src/ops/verdict.js";

const TOPICS = { critical: "critical", billing: "critical", system: "system" };

describe("shares", () => {
  test("a category's own share goes before that of all", () => {
    expect(percentOf({ "*": 10, critical: 50 }, "critical")).toBe(50);
    expect(percentOf({ "*": 10, critical: 50 }, "system")).toBe(10);
    expect(percentOf({}, "system")).toBe(0);
  });

  test("the mean is over categories, not topics", () => {
    expect(meanPercent({ critical: 100 }, TOPICS)).toEqual({ percent: 50, even: false });
    expect(meanPercent({ "*": 10 }, TOPICS)).toEqual({ percent: 10, even: true });
  });
});

describe("histograms", () => {
  test("a quantile is within half a bucket of the value", () => {
    const bucket = (ms: number): string => String(Math.floor(Math.log(ms) / Math.log(1.05)));
    const counts: Record<string, number> = {};
    for (let ms = 1; ms <= 100; ms++) counts[bucket(ms)] = (counts[bucket(ms)] ?? 0) + 1;
    expect(Math.abs((quantile(counts, 0.95) as number) / 95 - 1)).toBeLessThan(0.03);
    expect(Math.abs((quantile(counts, 0.5) as number) / 50 - 1)).toBeLessThan(0.03);
  });

  test("nothing has no quantile", () => expect(quantile({}, 0.95)).toBeNull());

  test("they add up", () => expect(merged([{ 1: 2, 3: 1 }, { 3: 4 }])).toEqual({ 1: 2, 3: 5 }));
});

describe("measurements", () => {
  const one = { name: "x", n: 1, verdict: "pass", detail: "" } as const;

  test("a value near its limit is not rounded onto it", () => {
    const delivery = { ...one, value: 99.9487, limit: 99.9, unit: "%", relation: ">=" };
    expect(valueText(delivery)).toBe("99.949 %");
    expect(limitText(delivery)).toBe("≥ 99.9 %");
  });

  test("nothing measured is a dash, not a zero", () => {
    expect(valueText({ ...one, value: null, limit: null, unit: "ms", relation: "<=" })).toBe("–");
  });
});

describe("positions", () => {
  test("the source may hold slashes", () => {
    expect(parsePosition("flights/nyc/1/system/7/42")).toEqual({
      source: "flights/nyc",
      epoch: 1,
      topic: "system",
      partition: 7,
      sequence: 42,
    });
  });

  test.each(["", "a/b", "app/x/system/7/42", "/1/system/7/42"])("%s is none", (text) => {
    expect(parsePosition(text)).toBeNull();
  });
});
