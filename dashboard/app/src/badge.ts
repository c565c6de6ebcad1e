/** Says who brings the data, as of when, and what happens next when nobody does. */

import type { SubscriberState, TransportName, TransportState } from "@crossfade/client";

import { fill, h, setText } from "./dom.js";
import { clock, countdown, plural } from "./format.js";

const NAMES: Record<SubscriberState["source"], string> = {
  websocket: "WebSocket",
  realtime: "Supabase",
  both: "WebSocket + Supabase",
  none: "Connecting",
};

/** The source badge of a page, in one element; call `show` with each state and every second. */
export class Badge {
  readonly element: HTMLElement;
  readonly #source = h("strong", { class: "badge-source" });
  readonly #detail = h("span", { class: "badge-detail" });
  readonly #spoken = h("span", { class: "visually-hidden", role: "status" });
  #state: SubscriberState | null = null;

  constructor() {
    const dot = h("span", { class: "badge-dot", "aria-hidden": "true" });
    this.element = h("div", { class: "badge", "data-source": "none" }, dot, this.#source, this.#detail, this.#spoken);
    setInterval(() => this.#draw(), 1_000);
    this.#draw();
  }

  show(state: SubscriberState): void {
    this.#state = state;
    this.#draw();
  }

  #draw(): void {
    const state = this.#state;
    const source = state?.source ?? "none";
    const live = state !== null && state.asOfMs !== null && Date.now() - state.asOfMs < 3_500;
    this.element.dataset["source"] = source;
    this.element.dataset["live"] = String(live);
    this.element.dataset["moving"] = String((state?.moving ?? 0) > 0);
    setText(this.#source, NAMES[source]);
    setText(this.#detail, state === null ? "" : detail(state, live));
    // Spoken only when the source changes or is lost, not every second.
    setText(this.#spoken, state === null ? "" : `Data source: ${NAMES[source]}${live ? "" : ", not live"}`);
    this.element.title = state === null ? "" : tooltip(state);
  }
}

function detail(state: SubscriberState, live: boolean): string {
  if (!live) {
    const waiting = trouble(state);
    if (state.asOfMs === null) return waiting ?? "waiting for the first head";
    return `as of ${clock(state.asOfMs)}; ${waiting ?? "nothing heard since"}`;
  }
  if (state.holes > 0) return `filling ${plural(state.holes, "gap")}`;
  if (state.moving > 0) return `moving ${plural(state.moving, "partition")}`;
  if (state.fallenBack > 0) return `live; ${plural(state.fallenBack, "partition")} fell back`;
  return `live, as of ${clock(state.asOfMs ?? Date.now())}`;
}

/** What the serving transports wait for. */
function trouble(state: SubscriberState): string | null {
  const names = (["websocket", "realtime"] as const).filter((name) => state.serving[name] > 0);
  for (const name of names) {
    const said = next(state.transports[name]);
    if (said !== null) return said;
  }
  return null;
}

/** "will retry in 3 s", "will not retry: …", or null when it is connected. */
export function next(transport: TransportState): string | null {
  if (transport.phase === "refused") return `will not retry: ${transport.error}`;
  if (transport.phase === "waiting" && transport.retryAtMs !== null) {
    return `will retry in ${countdown(transport.retryAtMs - Date.now())}`;
  }
  if (transport.phase === "connecting") return "connecting";
  return null;
}

function tooltip(state: SubscriberState): string {
  const line = (name: TransportName): string => {
    const transport = state.transports[name];
    const error = transport.error ? ` (${transport.error})` : "";
    return `${NAMES[name]}: ${transport.phase}, ${plural(state.serving[name], "partition")}${error}`;
  };
  return `${line("websocket")}\n${line("realtime")}\nflags ${state.flagVersion}`;
}

/** A row of a list for a range of events that no store holds any more. */
export function lostRow(text: string): HTMLElement {
  const row = h("div", { class: "lost-row", role: "note" });
  fill(row, text);
  return row;
}
