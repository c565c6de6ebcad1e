/** The streams that a sequencer follows, by every way in which they are looked up. */

import { type Continuity, continuityOf, Tally } from "./continuity.js";
import { type Stream, streamKey } from "./event.js";
import { Flow } from "./flow.js";

/** Flows by stream, by lane (all epochs of a partition of a source) and by partition. */
export class Streams {
  readonly #names: readonly string[];
  readonly #flows = new Map<string, Flow>();
  readonly #lanes = new Map<string, Flow[]>();
  readonly #partitions = new Map<string, Flow[]>();
  readonly #tallies = new Map<string, Tally>();

  /** `names` are what tallies count by: the transports, the sources, and `lost`. */
  constructor(names: readonly string[]) {
    this.#names = names;
  }

  /** Every flow, in the order in which they were added. */
  all(): IterableIterator<Flow> {
    return this.#flows.values();
  }

  get(stream: Stream): Flow | undefined {
    return this.#flows.get(streamKey(stream));
  }

  /** The flows of a partition, of whatever source and epoch. */
  ofPartition(topic: string, partition: number): readonly Flow[] {
    return this.#partitions.get(`${topic}\x1f${partition}`) ?? [];
  }

  /** Follow a stream from `start` on; it waits while an older epoch of it is incomplete. */
  add(stream: Stream, start: number): Flow {
    let tally = this.#tallies.get(stream.source);
    if (tally === undefined) {
      tally = new Tally(this.#names.length);
      this.#tallies.set(stream.source, tally);
    }
    const lane = entry(this.#lanes, laneKey(stream));
    const flow = new Flow(stream, start, tally, lane);
    flow.waits = lane.some((one) => (one.ahead || one.waits) && one.stream.epoch < stream.epoch);
    lane.push(flow);
    lane.sort((a, b) => a.stream.epoch - b.stream.epoch);
    this.#flows.set(streamKey(stream), flow);
    entry(this.#partitions, `${stream.topic}\x1f${stream.partition}`).push(flow);
    return flow;
  }

  /** The report per source; with `nowMs` open holes count into the longest. */
  continuity(nowMs: number): Continuity[] {
    return Array.from(this.#tallies, ([source, tally]) => {
      const flows = [...this.#flows.values()].filter((flow) => flow.stream.source === source);
      const gaps = flows.filter((flow) => flow.ahead && !flow.waits);
      return continuityOf(source, tally, this.#names, {
        streams: flows.length,
        openHoles: gaps.length,
        buffered: flows.reduce((sum, flow) => sum + flow.order.length, 0),
        longestMs: gaps.reduce((longest, flow) => Math.max(longest, nowMs - flow.gapMs), 0),
      });
    });
  }
}

/** One text per source, topic and partition, whatever the epoch. */
export function laneKey({ source, topic, partition }: Stream): string {
  return `${source}\x1f${topic}\x1f${partition}`;
}

function entry(map: Map<string, Flow[]>, key: string): Flow[] {
  let found = map.get(key);
  if (found === undefined) {
    found = [];
    map.set(key, found);
  }
  return found;
}
