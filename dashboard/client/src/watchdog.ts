/** Notices silence, without being fooled by a page that was itself asleep. */

import { monotonicMs } from "./transport.js";

/**
 * Calls `deaf` when `heard` was not called for `limitMs`. A timer that fires late proves that
 * the page slept, not that the server did: what waits in the socket is then given a turn first.
 */
export class Watchdog {
  readonly #limitMs: number;
  readonly #deaf: () => void;
  #timer: ReturnType<typeof setInterval> | undefined;
  #heardMs = 0;
  #looked = 0;

  constructor(limitMs: number, deaf: () => void) {
    this.#limitMs = limitMs;
    this.#deaf = deaf;
  }

  /** Milliseconds since the last frame. */
  get silentMs(): number {
    return monotonicMs() - this.#heardMs;
  }

  start(): void {
    this.stop();
    this.heard();
    const everyMs = Math.max(50, this.#limitMs / 6);
    this.#looked = monotonicMs();
    this.#timer = setInterval(() => {
      const slept = monotonicMs() - this.#looked > 3 * everyMs;
      this.#looked = monotonicMs();
      if (!slept && this.silentMs > this.#limitMs) this.#deaf();
    }, everyMs);
  }

  heard(): void {
    this.#heardMs = monotonicMs();
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}
