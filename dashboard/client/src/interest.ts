/** What a page follows: topics, keys, or partitions. */

import type { CrossfadeEvent, Stream } from "./event.js";
import { partitionOf } from "./routing.js";
import type { Coverage } from "./transport.js";

/**
 * Topics to follow whole; or per topic its keys (an event's `subject`), its partition numbers,
 * or null for all of it.
 */
export type Follow =
  | readonly string[]
  | Readonly<Record<string, readonly string[] | readonly number[] | null>>;

/** Turns what is followed into partitions, once their number is known. */
export class Interest {
  readonly topics: readonly string[];
  readonly #follow: ReadonlyMap<string, readonly (string | number)[] | null>;
  readonly #keys = new Map<string, ReadonlySet<string>>();
  readonly #partitions = new Map<string, Set<number>>();
  #count = 0;

  constructor(follow: Follow) {
    const entries = Array.isArray(follow)
      ? (follow as readonly string[]).map((topic) => [topic, null] as const)
      : Object.entries(follow as Exclude<Follow, readonly string[]>);
    this.#follow = new Map(entries);
    this.topics = [...this.#follow.keys()];
    for (const [topic, parts] of this.#follow) {
      const keys = (parts ?? []).filter((part) => typeof part === "string");
      if (keys.length) this.#keys.set(topic, new Set(keys));
    }
  }

  /** Take the number of partitions of a topic; the partitions that it adds to the interest. */
  resolve(count: number): Map<string, readonly number[]> {
    const added = new Map<string, readonly number[]>();
    if (count === this.#count) return added;
    this.#count = count;
    for (const [topic, parts] of this.#follow) {
      const all =
        parts === null
          ? Array.from({ length: count }, (_, number) => number)
          : parts.map((part) =>
              typeof part === "number" ? part : partitionOf(topic, part, count),
            );
      const known = this.#partitions.get(topic) ?? new Set<number>();
      added.set(topic, all.filter((number) => !known.has(number)));
      this.#partitions.set(topic, new Set([...known, ...all]));
    }
    return added;
  }

  /** Whether a stream is followed. */
  covers({ topic, partition }: Stream): boolean {
    if (!this.#follow.has(topic)) return false;
    return this.#follow.get(topic) === null || (this.#partitions.get(topic)?.has(partition) ?? false);
  }

  /** Whether an event is to be handed over: a partition holds other keys too. */
  wants({ topic, subject }: CrossfadeEvent): boolean {
    return this.#keys.get(topic)?.has(subject) ?? true;
  }

  /** Partitions as a hub's coverage: null where they are the whole of a topic. */
  coverage(wanted: ReadonlyMap<string, ReadonlySet<number>>): Coverage {
    const found = new Map<string, ReadonlySet<number> | null>();
    for (const [topic, numbers] of wanted) {
      const whole = this.#follow.get(topic) === null && numbers.size === this.#count;
      found.set(topic, whole ? null : numbers);
    }
    return found;
  }
}
