/** The routing flags: one small versioned document that every instance follows. */

import { cohortSize, ranking } from "./routing.js";

/** The category key that holds for every category without an entry of its own. */
export const EVERYTHING = "*";

/** The flags as the control server hands them out. */
export interface FlagsDocument {
  readonly version: number;
  readonly salt: string;
  readonly partitions: number;
  readonly topics: Readonly<Record<string, string>>;
  readonly written: Readonly<Record<string, number>>;
  readonly served: Readonly<Record<string, number>>;
  readonly kill: boolean;
  /** WebSocket is switched off: everything is served by Realtime, whatever else is said. */
  readonly decommissioned?: boolean;
}

/** Before the first document: nobody is served by Realtime. */
export const NO_FLAGS: FlagsDocument = {
  version: 0,
  salt: "crossfade",
  partitions: 50,
  topics: {},
  written: {},
  served: {},
  kill: false,
};

/** The percentage of `topic`'s partitions that Realtime serves. */
export function servedPercent(flags: FlagsDocument, topic: string): number {
  if (flags.decommissioned) return 100;
  return flags.kill ? 0 : share(flags, flags.served, topic);
}

/** The percentage of `topic`'s partitions that are dual-written. */
export function writtenPercent(flags: FlagsDocument, topic: string): number {
  if (flags.decommissioned) return 100;
  return Math.max(share(flags, flags.written, topic), share(flags, flags.served, topic));
}

/** Whether subscribers of this partition listen to Realtime. */
export function serves(flags: FlagsDocument, topic: string, partition: number): boolean {
  return inCohort(flags, topic, partition, servedPercent(flags, topic));
}

/** Whether this partition is written to Supabase as well. */
export function writes(flags: FlagsDocument, topic: string, partition: number): boolean {
  return inCohort(flags, topic, partition, writtenPercent(flags, topic));
}

function inCohort(flags: FlagsDocument, topic: string, partition: number, percent: number): boolean {
  const rank = ranking(flags.salt, topic, flags.partitions).indexOf(partition);
  return rank >= 0 && rank < cohortSize(flags.partitions, percent);
}

function share(
  flags: FlagsDocument,
  shares: Readonly<Record<string, number>>,
  topic: string,
): number {
  return shares[flags.topics[topic] ?? topic] ?? shares[EVERYTHING] ?? 0;
}

/**
 * Read a flags document.
 *
 * @throws TypeError when it is not one.
 */
export function readFlags(value: unknown): FlagsDocument {
  const found = value as FlagsDocument | null;
  if (
    typeof found !== "object" ||
    found === null ||
    !Number.isInteger(found.version) ||
    typeof found.salt !== "string" ||
    !Number.isInteger(found.partitions) ||
    found.partitions < 1 ||
    ![found.topics, found.written, found.served].every((part) => part && typeof part === "object")
  ) {
    throw new TypeError("not a flags document");
  }
  return found;
}
