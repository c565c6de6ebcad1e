/**
 * Canonical JSON (RFC 8785), the one serialisation of an event's content, with the stated
 * deviation that integers keep all their digits: hand those over as BigInt.
 */

/** Deepest nesting of arrays and objects that an event's content may have. */
export const MAX_DEPTH = 64;

/**
 * Serialise `value` to canonical JSON text.
 *
 * @throws TypeError when it is not JSON (NaN, infinities, lone surrogates, other types) or
 * nested deeper than `MAX_DEPTH`.
 */
export function canonicalJson(value: unknown): string {
  return write(value, 0);
}

function write(value: unknown, depth: number): string {
  switch (typeof value) {
    case "string":
      return text(value);
    case "boolean":
      return String(value);
    case "bigint":
      return value.toString();
    case "number":
      if (!Number.isFinite(value)) throw new TypeError(`data: ${value} is not JSON`);
      // RFC 8785 section 3.2.2.3 is ECMAScript's own Number::toString; it writes −0 as 0.
      return String(value);
    case "object":
      break;
    default:
      throw new TypeError(`data: ${typeof value} is not a JSON type`);
  }
  if (value === null) return "null";
  if (depth >= MAX_DEPTH) throw new TypeError(`data: nested deeper than ${MAX_DEPTH} levels`);
  if (Array.isArray(value)) return `[${value.map((item) => write(item, depth + 1)).join(",")}]`;
  const object = value as Record<string, unknown>;
  // RFC 8785 section 3.2.3: by UTF-16 code units, which is how JavaScript compares strings.
  const keys = Object.keys(object).sort();
  return `{${keys.map((key) => `${text(key)}:${write(object[key], depth + 1)}`).join(",")}}`;
}

function text(value: string): string {
  if (/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/.test(value)) {
    throw new TypeError("data: not valid Unicode text: a lone surrogate");
  }
  return JSON.stringify(value);
}
