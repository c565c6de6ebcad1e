import { expect, test, vi } from "vitest";

import { Reporter } from "../src/reporter.js";

/** Takes reports when the test says so. */
class Target {
  readonly taken: object[] = [];
  answer: (() => void) | undefined;
  fails = false;
  report(report: object): Promise<void> {
    this.taken.push(report);
    return new Promise((resolve, reject) => {
      this.answer = () => {
        if (this.fails) reject(new Error("gone"));
        else resolve();
      };
    });
  }
  async answers(): Promise<void> {
    this.answer?.();
    await vi.waitFor(() => Promise.resolve());
  }
}

const made = (nowMs: number): object => ({ nowMs });

test("one report a second, and only one at a time", async () => {
  const target = new Target();
  const reporter = new Reporter(target, made);
  reporter.tick(500);
  expect(target.taken).toEqual([]);
  reporter.tick(1_000);
  reporter.tick(9_000);
  expect(target.taken).toEqual([{ nowMs: 1_000 }]);
  await target.answers();
  reporter.tick(9_000);
  reporter.tick(9_900);
  expect(target.taken).toEqual([{ nowMs: 1_000 }, { nowMs: 9_000 }]);
});

test("one that was not taken is left out, and the next one follows", async () => {
  const target = new Target();
  target.fails = true;
  const reporter = new Reporter(target, made);
  reporter.tick(1_000);
  await target.answers();
  reporter.tick(2_000);
  expect(target.taken).toEqual([{ nowMs: 1_000 }, { nowMs: 2_000 }]);
});

test("what a rollout waits for is told at once", async () => {
  const target = new Target();
  const reporter = new Reporter(target, made);
  reporter.tick(1_000);
  await target.answers();
  reporter.hurry();
  reporter.tick(1_100);
  expect(target.taken).toHaveLength(2);
});

test("without anybody to tell, nothing is made", () => {
  let count = 0;
  new Reporter(null, () => ({ count: ++count })).tick(5_000);
  expect(count).toBe(0);
});
