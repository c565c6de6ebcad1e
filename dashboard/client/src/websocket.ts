/** The legacy side: a subscriber's connection to a hub (docs/protocol.md, section 2). */

import { type CrossfadeEvent, InvalidFrame, type Stream } from "./event.js";
import { decodeFrame, decodeHeads, encodeFrame, type Frame, readableEvents } from "./frames.js";
import type { Standing } from "./facts.js";
import {
  asError,
  type Coverage,
  FILL_TIMEOUT_MS,
  type FillPage,
  type FillSource,
  IDLE,
  jitteredMs,
  type Listener,
  type TokenSource,
  type TransportState,
  within,
} from "./transport.js";
import { Watchdog } from "./watchdog.js";

/** Close codes after which the same attempt would only fail again. */
const REFUSALS: ReadonlyMap<number, string> = new Map([
  [4400, "the hub did not understand this client"],
  [4401, "the hub refused the token"],
  [4403, "the hub does not accept this page's origin"],
  [4413, "a frame was too large for the hub"],
]);
/** A token from a function may only have been stale: so many fresh ones are tried. */
const TOKEN_ATTEMPTS = 3;
/** How long a connection that was made for a fill is kept after the last one. */
const LENT_MS = 10_000;

export interface HubOptions {
  url: string;
  token?: TokenSource;
  instance: string;
  listener: Listener;
  /** Where the streams stand, asked whenever a subscription is sent. */
  positions: () => readonly Standing[];
  deafMs: number;
  connectTimeoutMs: number;
  retryInitialMs: number;
  retryMaxMs: number;
  WebSocket?: typeof WebSocket;
}

interface Waiting {
  resolve(page: FillPage): void;
  reject(error: Error): void;
}

/**
 * One connection to the hub, made again whenever it breaks or falls silent, resumed by
 * position. The token travels in the first frame, never in the address.
 */
export class HubTransport implements FillSource {
  readonly #options: HubOptions;
  readonly #watchdog: Watchdog;
  readonly #fills = new Map<number, Waiting>();
  #coverage: Coverage = new Map();
  #socket: WebSocket | null = null;
  #state: TransportState = IDLE;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #deadline: ReturnType<typeof setTimeout> | undefined;
  #request = 0;
  #connections = 0;
  #welcomed = false;
  #subscription = "";
  #subscribed = 0;
  #answered = false;
  #lent: ReturnType<typeof setTimeout> | undefined;
  #borrowers: { resolve(): void; reject(error: Error): void }[] = [];

