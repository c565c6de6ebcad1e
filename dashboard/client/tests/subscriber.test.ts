import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import type { Lost } from "../src/continuity.js";
import type { FlagSource } from "../src/control.js";
import type { CrossfadeEvent } from "../src/event.js";
import type { FlagsDocument } from "../src/flags.js";
import type { SubscriberOptions, SubscriberState } from "../src/options.js";
import { createSubscriber, type Subscriber } from "../src/subscriber.js";
import { FakeSocket, FakeStorage, FakeSupabase, headRow } from "./fakes.js";
import { eventAt, flagsAt, streamOfPartition, TOPIC } from "./world.js";

/** Flags that the test sets. */
class Flags implements FlagSource {
  flags: FlagsDocument;
  #changed: ((flags: FlagsDocument) => void) | undefined;
  constructor(first: FlagsDocument) {
    this.flags = first;
  }
  follow(changed: (flags: FlagsDocument) => void): () => void {
    this.#changed = changed;
    return () => {
      this.#changed = undefined;
    };
  }
  set(flags: FlagsDocument): void {
    this.flags = flags;
    this.#changed?.(flags);
  }
}

const [one, two] = [streamOfPartition(0), streamOfPartition(1)];
const rows = (a: number, b: number) => [headRow(one, a), headRow(two, b)];

let flags: Flags;
let got: CrossfadeEvent[];
let lost: Lost[];
let state: SubscriberState | undefined;
let errors: Error[];
let running: Subscriber[];

function start(options: Partial<SubscriberOptions> = {}): Subscriber {
  const subscriber = createSubscriber({
    topics: [TOPIC],
    websocket: { url: "ws://hub" },
    supabase: () => new FakeSupabase() as never,
    control: flags,
    onEvents: (events) => got.push(...events),
    onLost: (range) => lost.push(range),
    onState: (now) => {
      state = now;
    },
    onError: (error) => errors.push(error),
    pace: { spreadMs: 0 },
    ...options,
  });
  running.push(subscriber);
  return subscriber;
}

/** Let the hub accept the connection; the streams stand at these heads. */
async function hubJoins(a = 0, b = 0): Promise<FakeSocket> {
  await vi.advanceTimersByTimeAsync(150);
  const socket = FakeSocket.last;
  socket.open();
  await vi.advanceTimersByTimeAsync(0);
  socket.say("welcome", { hub: "h", heads: a ? rows(a, b) : [] });
  answer(socket, a, b);
  return socket;
}

function answer(socket: FakeSocket, a = 0, b = 0): void {
  const heads = a ? rows(a, b) : [];
  socket.say("subscribed", { request: socket.asked("subscribe")["request"], heads });
  socket.say("heads", { at_us: Date.now() * 1_000, heads });
}

function realtimeBrings(kind: string, fields: object): void {
  FakeSupabase.last.of(TOPIC).bring(kind, { v: 1, kind, at_us: Date.now() * 1_000, ...fields });
}

const sequences = (partition: number): number[] =>
  got.filter((event) => event.partition === partition).map((event) => event.sequence);

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(Math, "random").mockReturnValue(0.5);
  vi.stubGlobal("WebSocket", FakeSocket);
  FakeSocket.all = [];
  FakeSupabase.all = [];
  FakeSupabase.answers = { data: null, error: null };
  flags = new Flags(flagsAt(1, 0, 2));
  got = [];
  lost = [];
  errors = [];
  state = undefined;
  running = [];
});

afterEach(() => {
  for (const subscriber of running) subscriber.close();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
  vi.useRealTimers();
});

