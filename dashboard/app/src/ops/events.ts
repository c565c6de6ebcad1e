/** The events as this page receives them, over its own subscriber: it migrates with its cohort. */

import { type CrossfadeEvent, type Lost, positionText } from "@crossfade/client";

import { fill, h, setText } from "../dom.js";
import { count, plural } from "../format.js";
import { drawing } from "../frames.js";

/** Rows kept; older ones leave the page. */
const KEPT = 100;
/** Rows that enter in one frame: laying out more takes a slow computer longer than 50 ms. */
const PER_FRAME = 32;
/** What waits to be shown, while a person reads or the tab is hidden; the oldest give way. */
const WAITING = 5_000;

/** Newest first, keyed by event id; a little in each frame, however many come. */
export class EventsPanel {
  readonly #body = h("tbody", { role: "rowgroup" });
  readonly #summary: HTMLElement;
  readonly #inspect: (event: CrossfadeEvent) => void;
  readonly #events = new WeakMap<Element, CrossfadeEvent>();
  #waiting: (CrossfadeEvent | Lost)[] = [];
  readonly #region: HTMLElement;
  #total = 0;
  #lost = 0;
  #passedOver = 0;
  #scrolled = false;
  readonly #soon = drawing(
    () => this.#draw(),
    () => this.#waiting.length >= PER_FRAME && !this.#isRead,
  );

  constructor(element: HTMLElement, summary: HTMLElement, inspect: (event: CrossfadeEvent) => void) {
    this.#region = element;
    this.#summary = summary;
    this.#inspect = inspect;
    const names = ["Time", "Type", "Key", "Position"];
    const head = h("tr", { role: "row" }, ...names.map((name) => h("th", { scope: "col", role: "columnheader" }, name)));
    fill(element, h("table", { class: "events", role: "table" }, h("thead", { role: "rowgroup" }, head), this.#body));
    element.addEventListener("keydown", (event) => this.#move(event));
    element.addEventListener("scroll", () => this.#look(), { passive: true });
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
    this.#bound();
    this.#soon();
  }

  lose(lost: Lost): void {
    this.#lost += lost.last - lost.first + 1;
    this.#waiting.push(lost);
    this.#soon();
  }

  /** The oldest give way, but never a range that was lost: it is not told twice. */
  #bound(): void {
    const gone = this.#waiting.splice(0, Math.max(0, this.#waiting.length - WAITING));
    const told = gone.filter((one) => "kind" in one);
    this.#passedOver += gone.length - told.length;
    this.#waiting.unshift(...told);
  }

  #row(event: CrossfadeEvent | Lost): HTMLElement {
    if ("kind" in event) {
      const { stream, first, last, reason } = event;
      const text = `${plural(last - first + 1, "event")} lost for good (${reason}): ${positionText({ ...stream, sequence: first })} to ${last}`;
      return h("tr", { class: "lost", role: "row" }, cell({ colspan: 4 }, text));
    }
    const place = `${event.topic}/${event.partition}/${event.sequence}`;
    const row = h(
      "tr",
      { role: "row", "data-id": event.id, "data-stream": `${event.source}/${event.epoch}/${event.topic}/${event.partition}`, "data-sequence": event.sequence },
      cell({ class: "time" }, event.time.slice(11, 19)),
      cell({}, h("button", { type: "button", class: "link", tabindex: -1, "aria-label": `${event.type} ${place}` }, event.type)),
      cell({}, event.subject),
      cell({ class: "muted" }, place),
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

  /** Where it is scrolled to is asked when that changes: asking while drawing lays out twice. */
  #look(): void {
    this.#scrolled = this.#region.scrollTop > 4;
    this.#soon();
  }

  get #isRead(): boolean {
    const active = document.activeElement;
    if (this.#scrolled || this.#body.contains(active)) return true;
    const marked = getSelection();
    return marked !== null && !marked.isCollapsed && this.#region.contains(marked.anchorNode);
  }

  #draw(): void {
    const received = [
      `${count(this.#total)} received in order`,
      this.#lost ? `, ${count(this.#lost)} lost` : "",
      this.#passedOver ? `, ${count(this.#passedOver)} of them not drawn` : "",
    ].join("");
    if (this.#isRead) {
      // What a person reads or has marked stays where it is; it goes on at the top.
      setText(this.#summary, `${received}; new ones wait while you read`);
      return;
    }
    const fresh = this.#waiting.splice(0, PER_FRAME).map((event) => this.#row(event));
    this.#body.prepend(...fresh.reverse());
    while (this.#body.childElementCount > KEPT) this.#body.lastElementChild?.remove();
    setText(this.#summary, received);
    if (this.#waiting.length) this.#soon();
  }
}

function cell(attributes: Record<string, string | number>, content: HTMLElement | string): HTMLElement {
  return h("td", { role: "cell", ...attributes }, content);
}
