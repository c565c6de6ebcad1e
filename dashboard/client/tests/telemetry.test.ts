import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import { ClockSkew, type Standings, Telemetry } from "../src/telemetry.js";
import { IDLE } from "../src/transport.js";
import { eventAt, headAt, streamOfPartition, TOPIC } from "./world.js";

const one = streamOfPartition(0);
const NOW_MS = 1_800_000_000_000;

interface Window {
  delivered: number;
  partitions: number;
  serving: Record<string, string>;
  latency_ms: { counts: Record<string, number> };
}
interface Report {
  role: string;
  transports: Record<string, Window>;
  resources: Record<string, number>;
}

const standings: Standings = {
  continuity: [],
  transports: {
    websocket: { state: IDLE, headAgeMs: null, serving: new Map([[TOPIC, new Set([0, 5, 64])]]) },
    realtime: { state: IDLE, headAgeMs: null, serving: new Map() },
  },
  flagVersion: 1,
  switchFailed: 0,
  fallenBack: 0,
};

/** The milliseconds of the only bucket: 1.05^b to 1.05^(b+1). */
function latencyOf(telemetry: Telemetry): number {
  const report = telemetry.report(standings, 1) as Report;
  const buckets = Object.keys(report.transports["websocket"]?.latency_ms.counts ?? {});
  expect(buckets).toHaveLength(1);
  return 1.05 ** (Number(buckets[0]) + 0.5);
}

/** An event that the publisher's journal committed at this time, by the publisher's clock. */
const committedAt = (ms: number, sequence = 1) => ({ ...eventAt(one, sequence), committed: ms * 1_000 });

beforeEach(() => {
  vi.useFakeTimers({ now: NOW_MS });
});
afterEach(() => {
  vi.useRealTimers();
});

describe("the clock's skew", () => {
  test.each([
    ["minutes ahead", 300_000],
    ["seconds behind", -4_000],
  ])("a computer that is %s measures the same latency", (_, aheadMs) => {
    const telemetry = new Telemetry("page", 0);
    const sentMs = NOW_MS - aheadMs;
    telemetry.skew.heard((sentMs - 20) * 1_000, NOW_MS); // 20 ms on the way
    telemetry.skew.heard((sentMs - 900) * 1_000, NOW_MS); // a head that waited tells nothing
    telemetry.delivered(committedAt(sentMs - 120), "websocket", false, false);
    const latencyMs = latencyOf(telemetry);
    expect(latencyMs).toBeGreaterThan(90);
    expect(latencyMs).toBeLessThan(130);
  });

  test("the network's time is not taken for a wrong clock", () => {
    const skew = new ClockSkew();
    skew.heard((NOW_MS - 200) * 1_000, NOW_MS);
    expect(skew.ms).toBe(0);
  });

  test("without a head nothing is corrected", () => {
    expect(new ClockSkew().ms).toBe(0);
  });

  test("a clock that was set right is believed once the old heads are forgotten", () => {
    const skew = new ClockSkew();
    for (let head = 0; head < 10; head++) skew.heard((NOW_MS - 9_000) * 1_000, NOW_MS);
    expect(skew.ms).toBe(9_000);
    for (let head = 0; head < 120; head++) skew.heard((NOW_MS - 30) * 1_000, NOW_MS);
    expect(skew.ms).toBe(0);
  });
});

describe("a page's report", () => {
  test("tells which partitions it listens to where, as the other subscribers do", () => {
    const { transports } = new Telemetry("page", 0).report(standings, 1) as Report;
    expect(transports["websocket"]?.partitions).toBe(3);
    expect(transports["websocket"]?.serving).toEqual({ [TOPIC]: "10000000000000021" });
    expect(transports["realtime"]).toMatchObject({ partitions: 0, serving: {} });
  });

  test("tells no partitions where that would be too much", () => {
    const many = new Map(Array.from({ length: 201 }, (_, number) => [`${TOPIC}${number}`, new Set([1])]));
    const crowded = { ...standings.transports, realtime: { state: IDLE, headAgeMs: null, serving: many } };
    const { transports } = new Telemetry("page", 0).report({ ...standings, transports: crowded }, 1) as Report;
    expect(transports["realtime"]).toMatchObject({ partitions: 201, serving: {} });
  });

  test("tells that it is a page's", () => {
    expect((new Telemetry("page", 0).report(standings, 1) as Report).role).toBe("page");
  });

  test("what comes from a history says nothing of the latency", () => {
    const telemetry = new Telemetry("page", 0);
    telemetry.replays([headAt(one, 5)]);
    telemetry.delivered(committedAt(NOW_MS - 60_000, 5), "websocket", false, false);
    telemetry.delivered(committedAt(NOW_MS - 40, 6), "websocket", false, false);
    expect(latencyOf(telemetry)).toBeLessThan(45);
  });

  test("what the page itself delayed is counted apart", () => {
    const telemetry = new Telemetry("page", 0);
    telemetry.delivered(committedAt(NOW_MS - 8_000, 1), "websocket", false, true);
    telemetry.delivered(committedAt(NOW_MS - 40, 2), "websocket", false, false);
    const report = telemetry.report(standings, 1) as Report;
    const { delivered, latency_ms } = report.transports["websocket"] as Window;
    expect(delivered).toBe(2);
    expect(Object.values(latency_ms.counts)).toEqual([1]);
    expect(report.resources["page.late"]).toBe(1);
  });

  test("counters are since the last report, totals of the page are kept", () => {
    const telemetry = new Telemetry("page", 0);
    telemetry.resources["dashboard.load"] = 310;
    telemetry.delivered(committedAt(NOW_MS - 40), "websocket", false, false);
    telemetry.report(standings, 1);
    const next = telemetry.report(standings, 2) as Report;
    expect(next.transports["websocket"]?.delivered).toBe(0);
    expect(next.resources["dashboard.load"]).toBe(310);
  });
});
