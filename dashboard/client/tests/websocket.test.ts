import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import { HubTransport } from "../src/websocket.js";
import { FakeSocket, headRow, Heard } from "./fakes.js";
import { eventAt, streamOfPartition, TOPIC } from "./world.js";

const stream = streamOfPartition(0);
const everything = new Map([[TOPIC, null]]);

let heard: Heard;

function transport(token: string | (() => Promise<string>) = "secret"): HubTransport {
  return new HubTransport({
    url: "ws://hub",
    token,
    instance: "page",
    listener: heard,
    positions: () => [{ stream, next: 7 }],
    deafMs: 3_000,
    connectTimeoutMs: 5_000,
    retryInitialMs: 200,
    retryMaxMs: 15_000,
    WebSocket: FakeSocket as unknown as typeof WebSocket,
  });
}

async function joined(hub: HubTransport): Promise<FakeSocket> {
  hub.follow(everything);
  FakeSocket.last.open();
  await vi.advanceTimersByTimeAsync(0);
  FakeSocket.last.say("welcome", { hub: "h", heads: [headRow(stream, 9)] });
  FakeSocket.last.say("subscribed", { request: FakeSocket.last.asked("subscribe")["request"], heads: [headRow(stream, 9)] });
  return FakeSocket.last;
}

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(Math, "random").mockReturnValue(0.5);
  FakeSocket.all = [];
  heard = new Heard();
});

afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

