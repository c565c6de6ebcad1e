/** What both transports have in common: how they tell what they bring and how they stand. */

import type { CrossfadeEvent, Head, Stream } from "./event.js";

/** The two transports, by the names that flags, reports and the sequencer use. */
export type TransportName = "websocket" | "realtime";

/** Topics and, per topic, partitions (null: all of them). */
export type Coverage = ReadonlyMap<string, ReadonlySet<number> | null>;

/**
 * How a transport stands.
 *
 * `idle`: nothing is asked of it. `connecting`. `joined`: the server has accepted what is
 * asked; not yet a proof that anything arrives. `waiting`: it will try again at `retryAtMs`.
 * `refused`: it will not try again by itself, because that would not help.
 */
export interface TransportState {
  readonly phase: "idle" | "connecting" | "joined" | "waiting" | "refused";
  /** Wall clock in milliseconds; null unless waiting. */
  readonly retryAtMs: number | null;
  /** Failures since the last proof that frames arrive. */
  readonly failures: number;
  /** Connections made after the first. */
  readonly reconnects: number;
  /** Why it is not joined, for people; "" while all is well. */
  readonly error: string;
}

/** Who is told; none of these may throw. */
export interface Listener {
  /** Events arrived, in any order. */
  events(events: CrossfadeEvent[], via: TransportName): void;
  /** Heads arrived; `proves` is what they prove to be heard (null: nothing, still catching up). */
  heads(heads: Head[], via: TransportName, proves: Coverage | null, atUs: number): void;
  /** The transport is about to catch up; these heads are known before it does. */
  meet(heads: Head[]): void;
  /** A subscription was acknowledged; `coverage` replaces the earlier one. */
  joined(via: TransportName, coverage: Coverage): void;
  /** The connection is gone. */
  left(via: TransportName): void;
  /** One more attempt in a row failed. */
  failed(via: TransportName): void;
  /** The state changed. */
  changed(via: TransportName): void;
}

/** A page of a stream from a store; `floor` and `head` are null when it holds nothing of it. */
export interface FillPage {
  readonly events: CrossfadeEvent[];
  readonly floor: number | null;
  readonly head: number | null;
}

/** A store that can be asked for a range of a stream. */
export interface FillSource {
  /**
   * The events from `first` on, in order, at most to `last`; the page may be short.
   *
   * Rejects when there is no answer in time: another source is asked then.
   */
  fill(stream: Stream, first: number, last: number): Promise<FillPage>;
}

/** A secret, or where to get a fresh one. */
export type TokenSource = string | (() => string | Promise<string>);

export const IDLE: TransportState = {
  phase: "idle",
  retryAtMs: null,
  failures: 0,
  reconnects: 0,
  error: "",
};

/** Longest wait for a fill's answer; the hub itself waits 5 s for the publisher's journal. */
export const FILL_TIMEOUT_MS = 8_000;

/** Milliseconds of a clock that never goes back. */
export function monotonicMs(): number {
  return performance.now();
}

/**
 * The pause before the next attempt, with full jitter (a random share of an exponential
 * limit), so that many pages that lost the same server do not come back together.
 */
export function jitteredMs(failures: number, initialMs: number, maxMs: number): number {
  const limit = Math.min(maxMs, initialMs * 2 ** Math.min(failures, 20));
  return Math.max(20, Math.random() * limit);
}

/** `promise`, or a rejection after `ms`. */
export function within<T>(promise: PromiseLike<T>, ms: number, what: string): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new Error(`${what}: no answer within ${ms / 1_000} s`)),
      ms,
    );
    promise.then(
      (value) => {
        clearTimeout(timer);
        resolve(value);
      },
      (error: unknown) => {
        clearTimeout(timer);
        reject(asError(error));
      },
    );
  });
}

export function asError(value: unknown): Error {
  return value instanceof Error ? value : new Error(String(value));
}
