/** A hub and a Supabase that live in the test: what they are told is kept, what they say is scripted. */

import type { CrossfadeEvent, Head, Stream } from "../src/event.js";
import type { Coverage, Listener, TransportName } from "../src/transport.js";

/** Keeps everything that a transport tells. */
export class Heard implements Listener {
  readonly all: CrossfadeEvent[] = [];
  readonly headsOf: { heads: Head[]; proves: Coverage | null }[] = [];
  readonly met: Head[][] = [];
  readonly said: string[] = [];
  events(events: CrossfadeEvent[]): void {
    this.all.push(...events);
  }
  heads(heads: Head[], _: TransportName, proves: Coverage | null): void {
    this.headsOf.push({ heads, proves });
  }
  meet(heads: Head[]): void {
    this.met.push(heads);
  }
  joined(via: TransportName, coverage: Coverage): void {
    this.said.push(`${via} joined ${[...coverage.keys()].join(",")}`);
  }
  left(via: TransportName): void {
    this.said.push(`${via} left`);
  }
  failed(via: TransportName): void {
    this.said.push(`${via} failed`);
  }
  changed(): void {}
}

type Frame = Record<string, unknown> & { kind: string };

/** The browser's WebSocket, with the test at its other end. */
export class FakeSocket {
  static all: FakeSocket[] = [];
  static get last(): FakeSocket {
    const found = FakeSocket.all.at(-1);
    if (found === undefined) throw new Error("nobody has connected");
    return found;
  }
  readyState = 0;
  readonly sent: Frame[] = [];
  closed = false;
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;
  constructor(readonly url: string) {
    FakeSocket.all.push(this);
  }
  send(text: string): void {
    this.sent.push(JSON.parse(text) as Frame);
  }
  close(): void {
    this.closed = true;
  }
  open(): void {
    this.readyState = 1;
    this.onopen?.();
  }
  say(kind: string, fields: Record<string, unknown> = {}): void {
    this.onmessage?.({ data: JSON.stringify({ v: 1, kind, ...fields }) });
  }
  end(code: number, reason = ""): void {
    this.readyState = 3;
    this.onclose?.({ code, reason });
  }
  asked(kind: string): Frame {
    const found = [...this.sent].reverse().find((frame) => frame.kind === kind);
    if (found === undefined) throw new Error(`${kind} was not sent`);
    return found;
  }
}

export function headRow({ source, epoch, topic, partition }: Stream, sequence: number, floor = 1) {
  return [source, epoch, topic, partition, sequence, floor];
}

type Status = "SUBSCRIBED" | "CHANNEL_ERROR" | "TIMED_OUT" | "CLOSED";

/** One channel of a `FakeSupabase`. */
export class FakeChannel {
  readonly topic: string;
  readonly #handlers = new Map<string, (message: Record<string, unknown>) => void>();
  #told: ((status: Status, error?: Error) => void) | undefined;
  constructor(
    name: string,
    readonly options: unknown,
  ) {
    this.topic = `realtime:${name}`;
  }
  on(type: string, filter: { event?: string }, handler: (message: Record<string, unknown>) => void): this {
    this.#handlers.set(filter.event ?? type, handler);
    return this;
  }
  subscribe(told: (status: Status, error?: Error) => void): this {
    this.#told = told;
    return this;
  }
  tell(status: Status, error?: Error): void {
    this.#told?.(status, error);
  }
  bring(event: string, payload: Record<string, unknown>): void {
    this.#handlers.get(event)?.(event === "system" ? payload : { payload });
  }
}

/** As much of supabase-js as the transport uses. */
export class FakeSupabase {
  static all: FakeSupabase[] = [];
  /** What every client's functions answer. */
  static answers: { data: unknown; error: { message: string } | null } = { data: null, error: null };
  static get last(): FakeSupabase {
    const found = FakeSupabase.all.at(-1);
    if (found === undefined) throw new Error("no client was made");
    return found;
  }
  channels: FakeChannel[] = [];
  connected = true;
  ended = false;
  tokens = 0;
  calls: { name: string; args: Record<string, unknown> }[] = [];
  readonly realtime = {
    setAuth: (): Promise<void> => {
      this.tokens++;
      return Promise.resolve();
    },
    isConnected: (): boolean => this.connected,
    disconnect: (): Promise<string> => {
      this.ended = true;
      return Promise.resolve("ok");
    },
  };
  constructor() {
    FakeSupabase.all.push(this);
  }
  channel(name: string, options: unknown): FakeChannel {
    const channel = new FakeChannel(name, options);
    this.channels.push(channel);
    return channel;
  }
  getChannels(): FakeChannel[] {
    return this.channels;
  }
  removeChannel(channel: FakeChannel): Promise<string> {
    this.channels = this.channels.filter((one) => one !== channel);
    channel.tell("CLOSED");
    return Promise.resolve("ok");
  }
  removeAllChannels(): Promise<string[]> {
    for (const channel of this.channels) channel.tell("CLOSED");
    this.channels = [];
    return Promise.resolve([]);
  }
  rpc(name: string, args: Record<string, unknown>) {
    this.calls.push({ name, args });
    return { abortSignal: () => Promise.resolve(FakeSupabase.answers) };
  }
  of(topic: string): FakeChannel {
    const found = this.channels.find((one) => one.topic === `realtime:crossfade:${topic}`);
    if (found === undefined) throw new Error(`${topic} is not followed`);
    return found;
  }
}

/** A storage in memory. */
export class FakeStorage implements Storage {
  readonly #items = new Map<string, string>();
  get length(): number {
    return this.#items.size;
  }
  clear(): void {
    this.#items.clear();
  }
  getItem(key: string): string | null {
    return this.#items.get(key) ?? null;
  }
  key(index: number): string | null {
    return [...this.#items.keys()][index] ?? null;
  }
  removeItem(key: string): void {
    this.#items.delete(key);
  }
  setItem(key: string, value: string): void {
    this.#items.set(key, value);
  }
}
