/**
 * Supabase Realtime, over `@supabase/supabase-js`.
 *
 * That client mends a broken socket by itself, but it does not say that messages were lost
 * meanwhile, does not come back after the server closed a channel (an expired token, a rate
 * limit, a restart), and cannot tell a deaf channel from a quiet one. So it is not trusted:
 * every topic must hear a head every second, a channel that failed is replaced by a new one
 * with a fresh token, and a connection on which nothing is heard is replaced as a whole.
 */

import type { RealtimeChannel, SupabaseClient } from "@supabase/supabase-js";

import type { Stream } from "./event.js";
import { decodeFrame, decodeHeads, readableEvents } from "./frames.js";
import {
  asError,
  FILL_TIMEOUT_MS,
  type FillPage,
  type FillSource,
  IDLE,
  jitteredMs,
  type Listener,
  type TransportState,
  within,
} from "./transport.js";
import { Watchdog } from "./watchdog.js";

type Supabase = SupabaseClient<any, any, any>;

/** Events a fill asks for at once; the function in the database gives at most 1,000. */
const FILL_PAGE = 500;

export interface RealtimeOptions {
  /**
   * Makes a client; called anew for every connection. Give `createClient` an `accessToken`
   * function, so that each connection begins with a fresh token.
   */
  supabase: () => Supabase;
  listener: Listener;
  deafMs: number;
  connectTimeoutMs: number;
  retryInitialMs: number;
  retryMaxMs: number;
}

/** One topic's channel on the present connection. */
interface Topic {
  channel: RealtimeChannel;
  readonly watchdog: Watchdog;
  joined: boolean;
  heard: boolean;
  ended: boolean;
  /** The server's own word on what is wrong; it comes before the channel is closed. */
  said: string;
  failures: number;
  retry: ReturnType<typeof setTimeout> | undefined;
}

/** Channels of one client, replaced whenever they cannot be trusted. */
export class RealtimeTransport implements FillSource {
  readonly #options: RealtimeOptions;
  readonly #topics = new Map<string, Topic>();
  #wanted: ReadonlySet<string> = new Set();
  #client: Supabase | null = null;
  #rest: Supabase | null = null;
  #state: TransportState = IDLE;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #ready = false;
  #connections = 0;

  constructor(options: RealtimeOptions) {
    this.#options = options;
  }

  get state(): TransportState {
    return this.#state;
  }

