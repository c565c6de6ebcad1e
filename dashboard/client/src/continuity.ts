/** What a subscriber can prove about its own deliveries, per source. */

import type { Stream } from "./event.js";

/** Lost ranges that a report lists per source; `lostEvents` counts them all. */
export const LOST_RANGES_KEPT = 1_000;

/**
 * Sequences that no store holds any more: the only gap a subscriber ever hands over.
 * `reason` is `retention` (every store's floor is above) or `superseded` (the epoch ended
 * with its journal, and no store has them).
 */
export interface Lost {
  readonly kind: "lost";
  readonly stream: Stream;
  readonly first: number;
  readonly last: number;
  readonly reason: "retention" | "superseded";
}

/**
 * An event came with another hash than the one held or handed over at its position. The
 * first one stays; `via` names the transport or store that brought the other.
 */
export interface DeliveryConflict {
  readonly kind: "conflict";
  readonly stream: Stream;
  readonly sequence: number;
  readonly kept: string;
  readonly offered: string;
  readonly via: string;
}

/** Counters of one source while it is followed; mutable, because every event touches it. */
export class Tally {
  readonly first: number[];
  readonly duplicates: number[];
  readonly healed: number[];
  readonly lost: Lost[] = [];
  conflicts = 0;
  evicted = 0;
  holes = 0;
  longestMs = 0;
  lostEvents = 0;
  reordered = 0;
  skipped = 0;
  #high = 0;
  #low = 0;

  constructor(names: number) {
    this.first = new Array<number>(names).fill(0);
    this.duplicates = new Array<number>(names).fill(0);
    this.healed = new Array<number>(names).fill(0);
  }

  /** Add a delivered event's hash to the rolling sum mod 2^64. */
  add(hash: string): void {
    const low = this.#low + parseInt(hash.slice(8), 16);
    this.#low = low >>> 0;
    this.#high = (this.#high + parseInt(hash.slice(0, 8), 16) + (low > 0xffff_ffff ? 1 : 0)) >>> 0;
  }

  /** The rolling sum as 16 hexadecimal digits. */
  get rollingHash(): string {
    return hex32(this.#high) + hex32(this.#low);
  }

  /** Count a lost range. */
  lose(lost: Lost): void {
    this.lostEvents += lost.last - lost.first + 1;
    if (this.lost.length < LOST_RANGES_KEPT) this.lost.push(lost);
  }
}

/**
 * One source's report; counters are since the start of the sequencer.
 *
 * `deliveredBy` and `duplicates` are per transport or store; `reordered` counts events that
 * came before one of a lower sequence; a hole is a run of missing sequences below something
 * known to exist, `healedBy` says whose event (or `lost`) closed it, `longestHoleMs` includes
 * open ones. `evicted` events were dropped from the full buffer and fetched again; `skipped`
 * ones lay below every store's floor when the subscriber began at the earliest there is.
 * `rollingHash` is the sum of the delivered events' hashes mod 2^64: the same sum as in the
 * stores' digests.
 */
export interface Continuity {
  readonly source: string;
  readonly streams: number;
  readonly delivered: number;
  readonly deliveredBy: Readonly<Record<string, number>>;
  readonly duplicates: Readonly<Record<string, number>>;
  readonly reordered: number;
  readonly conflicts: number;
  readonly holes: number;
  readonly openHoles: number;
  readonly healedBy: Readonly<Record<string, number>>;
  readonly longestHoleMs: number;
  readonly buffered: number;
  readonly evicted: number;
  readonly skipped: number;
  readonly lostEvents: number;
  readonly lost: readonly Lost[];
  readonly rollingHash: string;
}

/** What stands open in a source's streams at the moment of a report. */
export interface OpenHoles {
  readonly streams: number;
  readonly openHoles: number;
  readonly buffered: number;
  readonly longestMs: number;
}

/** The report from a tally and what stands open now. */
export function continuityOf(
  source: string,
  tally: Tally,
  names: readonly string[],
  open: OpenHoles,
): Continuity {
  return {
    source,
    streams: open.streams,
    delivered: tally.first.reduce((sum, count) => sum + count, 0),
    deliveredBy: named(names, tally.first),
    duplicates: named(names, tally.duplicates),
    reordered: tally.reordered,
    conflicts: tally.conflicts,
    holes: tally.holes,
    openHoles: open.openHoles,
    healedBy: named(names, tally.healed),
    longestHoleMs: Math.max(tally.longestMs, open.longestMs),
    buffered: open.buffered,
    evicted: tally.evicted,
    skipped: tally.skipped,
    lostEvents: tally.lostEvents,
    lost: [...tally.lost],
    rollingHash: tally.rollingHash,
  };
}

function named(names: readonly string[], counts: readonly number[]): Record<string, number> {
  const found: Record<string, number> = {};
  counts.forEach((count, number) => {
    const name = names[number];
    if (count && name !== undefined) found[name] = count;
  });
  return found;
}

function hex32(value: number): string {
  return value.toString(16).padStart(8, "0");
}
