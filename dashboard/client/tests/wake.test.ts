import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import { createSubscriber, type Subscriber } from "../src/subscriber.js";
import { FakeSocket, FakeStorage, FakeSupabase, headRow } from "./fakes.js";
import { eventAt, flagsAt, streamOfPartition, TOPIC } from "./world.js";

const one = streamOfPartition(0);

/** A document and a window that the test hides, freezes and wakes. */
class FakeDocument extends EventTarget {
  visibilityState: "visible" | "hidden" = "visible";
  show(state: "visible" | "hidden"): void {
    this.visibilityState = state;
    this.dispatchEvent(new Event("visibilitychange"));
  }
}

let page: FakeDocument;
let view: EventTarget;
let running: Subscriber | undefined;
let storage: FakeStorage;

/** A page that Realtime serves, with live data. */
async function served(): Promise<FakeSocket> {
  running = createSubscriber({
    topics: [TOPIC],
    websocket: { url: "ws://hub" },
    supabase: () => new FakeSupabase() as never,
    control: { flags: flagsAt(2, 100, 1), follow: () => () => undefined },
    onEvents: () => undefined,
    pace: { spreadMs: 0 },
    resume: { key: "page", storage },
  });
  await vi.advanceTimersByTimeAsync(150);
  const socket = FakeSocket.last;
  socket.open();
  await vi.advanceTimersByTimeAsync(0);
  const heads = [headRow(one, 10)];
  socket.say("welcome", { hub: "h", heads });
  socket.say("subscribed", { request: socket.asked("subscribe")["request"], heads });
  FakeSupabase.last.of(TOPIC).tell("SUBSCRIBED");
  await live(3);
  return socket;
}

/** Heads by Realtime, one a second. */
async function live(seconds: number): Promise<void> {
  for (let second = 0; second < seconds; second++) {
    FakeSupabase.last.of(TOPIC).bring("heads", { v: 1, kind: "heads", at_us: Date.now() * 1_000, heads: [headRow(one, 10)] });
    await vi.advanceTimersByTimeAsync(1_000);
  }
}

beforeEach(() => {
  vi.useFakeTimers({ now: 1_800_000_000_000 });
  FakeSocket.all = [];
  FakeSupabase.all = [];
  page = new FakeDocument();
  view = new EventTarget();
  storage = new FakeStorage();
  vi.stubGlobal("document", page);
  vi.stubGlobal("window", view);
  vi.stubGlobal("WebSocket", FakeSocket);
});
afterEach(() => {
  running?.close();
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

describe("a page that slept", () => {
  test("standby: the token may have expired, so there is a new client with a fresh one", async () => {
    await served();
    expect(FakeSupabase.all).toHaveLength(1);
    // The computer slept for two hours: its timers did not run, its wall clock did.
    vi.setSystemTime(Date.now() + 7_200_000);
    await vi.advanceTimersByTimeAsync(1_200);
    expect(FakeSupabase.all.length).toBeGreaterThan(1);
    expect(FakeSupabase.all[0]?.ended).toBe(true);
    expect(FakeSupabase.last.tokens).toBe(1);
  });

  test("a background tab that heard everything keeps its connections", async () => {
    await served();
    page.show("hidden");
    await live(20);
    page.show("visible");
    await vi.advanceTimersByTimeAsync(100);
    expect(FakeSupabase.all).toHaveLength(1);
  });

  test("a background tab that was hidden for long takes a new channel with a fresh token", async () => {
    await served();
    page.show("hidden");
    await live(70);
    page.show("visible");
    await vi.advanceTimersByTimeAsync(100);
    expect(FakeSupabase.all).toHaveLength(2);
    expect(FakeSupabase.last.tokens).toBe(1);
  });

  test("a frozen page trusts nothing that it did not hear just now", async () => {
    await served();
    vi.setSystemTime(Date.now() + 8_000);
    page.dispatchEvent(new Event("resume"));
    await vi.advanceTimersByTimeAsync(10);
    expect(FakeSupabase.all).toHaveLength(2);
  });

  test("back online: both transports are made anew at once, not after their pause", async () => {
    const socket = await served();
    view.dispatchEvent(new Event("online"));
    await vi.advanceTimersByTimeAsync(10);
    expect(FakeSupabase.all).toHaveLength(2);
    // Nothing is served by the hub any more: there is no connection to make.
    expect(socket.closed).toBe(true);
  });

  test("the position is written when the page is hidden: nothing later is sure to run", async () => {
    await served();
    storage.clear();
    FakeSupabase.last.of(TOPIC).bring("events", { v: 1, kind: "events", events: [eventAt(one, 11)] });
    expect(storage.getItem("crossfade:position:page")).toBeNull();
    page.show("hidden");
    expect(storage.getItem("crossfade:position:page")).toContain('"orders",0,12]');
  });
});
