/** The events as this page receives them, over its own subscriber: it migrates with its cohort. */

import { type CrossfadeEvent, type Lost, positionText } from "@crossfade/client";

import { fill, h, setText } from "../dom.js";
import { count, plural } from "../format.js";
import { drawing } from "../frames.js";

/** Rows kept; older ones leave the page. As many enter it in one frame. */
const KEPT = 100;
/** What waits to be shown, while a person reads or after a long gap; the oldest give way. */
const WAITING = 20_000;

/** Newest first, keyed by event id; drawn at most once a frame. */
export class EventsPanel {
  readonly #body = h("tbody");
  readonly #summary: HTMLElement;
  readonly #inspect: (event: CrossfadeEvent) => void;
  readonly #events = new WeakMap<Element, CrossfadeEvent>();
  #waiting: (CrossfadeEvent | Lost)[] = [];
  readonly #region: HTMLElement;
  #total = 0;
  #lost = 0;
  readonly #soon = drawing(() => this.#draw());

  constructor(element: HTMLElement, summary: HTMLElement, inspect: (event: CrossfadeEvent) => void) {
    this.#region = element;
    this.#summary = summary;
    this.#inspect = inspect;
    const names = ["Time", "Type", "Key", "Position"];
    fill(element, h("table", { class: "events" }, h("thead", {}, h("tr", {}, ...names.map((name) => h("th", { scope: "col" }, name)))), this.#body));
    element.addEventListener("keydown", (event) => this.#move(event));
    element.addEventListener("scroll", () => this.#soon(), { passive: true });
    element.addEventListener("focusout", () => this.#soon());
    this.#body.addEventListener("click", ({ target }) => {
      const row = target instanceof Element ? target.closest("tr") : null;
      const event = row === null ? undefined : this.#events.get(row);
      // A person who marks text does not want a dialog.
      if (event !== undefined && (getSelection()?.isCollapsed ?? true)) this.#inspect(event);
    });
  }

  add(events: readonly CrossfadeEvent[]): void {
    this.#total += events.length;
    for (const event of events) this.#waiting.push(event);
    if (this.#waiting.length > WAITING) this.#waiting = this.#waiting.slice(-WAITING);
    this.#soon();
  }

  lose(lost: Lost): void {
    this.#lost += lost.last - lost.first + 1;
    this.#waiting.push(lost);
    this.#soon();
  }

  #row(event: CrossfadeEvent | Lost): HTMLElement {
    if ("kind" in event) {
      const { stream, first, last, reason } = event;
      const text = `${plural(last - first + 1, "event")} lost for good (${reason}): ${positionText({ ...stream, sequence: first })} to ${last}`;
      return h("tr", { class: "lost" }, h("td", { colspan: 4 }, text));
    }
    const place = `${event.topic}/${event.partition}/${event.sequence}`;
    const row = h(
      "tr",
      { "data-id": event.id, "data-stream": `${event.source}/${event.epoch}/${event.topic}/${event.partition}`, "data-sequence": event.sequence },
      h("td", { class: "time" }, event.time.slice(11, 19)),
      h("td", {}, h("button", { type: "button", class: "link", tabindex: -1, "aria-label": `${event.type} ${place}` }, event.type)),
      h("td", {}, event.subject),
      h("td", { class: "muted" }, place),
    );
    this.#events.set(row, event);
    return row;
  }

  /** One stop for the Tab key; the arrow keys go from row to row. */
  #move(event: KeyboardEvent): void {
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    const row = document.activeElement?.closest("tr");
    const down = event.key === "ArrowDown";
    const next = row && this.#body.contains(row) ? (down ? row.nextElementSibling : row.previousElementSibling) : this.#body.firstElementChild;
    event.preventDefault();
    if (next !== null) next.querySelector("button")?.focus();
    else if (!down) this.#region.focus();
    this.#soon();
  }

  get #isRead(): boolean {
    const active = document.activeElement;
    if (this.#region.scrollTop > 4 || this.#body.contains(active)) return true;
    const marked = getSelection();
    return marked !== null && !marked.isCollapsed && this.#region.contains(marked.anchorNode);
  }

  #draw(): void {
    const received = `${count(this.#total)} received in order${this.#lost ? `, ${count(this.#lost)} lost` : ""}`;
    if (this.#isRead) {
      // What a person reads or has marked stays where it is; it goes on at the top.
      setText(this.#summary, `${received}; new ones wait while you read`);
      return;
    }
    const fresh = this.#waiting.splice(0, KEPT).map((event) => this.#row(event));
    this.#body.prepend(...fresh.reverse());
    while (this.#body.childElementCount > KEPT) this.#body.lastElementChild?.remove();
    setText(this.#summary, received);
    if (this.#waiting.length) this.#soon();
  }
}
