/** Each connected instance: what it follows, and what it can prove of its deliveries. */

import { fill, h, keyed, setText } from "../dom.js";
import { count, plural, span, words } from "../format.js";
import type { Instance, Status } from "./status.js";

const LISTED = 100;

/** Subscribers with their continuity; publishers and taps above them. */
export class InstancesPanel {
  readonly #element: HTMLElement;
  readonly #summary: HTMLElement;
  readonly #list = h("ul", { class: "instances" });

  constructor(element: HTMLElement, summary: HTMLElement) {
    this.#element = element;
    this.#summary = summary;
  }

  show({ instances, flags }: Status): void {
    const sorted = [...instances]
      .filter((one) => one.live || one.age_ms < 300_000)
      .sort((a, b) => Number(b.live) - Number(a.live) || compare(a.role, b.role) || compare(a.instance, b.instance))
      .slice(0, LISTED);
    const live = sorted.filter((one) => one.live).length;
    setText(this.#summary, instances.length ? `${plural(live, "live one", "live ones")}` : "");
    if (sorted.length === 0) {
      fill(this.#element, h("p", { class: "muted empty" }, "No instance has reported yet."));
      return;
    }
    if (!this.#list.isConnected) fill(this.#element, this.#list);
    keyed(this.#list, sorted, (one) => one.instance, makeItem, (item, one) => updateItem(item, one, flags.version));
  }
}

function makeItem(): HTMLElement {
  return h("li", {}, h("p", { class: "instance-head" }, h("strong", {}), h("span", { class: "pill" })), h("div", { class: "split", "aria-hidden": "true" }, h("span")), h("p", { class: "muted" }));
}

function updateItem(item: HTMLElement, one: Instance, version: number): void {
  const [head, split, said] = [...item.children] as HTMLElement[];
  const [name, pill] = [...(head?.children ?? [])] as HTMLElement[];
  if (!split || !said || !name || !pill) return;
  const { websocket, realtime } = one.report.transports;
  const partitions = (websocket?.partitions ?? 0) + (realtime?.partitions ?? 0);
  setText(name, one.instance);
  setText(pill, one.live ? one.role : `silent for ${span(one.age_ms)}`);
  pill.dataset["tone"] = one.live ? "calm" : "ask";
  item.dataset["live"] = String(one.live);
  split.hidden = partitions === 0;
  split.style.setProperty("--served", String(partitions ? ((realtime?.partitions ?? 0) / partitions) * 100 : 0));
  setText(said, `${saidBy(one)}; flags ${one.flag_version}${one.flag_version < version ? " (pending)" : ""}`);
}

function saidBy(one: Instance): string {
  const { totals, transports, sinks } = one.report;
  if (one.role === "publisher") {
    const owed = Object.entries(sinks).filter(([, sink]) => sink.owed > 0).map(([name, sink]) => `${count(sink.owed)} owed to ${name}`);
    return [`${count(totals["published"] ?? 0)} published`, ...owed].join(", ");
  }
  if (one.role === "tap") {
    const received = Object.entries(transports).map(([name, window]) => `${words(name)} ${window.connected ? "connected" : "not connected"}`);
    return received.join(", ") || "recording";
  }
  const lost = totals["lost"] ?? 0;
  const parts = [`${count(totals["delivered"] ?? 0)} delivered`, `${count(lost)} lost`];
  if (totals["holes"]) parts.push(`${plural(totals["holes"], "gap")} (${count(totals["filled"] ?? 0)} filled)`);
  if (totals["conflicts"]) parts.push(plural(totals["conflicts"], "conflict"));
  return parts.join(", ");
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
