/** What a page reports to the control server, about once a second (`crossfade.core.telemetry`). */

import type { Continuity } from "./continuity.js";
import type { CrossfadeEvent } from "./event.js";
import type { TransportName, TransportState } from "./transport.js";

/** Latencies in buckets that grow by 5 % each: bucket b holds 1.05^b ≤ ms < 1.05^(b+1). */
const GROWTH = Math.log(1.05);
const LEAST_MS = 0.01;

interface Window {
  delivered: number;
  cohort: number;
  latency: Map<number, number>;
}

/** How one transport stands at the moment of a report. */
export interface TransportStanding {
  readonly state: TransportState;
  readonly headAgeMs: number | null;
  readonly partitions: number;
}

/** Counters between two reports. */
export class Telemetry {
  readonly #instance: string;
  #windows: Record<TransportName, Window> = { websocket: empty(), realtime: empty() };
  #categories = new Map<string, number>();
  #before = new Map<string, number>();
  #sinceMs: number;
  /** Figures of the page itself (load time, errors), sent with every report. */
  readonly resources: Record<string, number> = {};

  constructor(instance: string, nowMs: number) {
    this.#instance = instance;
    this.#sinceMs = nowMs;
  }

  /** An event was handed over; `via` is null when a store brought it. */
  delivered(event: CrossfadeEvent, via: TransportName | null, inCohort: boolean): void {
    this.#categories.set(event.category, (this.#categories.get(event.category) ?? 0) + 1);
    if (via === null) return;
    const window = this.#windows[via];
    window.delivered++;
    window.cohort += Number(inCohort);
    if (event.committed === undefined) return;
    const latencyMs = Math.max(LEAST_MS, Date.now() - event.committed / 1_000);
    const bucket = Math.floor(Math.log(latencyMs) / GROWTH);
    window.latency.set(bucket, (window.latency.get(bucket) ?? 0) + 1);
  }

  /** The report since the last one, as `Report.from_json` reads it. */
  report(
    reports: readonly Continuity[],
    transports: Readonly<Record<TransportName, TransportStanding>>,
    flagVersion: number,
    nowMs: number,
  ): object {
    const found = {
      instance: this.#instance,
      role: "subscriber",
      at_us: Date.now() * 1_000,
      interval_ms: Math.max(1, nowMs - this.#sinceMs),
      flag_version: flagVersion,
      sinks: {},
      transports: {
        websocket: this.#transport("websocket", transports.websocket, reports),
        realtime: this.#transport("realtime", transports.realtime, reports),
      },
      categories: Object.fromEntries(this.#categories),
      totals: totals(reports),
      resources: { ...this.resources },
    };
    this.#windows = { websocket: empty(), realtime: empty() };
    this.#categories = new Map();
    this.#sinceMs = nowMs;
    return found;
  }

  #transport(name: TransportName, standing: TransportStanding, reports: readonly Continuity[]): object {
    const { delivered, cohort, latency } = this.#windows[name];
    const first = reports.reduce((sum, report) => sum + (report.deliveredBy[name] ?? 0), 0);
    const twice = reports.reduce((sum, report) => sum + (report.duplicates[name] ?? 0), 0);
    const duplicates = this.#since(`${name} duplicates`, twice);
    return {
      connected: standing.state.phase === "joined",
      received: this.#since(`${name} first`, first) + duplicates,
      delivered,
      cohort,
      duplicates,
      reconnects: this.#since(`${name} reconnects`, standing.state.reconnects),
      head_age_ms: standing.headAgeMs,
      partitions: standing.partitions,
      latency_ms: { counts: Object.fromEntries(latency) },
    };
  }

  #since(name: string, total: number): number {
    const grown = total - (this.#before.get(name) ?? 0);
    this.#before.set(name, total);
    return Math.max(0, grown);
  }
}

function totals(reports: readonly Continuity[]): Record<string, number> {
  const sum = (value: (report: Continuity) => number): number =>
    reports.reduce((all, report) => all + value(report), 0);
  return {
    delivered: sum((one) => one.delivered),
    lost: sum((one) => one.lostEvents),
    conflicts: sum((one) => one.conflicts),
    holes: sum((one) => one.holes),
    open_holes: sum((one) => one.openHoles),
    filled: sum((one) => (one.deliveredBy["hub"] ?? 0) + (one.deliveredBy["supabase"] ?? 0)),
    reordered: sum((one) => one.reordered),
    longest_hole_ms: Math.round(Math.max(0, ...reports.map((one) => one.longestHoleMs))),
  };
}

function empty(): Window {
  return { delivered: 0, cohort: 0, latency: new Map() };
}
