/** Where a page stood, kept over a reload in its tab's storage. */

import type { Stream } from "./event.js";
import type { Standing } from "./facts.js";

/** What to keep with the position, so that what is shown and the position never disagree. */
export interface Resume<State = unknown> {
  /** One per subscriber of a page. */
  key: string;
  /** What is shown now, as JSON; written together with the position. */
  save?: () => State;
  /** Called once at the start with what was saved last. */
  load?: (state: State) => void;
  /** `sessionStorage` by default: each tab has a position of its own. */
  storage?: Storage;
}

type Row = [source: string, epoch: number, topic: string, partition: number, next: number];

interface Stored {
  readonly v: 1;
  readonly positions: readonly Row[];
  readonly state?: unknown;
}

/** Reads and writes one subscriber's position, with the state it belongs to, in one item. */
export class PositionStore {
  readonly #resume: Resume;
  readonly #key: string;

  constructor(resume: Resume) {
    this.#resume = resume;
    this.#key = `crossfade:position:${resume.key}`;
  }

  /** The positions of the last save; hands its state to `load`. Empty when there is none. */
  restore(): Standing[] {
    const text = this.#storage.getItem(this.#key);
    if (text === null) return [];
    try {
      const stored = JSON.parse(text) as Stored;
      if (stored.v !== 1) return [];
      const standings = stored.positions.map(([source, epoch, topic, partition, next]) => {
        if (!Number.isSafeInteger(next) || next < 1) throw new TypeError("not a position");
        const stream: Stream = { source, epoch, topic, partition };
        return { stream, next };
      });
      if (stored.state !== undefined) this.#resume.load?.(stored.state);
      return standings;
    } catch {
      this.#storage.removeItem(this.#key); // Unreadable: begin anew rather than never.
      return [];
    }
  }

  /**
   * Write position and state.
   *
   * @throws DOMException when the storage is full.
   */
  save(positions: readonly Standing[]): void {
    const rows = positions.map(({ stream, next }): Row => {
      return [stream.source, stream.epoch, stream.topic, stream.partition, next];
    });
    const state = this.#resume.save?.();
    this.#storage.setItem(this.#key, JSON.stringify({ v: 1, positions: rows, state }));
  }

  /** Forget: the next page begins anew. */
  clear(): void {
    this.#storage.removeItem(this.#key);
  }

  get #storage(): Storage {
    return this.#resume.storage ?? sessionStorage;
  }
}