  /** Follow these topics from now on; none closes the connection. */
  follow(topics: ReadonlySet<string>): void {
    this.#wanted = new Set(topics);
    if (topics.size === 0) {
      this.#drop();
      this.#change({ phase: "idle", failures: 0, error: "", retryAtMs: null });
      return;
    }
    if (this.#state.phase === "idle") {
      void this.#connect();
      return;
    }
    for (const name of [...this.#topics.keys()]) if (!topics.has(name)) this.#leave(name);
    if (this.#ready) this.#joinMissing();
  }

  /** Drop everything and connect anew, with a fresh token: the page was asleep, or is online. */
  restart(): void {
    if (this.#wanted.size === 0) return;
    this.#drop();
    void this.#connect();
  }

  /** End for good. */
  close(): void {
    this.follow(new Set());
    this.#rest = null;
  }

  async fill(stream: Stream, first: number, last: number): Promise<FillPage> {
    this.#rest ??= this.#options.supabase();
    const { source, epoch, topic, partition } = stream;
    const abort = new AbortController();
    const range = { source, epoch, topic, partition, first, last, page: FILL_PAGE };
    const call = this.#rest.rpc("crossfade_fill_v1", range).abortSignal(abort.signal);
    try {
      const { data, error } = await within(call, FILL_TIMEOUT_MS, "supabase");
      if (error !== null) throw new Error(`supabase: ${error.message}`);
      const page = data as { events: unknown; floor: number | null; head: number | null };
      return { events: readableEvents(page.events), floor: page.floor, head: page.head };
    } finally {
      abort.abort();
    }
  }

  // -- the connection ------------------------------------------------------------------

  async #connect(): Promise<void> {
    clearTimeout(this.#retry);
    this.#change({ phase: "connecting", retryAtMs: null, reconnects: this.#connections });
    let client: Supabase;
    try {
      client = this.#options.supabase();
    } catch (error) {
      this.#change({ phase: "refused", error: asError(error).message });
      return;
    }
    this.#client = client;
    try {
      // A channel that joins before the token is there is refused after five seconds.
      await within(client.realtime.setAuth(), this.#options.connectTimeoutMs, "token");
    } catch (error) {
      if (client === this.#client) this.#fail(asError(error).message);
      return;
    }
    if (client !== this.#client) return;
    this.#connections++;
    this.#ready = true;
    this.#joinMissing();
  }

  #joinMissing(): void {
    for (const name of this.#wanted) if (!this.#topics.has(name)) this.#join(name, 0);
  }

  #join(name: string, failures: number): void {
    const client = this.#client;
    if (client === null) return;
    if (client.getChannels().some((one) => one.topic === `realtime:crossfade:${name}`)) {
      // The old channel is still leaving, and the client would hand it out again.
      this.#fail(`${name}: the old channel does not end`);
      return;
    }
    const channel = client.channel(`crossfade:${name}`, { config: { private: true } });
    const { deafMs, connectTimeoutMs } = this.#options;
    const topic: Topic = {
      channel,
      watchdog: new Watchdog(deafMs, () => {
        this.#failTopic(name, topic, `no head for ${deafMs / 1_000} s`);
      }),
      joined: false,
      heard: false,
      ended: false,
      said: "",
      failures,
      retry: undefined,
    };
    this.#topics.set(name, topic);
    // What a channel says after its end (that it was closed, above all) is of no interest.
    const current = (): boolean => this.#topics.get(name) === topic && !topic.ended;
    channel.on("broadcast", { event: "events" }, ({ payload }) => {
      if (current()) this.#receive(() => this.#events(payload));
    });
    channel.on("broadcast", { event: "heads" }, ({ payload }) => {
      if (current()) this.#receive(() => this.#heads(name, topic, payload));
    });
    channel.on("system", {}, (payload: { status?: string; message?: string }) => {
      if (payload.status === "error" && current()) topic.said = String(payload.message);
    });
    channel.subscribe((status, error) => {
      if (!current()) return;
      if (status === "SUBSCRIBED") {
        this.#joined(topic);
        return;
      }
      const silent = status === "TIMED_OUT" ? "no answer to the join" : "the server closed the channel";
      this.#failTopic(name, topic, topic.said || (error?.message ?? silent));
    }, connectTimeoutMs);
  }

  #events(payload: unknown): void {
    this.#options.listener.events(readableEvents(decodeFrame(payload)["events"]), "realtime");
  }

  #joined(topic: Topic): void {
    topic.joined = true;
    this.#tellJoined();
    this.#stand();
  }

  #tellJoined(): void {
    const joined = [...this.#topics].filter(([, topic]) => topic.joined);
    this.#options.listener.joined("realtime", new Map(joined.map(([name]) => [name, null])));
  }

  #heads(name: string, topic: Topic, payload: unknown): void {
    const frame = decodeFrame(payload);
    const heads = decodeHeads(frame);
    // Heads are expected from the first one on: a topic without a stream has none, and that
    // one which should have some and does not is noticed by the switch.
    if (topic.heard) topic.watchdog.heard();
    else topic.watchdog.start();
    topic.heard = true;
    topic.failures = 0;
    if (this.#state.failures) this.#change({ failures: 0 });
    const proves = new Map([[name, null]]);
    this.#options.listener.heads(heads, "realtime", proves, Number(frame["at_us"]));
  }

  /** A frame that is no frame must not end the listening; what it held is a hole like any other. */
  #receive(take: () => void): void {
    try {
      take();
    } catch (error) {
      this.#change({ error: asError(error).message });
    }
  }

  #stand(): void {
    const topics = [...this.#topics.values()];
    if (topics.length && topics.every((topic) => topic.joined)) {
      this.#change({ phase: "joined", error: "", retryAtMs: null });
    }
  }

  // -- its end -------------------------------------------------------------------------

  #failTopic(name: string, topic: Topic, reason: string): void {
    if (this.#topics.get(name) !== topic || topic.ended) return;
    const client = this.#client;
    const error = `${name}: ${reason}`;
    const others = [...this.#topics].some(([other, { heard }]) => other !== name && heard);
    // A token that is no longer good is none for any channel: begin with a fresh one.
    const stale = /token|jwt/i.test(reason);
    if (client === null || !client.realtime.isConnected() || !others || stale) {
      this.#fail(error);
      return;
    }
    // The connection serves other topics: only this channel is replaced.
    this.#end(topic);
    this.#tellJoined();
    const failures = topic.failures + 1;
    const { retryInitialMs, retryMaxMs, connectTimeoutMs } = this.#options;
    const pauseMs = jitteredMs(failures, retryInitialMs, retryMaxMs);
    this.#change({ phase: "connecting", error, retryAtMs: Date.now() + pauseMs });
    const again = async (): Promise<void> => {
      await within(client.realtime.setAuth(), connectTimeoutMs, "token");
      if (this.#topics.get(name) === topic) this.#join(name, failures);
    };
    topic.retry = setTimeout(() => {
      again().catch((fault: unknown) => {
        if (this.#topics.get(name) === topic) this.#fail(asError(fault).message);
      });
    }, pauseMs);
    void client.removeChannel(topic.channel);
  }

  #fail(error: string): void {
    this.#drop();
    this.#options.listener.failed("realtime");
    const failures = this.#state.failures + 1;
    const { retryInitialMs, retryMaxMs } = this.#options;
    const pauseMs = jitteredMs(failures, retryInitialMs, retryMaxMs);
    this.#retry = setTimeout(() => void this.#connect(), pauseMs);
    this.#change({ phase: "waiting", failures, error, retryAtMs: Date.now() + pauseMs });
  }

  #leave(name: string): void {
    const topic = this.#topics.get(name);
    if (topic === undefined) return;
    this.#end(topic);
    this.#topics.delete(name);
    void this.#client?.removeChannel(topic.channel);
    this.#stand();
  }

  #end(topic: Topic): void {
    clearTimeout(topic.retry);
    topic.watchdog.stop();
    topic.joined = false;
    topic.heard = false;
    topic.ended = true;
  }

  #drop(): void {
    clearTimeout(this.#retry);
    for (const topic of this.#topics.values()) this.#end(topic);
    this.#topics.clear();
    this.#ready = false;
    const client = this.#client;
    this.#client = null;
    if (client === null) return;
    this.#options.listener.left("realtime");
    // Not awaited: a dead socket takes as long as the browser likes, and this client is done.
    void client.removeAllChannels().catch(() => undefined);
    void client.realtime.disconnect();
  }

  #change(part: Partial<TransportState>): void {
    const before = this.#state;
    this.#state = { ...before, ...part };
    const changed = (Object.keys(part) as (keyof TransportState)[]).some(
      (name) => before[name] !== this.#state[name],
    );
    if (changed) this.#options.listener.changed("realtime");
  }
}
