/** An event as it travels, its place in its stream, and what a head says (docs/protocol.md). */

/** The unit of order and continuity: one partition of one topic of one source and epoch. */
export interface Stream {
  readonly source: string;
  readonly epoch: number;
  readonly topic: string;
  readonly partition: number;
}

/**
 * One event, in its wire form. `data` is the canonical JSON text, verbatim; `hash` is the
 * checksum that travels (16 hexadecimal digits); `time` is RFC 3339 in UTC with six decimals.
 */
export interface CrossfadeEvent extends Stream {
  readonly id: string;
  readonly type: string;
  readonly time: string;
  readonly subject: string;
  readonly category: string;
  readonly sequence: number;
  readonly hash: string;
  readonly data: string;
  /** When the journal committed it, microseconds since 1970 by the publisher's clock. */
  readonly committed?: number;
}

/** The last committed sequence of a stream; `floor` is the first one still held. */
export interface Head {
  readonly stream: Stream;
  readonly sequence: number;
  readonly floor: number;
}

/** A frame or an event that does not have the form of docs/protocol.md. */
export class InvalidFrame extends Error {
  override readonly name = "InvalidFrame";
}

/** One text per stream, for maps; U+001F can stand in none of the fields. */
export function streamKey(stream: Stream): string {
  return `${stream.source}\x1f${stream.epoch}\x1f${stream.topic}\x1f${stream.partition}`;
}

/** The four fields of a stream, without the rest of an event. */
export function streamOf({ source, epoch, topic, partition }: Stream): Stream {
  return { source, epoch, topic, partition };
}

/** Whether an event is of this stream. */
export function isOf(event: CrossfadeEvent, stream: Stream): boolean {
  return streamKey(event) === streamKey(stream);
}

/** `source/epoch/topic/partition/sequence`, as reports and the command line write positions. */
export function positionText(event: Stream & { readonly sequence: number }): string {
  return `${event.source}/${event.epoch}/${event.topic}/${event.partition}/${event.sequence}`;
}

/** The order of streams: by source, epoch, topic, partition. */
export function compareStreams(a: Stream, b: Stream): number {
  return (
    compare(a.source, b.source) ||
    a.epoch - b.epoch ||
    compare(a.topic, b.topic) ||
    a.partition - b.partition
  );
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
