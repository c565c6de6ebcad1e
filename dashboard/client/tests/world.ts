/** Events, streams and a lossy world for the tests of the sequencer and the switch. */

import type { CrossfadeEvent, Head, Stream } from "../src/event.js";
import type { FlagsDocument } from "../src/flags.js";
import { contentHash } from "../src/hash.js";

export const TOPIC = "orders";

export function streamOfPartition(partition: number, epoch = 1): Stream {
  return { source: "app", epoch, topic: TOPIC, partition };
}

/** An event whose content has its hash. */
export function eventAt(stream: Stream, sequence: number, data = `{"n":${sequence}}`): CrossfadeEvent {
  const event = {
    ...stream,
    id: `${stream.partition}-${stream.epoch}-${sequence}`,
    type: "order.placed",
    time: "2026-01-01T00:00:00.000000Z",
    subject: `key-${stream.partition}`,
    category: "critical",
    sequence,
    data,
    hash: "",
  };
  return { ...event, hash: contentHash(event) };
}

export function headAt(stream: Stream, sequence: number, floor = 1): Head {
  return { stream, sequence, floor };
}

/** Flags that serve `percent` of every topic. */
export function flagsAt(version: number, percent: number, partitions = 4): FlagsDocument {
  return {
    version,
    salt: "s",
    partitions,
    topics: { [TOPIC]: "critical" },
    written: { "*": 100 },
    served: { "*": percent },
    kill: false,
  };
}

/** Pseudo-random numbers from 0 to 1, the same for the same seed (mulberry32). */
export function randomOf(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let value = Math.imul(state ^ (state >>> 15), 1 | state);
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value;
    return ((value ^ (value >>> 14)) >>> 0) / 2 ** 32;
  };
}
