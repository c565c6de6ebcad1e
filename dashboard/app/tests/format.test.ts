import { describe, expect, test } from "vitest";

import { countdown, figure, plural, span, words } from "../src/format.js";

describe("numbers and spans as people read them", () => {
  test.each([
    [0, "0"],
    [0.12345, "0.123"],
    [12.3456, "12.3"],
    [999.9, "1000"],
    [12_345.6, "12,346"],
    [-0.5, "-0.5"],
  ])("figure(%d)", (value, expected) => expect(figure(value)).toBe(expected));

  test.each([
    [12, "12 ms"],
    [1_234, "1.2 s"],
    [59_400, "59 s"],
    [150_000, "3 min"],
    [3 * 3_600_000, "3 h"],
    [5 * 86_400_000, "5 d"],
  ])("span(%d)", (value, expected) => expect(span(value)).toBe(expected));

  test.each([
    [-5, "0 s"],
    [900, "1 s"],
    [65_000, "1:05"],
    [7_384_000, "2:03:04"],
    [3 * 86_400_000 + 4 * 3_600_000, "3 d 4 h"],
  ])("countdown(%d)", (value, expected) => expect(countdown(value)).toBe(expected));

  test("words and plurals", () => {
    expect(words("awaiting_approval")).toBe("awaiting approval");
    expect(plural(1, "event")).toBe("1 event");
    expect(plural(1_200, "event")).toBe("1,200 events");
  });
});
