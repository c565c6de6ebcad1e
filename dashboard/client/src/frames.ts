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
 * The events of a frame.
 *
 * @throws InvalidFrame when one of them is malformed: the frame is then not used at all, and
 * what it held is fetched as any other hole.
 */
export function decodeEvents(frame: Frame): CrossfadeEvent[] {
  return checkEvents(frame["events"]);
}

/** The same for a list that came another way (a fill's answer). */
export function checkEvents(value: unknown): CrossfadeEvent[] {
  if (!Array.isArray(value)) throw new InvalidFrame("frame: events must be a list");
  value.forEach(checkEvent);
  return value as CrossfadeEvent[];
}

const TEXTS = ["id", "source", "type", "time", "subject", "category", "topic", "data"] as const;
const INTEGERS = ["partition", "epoch", "sequence"] as const;
const HASH = /^[0-9a-f]{16}$/;

function checkEvent(value: unknown): void {
  const event = value as CrossfadeEvent | null;
  if (typeof event !== "object" || event === null) {
    throw new InvalidFrame("event: must be an object");
  }
  for (const name of TEXTS) {
    if (typeof event[name] !== "string") throw new InvalidFrame(`event: ${name} must be text`);
  }
  for (const name of INTEGERS) {
    if (!Number.isSafeInteger(event[name])) {
      throw new InvalidFrame(`event: ${name} must be an integer`);
    }
  }
  if (event.sequence < 1) throw new InvalidFrame("event: sequence must be at least 1");
  if (!HASH.test(event.hash)) throw new InvalidFrame("event: hash must be 16 hexadecimal digits");
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
