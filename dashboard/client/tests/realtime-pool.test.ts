import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import { RealtimePool } from "../src/realtime-pool.js";
import { FakeSupabase, headRow, Heard } from "./fakes.js";
import { streamOfPartition } from "./world.js";

const heads = { v: 1, kind: "heads", at_us: 1, heads: [headRow(streamOfPartition(0), 3)] };

let heard: Heard;

function pool(): RealtimePool {
  return new RealtimePool({
    supabase: () => new FakeSupabase() as never,
    listener: heard,
    deafMs: 3_000,
    connectTimeoutMs: 5_000,
    retryInitialMs: 200,
    retryMaxMs: 15_000,
    channels: 2,
  });
}

function names(client: FakeSupabase): string[] {
  return client.channels.map((one) => one.topic.replace("realtime:crossfade:", ""));
}

async function following(realtime: RealtimePool, ...topics: string[]): Promise<void> {
  realtime.follow(new Set(topics));
  await vi.advanceTimersByTimeAsync(0);
}

function join(): void {
  for (const client of FakeSupabase.all) for (const one of client.channels) one.tell("SUBSCRIBED");
}

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(Math, "random").mockReturnValue(0.5);
  FakeSupabase.all = [];
  heard = new Heard();
});

afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

describe("more topics than a connection holds", () => {
  test("one connection while one is enough", async () => {
    const realtime = pool();
    await following(realtime, "a", "b");
    join();
    expect(FakeSupabase.all.map(names)).toEqual([["a", "b"]]);
    expect(realtime.state.phase).toBe("joined");
  });

  test("each further connection is told as part of the whole", async () => {
    const realtime = pool();
    await following(realtime, "a", "b", "c");
    expect(FakeSupabase.all.map(names)).toEqual([["a", "b"], ["c"]]);
    expect(realtime.state.phase).toBe("connecting");
    join();
    expect(realtime.state.phase).toBe("joined");
    expect(heard.said.at(-1)).toBe("realtime joined a,b,c");
    FakeSupabase.last.of("c").bring("heads", heads);
    expect(heard.headsOf.at(-1)?.proves).toEqual(new Map([["c", null]]));
  });

  test("a topic stays where it is", async () => {
    const realtime = pool();
    await following(realtime, "a", "b", "c");
    await following(realtime, "b", "c", "d");
    expect(FakeSupabase.all.map(names)).toEqual([["b", "d"], ["c"]]);
  });

  test("a lost connection leaves the others standing", async () => {
    const realtime = pool();
    await following(realtime, "a", "b", "c");
    join();
    heard.said.length = 0;
    FakeSupabase.last.of("c").tell("CLOSED");
    expect(heard.said).toEqual(["realtime left", "realtime joined a,b", "realtime failed"]);
    expect(realtime.state).toMatchObject({ phase: "waiting", failures: 1 });
    await vi.advanceTimersByTimeAsync(300);
    join();
    expect(heard.said.at(-1)).toBe("realtime joined a,b,c");
    expect(realtime.state).toMatchObject({ phase: "joined", reconnects: 1 });
  });

  test("nothing followed closes every connection", async () => {
    const realtime = pool();
    await following(realtime, "a", "b", "c");
    await following(realtime);
    expect(FakeSupabase.all.every((client) => client.ended)).toBe(true);
    expect(realtime.state.phase).toBe("idle");
  });

  test("at most ten connections", async () => {
    const realtime = pool();
    await following(realtime, ..."abcdefghijklmnopqrstuvwxyz");
    expect(FakeSupabase.all).toHaveLength(10);
    expect(FakeSupabase.all.flatMap(names)).toHaveLength(20);
  });
});
