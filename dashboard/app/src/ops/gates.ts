/** Every gate: verdict with value, limit and n; and the success metrics week by week. */

import { fill, h, keyed, setText } from "../dom.js";
import { clock, count, plural } from "../format.js";
import type { AuditRow, Evidence, Measurement, Rollout, Status, Verdict } from "./status.js";
import { limitText, measurementName, valueText, verdictMark } from "./verdict.js";

const RANK: readonly Verdict[] = ["fail", "error", "inconclusive", "pass"];

/** The gates of the running stage; what is wrong comes first. */
export class GatesPanel {
  readonly #body: HTMLElement;
  readonly #summary: HTMLElement;
  readonly #rows = h("tbody");
  readonly #table: HTMLElement;

  constructor(body: HTMLElement, summary: HTMLElement) {
    this.#body = body;
    this.#summary = summary;
    this.#table = h(
      "table",
      { class: "gates" },
      h("thead", {}, h("tr", {}, ...["Measurement", "Verdict", "Value", "Limit", "n"].map((name, at) => h("th", { scope: "col", class: at > 1 ? "n" : null }, name)))),
      this.#rows,
    );
  }

  show({ evidence }: Status): void {
    if (evidence === null || evidence.measurements.length === 0) {
      fill(this.#body, h("p", { class: "muted empty" }, "Nothing is measured before a stage runs."));
      setText(this.#summary, "");
      return;
    }
    if (!this.#table.isConnected) fill(this.#body, this.#table);
    const sorted = [...evidence.measurements, ...missing(evidence)].sort(
      (a, b) => RANK.indexOf(a.verdict) - RANK.indexOf(b.verdict),
    );
    keyed(this.#rows, sorted, (one) => one.name, makeRow, updateRow);
    setText(this.#summary, `${evidence.verdict}, ${clock(evidence.at_us / 1_000)}, evidence ${evidence.hash.slice(0, 8)}`);
  }
}

/** What is required and was not measured holds the stage, so it must be seen. */
function missing({ required = [], measurements }: Evidence): Measurement[] {
  const known = new Set(measurements.map((one) => one.name));
  return required
    .filter((name) => !known.has(name))
    .map((name) => ({ name, value: null, limit: null, n: 0, unit: "", verdict: "inconclusive", relation: "", detail: "not measured yet" }));
}

function makeRow(): HTMLElement {
  return h("tr", {}, h("th", { scope: "row" }, h("span", { class: "name" }), h("span", { class: "detail" })), h("td"), h("td", { class: "n" }), h("td", { class: "n muted" }), h("td", { class: "n muted" }));
}

function updateRow(row: HTMLElement, one: Measurement): void {
  const [head, verdict, value, limit, n] = [...row.children] as HTMLElement[];
  if (!head || !verdict || !value || !limit || !n) return;
  setText(head.children[0] as Element, measurementName(one.name));
  setText(head.children[1] as Element, one.detail);
  if (row.dataset["verdict"] !== one.verdict) fill(verdict, verdictMark(one.verdict));
  row.dataset["verdict"] = one.verdict;
  setText(value, valueText(one));
  setText(limit, limitText(one));
  setText(n, one.n ? count(one.n) : "");
}

// -- week by week ------------------------------------------------------------------------

const METRICS = ["delivery", "lost", "error_rate", "p95_realtime", "latency_ratio", "adoption", "coverage", "dashboard.load", "tickets"];
/** As in `crossfade.core.measurements`: so many live pages, and how many of them must keep the limit. */
const LOAD = { limitMs: 2_000, share: 0.75, pages: 5 } as const;

interface Week {
  readonly label: string;
  readonly approver: string;
  readonly measurements: Map<string, Measurement>;
}

/** The strategy's success metrics: what each stage's frozen evidence held, and what is now. */
export function drawSuccess(body: HTMLElement, status: Status, audit: readonly AuditRow[]): void {
  const { rollout, evidence } = status;
  const columns = rollout === null ? [] : weeks(rollout, audit);
  if (rollout !== null && evidence !== null && !["completed", "cut_over", "decommissioned"].includes(rollout.phase)) {
    const now = new Map(evidence.measurements.map((one) => [one.name, one]));
    columns.push({ label: `${rollout.stages[rollout.stage]?.name ?? ""} now`, approver: "", measurements: now });
  }
  const load = pageLoad(status);
  if (columns.length === 0 && load === null) {
    fill(body, h("p", { class: "muted empty" }, "The first stage has not come to its gate yet."));
    return;
  }
  const latest = columns.at(-1);
  if (load !== null && latest?.measurements.has(load.name) === false) latest.measurements.set(load.name, load);
  const names = METRICS.filter((name) => columns.some((week) => week.measurements.has(name)));
  const head = columns.map((week) =>
    h("th", { scope: "col", class: "n" }, week.label, week.approver !== "" && h("span", { class: "detail" }, `approved by ${week.approver}`)),
  );
  const rows = names.map((name) => {
    const known = columns.map((week) => week.measurements.get(name));
    const target = known.find((one) => one !== undefined);
    const cells = known.map((one) =>
      one === undefined
        ? h("td", { class: "n" }, "–")
        : h("td", { class: "n", "data-verdict": one.verdict }, valueText(one), h("span", { class: "visually-hidden" }, ` ${one.verdict}`), note(one) !== "" && h("span", { class: "detail" }, note(one))),
    );
    return h("tr", {}, h("th", { scope: "row" }, measurementName(name)), h("td", { class: "n muted" }, target === undefined ? "" : limitText(target)), ...cells);
  });
  fill(
    body,
    h("table", { class: "success" }, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Metric"), h("th", { scope: "col", class: "n" }, "Target"), ...head)), h("tbody", {}, ...rows)),
  );
}

/** Why a value beyond its limit has passed, or why one has no verdict. */
function note({ value, limit, relation, verdict, detail }: Measurement): string {
  const beyond = value !== null && limit !== null && (relation.startsWith(">") ? value < limit : value > limit);
  // The last clause says why; the ones before it are the figures, which stand in the gates.
  return (beyond && verdict === "pass") || verdict === "inconclusive" ? (detail.split("; ").at(-1) ?? "") : "";
}

/** What live pages measured of themselves; fewer than a verdict takes are shown without one. */
export function pageLoad({ instances }: Pick<Status, "instances">): Measurement | null {
  const loads = instances
    .filter((one) => one.live && one.role === "page")
    .flatMap((one) => one.report.resources["dashboard.load"] ?? [])
    .sort((a, b) => a - b);
  if (loads.length === 0) return null;
  const value = loads[Math.max(0, Math.ceil(LOAD.share * loads.length) - 1)] ?? 0;
  const judged = value <= LOAD.limitMs ? "pass" : "fail";
  return { name: "dashboard.load", value, limit: LOAD.limitMs, n: loads.length, unit: "ms", verdict: loads.length < LOAD.pages ? "inconclusive" : judged, relation: "<=", detail: loads.length < LOAD.pages ? `${plural(loads.length, "page")}, judged from ${LOAD.pages} on` : "" };
}

/** Every attempt of every stage that came to its gate, from the audit log. */
function weeks(rollout: Rollout, audit: readonly AuditRow[]): Week[] {
  const found = new Map<string, Week>();
  for (const row of audit) {
    if (row.rollout_id !== rollout.id) continue;
    for (const { kind, detail } of row.facts) {
      const evidence = detail as unknown as Evidence & { stage: number; attempt: number };
      if (kind === "evidence" && Array.isArray(evidence.measurements)) {
        const stage = rollout.stages[evidence.stage]?.name ?? `stage ${evidence.stage + 1}`;
        found.set(evidence.hash, {
          label: evidence.attempt > 1 ? `${stage}, attempt ${evidence.attempt}` : stage,
          approver: "",
          measurements: new Map(evidence.measurements.map((one) => [one.name, one])),
        });
      } else if (kind === "approved") {
        const week = found.get(String(detail["evidence_hash"]));
        if (week === undefined) continue;
        const tickets = Number(detail["tickets"] ?? 0);
        const limit = rollout.stages[Number(detail["stage"])]?.targets["tickets_per_week"] ?? 5;
        week.measurements.set("tickets", { name: "tickets", value: tickets, limit, n: tickets, unit: "", verdict: tickets <= limit ? "pass" : "fail", relation: "<=", detail: "" });
        found.set(String(detail["evidence_hash"]), { ...week, approver: String(detail["approver"]) });
      }
    }
  }
  return [...found.values()];
}
