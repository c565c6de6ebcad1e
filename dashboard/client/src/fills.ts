/** Runs the fills that a sequencer wants against their sources. */

import type { Fill } from "./flow.js";
import { type FillPage, type FillSource, monotonicMs } from "./transport.js";

/** After a failure a source is not asked for so long, doubling: another one may know. */
const REST_MS = 1_000;
const REST_MAX_MS = 15_000;

/** One page for each fill, or word that there is none; `filled` and `failed` are told. */
export class Fills {
  readonly #sources: ReadonlyMap<string, FillSource>;
  readonly #filled: (fill: Fill, page: FillPage) => void;
  readonly #failed: (fill: Fill) => void;
  readonly #rests = new Map<string, { failures: number; untilMs: number }>();
  #ended = false;

  constructor(
    sources: ReadonlyMap<string, FillSource>,
    filled: (fill: Fill, page: FillPage) => void,
    failed: (fill: Fill) => void,
  ) {
    this.#sources = sources;
    this.#filled = filled;
    this.#failed = failed;
  }

  /** Start one fill; their number is the sequencer's to limit. */
  start(fill: Fill): void {
    const rest = this.#rests.get(fill.source);
    const source = this.#sources.get(fill.source);
    if (source === undefined || monotonicMs() < (rest?.untilMs ?? 0)) {
      this.#failed(fill);
      return;
    }
    source.fill(fill.stream, fill.first, fill.last).then(
      (page) => {
        this.#rests.delete(fill.source);
        if (!this.#ended) this.#filled(fill, page);
      },
      () => {
        // Why it failed stands in the transport's state; the sequencer asks the next source.
        const failures = rest?.failures ?? 0;
        const pauseMs = Math.min(REST_MAX_MS, REST_MS * 2 ** Math.min(failures, 10));
        this.#rests.set(fill.source, { failures: failures + 1, untilMs: monotonicMs() + pauseMs });
        if (!this.#ended) this.#failed(fill);
      },
    );
  }

  /** Ask every source again at once: the network is back. */
  wake(): void {
    this.#rests.clear();
  }

  /** Answers that still come are of no interest. */
  close(): void {
    this.#ended = true;
  }
}
