import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { canonicalJson } from "../src/canonical.js";
import type { CrossfadeEvent } from "../src/event.js";
import { contentHash, isIntact, timeMicroseconds } from "../src/hash.js";
import { vectors } from "./vectors.js";

const events = vectors<CrossfadeEvent[]>("hash");

describe("the content hash", () => {
  test.each(events)("of $id", (event) => {
    expect(contentHash(event)).toBe(event.hash);
    expect(isIntact({ ...event, data: `${event.data} ` })).toBe(false);
    expect(isIntact({ ...event, sequence: event.sequence + 1 })).toBe(false);
  });

  test("reads times before 1970 and at any number of decimals", () => {
    expect(timeMicroseconds("1969-12-31T23:59:59.999999Z")).toBe(-1n);
    expect(timeMicroseconds("1970-01-01T00:00:01Z")).toBe(1_000_000n);
    expect(timeMicroseconds("1970-01-01T00:00:00.5Z")).toBe(500_000n);
    expect(() => timeMicroseconds("1970-01-01T00:00:00+01:00")).toThrow(RangeError);
  });
});

describe("canonical JSON", () => {
  test.each([
    [{ b: 1, a: [true, null, "x"] }, '{"a":[true,null,"x"],"b":1}'],
    [{ "\ufb33": 1, "😀": 1e21, q: '"\\\u0000' }, '{"q":"\\"\\\\\\u0000","😀":1e+21,"\ufb33":1}'],
    [[12345678901234567890123n, 0.1, -0, 1e-7, 1e20], "[12345678901234567890123,0.1,0,1e-7,100000000000000000000]"],
    ["é\u2028", '"é\u2028"'],
  ])("%#", (value, expected) => expect(canonicalJson(value)).toBe(expected));

  test.each([NaN, Infinity, undefined, () => 1, "\ud800", { a: ["\udc00x"] }, Symbol("x")])(
    "refuses %s",
    (value) => expect(() => canonicalJson(value)).toThrow(TypeError),
  );

  test("refuses what is nested too deep", () => {
    let value: unknown = 1;
    for (let depth = 0; depth < 64; depth++) value = [value];
    expect(canonicalJson(value)).toHaveLength(129);
    expect(() => canonicalJson([value])).toThrow(TypeError);
  });

  test("is a fixed point, and the order of keys does not matter", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const once = canonicalJson(value);
        expect(canonicalJson(JSON.parse(once))).toBe(once);
      }),
    );
  });

  test("reads the vectors' own data back", () => {
    // Integers beyond 2^53 are the one thing that JSON.parse cannot keep.
    for (const { data } of events.filter((event) => !/\d{17}/.test(event.data))) {
      expect(canonicalJson(JSON.parse(data))).toBe(data);
    }
  });
});
