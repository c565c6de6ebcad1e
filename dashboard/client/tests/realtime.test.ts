import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import { RealtimeTransport } from "../src/realtime.js";
import { FakeSupabase, headRow, Heard } from "./fakes.js";
import { eventAt, streamOfPartition, TOPIC } from "./world.js";

const stream = streamOfPartition(0);
const heads = { v: 1, kind: "heads", at_us: 1, heads: [headRow(stream, 3)] };

let heard: Heard;

function transport(): RealtimeTransport {
  return new RealtimeTransport({
    supabase: () => new FakeSupabase() as never,
    listener: heard,
    deafMs: 3_000,
    connectTimeoutMs: 5_000,
    retryInitialMs: 200,
    retryMaxMs: 15_000,
  });
}

async function following(...topics: string[]): Promise<RealtimeTransport> {
  const realtime = transport();
  realtime.follow(new Set(topics));
  await vi.advanceTimersByTimeAsync(0);
  for (const topic of topics) FakeSupabase.last.of(topic).tell("SUBSCRIBED");
  return realtime;
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

describe("the Realtime transport", () => {
  test("joins private channels only once the token is there", async () => {
    const realtime = transport();
    realtime.follow(new Set([TOPIC]));
    expect(FakeSupabase.last.channels).toHaveLength(0);
    await vi.advanceTimersByTimeAsync(0);
    expect(FakeSupabase.last.tokens).toBe(1);
    expect(FakeSupabase.last.of(TOPIC).options).toEqual({ config: { private: true } });
    FakeSupabase.last.of(TOPIC).tell("SUBSCRIBED");
    expect(realtime.state.phase).toBe("joined");
    expect(heard.said).toEqual([`realtime joined ${TOPIC}`]);
  });

  test("a head proves its topic", async () => {
    await following(TOPIC);
    FakeSupabase.last.of(TOPIC).bring("heads", heads);
    expect(heard.headsOf).toMatchObject([{ proves: new Map([[TOPIC, null]]) }]);
  });

  test("events arrive; a frame that is no frame does not end the listening", async () => {
    const realtime = await following(TOPIC);
    FakeSupabase.last.of(TOPIC).bring("events", { v: 9 });
    expect(realtime.state.error).not.toBe("");
    FakeSupabase.last.of(TOPIC).bring("events", { v: 1, kind: "events", events: [eventAt(stream, 1)] });
    expect(heard.all).toHaveLength(1);
  });

  test("phx_close: the whole connection is replaced when nothing else is heard on it", async () => {
    const realtime = await following(TOPIC);
    const first = FakeSupabase.last;
    first.of(TOPIC).tell("CLOSED");
    expect(first.ended).toBe(true);
    expect(realtime.state).toMatchObject({ phase: "waiting", failures: 1 });
    expect(heard.said).toEqual([`realtime joined ${TOPIC}`, "realtime left", "realtime failed"]);
    await vi.advanceTimersByTimeAsync(300);
    expect(FakeSupabase.all).toHaveLength(2);
    FakeSupabase.last.of(TOPIC).tell("SUBSCRIBED");
    FakeSupabase.last.of(TOPIC).bring("heads", heads);
    expect(realtime.state).toMatchObject({ phase: "joined", failures: 0, reconnects: 1 });
  });

  test("one closed channel among healthy ones is replaced alone, with a fresh token", async () => {
    const realtime = await following(TOPIC, "prices");
    const client = FakeSupabase.last;
    client.of("prices").bring("heads", heads);
    const old = client.of(TOPIC);
    client.channels = client.channels.filter((one) => one !== old);
    old.tell("CHANNEL_ERROR", new Error("ChannelRateLimitReached: Too many channels"));
    expect(client.ended).toBe(false);
    expect(realtime.state.error).toContain("ChannelRateLimitReached");
    await vi.advanceTimersByTimeAsync(300);
    expect(client.tokens).toBe(2);
    expect(client.of(TOPIC)).not.toBe(old);
    client.of(TOPIC).tell("SUBSCRIBED");
    expect(realtime.state.phase).toBe("joined");
    expect(FakeSupabase.all).toHaveLength(1);
  });

  test("an expired token means a new client, because it is none for the other channels either", async () => {
    const realtime = await following(TOPIC, "prices");
    const client = FakeSupabase.last;
    client.of("prices").bring("heads", heads);
    client.of(TOPIC).bring("system", { status: "error", message: "Token has expired 0 seconds ago" });
    client.of(TOPIC).tell("CLOSED");
    expect(client.ended).toBe(true);
    expect(realtime.state.error).toContain("Token has expired");
    await vi.advanceTimersByTimeAsync(300);
    expect(FakeSupabase.all).toHaveLength(2);
  });

  test("a channel that was heard and falls silent is deaf", async () => {
    const realtime = await following(TOPIC);
    FakeSupabase.last.of(TOPIC).bring("heads", heads);
    await vi.advanceTimersByTimeAsync(4_500);
    expect(realtime.state.error).toContain("no head for 3 s");
    expect(FakeSupabase.all.length).toBeGreaterThan(1);
  });

  test("a topic without a stream has no heads, and is not deaf for that", async () => {
    const realtime = await following(TOPIC);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(realtime.state.phase).toBe("joined");
    expect(FakeSupabase.all).toHaveLength(1);
  });

  test("a token that never comes is a failure, not a wait for ever", async () => {
    const realtime = new RealtimeTransport({
      supabase: () => {
        const client = new FakeSupabase();
        client.realtime.setAuth = () => new Promise<void>(() => undefined);
        return client as never;
      },
      listener: heard,
      deafMs: 3_000,
      connectTimeoutMs: 5_000,
      retryInitialMs: 200,
      retryMaxMs: 15_000,
    });
    realtime.follow(new Set([TOPIC]));
    await vi.advanceTimersByTimeAsync(5_000);
    expect(realtime.state).toMatchObject({ phase: "waiting", error: "token: no answer within 5 s" });
  });

  test("a factory that throws is a mistake of the page: it is told, and not tried again", async () => {
    const realtime = new RealtimeTransport({
      supabase: () => {
        throw new Error("supabaseUrl is required");
      },
      listener: heard,
      deafMs: 3_000,
      connectTimeoutMs: 5_000,
      retryInitialMs: 200,
      retryMaxMs: 15_000,
    });
    realtime.follow(new Set([TOPIC]));
    expect(realtime.state).toMatchObject({ phase: "refused", error: "supabaseUrl is required" });
  });

  test("topics come and go on one connection", async () => {
    const realtime = await following(TOPIC);
    realtime.follow(new Set([TOPIC, "prices"]));
    FakeSupabase.last.of("prices").tell("SUBSCRIBED");
    expect(realtime.state.phase).toBe("joined");
    realtime.follow(new Set(["prices"]));
    expect(FakeSupabase.last.channels).toHaveLength(1);
    realtime.follow(new Set());
    expect(FakeSupabase.last.ended).toBe(true);
    expect(realtime.state.phase).toBe("idle");
    expect(FakeSupabase.all).toHaveLength(1);
  });

  test("what the channels of a replaced client say is not heard", async () => {
    const realtime = await following(TOPIC);
    const old = FakeSupabase.last.of(TOPIC);
    realtime.restart();
    old.bring("events", { v: 1, kind: "events", events: [eventAt(stream, 1)] });
    old.tell("CHANNEL_ERROR");
    expect(heard.all).toEqual([]);
    expect(realtime.state.phase).toBe("connecting");
  });

  test("a fill pages by the function in the database; its error is a rejection", async () => {
    const realtime = await following(TOPIC);
    FakeSupabase.answers = { data: { events: [eventAt(stream, 4)], floor: 1, head: 9 }, error: null };
    await expect(realtime.fill(stream, 4, 9)).resolves.toMatchObject({ floor: 1, head: 9 });
    expect(FakeSupabase.last.calls.at(-1)).toMatchObject({
      name: "crossfade_fill_v1",
      args: { source: "app", epoch: 1, topic: TOPIC, partition: 0, first: 4, last: 9 },
    });
    FakeSupabase.answers = { data: null, error: { message: "topic may not be received" } };
    await expect(realtime.fill(stream, 4, 9)).rejects.toThrow("topic may not be received");
  });
});
