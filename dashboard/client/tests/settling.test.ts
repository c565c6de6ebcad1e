/** Which streams count as newly born, by the order in which the two sides tell of them. */

import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { createSubscriber, type Subscriber } from "../src/subscriber.js";
import { FakeSocket, FakeSupabase, headRow } from "./fakes.js";
import { eventAt, flagsAt, streamOfPartition, TOPIC } from "./world.js";

const [known, born] = [streamOfPartition(0), streamOfPartition(1)];
let got: string[];
let running: Subscriber;

beforeEach(async () => {
  vi.useFakeTimers();
  vi.stubGlobal("WebSocket", FakeSocket);
  FakeSocket.all = [];
  FakeSupabase.all = [];
  got = [];
  running = createSubscriber({
    topics: [TOPIC],
    websocket: { url: "ws://hub" },
    supabase: () => new FakeSupabase() as never,
    control: { flags: flagsAt(1, 100, 2), follow: () => () => undefined },
    onEvents: (events) => got.push(...events.map((one) => `${one.partition}/${one.sequence}`)),
    pace: { spreadMs: 0 },
  });
  await vi.advanceTimersByTimeAsync(150);
});

afterEach(() => {
  running.close();
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

async function joinEmptyHub(): Promise<void> {
  const socket = FakeSocket.last;
  socket.open();
  await vi.advanceTimersByTimeAsync(0);
  socket.say("welcome", { hub: "h", heads: [] });
  socket.say("subscribed", { request: socket.asked("subscribe")["request"], heads: [] });
}

/** Realtime's heads, one a second: they keep it from being taken for deaf. */
async function realtimeServes(seconds: number): Promise<void> {
  const channel = FakeSupabase.last.of(TOPIC);
  channel.tell("SUBSCRIBED");
  for (let second = 0; second < seconds; second++) {
    channel.bring("heads", { v: 1, kind: "heads", at_us: 1, heads: [headRow(known, 5)] });
    await vi.advanceTimersByTimeAsync(1_000);
  }
}

/** The second event of a stream that nobody has told of, and then the first. */
function realtimeBrings(): void {
  const channel = FakeSupabase.last.of(TOPIC);
  channel.bring("events", { v: 1, kind: "events", events: [eventAt(born, 2)] });
  channel.bring("events", { v: 1, kind: "events", events: [eventAt(born, 1)] });
}

for (const realtimeFirst of [false, true]) {
  const order = realtimeFirst ? "after" : "before";
  test(`an empty hub, joined ${order} Realtime's heads, does not put off what these settle`, async () => {
    if (!realtimeFirst) await joinEmptyHub();
    await realtimeServes(1);
    if (realtimeFirst) await joinEmptyHub();
    await realtimeServes(3);
    realtimeBrings();
    expect(got).toEqual(["1/1", "1/2"]);
  });
}

test("right after Realtime's first heads a stream may be one that was not announced yet", async () => {
  await joinEmptyHub();
  await realtimeServes(2);
  realtimeBrings();
  expect(got).toEqual(["1/2"]);
});

test("a hub that stays empty is taken for a new one after half a minute", async () => {
  await joinEmptyHub();
  const socket = FakeSocket.last;
  for (let second = 0; second < 31; second++) {
    await vi.advanceTimersByTimeAsync(1_000);
    socket.say("heads", { at_us: 1, heads: [] });
  }
  socket.say("events", { events: [eventAt(born, 2)] });
  socket.say("events", { events: [eventAt(born, 1)] });
  expect(got).toEqual(["1/1", "1/2"]);
});