describe("the hub's transport", () => {
  test("says hello with the token in the frame, never in the address, and resumes by position", async () => {
    const hub = transport();
    const socket = await joined(hub);
    expect(socket.url).toBe("ws://hub");
    expect(socket.asked("hello")).toMatchObject({ role: "subscriber", instance: "page", token: "secret" });
    expect(socket.asked("subscribe")).toMatchObject({
      partitions: { [TOPIC]: null },
      positions: [["app", 1, TOPIC, 0, 7]],
    });
    expect(hub.state.phase).toBe("joined");
    expect(heard.met).toHaveLength(2);
  });

  test("a head proves only the subscription that was answered", async () => {
    const hub = transport();
    const socket = await joined(hub);
    socket.say("heads", { at_us: 1, heads: [headRow(stream, 9)] });
    expect(heard.headsOf.at(-1)?.proves).toEqual(everything);
    hub.follow(new Map([[TOPIC, new Set([0])]]));
    socket.say("heads", { at_us: 2, heads: [headRow(stream, 9)] });
    expect(heard.headsOf.at(-1)?.proves).toBeNull();
    socket.say("subscribed", { request: socket.asked("subscribe")["request"], heads: [] });
    socket.say("heads", { at_us: 3, heads: [headRow(stream, 9)] });
    expect(heard.headsOf.at(-1)?.proves).toEqual(new Map([[TOPIC, new Set([0])]]));
  });

  test("the same coverage is not asked for twice", async () => {
    const hub = transport();
    const socket = await joined(hub);
    hub.follow(new Map([[TOPIC, null]]));
    expect(socket.sent.filter((frame) => frame.kind === "subscribe")).toHaveLength(1);
  });

  test("an event that can not be read is left out, the others arrive", async () => {
    const socket = await joined(transport());
    socket.say("events", { events: [eventAt(stream, 7), { sequence: 8 }, eventAt(stream, 9)] });
    expect(heard.all.map((one) => one.sequence)).toEqual([7, 9]);
  });

  test("a frame that is no frame does not end the connection", async () => {
    const hub = transport();
    const socket = await joined(hub);
    socket.onmessage?.({ data: "{" });
    socket.onmessage?.({ data: '{"v":2,"kind":"events"}' });
    expect(hub.state.error).toContain("version 2");
    socket.say("events", { events: [eventAt(stream, 7)] });
    expect(heard.all).toHaveLength(1);
  });

  test("a lost connection is made again with growing pauses, and says when", async () => {
    const hub = transport();
    const socket = await joined(hub);
    socket.end(1012, "restart");
    expect(hub.state).toMatchObject({ phase: "waiting", error: "restart", failures: 1 });
    expect((hub.state.retryAtMs ?? 0) - Date.now()).toBe(200);
    expect(heard.said).toContain("websocket left");
    await vi.advanceTimersByTimeAsync(200);
    expect(FakeSocket.all).toHaveLength(2);
    FakeSocket.last.end(1006);
    expect((hub.state.retryAtMs ?? 0) - Date.now()).toBe(400);
    await vi.advanceTimersByTimeAsync(400);
    const again = await joinedAgain();
    again.say("heads", { at_us: 1, heads: [] });
    expect(hub.state).toMatchObject({ phase: "joined", failures: 0, reconnects: 1 });
  });

  test("silence is deafness", async () => {
    const hub = transport();
    await joined(hub);
    await vi.advanceTimersByTimeAsync(4_000);
    expect(hub.state.error).toBe("no frame for 3 s");
    expect(FakeSocket.all.length).toBeGreaterThan(1);
  });

  test("heads keep it from being deaf", async () => {
    const hub = transport();
    const socket = await joined(hub);
    for (let second = 0; second < 20; second++) {
      await vi.advanceTimersByTimeAsync(1_000);
      socket.say("heads", { at_us: second, heads: [] });
    }
    expect(hub.state.phase).toBe("joined");
    expect(FakeSocket.all).toHaveLength(1);
  });

  test.each([4400, 4403, 4413])("%i will not be tried again", async (code) => {
    const hub = transport();
    const socket = await joined(hub);
    socket.end(code, "why");
    expect(hub.state).toMatchObject({ phase: "refused", retryAtMs: null });
    await vi.advanceTimersByTimeAsync(60_000);
    expect(FakeSocket.all).toHaveLength(1);
    hub.restart();
    expect(FakeSocket.all).toHaveLength(2);
  });

  test("a refused token is final when it is a text, and asked for anew when it is a function", async () => {
    const fixed = transport();
    (await joined(fixed)).end(4401);
    expect(fixed.state.phase).toBe("refused");
    const token = vi.fn(() => Promise.resolve("fresh"));
    const renewed = transport(token);
    (await joined(renewed)).end(4401);
    expect(renewed.state.phase).toBe("waiting");
    await vi.advanceTimersByTimeAsync(400);
    FakeSocket.last.open();
    await vi.advanceTimersByTimeAsync(0);
    expect(token).toHaveBeenCalledTimes(2);
  });

  test("what a replaced connection still says is not heard", async () => {
    const hub = transport();
    const old = await joined(hub);
    hub.restart();
    old.say("events", { events: [eventAt(stream, 7)] });
    old.end(1006);
    expect(heard.all).toEqual([]);
    expect(hub.state.phase).toBe("connecting");
  });

  test("a fill is answered by its request, and fails when the connection does", async () => {
    const hub = transport();
    const socket = await joined(hub);
    const page = hub.fill(stream, 7, 8);
    await vi.advanceTimersByTimeAsync(0);
    const { request } = socket.asked("fill");
    socket.say("filled", { request, events: [eventAt(stream, 7)], floor: 1, head: 9 });
    await expect(page).resolves.toMatchObject({ floor: 1, head: 9, events: [{ sequence: 7 }] });
    const lost = expect(hub.fill(stream, 8, 8)).rejects.toThrow("restart");
    await vi.advanceTimersByTimeAsync(0);
    socket.end(1012, "restart");
    await lost;
  });

  test("a fill without an answer fails in time", async () => {
    const hub = transport();
    const socket = await joined(hub);
    const late = expect(hub.fill(stream, 7, 8)).rejects.toThrow("no answer within 8 s");
    for (let second = 0; second < 9; second++) {
      await vi.advanceTimersByTimeAsync(1_000);
      socket.say("heads", { at_us: 1, heads: [] });
    }
    await late;
  });

  test("an idle transport connects for a fill, and lets go again", async () => {
    const hub = transport();
    const page = hub.fill(stream, 1, 1);
    FakeSocket.last.open();
    await vi.advanceTimersByTimeAsync(0);
    FakeSocket.last.say("welcome", { hub: "h", heads: [] });
    await vi.advanceTimersByTimeAsync(0);
    const { request } = FakeSocket.last.asked("fill");
    FakeSocket.last.say("filled", { request, events: [], floor: null, head: null });
    await expect(page).resolves.toEqual({ events: [], floor: null, head: null });
    expect(FakeSocket.last.sent.some((frame) => frame.kind === "subscribe")).toBe(false);
    await vi.advanceTimersByTimeAsync(11_000);
    expect(FakeSocket.last.closed).toBe(true);
    expect(hub.state.phase).toBe("idle");
  });

  test("following nothing closes the connection", async () => {
    const hub = transport();
    const socket = await joined(hub);
    hub.follow(new Map());
    expect(socket.closed).toBe(true);
    expect(hub.state.phase).toBe("idle");
    await vi.advanceTimersByTimeAsync(60_000);
    expect(FakeSocket.all).toHaveLength(1);
  });
});

async function joinedAgain(): Promise<FakeSocket> {
  FakeSocket.last.open();
  await vi.advanceTimersByTimeAsync(0);
  FakeSocket.last.say("welcome", { hub: "h2", heads: [] });
  FakeSocket.last.say("subscribed", { request: FakeSocket.last.asked("subscribe")["request"], heads: [] });
  return FakeSocket.last;
}
