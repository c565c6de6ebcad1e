/** Sends a page's reports: one a second, one at a time. */

const EVERY_MS = 1_000;

/** Where a report goes; rejects when it was not taken. */
export interface ReportTarget {
  report(report: object): Promise<void>;
}

/** Nothing waits for a report: one that was not taken is left out, and the next one follows. */
export class Reporter {
  readonly #target: ReportTarget | null;
  readonly #make: (nowMs: number) => object;
  /** A page that has just begun has nothing to tell: its first second counts as reported. */
  #sentMs = 0;
  #sending = false;

  /** @param target null for nobody; @param make the report since the last one. */
  constructor(target: ReportTarget | null, make: (nowMs: number) => object) {
    this.#target = target;
    this.#make = make;
  }

  /** What is to be told waits for nobody: report at the next tick. */
  hurry(): void {
    this.#sentMs = -Infinity;
  }

  /** Let time pass. */
  tick(nowMs: number): void {
    if (this.#target === null || this.#sending || nowMs - this.#sentMs < EVERY_MS) return;
    this.#sentMs = nowMs;
    this.#sending = true;
    this.#target
      .report(this.#make(nowMs))
      // The control server counts this page as not live meanwhile.
      .catch(() => undefined)
      .finally(() => {
        this.#sending = false;
      });
  }
}
