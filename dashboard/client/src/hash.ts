/** The hash of an event's content, and whether it still has the one that travelled with it. */

import type { CrossfadeEvent } from "./event.js";
import { sha256First64 } from "./sha256.js";

/** Microseconds since 1970 of an event's `time` (RFC 3339, UTC, up to six decimals). */
export function timeMicroseconds(time: string): bigint {
  const match = /^(.{19})(?:\.(\d{1,6})\d*)?Z$/.exec(time);
  const seconds = match ? Date.parse(`${match[1]}Z`) : NaN;
  if (match === null || Number.isNaN(seconds)) throw new RangeError(`${time} is not UTC time`);
  return BigInt(seconds) * 1_000n + BigInt((match[2] ?? "").padEnd(6, "0"));
}

/**
 * First 64 bits of SHA-256 over the position and content of `event`, 16 hexadecimal digits:
 * `content_hash` of `crossfade.core.event`.
 */
export function contentHash(event: CrossfadeEvent): string {
  const [high, low] = sha256First64(
    [
      event.source,
      event.epoch,
      event.topic,
      event.partition,
      event.sequence,
      event.id,
      event.type,
      timeMicroseconds(event.time),
      event.subject,
      event.category,
      event.data,
    ].join("\x1f"),
  );
  return high.toString(16).padStart(8, "0") + low.toString(16).padStart(8, "0");
}

/** Whether the content still has the hash that travelled with it. */
export function isIntact(event: CrossfadeEvent): boolean {
  return contentHash(event) === event.hash;
}