  constructor(options: HubOptions) {
    this.#options = options;
    this.#watchdog = new Watchdog(options.deafMs, () => {
      this.#fail(`no frame for ${options.deafMs / 1_000} s`);
    });
  }

  get state(): TransportState {
    return this.#state;
  }

  /** Follow these partitions from now on; an empty coverage closes the connection. */
  follow(coverage: Coverage): void {
    this.#coverage = coverage;
    if (coverage.size === 0) this.#stop();
    else if (this.#welcomed) this.#subscribe();
    else if (this.#state.phase === "idle") this.#connect();
  }

  /** Drop the connection and make a new one at once: the page was asleep, or is online again. */
  restart(): void {
    if (this.#coverage.size === 0) return;
    this.#drop("restarted");
    this.#connect();
  }

  /** End for good. */
  close(): void {
    this.#coverage = new Map();
    this.#stop();
  }

  /** A page from the hub's history or the journal behind it; connects for it when idle. */
  async fill(stream: Stream, first: number, last: number): Promise<FillPage> {
    const { source, epoch, topic, partition } = stream;
    if (!this.#welcomed) await this.#borrow();
    if (this.#coverage.size === 0) this.#lend();
    const request = ++this.#request;
    const answer = new Promise<FillPage>((resolve, reject) => {
      this.#fills.set(request, { resolve, reject });
    });
    this.#send("fill", { request, source, epoch, topic, partition, first, last });
    return within(answer, FILL_TIMEOUT_MS, "hub").finally(() => this.#fills.delete(request));
  }

  /** Wait for a connection; when nothing is followed, one is made for the fill's sake. */
  #borrow(): Promise<void> {
    const { phase } = this.#state;
    if (phase === "waiting" || phase === "refused") {
      return Promise.reject(new Error(`hub: ${this.#state.error}`));
    }
    const welcome = new Promise<void>((resolve, reject) => {
      this.#borrowers.push({ resolve, reject });
    });
    if (phase === "idle") this.#connect();
    return within(welcome, FILL_TIMEOUT_MS, "hub");
  }

  /** Keep a borrowed connection a little longer: fills come in rows. */
  #lend(): void {
    clearTimeout(this.#lent);
    this.#lent = setTimeout(() => {
      if (this.#coverage.size === 0) this.#stop();
    }, LENT_MS);
  }

  // -- the connection ------------------------------------------------------------------

  #connect(): void {
    clearTimeout(this.#retry);
    this.#change({ phase: "connecting", retryAtMs: null, reconnects: this.#connections });
    const Socket = this.#options.WebSocket ?? WebSocket;
    let socket: WebSocket;
    try {
      socket = new Socket(this.#options.url);
    } catch (error) {
      this.#refuse(asError(error).message);
      return;
    }
    this.#socket = socket;
    this.#deadline = setTimeout(() => {
      this.#fail(`no welcome within ${this.#options.connectTimeoutMs / 1_000} s`);
    }, this.#options.connectTimeoutMs);
    // A handler of a connection that was replaced does nothing: browsers report the end of a
    // dead one up to a minute later.
    socket.onopen = () => void this.#hello(socket);
    socket.onmessage = ({ data }) => {
      if (socket === this.#socket) this.#receive(data);
    };
    socket.onclose = ({ code, reason }) => {
      if (socket === this.#socket) this.#closed(code, reason);
    };
  }

  async #hello(socket: WebSocket): Promise<void> {
    const { token = "", instance } = this.#options;
    try {
      const secret = typeof token === "string" ? token : await token();
      if (socket !== this.#socket) return;
      this.#send("hello", { role: "subscriber", instance, token: secret });
    } catch (error) {
      if (socket === this.#socket) this.#fail(`token: ${asError(error).message}`);
    }
  }

  #subscribe(): void {
    const partitions: Record<string, number[] | null> = {};
    for (const [topic, numbers] of this.#coverage) {
      partitions[topic] = numbers === null ? null : [...numbers];
    }
    const wanted = JSON.stringify(partitions);
    if (wanted === this.#subscription) return;
    this.#subscription = wanted;
    this.#answered = false;
    const positions = this.#options
      .positions()
      .map(({ stream, next }) => [stream.source, stream.epoch, stream.topic, stream.partition, next]);
    this.#subscribed = ++this.#request;
    this.#send("subscribe", { request: this.#subscribed, partitions, positions });
    this.#watchdog.start();
  }

  #receive(raw: unknown): void {
    this.#watchdog.heard();
    try {
      this.#take(decodeFrame(raw));
    } catch (error) {
      if (!(error instanceof InvalidFrame)) throw error;
      this.#change({ error: error.message });
    }
  }

  #take(frame: Frame): void {
    const { listener } = this.#options;
    switch (frame.kind) {
      case "welcome":
        clearTimeout(this.#deadline);
        this.#connections++;
        this.#welcomed = true;
        for (const borrower of this.#borrowers.splice(0)) borrower.resolve();
        listener.meet(decodeHeads(frame));
        if (this.#coverage.size) this.#subscribe();
        else this.#lend();
        return;
      case "subscribed":
        // An answer to an earlier subscription is followed by the one that counts.
        if (frame["request"] !== this.#subscribed) return;
        listener.meet(decodeHeads(frame));
        this.#answered = true;
        listener.joined("websocket", this.#coverage);
        this.#change({ phase: "joined", error: "" });
        return;
      case "events":
        listener.events(readableEvents(frame["events"]), "websocket");
        return;
      case "heads":
        if (this.#state.failures) this.#change({ failures: 0 });
        listener.heads(
          decodeHeads(frame),
          "websocket",
          this.#answered ? this.#coverage : null,
          Number(frame["at_us"]),
        );
        return;
      case "filled":
        this.#filled(frame);
        return;
      case "error":
        this.#change({ error: String(frame["message"]) });
        return;
      default: // A later hub may say more; what is not understood is not needed.
    }
  }

  #filled(frame: Frame): void {
    const waiting = this.#fills.get(frame["request"] as number);
    if (waiting === undefined) return;
    let events: CrossfadeEvent[];
    try {
      events = readableEvents(frame["events"]);
    } catch (error) {
      waiting.reject(asError(error));
      return;
    }
    waiting.resolve({ events, floor: integer(frame["floor"]), head: integer(frame["head"]) });
  }

  #send(kind: string, fields: Record<string, unknown>): void {
    if (this.#socket?.readyState === 1) this.#socket.send(encodeFrame(kind, fields));
  }

  // -- its end -------------------------------------------------------------------------

  #closed(code: number, reason: string): void {
    const refusal = REFUSALS.get(code);
    const renewable =
      code === 4401 &&
      typeof this.#options.token === "function" &&
      this.#state.failures + 1 < TOKEN_ATTEMPTS;
    if (refusal !== undefined && !renewable) this.#refuse(reason ? `${refusal}: ${reason}` : refusal);
    else this.#fail(refusal ?? (reason || `connection closed (${code})`));
  }

  #fail(error: string): void {
    this.#drop(error);
    if (this.#coverage.size === 0) {
      // It was only borrowed: the next fill tries again.
      this.#change({ phase: "idle", error, retryAtMs: null });
      return;
    }
    this.#options.listener.failed("websocket");
    const failures = this.#state.failures + 1;
    const { retryInitialMs, retryMaxMs } = this.#options;
    const pauseMs = jitteredMs(failures, retryInitialMs, retryMaxMs);
    this.#retry = setTimeout(() => this.#connect(), pauseMs);
    this.#change({ phase: "waiting", failures, error, retryAtMs: Date.now() + pauseMs });
  }

  #refuse(error: string): void {
    this.#drop(error);
    this.#change({ phase: "refused", failures: this.#state.failures + 1, error, retryAtMs: null });
  }

  #stop(): void {
    this.#drop("closed");
    this.#change({ phase: "idle", failures: 0, error: "", retryAtMs: null });
  }

  #drop(reason: string): void {
    clearTimeout(this.#retry);
    clearTimeout(this.#deadline);
    clearTimeout(this.#lent);
    this.#watchdog.stop();
    this.#welcomed = false;
    this.#subscription = "";
    this.#answered = false;
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
    if (socket !== null) this.#options.listener.left("websocket");
    const error = new Error(`hub: ${reason}`);
    for (const waiting of [...this.#fills.values(), ...this.#borrowers]) waiting.reject(error);
    this.#fills.clear();
    this.#borrowers = [];
  }

  #change(part: Partial<TransportState>): void {
    const before = this.#state;
    this.#state = { ...before, ...part };
    const changed = (Object.keys(part) as (keyof TransportState)[]).some(
      (name) => before[name] !== this.#state[name],
    );
    if (changed) this.#options.listener.changed("websocket");
  }
}

function integer(value: unknown): number | null {
  return typeof value === "number" && Number.isSafeInteger(value) ? value : null;
}
