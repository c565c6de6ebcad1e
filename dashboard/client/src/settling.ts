/** Decides when a stream that nobody has told of is a new one, and not merely not announced yet. */

/** How long after Realtime's first heads: they come for every topic within a second or two. */
const SETTLE_MS = 3_000;
/** A hub that knows no stream was just started, perhaps: so long its publishers may take. */
const QUIET_HUB_MS = 30_000;

/**
 * Whoever begins at the latest begins behind what exists already, and at the beginning of what
 * is born later. The two differ only by when they were first heard of: before or after the
 * moment that is found here. It comes once, and the earliest reason for it counts.
 */
export class Settling {
  readonly #settle: () => void;
  /** Whether the hub has told of any stream. */
  #met = false;
  #atMs = Infinity;

  /** @param settle called when that moment has come; more than once does no harm. */
  constructor(settle: () => void) {
    this.#settle = settle;
  }

  /** The hub told of so many streams before it catches up. */
  met(count: number): void {
    this.#met ||= count > 0;
  }

  /** The hub has told of everything that it knows: nothing, perhaps. */
  announced(nowMs: number): void {
    if (this.#met) this.#settle();
    else this.#within(QUIET_HUB_MS, nowMs);
  }

  /** Realtime proved by heads that it is heard. */
  heard(nowMs: number): void {
    this.#within(SETTLE_MS, nowMs);
  }

  /**
   * The hub brought so many heads; true when they are the first ones ever: the publishers of a
   * hub that was restarted are back. Their streams are to be met, and are all that there are.
   */
  isBack(count: number): boolean {
    return !this.#met && count > 0;
  }

  /** Let time pass. */
  tick(nowMs: number): void {
    if (nowMs >= this.#atMs) this.#settle();
  }

  #within(waitMs: number, nowMs: number): void {
    this.#atMs = Math.min(this.#atMs, nowMs + waitMs);
  }
}
