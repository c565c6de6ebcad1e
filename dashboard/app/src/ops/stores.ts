/** The three stores: what is owed to each, its breaker, and how they compare. */

import { fill, h, keyed, setText } from "../dom.js";
import { clock, count, plural, span, words } from "../format.js";
import type { Discrepancy, Reconciliation, Status, StoreRow, StoreState } from "./status.js";
import { verdictMark } from "./verdict.js";

const NAMES: Readonly<Record<string, string>> = {
  journal: "Journal",
  websocket: "WebSocket",
  supabase: "Supabase",
  realtime: "Realtime",
};
const BREAKERS: Readonly<Record<string, string>> = {
  closed: "good",
  half_open: "ask",
  open: "alarm",
  forced_open: "alarm",
  disabled: "calm",
  metrics_only: "calm",
};
const FINDINGS = ["missing", "duplicated", "altered", "reserialised", "stale_hash", "phantom", "out_of_order"] as const;
const LISTED = 200;

/** Draw what is owed to each store, and its breaker. */
export class StoresPanel {
  readonly #element: HTMLElement;
  readonly #rows = h("tbody");
  readonly #table: HTMLElement;

  constructor(element: HTMLElement) {
    this.#element = element;
    this.#table = h(
      "table",
      {},
      h("thead", {}, h("tr", {}, ...["Store", "Breaker", "Owed", "Oldest"].map((name, at) => h("th", { scope: "col", class: at > 1 ? "n" : null }, name)))),
      this.#rows,
    );
  }

  show({ stores }: Status): void {
    const all = Object.entries(stores).sort(([a], [b]) => (a < b ? -1 : 1));
    if (all.length === 0) {
      fill(this.#element, h("p", { class: "muted empty" }, "No publisher reports now."));
      return;
    }
    if (!this.#table.isConnected) fill(this.#element, this.#table);
    keyed(this.#rows, all, ([name]) => name, makeStore, updateStore);
  }
}

function makeStore(): HTMLElement {
  return h("tr", {}, h("th", { scope: "row" }, h("span", { class: "name" }), h("span", { class: "detail" })), h("td", {}, h("span", { class: "pill" })), h("td", { class: "n" }), h("td", { class: "n muted" }));
}

function updateStore(row: HTMLElement, [name, state]: [string, StoreState]): void {
  const [head, breaker, owed, oldest] = [...row.children] as HTMLElement[];
  const pill = breaker?.firstElementChild as HTMLElement | null | undefined;
  if (!head || !pill || !owed || !oldest) return;
  setText(head.children[0] as Element, NAMES[name] ?? name);
  setText(head.children[1] as Element, state.breaker === "closed" ? "" : (state.last_error ?? ""));
  pill.dataset["tone"] = BREAKERS[state.breaker] ?? "calm";
  setText(pill, words(state.breaker || "unknown"));
  setText(owed, count(state.owed));
  setText(oldest, state.owed ? span(state.oldest_owed_ms) : "");
}

/** Draw the last reconciliation; `inspect` opens one event side by side. */
export class ReconciliationPanel {
  #drawn = "";

  constructor(
    private readonly element: HTMLElement,
    private readonly summary: HTMLElement,
    private readonly inspect: (discrepancy: Discrepancy) => void,
  ) {}

  show({ reconciliation }: Status): void {
    const drawn = JSON.stringify([reconciliation?.at_us, reconciliation?.checked_events, reconciliation?.data_docs]);
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    if (reconciliation === null) {
      setText(this.summary, "");
      fill(this.element, h("p", { class: "muted empty" }, "The stores were not compared yet."));
      return;
    }
    setText(this.summary, `${clock(reconciliation.at_us / 1_000)}, ${words(reconciliation.trigger)}`);
    fill(this.element, ...this.#parts(reconciliation));
  }

  #parts(found: Reconciliation): (HTMLElement | null)[] {
    const { blocks } = found;
    return [
      h("p", { class: "reconciled" }, verdictMark(found.verdict), h("span", { class: "muted" }, `${plural(found.checked_events, "event")} in ${plural(blocks.checked, "block")}: ${count(blocks.sealed)} sealed, ${count(blocks.differing)} differing; ${span(found.duration_ms)}`)),
      h(
        "table",
        {},
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Store"), ...["Expected", "Present", "Wrong"].map((name) => h("th", { scope: "col", class: "n" }, name)))),
        h("tbody", {}, ...Object.entries(found.stores).map(([name, row]) => storeRow(name, row))),
      ),
      ...Object.entries(found.errors ?? {}).map(([name, error]) => h("p", { class: "problem" }, `${NAMES[name] ?? name}: ${error}`)),
      this.#suites(found),
      this.#discrepancies(found),
    ];
  }

  #suites(found: Reconciliation): HTMLElement | null {
    // A comparison from the command line, or of two stores, is judged by no suite.
    const suites = found.suites ?? [];
    if (suites.length === 0) return null;
    const failed = suites.filter((one) => one.verdict !== "pass").map((one) => `${one.suite} ${one.verdict}`);
    const said = failed.length ? failed.join(", ") : "all pass";
    return h("p", { class: "muted" }, `${plural(suites.length, "suite")} of expectations: ${said}. `, found.data_docs !== null && h("a", { href: found.data_docs }, "Their pages"));
  }

  #discrepancies(found: Reconciliation): HTMLElement | null {
    if (found.discrepancy_count === 0) return null;
    const listed = found.discrepancies.slice(0, LISTED);
    const items = listed.map((one) =>
      h("li", {}, h("button", { type: "button", class: "finding", "data-severity": one.severity, onclick: () => this.inspect(one) }, h("strong", {}, `${words(one.kind)} in ${one.store}`), h("span", { class: "mono" }, one.position))),
    );
    const more = found.discrepancy_count - listed.length;
    return h("div", {}, h("h3", {}, plural(found.discrepancy_count, "discrepancy", "discrepancies")), h("ul", { class: "findings" }, ...items), more > 0 && h("p", { class: "muted" }, `and ${count(more)} more`));
  }
}

function storeRow(name: string, row: StoreRow): HTMLElement {
  const wrong = FINDINGS.filter((kind) => row[kind]).map((kind) => `${count(row[kind] ?? 0)} ${words(kind)}`);
  const soft = [
    row.in_flight ? `${count(row.in_flight)} in flight` : "",
    row.late ? `${count(row.late)} late` : "",
    row.uncovered ? `${count(row.uncovered)} uncovered` : "",
  ].filter(Boolean);
  // What Realtime did not bring live was mended by fills: it is counted, never wrong.
  const informative = name === "realtime";
  const text = wrong.length ? wrong.join(", ") : "0";
  return h(
    "tr",
    { "data-wrong": String(!informative && wrong.length > 0) },
    h("th", { scope: "row" }, NAMES[name] ?? name, (soft.length > 0 || informative) && h("span", { class: "detail" }, [informative ? "live frames, informative" : "", ...soft].filter(Boolean).join("; "))),
    h("td", { class: "n" }, count(row.expected)),
    h("td", { class: "n" }, count(row.present)),
    h("td", { class: "n" }, text),
  );
}