describe("the subscriber", () => {
  test("starts at the heads, and a stream that is born later at its beginning", async () => {
    start();
    const socket = await hubJoins(10, 20);
    socket.say("events", { events: [eventAt(one, 11), eventAt(two, 21), eventAt(one, 10)] });
    const born = streamOfPartition(1, 2);
    socket.say("events", { events: [eventAt(born, 2)] });
    expect(sequences(0)).toEqual([11]);
    socket.say("events", { events: [eventAt(born, 1)] });
    expect(got.slice(-2).map((event) => [event.epoch, event.sequence])).toEqual([[2, 1], [2, 2]]);
  });

  test("a hub that was just restarted and knows nothing yet does not make a page ask for everything", async () => {
    start();
    const socket = await hubJoins();
    for (let second = 0; second < 5; second++) {
      await vi.advanceTimersByTimeAsync(1_000);
      socket.say("heads", { at_us: 1, heads: [] });
    }
    for (let second = 0; second < 2; second++) {
      socket.say("heads", { at_us: 1, heads: rows(5_000, 7_000) });
      await vi.advanceTimersByTimeAsync(1_000);
    }
    expect(socket.sent.filter((frame) => frame.kind === "fill")).toEqual([]);
    const born = streamOfPartition(1, 2);
    socket.say("events", { events: [eventAt(one, 5_001), eventAt(born, 1)] });
    expect(sequences(0)).toEqual([5_001]);
    expect(got.at(-1)).toMatchObject({ epoch: 2, sequence: 1 });
  });

  test("an open page asks a restarted hub only for what it missed", async () => {
    start();
    const socket = await hubJoins(10, 20);
    socket.end(1012);
    await vi.advanceTimersByTimeAsync(400);
    const again = await hubJoins();
    again.say("heads", { at_us: 1, heads: rows(12, 20) });
    await vi.advanceTimersByTimeAsync(500);
    const fills = again.sent.filter((frame) => frame.kind === "fill");
    expect(fills.map(({ partition, first, last }) => [partition, first, last])).toEqual([[0, 11, 12]]);
  });

  test("what is lost in a reconnect that nobody tells of is shown by the next heads, and filled", async () => {
    start();
    const socket = await hubJoins(10, 20);
    flags.set(flagsAt(2, 100, 2));
    await vi.advanceTimersByTimeAsync(150);
    const channel = FakeSupabase.last.of(TOPIC);
    channel.tell("SUBSCRIBED");
    realtimeBrings("heads", { heads: rows(10, 20) });
    await vi.advanceTimersByTimeAsync(150);
    expect(state?.source).toBe("realtime");
    // supabase-js has mended its socket: the same channel is subscribed again, 11 and 12 never came.
    channel.tell("SUBSCRIBED");
    realtimeBrings("heads", { heads: rows(12, 20) });
    await vi.advanceTimersByTimeAsync(400);
    const { request, first, last } = socket.asked("fill");
    expect([first, last]).toEqual([11, 12]);
    socket.say("filled", { request, events: [eventAt(one, 11), eventAt(one, 12)], floor: 1, head: 12 });
    await vi.advanceTimersByTimeAsync(10);
    realtimeBrings("events", { events: [eventAt(one, 13)] });
    expect(sequences(0)).toEqual([11, 12, 13]);
  });

  test("earliest asks the hub for everything that it holds", async () => {
    start({ start: "earliest" });
    const socket = await hubJoins(3, 1);
    expect(socket.asked("subscribe")["positions"]).toEqual([["app", 1, TOPIC, 0, 1], ["app", 1, TOPIC, 1, 1]]);
  });

  test("moves to Realtime and back without a gap", async () => {
    start();
    const socket = await hubJoins(10, 20);
    flags.set(flagsAt(2, 100, 2));
    await vi.advanceTimersByTimeAsync(150);
    FakeSupabase.last.of(TOPIC).tell("SUBSCRIBED");
    socket.say("events", { events: [eventAt(one, 11)] });
    expect(state?.source).toBe("websocket");
    realtimeBrings("heads", { heads: rows(11, 20) });
    await vi.advanceTimersByTimeAsync(150);
    expect(state?.source).toBe("realtime");
    socket.say("events", { events: [eventAt(one, 12)] });
    realtimeBrings("events", { events: [eventAt(one, 12), eventAt(one, 13)] });
    for (let second = 0; second < 3; second++) {
      await vi.advanceTimersByTimeAsync(1_000);
      realtimeBrings("heads", { heads: rows(13, 20) });
    }
    expect(socket.closed).toBe(true);
    flags.set(flagsAt(3, 0, 2));
    const again = await hubJoins(14, 20);
    again.say("events", { events: [eventAt(one, 14)] });
    await vi.advanceTimersByTimeAsync(200);
    expect(state?.source).toBe("websocket");
    expect(sequences(0)).toEqual([11, 12, 13, 14]);
  });

  test("a message that Realtime lost is filled from the hub, else from the table", async () => {
    start();
    await hubJoins(10, 20);
    flags.set(flagsAt(2, 100, 2));
    await vi.advanceTimersByTimeAsync(150);
    FakeSupabase.last.of(TOPIC).tell("SUBSCRIBED");
    realtimeBrings("heads", { heads: rows(10, 20) });
    await vi.advanceTimersByTimeAsync(2_600);
    realtimeBrings("events", { events: [eventAt(one, 12)] });
    realtimeBrings("heads", { heads: rows(12, 20) });
    await vi.advanceTimersByTimeAsync(400);
    // The hub was let go. It is called back for the fill, and is not there.
    expect(FakeSocket.all).toHaveLength(2);
    FakeSupabase.answers = { data: { events: [eventAt(one, 11)], floor: 1, head: 12 }, error: null };
    FakeSocket.last.end(1006);
    await vi.advanceTimersByTimeAsync(400);
    expect(FakeSupabase.last.calls[0]?.args).toMatchObject({ first: 11, last: 11 });
    expect(sequences(0)).toEqual([11, 12]);
  });

  test("a deaf Realtime falls back to WebSocket by itself", async () => {
    start();
    await hubJoins(10, 20);
    flags.set(flagsAt(2, 100, 2));
    await vi.advanceTimersByTimeAsync(150);
    FakeSupabase.last.of(TOPIC).tell("SUBSCRIBED");
    for (let second = 0; second < 4; second++) {
      realtimeBrings("heads", { heads: rows(10, 20) });
      await vi.advanceTimersByTimeAsync(1_000);
    }
    expect(state?.source).toBe("realtime");
    await vi.advanceTimersByTimeAsync(3_500);
    const socket = await hubJoins(12, 20);
    expect(state?.fallenBack).toBe(2);
    socket.say("events", { events: [eventAt(one, 11), eventAt(one, 12)] });
    expect(sequences(0)).toEqual([11, 12]);
  });

  test("what Realtime brings of partitions that it does not serve is not for this page", async () => {
    start();
    const socket = await hubJoins(10, 20);
    flags.set(flagsAt(2, 50, 2));
    await vi.advanceTimersByTimeAsync(150);
    FakeSupabase.last.of(TOPIC).tell("SUBSCRIBED");
    realtimeBrings("heads", { heads: rows(10, 20) });
    await vi.advanceTimersByTimeAsync(150);
    expect(state?.serving).toEqual({ websocket: 1, realtime: 1 });
    realtimeBrings("events", { events: [eventAt(one, 11), eventAt(two, 21)] });
    expect(got).toHaveLength(1);
    socket.say("events", { events: [eventAt(one, 11), eventAt(two, 21)] });
    expect(got).toHaveLength(2);
  });

  test("an altered event is left out and asked for", async () => {
    start();
    const socket = await hubJoins(10, 20);
    socket.say("events", { events: [{ ...eventAt(one, 11), data: '{"n":0}' }, eventAt(one, 12)] });
    expect(got).toEqual([]);
    await vi.advanceTimersByTimeAsync(500);
    const { request, first, last } = socket.asked("fill");
    expect([first, last]).toEqual([11, 11]);
    socket.say("filled", { request, events: [eventAt(one, 11)], floor: 1, head: 12 });
    await vi.advanceTimersByTimeAsync(10);
    expect(sequences(0)).toEqual([11, 12]);
  });

  test("a range that no store holds is told, in its place", async () => {
    const order: string[] = [];
    start({
      supabase: undefined as never,
      onEvents: (events) => order.push(...events.map((event) => `event ${event.sequence}`)),
      onLost: (range) => order.push(`lost ${range.first}-${range.last}`),
    });
    const socket = await hubJoins(10, 20);
    socket.say("events", { events: [eventAt(one, 11), eventAt(one, 15)] });
    await vi.advanceTimersByTimeAsync(500);
    const { request } = socket.asked("fill");
    socket.say("filled", { request, events: [], floor: 15, head: 15 });
    await vi.advanceTimersByTimeAsync(10);
    expect(order).toEqual(["event 11", "lost 12-14", "event 15"]);
  });

  test("only the keys that are followed are handed over", async () => {
    start({ topics: { [TOPIC]: ["key-0"] } });
    const socket = await hubJoins(0, 0);
    const asked = socket.asked("subscribe")["partitions"] as Record<string, number[]>;
    const [partition] = asked[TOPIC] as [number];
    const stream = streamOfPartition(partition);
    socket.say("events", { events: [eventAt(stream, 1), { ...eventAt(stream, 2) }] });
    expect(got.every((event) => event.subject === "key-0")).toBe(true);
  });

  test("a handler that throws is told of, and the next events arrive", async () => {
    let calls = 0;
    start({
      onEvents: () => {
        calls++;
        throw new Error("the page broke");
      },
    });
    const socket = await hubJoins(10, 20);
    socket.say("events", { events: [eventAt(one, 11)] });
    socket.say("events", { events: [eventAt(one, 12)] });
    expect(calls).toBe(2);
    expect(errors.map((error) => error.message)).toEqual(["the page broke", "the page broke"]);
  });

  test("the position is kept with what the page shows, and a reload goes on from there", async () => {
    const storage = new FakeStorage();
    let shown = 0;
    const options = (): Partial<SubscriberOptions> => ({
      onEvents: (events) => {
        shown += events.length;
      },
      resume: {
        key: "board",
        storage,
        save: () => shown,
        load: (kept) => {
          shown = kept as number;
        },
      },
    });
    const first = start(options());
    const socket = await hubJoins(10, 20);
    socket.say("events", { events: [eventAt(one, 11), eventAt(two, 21)] });
    await vi.advanceTimersByTimeAsync(400);
    first.close();
    shown = 0;
    start(options());
    expect(shown).toBe(2);
    const again = await hubJoins(12, 21);
    expect(again.asked("subscribe")["positions"]).toEqual([["app", 1, TOPIC, 0, 12], ["app", 1, TOPIC, 1, 22]]);
    again.say("events", { events: [eventAt(one, 11), eventAt(one, 12)] });
    expect(shown).toBe(3);
  });

  test("a position that can not be read begins anew", async () => {
    const storage = new FakeStorage();
    storage.setItem("crossfade:position:board", '{"v":1,"positions":[["app",1,"t",0,-4]]}');
    start({ resume: { key: "board", storage } });
    const socket = await hubJoins(10, 20);
    expect(socket.asked("subscribe")["positions"]).toEqual([["app", 1, TOPIC, 0, 11], ["app", 1, TOPIC, 1, 21]]);
  });

  test("without flags the page is served by WebSocket after a short wait", async () => {
    flags = new Flags({ ...flagsAt(0, 0, 2), version: 0 });
    start();
    await vi.advanceTimersByTimeAsync(1_400);
    expect(FakeSocket.all).toHaveLength(0);
    await vi.advanceTimersByTimeAsync(300);
    expect(FakeSocket.all).toHaveLength(1);
  });

  test("without Supabase nobody is served by it, whatever the flags say", async () => {
    flags = new Flags(flagsAt(3, 100, 2));
    start({ supabase: undefined as never });
    await hubJoins(10, 20);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(FakeSupabase.all).toHaveLength(0);
    expect(state).toMatchObject({ source: "websocket", flagVersion: 3 });
  });

  test("says as of when, and that it is live, by heads alone", async () => {
    start();
    const socket = await hubJoins(10, 20);
    await vi.advanceTimersByTimeAsync(150);
    expect(state).toMatchObject({ source: "websocket", live: true, asOfMs: expect.any(Number) as number });
    const before = state?.asOfMs ?? 0;
    await vi.advanceTimersByTimeAsync(1_000);
    socket.say("heads", { at_us: 1, heads: rows(10, 20) });
    await vi.advanceTimersByTimeAsync(150);
    expect(state?.asOfMs).toBe(before + 1_150);
    socket.end(1006);
    await vi.advanceTimersByTimeAsync(150);
    expect(state?.transports.websocket.phase).toBe("waiting");
  });

  test("a closed subscriber hands nothing over and lets go of everything", async () => {
    const subscriber = start();
    const socket = await hubJoins(10, 20);
    subscriber.close();
    socket.say("events", { events: [eventAt(one, 11)] });
    expect(socket.closed).toBe(true);
    expect(got).toEqual([]);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(FakeSocket.all).toHaveLength(1);
    expect(vi.getTimerCount()).toBe(0);
  });
});
