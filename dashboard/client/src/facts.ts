/** What goes into a sequencer and what comes out of it. */

import type { DeliveryConflict, Lost } from "./continuity.js";
import type { CrossfadeEvent, Stream } from "./event.js";

/** What comes out: an event to hand over, a gap for good, or a contradiction. */
export type Fact = CrossfadeEvent | Lost | DeliveryConflict;

/** Whether a fact is an event to hand over. */
export function isEvent(fact: Fact): fact is CrossfadeEvent {
  return !("kind" in fact);
}

/** Where a stream stands: `next` is delivered next, `head` is the highest known. */
export interface Progress {
  readonly stream: Stream;
  readonly next: number;
  readonly head: number;
}

/** A stream and the sequence to deliver next. */
export interface Standing {
  readonly stream: Stream;
  readonly next: number;
}

/**
 * `earliest` begins at 1 (or the lowest floor of the sources), `latest` behind the first head
 * or at the first event seen.
 */
export type Start = "earliest" | "latest";

export interface SequencerOptions {
  /** Names of the live transports (`via` of `receive`). */
  transports?: readonly string[];
  /** Names of the stores to ask for fills, in order. */
  sources?: readonly string[];
  /** The source that speaks for the publisher's journal: without its floor nothing is given up. */
  authority?: string;
  /** Where a stream without a position begins; after `settle` it begins at 1. */
  start?: Start;
  /** Per stream the sequence to deliver next. */
  positions?: readonly Standing[];
  /** Events that may wait, all streams together; above it the highest are fetched again later. */
  bufferEvents?: number;
  /** How long a hole may mend itself before a fill is wanted. */
  holeGraceMs?: number;
  /** Longest pause between two rounds over the sources. */
  retryMaxMs?: number;
  /** Fills under way at once, all streams together. */
  fills?: number;
}
