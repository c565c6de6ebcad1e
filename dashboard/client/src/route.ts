/** One partition's way to a subscriber, and what the switch reports of it. */

import type { TransportName } from "./transport.js";

/** A partition was cut over to `to`. */
export interface Switched {
  readonly kind: "switched";
  readonly topic: string;
  readonly partition: number;
  readonly to: TransportName;
  readonly generation: number;
  readonly tookMs: number;
}

/** A move to `to` took too long; the partition stays where it was. */
export interface SwitchFailed {
  readonly kind: "switch_failed";
  readonly topic: string;
  readonly partition: number;
  readonly to: TransportName;
  readonly generation: number;
  readonly reason: string;
}

/** Realtime's partitions of `topic` went back to WebSocket without any flag. */
export interface FellBack {
  readonly kind: "fell_back";
  readonly topic: string;
  readonly partitions: readonly number[];
  readonly reason: string;
}

export type SwitchFact = Switched | SwitchFailed | FellBack;

/** `steady` on one side; `overlap` while the new side is tried; `drain` behind the cut. */
export type Phase = "steady" | "overlap" | "drain";

/** Where one partition is listened to. `side` is believed, `target` is what flags ask. */
export class Route {
  side: TransportName = "websocket";
  target: TransportName = "websocket";
  phase: Phase = "steady";
  generation = 0;
  sinceMs = 0;
  notBeforeMs = 0;
  proven = false;
  snapshot: Map<string, number> | null = null;
  failed = false;
  away = false;
  attempts = 0;

  constructor(
    readonly topic: string,
    readonly number: number,
  ) {}

  /** Whether a move is owed or under way that has not yet failed. */
  get pending(): boolean {
    return this.side !== this.target && !this.failed && !this.away;
  }

  /** Whether it is to be listened to on `via` now. */
  wants(via: TransportName): boolean {
    // Behind a cut the old side, during an overlap the new one: either is the other one.
    return via === this.side || this.phase !== "steady";
  }

  /** Begin the move to the target. */
  start(generation: number, nowMs: number): void {
    this.phase = "overlap";
    this.generation = generation;
    this.sinceMs = nowMs;
    this.proven = false;
    this.snapshot = null;
  }

  /** The new side has shown all there was: believe it. */
  cut(nowMs: number): void {
    this.side = this.target;
    this.phase = "drain";
    this.sinceMs = nowMs;
    this.failed = this.away = false;
    this.attempts = 0;
  }

  /** Stay on the old side, and try again later. */
  keep(notBeforeMs: number): void {
    this.phase = "steady";
    this.failed = true;
    this.attempts++;
    this.notBeforeMs = notBeforeMs;
  }

  /** WebSocket, now; the way back opens at `notBeforeMs`. */
  fallBack(notBeforeMs: number): void {
    this.side = "websocket";
    this.phase = "steady";
    this.away = this.target === "realtime";
    this.notBeforeMs = notBeforeMs;
  }
}
