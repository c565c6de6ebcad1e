/** One event, as each store holds it, side by side. */

import { contentHash, type CrossfadeEvent, type Stream, type Subscriber } from "@crossfade/client";

import { fill, h } from "../dom.js";
import { words } from "../format.js";
import type { Discrepancy } from "./status.js";

const STORES = [
  ["hub", "WebSocket hub and journal"],
  ["supabase", "Supabase"],
] as const;
const FIELDS = ["id", "type", "time", "subject", "category", "hash", "data"] as const;

/** Where an event stands: `source/epoch/topic/partition/sequence`, the source may hold slashes. */
export function parsePosition(text: string): (Stream & { sequence: number }) | null {
  const parts = text.split("/");
  const [epoch, topic, partition, sequence] = parts.slice(-4);
  const source = parts.slice(0, -4).join("/");
  if (!source || !topic || ![epoch, partition, sequence].every((part) => /^\d+$/.test(part ?? ""))) return null;
  return { source, epoch: Number(epoch), topic, partition: Number(partition), sequence: Number(sequence) };
}

/** Open the dialog for an event that this page received. */
export function inspectEvent(subscriber: Subscriber, event: CrossfadeEvent): void {
  open(subscriber, event, `${event.type}`, null, event);
}

/** Open the dialog for a discrepancy. */
export function inspectDiscrepancy(subscriber: Subscriber, found: Discrepancy): void {
  const place = parsePosition(found.position);
  if (place === null) return;
  open(subscriber, place, `${words(found.kind)} in ${found.store}`, found.detail, null);
}

function open(
  subscriber: Subscriber,
  place: Stream & { sequence: number },
  title: string,
  detail: string | null,
  received: CrossfadeEvent | null,
): void {
  const body = h("div", { class: "sides" }, h("p", { class: "muted" }, "Asking the stores…"));
  const close = h("button", { type: "button", onclick: () => dialog.close() }, "Close");
  const dialog = h(
    "dialog",
    { class: "inspector", "aria-labelledby": "inspect-title" },
    h("h2", { id: "inspect-title" }, title),
    h("p", { class: "mono muted" }, `${place.source}/${place.epoch}/${place.topic}/${place.partition}/${place.sequence}`),
    detail === null ? null : h("p", {}, detail),
    body,
    h("div", { class: "buttons" }, close),
  );
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  close.focus();
  void Promise.all(STORES.map(([name]) => look(subscriber, name, place))).then((found) => {
    const sides: Side[] = STORES.map(([, label], number) => ({ label, ...(found[number] as Answer) }));
    if (received !== null) sides.unshift({ label: "Received here", event: received, error: "" });
    fill(body, table(sides));
  });
}

interface Answer {
  readonly event: CrossfadeEvent | null;
  readonly error: string;
}

type Side = Answer & { readonly label: string };

async function look(subscriber: Subscriber, store: "hub" | "supabase", place: Stream & { sequence: number }): Promise<Answer> {
  try {
    return { event: await subscriber.lookUp(store, place, place.sequence), error: "" };
  } catch (error) {
    return { event: null, error: error instanceof Error ? error.message : String(error) };
  }
}

function table(sides: readonly Side[]): HTMLElement {
  const head = h("tr", {}, h("td"), ...sides.map((side) => h("th", { scope: "col" }, side.label)));
  const rows = FIELDS.map((field) => {
    const values = sides.map(({ event }) => (event === null ? null : event[field]));
    const known = values.filter((value) => value !== null);
    const differs = known.some((value) => value !== known[0]);
    return h("tr", { "data-differs": String(differs) }, h("th", { scope: "row" }, field), ...values.map((value) => h("td", { class: "mono" }, ...breakable(value ?? ""))));
  });
  const check = h("tr", {}, h("th", { scope: "row" }, "check"), ...sides.map((side) => h("td", {}, checkText(side))));
  return h("table", {}, h("thead", {}, head), h("tbody", {}, check, ...rows));
}

/** The text, verbatim, with places where a line may end. */
function breakable(text: string): (string | Node)[] {
  return text.split(/(?<=[,{])/).flatMap((part) => [part, document.createElement("wbr")]);
}

function checkText({ event, error }: Side): string {
  if (error !== "") return `could not be asked: ${error}`;
  if (event === null) return "not held";
  return contentHash(event) === event.hash ? "✓ content has its hash" : "✕ content does not have its hash";
}
