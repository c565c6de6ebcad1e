/** What a page reports to the control server, about once a second (`crossfade.core.telemetry`). */

import type { Continuity } from "./continuity.js";
import { type CrossfadeEvent, type Head, streamKey } from "./event.js";
import type { TransportName, TransportState } from "./transport.js";

/** Latencies in buckets that grow by 5 % each: bucket b holds 1.05^b ≤ ms < 1.05^(b+1). */
const GROWTH = Math.log(1.05);
const LEAST_MS = 0.01;

/** With more topics than this a report does not tell its partitions one by one, as in Python. */
const MOST_TOPICS = 200;

/** A difference of clocks below this is taken for the network's time, not for a wrong clock. */
const SKEW_MS = 250;
/** Heads over which the smallest difference is kept. */
const SKEW_HEADS = 120;

/**
 * How far this computer's clock is ahead of the servers'. Heads tell when they were sent; the
 * smallest difference to their arrival is the clocks' own, give or take the network's time.
 */
export class ClockSkew {
  readonly #differences: number[] = [];

  /** A head that was sent at `atUs` arrived at `nowMs`, both by the wall clock. */
  heard(atUs: number, nowMs: number): void {
    this.#differences.push(nowMs - atUs / 1_000);
    if (this.#differences.length > SKEW_HEADS) this.#differences.shift();
  }

  /** Milliseconds to take off this computer's time; 0 while the clocks agree. */
  get ms(): number {
    const least = Math.min(...this.#differences);
    return Number.isFinite(least) && (least > SKEW_MS || least < 0) ? least : 0;
  }
}

interface Window {
  received: number;
  delivered: number;
  cohort: number;
  latency: Map<number, number>;
}

/** How one transport stands at the moment of a report. */
export interface TransportStanding {
  readonly state: TransportState;
  readonly headAgeMs: number | null;
  /** The partitions that are listened to on it, by topic. */
  readonly serving: ReadonlyMap<string, ReadonlySet<number>>;
}

/** Figures of a report that are not counted here. */
export interface Standings {
  readonly continuity: readonly Continuity[];
  readonly transports: Readonly<Record<TransportName, TransportStanding>>;
  readonly flagVersion: number;
  readonly switchFailed: number;
  readonly fallenBack: number;
}

/** Counters between two reports. */
export class Telemetry {
  readonly #instance: string;
  readonly #replayed = new Map<string, number>();
  readonly skew = new ClockSkew();
  readonly #reconnects: Record<TransportName, number> = { websocket: 0, realtime: 0 };
  #windows: Record<TransportName, Window> = { websocket: empty(), realtime: empty() };
  #categories = new Map<string, number>();
  #sinceMs: number;
  /** Events whose content did not have its hash. */
  altered = 0;
  /** Deliveries that this page delayed itself: they say nothing of a transport. */
  late = 0;
  /** Figures of the page itself (load time, errors), sent with every report. */
  readonly resources: Record<string, number> = {};

  constructor(instance: string, nowMs: number) {
    this.#instance = instance;
    this.#sinceMs = nowMs;
  }

  /** Events up to these heads come from a history: they say nothing of the latency. */
  replays(heads: readonly Head[]): void {
    for (const { stream, sequence } of heads) {
      const key = streamKey(stream);
      this.#replayed.set(key, Math.max(sequence, this.#replayed.get(key) ?? 0));
    }
  }

  /** So many events arrived by `via`, of whatever use. */
  received(via: TransportName, count: number): void {
    this.#windows[via].received += count;
  }

  /**
   * An event was handed over; `via` is null when a store brought it, and `late` says that the
   * page itself was busy or asleep until just now.
   */
  delivered(event: CrossfadeEvent, via: TransportName | null, inCohort: boolean, late: boolean): void {
    this.#categories.set(event.category, (this.#categories.get(event.category) ?? 0) + 1);
    if (via === null) return;
    const window = this.#windows[via];
    window.delivered++;
    window.cohort += Number(inCohort);
    if (event.committed === undefined) return;
    if (event.sequence <= (this.#replayed.get(streamKey(event)) ?? 0)) return;
    if (late) {
      this.late++;
      return;
    }
    const latencyMs = Math.max(LEAST_MS, Date.now() - this.skew.ms - event.committed / 1_000);
    const bucket = Math.floor(Math.log(latencyMs) / GROWTH);
    window.latency.set(bucket, (window.latency.get(bucket) ?? 0) + 1);
  }

  /** The report since the last one, as `Report.from_json` reads it. */
  report(standings: Standings, nowMs: number): object {
    const { continuity, transports } = standings;
    const sum = (value: (report: Continuity) => number): number =>
      continuity.reduce((all, report) => all + value(report), 0);
    const found = {
      instance: this.#instance,
      role: "page",
      at_us: Date.now() * 1_000,
      interval_ms: Math.max(1, nowMs - this.#sinceMs),
      flag_version: standings.flagVersion,
      sinks: {},
      transports: {
        websocket: this.#transport("websocket", transports.websocket),
        realtime: this.#transport("realtime", transports.realtime),
      },
      categories: Object.fromEntries(this.#categories),
      totals: {
        delivered: sum((one) => one.delivered),
        lost: sum((one) => one.lostEvents),
        conflicts: sum((one) => one.conflicts),
        holes: sum((one) => one.holes),
        filled: sum((one) => (one.deliveredBy["hub"] ?? 0) + (one.deliveredBy["supabase"] ?? 0)),
        altered: this.altered,
        switch_failed: standings.switchFailed,
        fallen_back: standings.fallenBack,
      },
      resources: { ...this.resources, buffered: sum((one) => one.buffered), "page.late": this.late },
    };
    this.#windows = { websocket: empty(), realtime: empty() };
    this.#categories = new Map();
    this.#sinceMs = nowMs;
    return found;
  }

  #transport(name: TransportName, standing: TransportStanding): object {
    const { received, delivered, cohort, latency } = this.#windows[name];
    const { reconnects } = standing.state;
    const again = reconnects - this.#reconnects[name];
    this.#reconnects[name] = reconnects;
    return {
      connected: standing.state.phase === "joined",
      received,
      delivered,
      cohort,
      duplicates: Math.max(0, received - delivered),
      reconnects: Math.max(0, again),
      head_age_ms: standing.headAgeMs,
      partitions: [...standing.serving.values()].reduce((all, some) => all + some.size, 0),
      serving: bitsOf(standing.serving),
      latency_ms: { counts: Object.fromEntries(latency) },
    };
  }
}

/** By topic a hexadecimal number whose bit n is partition n; nothing where that is too much. */
function bitsOf(serving: TransportStanding["serving"]): Record<string, string> {
  if (serving.size > MOST_TOPICS) return {};
  return Object.fromEntries(
    [...serving].map(([topic, numbers]) => {
      const bits = [...numbers].reduce((all, number) => all | (1n << BigInt(number)), 0n);
      return [topic, bits.toString(16)];
    }),
  );
}

function empty(): Window {
  return { received: 0, delivered: 0, cohort: 0, latency: new Map() };
}
