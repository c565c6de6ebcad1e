/** The frames that travel on both transports (docs/protocol.md, section 2). */

import { type CrossfadeEvent, type Head, InvalidFrame } from "./event.js";

export const FRAME_VERSION = 1;

/** A frame whose envelope was checked. */
export interface Frame {
  readonly v: number;
  readonly kind: string;
  readonly [field: string]: unknown;
}

/** One frame as text. */
export function encodeFrame(kind: string, fields: Record<string, unknown>): string {
  return JSON.stringify({ v: FRAME_VERSION, kind, ...fields });
}

/**
 * Check a frame's envelope; `raw` is its text or the value that was parsed from it.
 *
 * @throws InvalidFrame when it is not JSON, not an object, another version, or without a kind.
 */
export function decodeFrame(raw: unknown): Frame {
  let frame = raw as Frame | null;
  if (typeof raw === "string") {
    try {
      frame = JSON.parse(raw) as Frame;
    } catch {
      throw new InvalidFrame("frame: not valid JSON");
    }
  }
  if (typeof frame !== "object" || frame === null || typeof frame.kind !== "string") {
    throw new InvalidFrame("frame: must be an object with a kind");
  }
  if (frame.v !== FRAME_VERSION) {
    throw new InvalidFrame(`frame: version ${frame.v}, this side speaks ${FRAME_VERSION}`);
  }
  return frame;
}

/**
 * The events of a frame or of a fill's answer. One that can not be read is left out: a hole
 * like any other, which a fill mends.
 *
 * @throws InvalidFrame when `value` is no list.
 */
export function readableEvents(value: unknown): CrossfadeEvent[] {
  if (!Array.isArray(value)) throw new InvalidFrame("frame: events must be a list");
  return value.filter(isReadable);
}

const TEXTS = ["id", "source", "type", "time", "subject", "category", "topic", "data"] as const;
const INTEGERS = ["partition", "epoch", "sequence"] as const;
const HASH = /^[0-9a-f]{16}$/;

function isReadable(value: unknown): value is CrossfadeEvent {
  if (typeof value !== "object" || value === null) return false;
  const event = value as CrossfadeEvent;
  return (
    TEXTS.every((name) => typeof event[name] === "string") &&
    INTEGERS.every((name) => Number.isSafeInteger(event[name])) &&
    event.sequence >= 1 &&
    HASH.test(event.hash)
  );
}

/**
 * The heads of a frame.
 *
 * @throws InvalidFrame when a row is malformed.
 */
export function decodeHeads(frame: Frame): Head[] {
  const rows = frame["heads"];
  if (!Array.isArray(rows)) throw new InvalidFrame("frame: heads must be a list");
  return rows.map((row: unknown) => {
    const [source, epoch, topic, partition, sequence, floor] = row as [
      string,
      number,
      string,
      number,
      number,
      number,
    ];
    if (
      typeof source !== "string" ||
      typeof topic !== "string" ||
      ![epoch, partition, sequence, floor].every(Number.isSafeInteger)
    ) {
      throw new InvalidFrame("frame: heads: a row must be source, epoch, topic, partition, …");
    }
    return { stream: { source, epoch, topic, partition }, sequence, floor };
  });
}
