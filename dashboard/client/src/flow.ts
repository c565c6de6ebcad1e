/** One stream as a subscriber sees it: what comes next, what waits, what is known to exist. */

import type { Lost, Tally } from "./continuity.js";
import type { CrossfadeEvent, Stream } from "./event.js";

/** Hashes remembered per stream: a duplicate that is older is not checked for a conflict. */
export const RECENT = 256;

/** Heads remembered per stream with the time they were first known. */
export const MARKS = 4;

/** Rounds over all sources before an epoch that ended is given up: a store may lag. */
export const SUPERSEDED_ROUNDS = 3;

/** A page wanted: the sequences `first` to `last` of `stream`, from `source`. */
export interface Fill {
  readonly stream: Stream;
  readonly first: number;
  readonly last: number;
  readonly source: string;
}

/**
 * What a page without the wanted sequence proves of its source. It holds nothing below
 * `floor`: 0 when it may still hold what was wanted, null when it holds nothing of the stream
 * at all. `head` is its last sequence, null when it has none.
 */
export interface Answer {
  readonly floor: number | null;
  readonly head: number | null;
}

/**
 * What a page without `fill.first` proves of its source.
 *
 * The authority may be cut off from the journal for now, so of it only a floor is proof.
 * Another store that has later sequences and not this one does not hold it either.
 */
export function prove(
  fill: Fill,
  events: readonly CrossfadeEvent[],
  floor: number | null,
  head: number | null,
  byAuthority: boolean,
): Answer {
  if (byAuthority) return { floor: floor !== null && floor > fill.first ? floor : 0, head };
  if (floor === null || floor > fill.first) return { floor, head };
  if (events.length) return { floor: Math.min(...events.map((event) => event.sequence)), head };
  return { floor: head !== null && head > fill.last ? fill.last + 1 : 0, head };
}

/** Up to where a hole is lost for good, and why. */
export interface GivenUp {
  readonly last: number;
  readonly reason: Lost["reason"];
}

interface Held {
  readonly event: CrossfadeEvent;
  readonly via: number;
  readonly sinceMs: number;
}

interface Mark {
  sequence: number;
  sinceMs: number;
}

/**
 * State of one stream; mutable, because every event moves it.
 *
 * `next` is the sequence to deliver next. `order` holds the sequences that wait in `buffer`,
 * sorted. `marks` holds heads at or above `next` with the time each was first known; a hole
 * lies between `next` and `gapLast` since `gapMs`. `waits` holds everything back until an
 * older epoch is complete. While `next` is `origin` nothing has been handed over, and a `movable`
 * one may still begin higher.
 */
export class Flow {
  ahead = false;
  readonly answers = new Map<number, Answer | null>();
  attempts = 0;
  readonly buffer = new Map<number, Held>();
  fill: Fill | null = null;
  gapLast = 0;
  gapMs = 0;
  knownFrom: number;
  readonly marks: Mark[] = [];
  movable = false;
  notBeforeMs = 0;
  order: number[] = [];
  origin: number;
  readonly recent = new Array<string>(RECENT).fill("");
  turn = 0;
  waits = false;

  constructor(
    readonly stream: Stream,
    public next: number,
    readonly tally: Tally,
    readonly lane: Flow[],
  ) {
    this.knownFrom = next;
    this.origin = next;
  }

  /** The highest sequence known to exist. */
  get head(): number {
    return Math.max(
      this.next - 1,
      this.order.at(-1) ?? 0,
      this.marks.at(-1)?.sequence ?? 0,
    );
  }

  /** Remember that the stream goes up to `sequence` at least. */
  mark(sequence: number, nowMs: number): void {
    const last = this.marks.at(-1);
    if (sequence < this.next || (last !== undefined && sequence <= last.sequence)) return;
    if (last === undefined || this.marks.length < MARKS) {
      this.marks.push({ sequence, sinceMs: nowMs });
    } else {
      // The older time stays: an event is then missed a little too early, never late.
      last.sequence = sequence;
    }
  }

  /** Put an event that is not yet due into the buffer. */
  hold(event: CrossfadeEvent, via: number, nowMs: number): void {
    const sequence = event.sequence;
    this.buffer.set(sequence, { event, via, sinceMs: nowMs });
    const order = this.order;
    const last = order.at(-1);
    if (last === undefined || sequence > last) {
      order.push(sequence);
      return;
    }
    let low = 0;
    let high = order.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((order[middle] as number) < sequence) low = middle + 1;
      else high = middle;
    }
    order.splice(low, 0, sequence);
  }

  /** Drop the highest event that waits, and remember that it exists. */
  evictHighest(nowMs: number): void {
    const sequence = this.order.pop();
    if (sequence === undefined) return;
    this.buffer.delete(sequence);
    this.mark(sequence, nowMs);
  }

  /** Set the hole in front of `next`; false when nothing beyond is known. */
  lookForGap(): boolean {
    while (this.marks[0] !== undefined && this.marks[0].sequence < this.next) this.marks.shift();
    const mark = this.marks[0];
    const first = this.order[0];
    if (first !== undefined) {
      this.gapLast = first - 1;
      this.gapMs = this.buffer.get(first)?.sinceMs ?? 0;
      if (mark !== undefined) this.gapMs = Math.min(this.gapMs, mark.sinceMs);
      return true;
    }
    if (mark !== undefined) {
      this.gapLast = this.marks.at(-1)?.sequence ?? mark.sequence;
      this.gapMs = mark.sinceMs;
      return true;
    }
    return false;
  }

  /** Forget what was asked and answered about a hole that is closed or has moved. */
  calm(): void {
    this.turn = 0;
    this.attempts = 0;
    this.notBeforeMs = 0;
    this.answers.clear();
  }

  /**
   * What is lost for good, once every source has answered: either every one of them proved
   * that it holds nothing so low, or the epoch ended with its journal and none goes so high
   * (then only after `SUPERSEDED_ROUNDS` rounds).
   */
  givenUp(): GivenUp | null {
    const answers: Answer[] = [];
    for (const answer of this.answers.values()) {
      if (answer === null) return null;
      answers.push(answer);
    }
    const floors = answers.flatMap((answer) => (answer.floor === null ? [] : [answer.floor]));
    const floor = Math.min(...floors);
    if (floors.length && floor > this.next) {
      const first = this.order[0];
      return {
        last: first === undefined ? floor - 1 : Math.min(floor - 1, first - 1),
        reason: "retention",
      };
    }
    if (
      (this.lane.at(-1)?.stream.epoch ?? 0) > this.stream.epoch &&
      this.attempts >= SUPERSEDED_ROUNDS &&
      answers.every((answer) => answer.head === null || answer.head < this.next)
    ) {
      return { last: this.gapLast, reason: "superseded" };
    }
    return null;
  }
}
