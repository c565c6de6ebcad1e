/** A verdict as a mark, a word and a colour: never by colour alone. */

import { h } from "../dom.js";
import { figure } from "../format.js";
import type { Measurement, Verdict } from "./status.js";

const MARKS: Readonly<Record<Verdict, string>> = { pass: "✓", fail: "✕", inconclusive: "?", error: "!" };
const NAMES: Readonly<Record<string, string>> = {
  applied: "Flags applied",
  coverage: "Coverage",
  events: "Events seen",
  error_rate: "Error rate",
  error_rate_sustained: "Error rate, sustained",
  breaker: "Breaker",
  lost: "Lost events",
  latency_ratio: "Latency ratio",
  latency_ratio_sustained: "Latency ratio, sustained",
  p95_realtime: "p95 Supabase",
  p95_websocket: "p95 WebSocket",
  adoption: "Adoption",
  reconciliation: "Reconciliation",
  delivery: "Delivery",
  tickets: "Support tickets",
  "dashboard.load": "Dashboard load",
};
const RELATIONS: Readonly<Record<string, string>> = { "<=": "≤", ">=": "≥", "==": "=", "<": "<", ">": ">" };

/** The verdict as an element. */
export function verdictMark(verdict: Verdict): HTMLElement {
  return h("span", { class: "verdict", "data-verdict": verdict }, h("span", { "aria-hidden": "true" }, MARKS[verdict]), " ", h("span", { class: "verdict-word" }, verdict));
}

/** A measurement's name for people. */
export function measurementName(name: string): string {
  return NAMES[name] ?? name.replaceAll("_", " ").replace(/^./, (first) => first.toUpperCase());
}

/** Its value with the unit; a dash when nothing was measured. */
export function valueText({ value, unit }: Measurement): string {
  return value === null ? "–" : withUnit(value, unit);
}

/** Its limit with the relation. */
export function limitText({ limit, relation, unit }: Measurement): string {
  return limit === null ? "" : `${RELATIONS[relation] ?? relation} ${withUnit(limit, unit)}`;
}

function withUnit(value: number, unit: string): string {
  // A value near its limit must not be rounded onto it.
  const text = unit === "%" && value > 99 && value < 100 ? String(Number(value.toFixed(3))) : figure(value);
  if (unit === "%" || unit === "ms" || unit === "s" || unit === "×") return `${text} ${unit}`;
  return unit.length > 0 && unit.length <= 3 ? `${text} ${unit}` : text;
}
