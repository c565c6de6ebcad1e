/**
 * The switch: which partitions a subscriber wants on which transport, make before break.
 *
 * The same algorithm as `crossfade/core/switch.py`, and deterministic: flags, joins, heads and
 * failures go in, facts come out, time and random numbers are arguments. Correctness does not
 * hang on it (the sequencer takes anything from both sides); it only decides who is listened
 * to, and when to believe a side.
 *
 * A move: *overlap* (the new side is opened, the old one kept) → *proven* (a head was delivered
 * by the new side for the partition's topic; a join acknowledgement alone proves nothing, except
 * where no stream that moves along exists yet) → the heads known then are the snapshot → *cut* when everything up
 * to them has been delivered → *drain* (the old side is heard a little longer) → done. A move
 * that takes too long keeps the old side and is reported.
 */

import { type Stream, streamKey } from "./event.js";
import { type FlagsDocument, serves } from "./flags.js";
import { Route, type SwitchFact } from "./route.js";
import type { Progress } from "./facts.js";
import type { Coverage, TransportName } from "./transport.js";

/**
 * The switch's times, in milliseconds.
 *
 * `deafMs` without a head, or `connectFailures` in a row, make Realtime's partitions fall back
 * at once. They come back after `deafMs` plus a random part of a window that starts at
 * `returnMs` and doubles up to `returnMaxMs`. Moves that flags ask for start after a random part
 * of `spreadMs`, so that a thousand pages do not move in the same instant.
 */
export interface Pace {
  readonly timeoutMs: number;
  readonly drainMs: number;
  readonly deafMs: number;
  readonly connectFailures: number;
  readonly returnMs: number;
  readonly returnMaxMs: number;
  readonly spreadMs: number;
}

export const PACE: Pace = {
  timeoutMs: 20_000,
  drainMs: 2_000,
  deafMs: 3_000,
  connectFailures: 3,
  returnMs: 5_000,
  returnMaxMs: 120_000,
  spreadMs: 0,
};

/** Where the streams of a partition stand. */
export type ProgressOf = (topic: string, partition: number) => readonly Progress[];

/** Moves partitions between the transports; every partition starts on WebSocket. */
export class Switch {
  readonly #pace: Pace;
  readonly #routes = new Map<string, Route>();
  readonly #unsettled = new Set<Route>();
  readonly #joined: Record<TransportName, Coverage> = { websocket: new Map(), realtime: new Map() };
  /** Per topic: when Realtime was last known to be well, or nothing was expected of it. */
  readonly #wellMs = new Map<string, number>();
  readonly #away = new Map<string, { level: number; untilMs: number }>();
  readonly #expecting = new Set<string>();
  #flags: FlagsDocument | null = null;
  #applied = 0;
  #generation = 0;
  #revision = 0;
  #failures = 0;

  constructor(pace: Pace = PACE) {
    this.#pace = pace;
  }

  // -- what comes in -------------------------------------------------------------------

