/** The events as this page receives them, over its own subscriber: it migrates with its cohort. */

import { type CrossfadeEvent, type Lost, positionText } from "@crossfade/client";

import { fill, h, setText } from "../dom.js";
import { count, plural } from "../format.js";

/** Rows kept; older ones leave the page. */
export const KEPT = 200;

/** Newest first, keyed by event id; drawn at most once a frame. */
export class EventsPanel {
  readonly #body = h("tbody");
  readonly #summary: HTMLElement;
  readonly #inspect: (event: CrossfadeEvent) => void;
  readonly #events = new WeakMap<Element, CrossfadeEvent>();
  #waiting: HTMLElement[] = [];
  #total = 0;
  #lost = 0;
  #asked = false;

  constructor(element: HTMLElement, summary: HTMLElement, inspect: (event: CrossfadeEvent) => void) {
    this.#summary = summary;
    this.#inspect = inspect;
    const names = ["Time", "Type", "Key", "Position"];
    fill(element, h("table", { class: "events" }, h("thead", {}, h("tr", {}, ...names.map((name) => h("th", { scope: "col" }, name)))), this.#body));
    this.#body.addEventListener("click", ({ target }) => {
      const row = target instanceof Element ? target.closest("tr") : null;
      const event = row === null ? undefined : this.#events.get(row);
      // A person who marks text does not want a dialog.
      if (event !== undefined && (getSelection()?.isCollapsed ?? true)) this.#inspect(event);
    });
  }

  add(events: readonly CrossfadeEvent[]): void {
    this.#total += events.length;
    // What would be pushed out in the same frame need not be made.
    for (const event of events.slice(-KEPT)) this.#waiting.push(this.#row(event));
    this.#soon();
  }

  lose(lost: Lost): void {
    const { stream, first, last } = lost;
    this.#lost += last - first + 1;
    const text = `${plural(last - first + 1, "event")} lost for good (${lost.reason}): ${positionText({ ...stream, sequence: first })} to ${last}`;
    this.#waiting.push(h("tr", { class: "lost" }, h("td", { colspan: 4 }, text)));
    this.#soon();
  }

  #row(event: CrossfadeEvent): HTMLElement {
    const place = `${event.topic}/${event.partition}/${event.sequence}`;
    const row = h(
      "tr",
      { "data-id": event.id, "data-stream": `${event.source}/${event.epoch}/${event.topic}/${event.partition}`, "data-sequence": event.sequence },
      h("td", { class: "time" }, event.time.slice(11, 19)),
      h("td", {}, h("button", { type: "button", class: "link", "aria-label": `${event.type} ${place}` }, event.type)),
      h("td", {}, event.subject),
      h("td", { class: "muted" }, place),
    );
    this.#events.set(row, event);
    return row;
  }

  #soon(): void {
    if (this.#asked) return;
    this.#asked = true;
    requestAnimationFrame(() => {
      this.#asked = false;
      const fresh = this.#waiting.slice(-KEPT).reverse();
      this.#waiting = [];
      this.#body.prepend(...fresh);
      while (this.#body.childElementCount > KEPT) this.#body.lastElementChild?.remove();
      setText(this.#summary, `${count(this.#total)} received in order${this.#lost ? `, ${count(this.#lost)} lost` : ""}`);
    });
  }
}
