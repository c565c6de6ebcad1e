/** Who changed what, and the incidents with their root causes. */

import { fill, h } from "../dom.js";
import { figure, moment, span, words } from "../format.js";
import type { AuditRow, Incident, Status } from "./status.js";
import { limitText, measurementName, valueText } from "./verdict.js";

const LISTED = 100;

/** Draw the flags in force and the audit log, newest first. */
export function drawAudit(element: HTMLElement, audit: readonly AuditRow[]): void {
  if (audit.length === 0) {
    fill(element, h("p", { class: "muted empty" }, "Nothing was changed yet."));
    return;
  }
  const items = audit
    .slice(-LISTED)
    .reverse()
    .map((row) =>
      h("li", {},
        h("time", { datetime: new Date(row.at_us / 1_000).toISOString(), class: "muted" }, moment(row.at_us / 1_000)),
        h("p", {}, h("strong", {}, row.actor || "server"), ` ${words(row.verb)}`, ...changes(row).map((text) => h("span", { class: "detail" }, text))),
      ),
    );
  fill(element, h("ol", { class: "timeline" }, ...items));
}

/** One line on the flags in force. */
export function flagsText({ flags }: Status): string {
  const shares = (all: Readonly<Record<string, number>>): string =>
    Object.entries(all).map(([name, share]) => `${name === "*" ? "all" : words(name)} ${figure(share)} %`).join(", ") || "nobody";
  return `version ${flags.version}: ${flags.kill ? "killed" : `serves ${shares(flags.served)}`}`;
}

function changes(row: AuditRow): string[] {
  const said: string[] = [];
  for (const { kind, detail } of row.facts) {
    if (kind === "phase") said.push(`${words(String(detail["from"]))} → ${words(String(detail["to"]))}`);
    if (kind === "gap_accepted") said.push(`not seen by the tap: ${String(detail["range"])}`);
    if (kind === "flags") said.push(`flags: served ${shareText(detail["served"])}, written ${shareText(detail["written"])}`);
  }
  const { reason, comment, root_cause: cause } = row.command as Record<string, unknown>;
  for (const text of [reason, comment, cause]) if (typeof text === "string" && text !== "") said.push(`“${text}”`);
  return said;
}

function shareText(value: unknown): string {
  const all = Object.entries((value ?? {}) as Record<string, number>);
  return all.map(([name, share]) => `${name === "*" ? "" : `${words(name)} `}${figure(share)} %`).join(", ") || "nobody";
}

/** Draw the incidents, newest first. */
export function drawIncidents(element: HTMLElement, incidents: readonly Incident[]): void {
  if (incidents.length === 0) {
    fill(element, h("p", { class: "muted empty" }, "None so far."));
    return;
  }
  fill(element, h("ol", { class: "timeline" }, ...incidents.map(incidentItem)));
}

function incidentItem(one: Incident): HTMLElement {
  const open = one.closed_us === null;
  const recovered = one.figures?.["arrived_after_ms"];
  const measured = one.measurements.map((found) => `${measurementName(found.name)} ${valueText(found)}, limit ${limitText(found)}`);
  return h(
    "li",
    {},
    h("time", { datetime: new Date(one.opened_us / 1_000).toISOString(), class: "muted" }, moment(one.opened_us / 1_000)),
    h("div", {},
      h("p", {}, h("span", { class: "pill", "data-tone": open ? "alarm" : "calm" }, open ? "open" : "closed"), " ", h("strong", {}, one.reason)),
      h("p", { class: "detail" }, `${one.rollout}, ${one.stage_name}, attempt ${one.attempt}; opened by ${one.opened_by}${recovered === undefined ? "" : `; everybody back after ${span(recovered)}`}`),
      ...measured.map((text) => h("p", { class: "detail" }, text)),
      one.root_cause === undefined
        ? h("p", { class: "detail" }, "A root cause must be recorded before it resumes.")
        : h("p", { class: "cause" }, h("strong", {}, "Root cause. "), one.root_cause, ...(one.fix ? [" ", h("strong", {}, "Fix. "), one.fix] : [])),
    ),
  );
}