  /** Follow more partitions of `topic`; those already followed stay as they are. */
  follow(topic: string, partitions: Iterable<number>): void {
    for (const number of partitions) {
      const key = `${topic}\x1f${number}`;
      if (this.#routes.has(key)) continue;
      const route = new Route(topic, number);
      this.#routes.set(key, route);
      if (this.#flags !== null && serves(this.#flags, topic, number)) {
        route.target = "realtime";
        this.#unsettled.add(route);
      }
      this.#revision++;
    }
  }

  /**
   * Take new flags; false when they are not newer than those in force. `random` (0 to 1)
   * spreads the start of the moves over `spreadMs`.
   */
  flags(flags: FlagsDocument, nowMs: number, random: number): boolean {
    if (this.#flags !== null && flags.version <= this.#flags.version) return false;
    this.#flags = flags;
    this.#generation++;
    this.#revision++;
    const startMs = nowMs + Math.trunc(random * this.#pace.spreadMs);
    for (const route of this.#routes.values()) {
      route.target = serves(flags, route.topic, route.number) ? "realtime" : "websocket";
      // A command from outside: what failed before is tried again at once.
      route.failed = route.away = false;
      route.attempts = 0;
      route.notBeforeMs = startMs;
      if (route.phase === "overlap" && route.side === route.target) route.phase = "steady";
      if (route.side !== route.target || route.phase !== "steady") this.#unsettled.add(route);
      else this.#unsettled.delete(route);
    }
    return true;
  }

  /** `via` acknowledged a subscription; `coverage` replaces the earlier one. */
  joined(via: TransportName, coverage: Coverage): void {
    this.#joined[via] = coverage;
    if (via === "realtime" && coverage.size > 0) this.#failures = 0;
  }

  /** The connection of `via` is gone: what it proved, it must prove again. */
  left(via: TransportName): void {
    this.#joined[via] = new Map();
    for (const route of this.#unsettled) {
      if (route.phase === "overlap" && route.target === via) {
        route.proven = false;
        route.snapshot = null;
      }
    }
  }

  /** One more attempt in a row to connect `via` failed. */
  failed(via: TransportName): void {
    if (via === "realtime") this.#failures++;
  }

  /** A heads frame was delivered by `via`, on a subscription that covers this. */
  heard(via: TransportName, coverage: Coverage, nowMs: number): void {
    if (via === "realtime") {
      this.#failures = 0;
      for (const topic of coverage.keys()) this.#wellMs.set(topic, nowMs);
    }
    for (const route of this.#unsettled) {
      if (route.phase === "overlap" && route.target === via && covers(coverage, route)) {
        route.proven = true;
      }
    }
  }

  /** Let time pass; `progress` tells where a partition's streams stand. */
  step(nowMs: number, progress: ProgressOf, random: number): SwitchFact[] {
    const facts: SwitchFact[] = [];
    this.#checkRealtime(nowMs, progress, random, facts);
    for (const route of [...this.#unsettled]) {
      if (route.phase === "overlap") {
        this.#overlap(route, nowMs, progress, random, facts);
      } else if (route.side !== route.target) {
        if (nowMs >= route.notBeforeMs) {
          route.start(this.#generation, nowMs);
          this.#revision++;
        }
      } else if (route.phase === "drain" && nowMs - route.sinceMs >= this.#pace.drainMs) {
        route.phase = "steady";
        this.#revision++;
      }
      if (route.phase === "steady" && route.side === route.target) this.#unsettled.delete(route);
    }
    const pending = [...this.#unsettled].some((route) => route.pending);
    if (this.#flags !== null && !pending) this.#applied = this.#flags.version;
    return facts;
  }

  // -- what can be asked ---------------------------------------------------------------

  /** Changes whenever `wanted` does. */
  get revision(): number {
    return this.#revision;
  }

  /** The flags' version that was last taken; −1 before any. */
  get version(): number {
    return this.#flags?.version ?? -1;
  }

  /** The highest flags' version whose moves are all done, or visibly failed. */
  get applied(): number {
    return this.#applied;
  }

  /** Partitions whose last move took too long and that still are on the old side. */
  get failures(): number {
    return this.#count((route) => route.failed);
  }

  /** Partitions that are on WebSocket only because Realtime is deaf or gone. */
  get fallenBack(): number {
    return this.#count((route) => route.away);
  }

  /** Partitions that are being moved now. */
  get moving(): number {
    return this.#count((route) => route.phase === "overlap");
  }

  /** How many partitions are believed on `via`. */
  served(via: TransportName): number {
    return this.#count((route) => route.side === via);
  }

  /** Who is believed for a stream's partition; null when it is not followed. */
  sideOf({ topic, partition }: Stream): TransportName | null {
    return this.#routes.get(`${topic}\x1f${partition}`)?.side ?? null;
  }

  /** The partitions to listen to on `via`, per topic. */
  wanted(via: TransportName): Map<string, ReadonlySet<number>> {
    return byTopic([...this.#routes.values()].filter((route) => route.wants(via)));
  }

  /** The partitions whose side is `via`, per topic. */
  serving(via: TransportName): Map<string, ReadonlySet<number>> {
    return byTopic([...this.#routes.values()].filter((route) => route.side === via));
  }

  /** Whether flags serve this partition by Realtime and it is not being moved now. */
  inCohort(topic: string, partition: number): boolean {
    const route = this.#routes.get(`${topic}\x1f${partition}`);
    return route?.target === "realtime" && (route.phase === "steady" || route.failed);
  }

  // -- how it moves --------------------------------------------------------------------

  #overlap(
    route: Route,
    nowMs: number,
    progress: ProgressOf,
    random: number,
    facts: SwitchFact[],
  ): void {
    const { topic, number: partition, target: to, generation } = route;
    const known = progress(topic, partition);
    // No stream, so there is no head that could be delivered.
    if (known.length === 0 && covers(this.#joined[to], route) && this.#isLed(route, progress)) {
      route.proven = true;
    }
    if (route.proven && route.snapshot === null) {
      route.snapshot = new Map(known.map(({ stream, head }) => [streamKey(stream), head]));
    }
    const snapshot = route.snapshot;
    const passed = known.every(({ stream, next }) => next > (snapshot?.get(streamKey(stream)) ?? 0));
    // A proof of long ago says nothing of a Realtime that is deaf now.
    const wellMs = this.#wellMs.get(topic) ?? nowMs;
    const stale = to === "realtime" && known.length > 0 && nowMs - wellMs > this.#pace.deafMs;
    if (snapshot !== null && passed && !stale) {
      facts.push({
        kind: "switched",
        topic,
        partition,
        to,
        generation,
        tookMs: nowMs - route.sinceMs,
      });
      route.cut(nowMs);
      if (to === "realtime" && known.length) {
        this.#expecting.add(topic);
        if (!this.#wellMs.has(topic)) this.#wellMs.set(topic, nowMs);
      }
      this.#revision++;
    } else if (nowMs - route.sinceMs >= this.#pace.timeoutMs) {
      const reason = snapshot === null ? `no head came by ${to}` : "what was due did not come";
      facts.push({ kind: "switch_failed", topic, partition, to, generation, reason });
      route.keep(nowMs + this.#pauseMs(route.attempts, random));
      this.#revision++;
    }
  }

  /**
   * Whether a partition without a stream may follow its topic on the word of a join: not while
   * one with streams that is bound the same way still waits for a head.
   */
  #isLed(route: Route, progress: ProgressOf): boolean {
    if (route.target !== "realtime") return true;
    for (const other of this.#unsettled) {
      if (other.topic !== route.topic || other.target !== "realtime") continue;
      if (other.side === "realtime" || other.proven) continue;
      if (progress(other.topic, other.number).length) return false;
    }
    return true;
  }

  #checkRealtime(
    nowMs: number,
    progress: ProgressOf,
    random: number,
    facts: SwitchFact[],
  ): void {
    if (this.#flags?.decommissioned) return; // WebSocket is switched off: nothing to fall back to.
    const topics = new Map<string, Route[]>();
    for (const route of this.#routes.values()) {
      if (route.side !== "realtime") continue;
      topics.set(route.topic, [...(topics.get(route.topic) ?? []), route]);
    }
    for (const topic of this.#expecting) if (!topics.has(topic)) this.#expecting.delete(topic);
    for (const [topic, routes] of topics) {
      let reason: string;
      if (this.#failures >= this.#pace.connectFailures) {
        reason = `${this.#failures} connections in a row failed`;
      } else {
        if (!this.#expecting.has(topic)) {
          if (!routes.some((route) => progress(topic, route.number).length)) continue;
          this.#expecting.add(topic);
          this.#wellMs.set(topic, nowMs);
        }
        const silentMs = nowMs - (this.#wellMs.get(topic) ?? nowMs);
        if (silentMs <= this.#pace.deafMs) continue;
        reason = `no head for ${Math.round(silentMs)} ms`;
      }
      this.#fallBack(topic, routes, nowMs, random);
      const partitions = routes.map((route) => route.number).sort((a, b) => a - b);
      facts.push({ kind: "fell_back", topic, partitions, reason });
    }
  }

  #fallBack(topic: string, routes: readonly Route[], nowMs: number, random: number): void {
    let { level, untilMs } = this.#away.get(topic) ?? { level: 0, untilMs: nowMs };
    if (nowMs - untilMs > this.#pace.returnMaxMs) level = 0; // It was well for long.
    untilMs = nowMs + this.#pauseMs(level, random);
    this.#away.set(topic, { level: level + 1, untilMs });
    this.#revision++;
    for (const route of routes) {
      route.fallBack(untilMs);
      if (route.side !== route.target) this.#unsettled.add(route);
    }
  }

  #pauseMs(level: number, random: number): number {
    const { deafMs, returnMs, returnMaxMs } = this.#pace;
    return deafMs + Math.trunc(random * Math.min(returnMaxMs, returnMs * 2 ** Math.min(level, 20)));
  }

  #count(which: (route: Route) => boolean): number {
    let count = 0;
    for (const route of this.#routes.values()) count += Number(which(route));
    return count;
  }
}

function covers(coverage: Coverage, route: Route): boolean {
  const numbers = coverage.get(route.topic);
  return numbers === null || (numbers?.has(route.number) ?? false);
}

function byTopic(routes: readonly Route[]): Map<string, ReadonlySet<number>> {
  const found = new Map<string, Set<number>>();
  for (const { topic, number } of routes) {
    let numbers = found.get(topic);
    if (numbers === undefined) found.set(topic, (numbers = new Set()));
    numbers.add(number);
  }
  return found;
}
