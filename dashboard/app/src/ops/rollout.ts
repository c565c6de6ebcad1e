/** The rollout: how much is served by Supabase, which stage, what it waits for. */

import { fill, h } from "../dom.js";
import { countdown, figure, moment, plural, span, words } from "../format.js";
import type { Action } from "./actions.js";
import { prefectDeployments, prefectWaiting } from "./prefect.js";
import { type DrillRecord, meanPercent, percentOf, type Phase, type Rollout, type Status } from "./status.js";

const IN_STAGE: readonly Phase[] = ["ready", "preflight", "ramping", "soaking", "reconciling", "awaiting_approval"];
const ENDED_WELL: readonly Phase[] = ["completed", "cut_over", "decommissioned"];

const TONES: Readonly<Record<Phase, string>> = {
  ready: "calm",
  preflight: "busy",
  ramping: "busy",
  soaking: "busy",
  reconciling: "busy",
  awaiting_approval: "ask",
  drilling: "busy",
  rolling_back: "alarm",
  rolled_back: "alarm",
  held: "ask",
  completed: "good",
  cut_over: "good",
  decommissioned: "good",
  cancelled: "calm",
};

/** What a person may start now; a week begins by itself or is started there, too. */
const NEXT: Readonly<Partial<Record<Phase, string>>> = {
  ready: "This week, or a drill before it, is started",
  soaking: "A drill or a validation is started",
  awaiting_approval: "A validation is started",
  completed: "A drill and the cut-over are started",
  cut_over: "WebSocket is switched off for good",
};

/** Draws the panel; parts that a person may be using (buttons) are made once per phase. */
export class RolloutPanel {
  readonly #element: HTMLElement;
  readonly #act: (action: Action, rollout: Rollout) => void;
  readonly #prefect: string | null;
  #drawn = "";
  #status: Status | null = null;

  /** `act` is called when a person wants something of the rollout that is shown. */
  constructor(element: HTMLElement, act: (action: Action, rollout: Rollout) => void, prefect: string | null) {
    this.#element = element;
    this.#act = act;
    this.#prefect = prefect;
    setInterval(() => this.#drawTimes(), 500);
  }

  show(status: Status): void {
    this.#status = status;
    const { rollout } = status;
    const drawn = JSON.stringify([rollout?.id, rollout?.version, status.flags.version]);
    if (drawn !== this.#drawn) {
      this.#drawn = drawn;
      if (rollout === null) this.#drawNone();
      else this.#draw(rollout, status);
    }
    this.#drawTimes();
  }

  #drawNone(): void {
    fill(
      this.#element,
      h("h1", { id: "rollout-title" }, "No rollout yet"),
      h("p", { class: "muted lead" }, "Everything is served by WebSocket. ", h("code", {}, "crossfade start"), " begins the plan in the settings."),
    );
  }

  #draw(rollout: Rollout, status: Status): void {
    const { flags } = status;
    const before = document.activeElement;
    const held = before !== null && this.#element.contains(before) ? before.id : null;
    const { percent, even } = rollout.phase === "decommissioned" ? { percent: 100, even: true } : meanPercent(flags.kill ? {} : flags.served, flags.topics);
    fill(
      this.#element,
      h(
        "div",
        { class: "rollout-head" },
        h("div", {},
          h("h1", { id: "rollout-title", tabindex: -1 }, rollout.name),
          h("p", { class: "rollout-phase" },
            h("span", { class: "pill", "data-tone": TONES[rollout.phase] }, words(rollout.phase)),
            h("span", { id: "rollout-wait", class: "muted" }),
          ),
        ),
        this.#buttons(rollout),
      ),
      fader(percent, rollout),
      !even && categories(status),
      rollout.reason !== "" && h("p", { class: "reason" }, rollout.reason),
      stages(rollout),
      h("p", { id: "rollout-applied", class: "muted applied" }),
      rollout.last_drill != null && h("p", { class: "muted drill" }, drillText(rollout.last_drill)),
      this.#prefect !== null && startText(rollout, this.#prefect),
    );
    if (held !== null) this.#focus(held);
  }

  /** Whoever is here by keyboard stays here: on the same control, else on the first there is. */
  #focus(id: string): void {
    const buttons = [...this.#element.querySelectorAll<HTMLElement>(".actions > *")];
    const title = this.#element.querySelector<HTMLElement>("h1");
    (buttons.find((one) => one.id === id) ?? buttons[0] ?? title)?.focus();
  }

  #buttons(rollout: Rollout): HTMLElement {
    const pausable = IN_STAGE.includes(rollout.phase);
    const back = !["rolling_back", "rolled_back", "cancelled", "decommissioned"].includes(rollout.phase);
    const stopped = ["held", "rolled_back"].includes(rollout.phase);
    const button = (action: Action, text: string, tone: string | null = null): HTMLElement =>
      h("button", { type: "button", id: action, class: tone, onclick: () => this.#act(action, rollout) }, text);
    const approve =
      rollout.phase === "awaiting_approval" && this.#prefect !== null
        ? h("a", { id: "approve", class: "button primary", href: prefectWaiting(this.#prefect), target: "_blank", rel: "noreferrer" }, "Approve in Prefect ↗")
        : null;
    return h(
      "div",
      { class: "actions" },
      approve,
      stopped && button("resume", "Resume", "primary"),
      pausable && button("pause", "Pause"),
      back && button("rollback", "Roll back", "danger"),
    );
  }

  #drawTimes(): void {
    const status = this.#status;
    const wait = document.getElementById("rollout-wait");
    const applied = document.getElementById("rollout-applied");
    if (status?.rollout == null || wait === null || applied === null) return;
    const text = waitText(status.rollout);
    if (wait.textContent !== text) wait.textContent = text;
    const behind = appliedText(status);
    if (applied.textContent !== behind.text) applied.textContent = behind.text;
    applied.dataset["pending"] = String(behind.pending);
    const progress = this.#element.querySelector<HTMLElement>(".stage[data-state='current'] .stage-progress");
    progress?.style.setProperty("--done", String(progressOf(status.rollout)));
  }
}

function waitText(rollout: Rollout): string {
  const since = span(Date.now() - rollout.since_us / 1_000);
  const attempt = rollout.attempt > 1 ? `attempt ${rollout.attempt}, ` : "";
  const left = rollout.deadline_us === null ? null : rollout.deadline_us / 1_000 - Date.now();
  if (left !== null && rollout.phase === "soaking") return `${attempt}${left > 0 ? `${countdown(left)} to go` : "the soak is over"}`;
  if (left !== null && rollout.phase === "awaiting_approval") return `${attempt}${left > 0 ? `expires in ${countdown(left)}` : "expired"}`;
  if (left !== null && rollout.phase === "ramping") return `${attempt}${rampText(rollout)}, the next in ${countdown(left)}`;
  if (left !== null && rollout.phase === "cut_over") return left > 0 ? `WebSocket may be switched off in ${countdown(left)}` : "WebSocket may be switched off now";
  if (ENDED_WELL.includes(rollout.phase)) return `on ${moment(rollout.since_us / 1_000)}`;
  return `${attempt}for ${since}`;
}

function rampText(rollout: Rollout): string {
  const steps = (rollout.stages[rollout.stage]?.ramp ?? []).length + 1;
  return `step ${(rollout.ramp_step ?? 0) + 1} of ${steps}`;
}

function drillText({ points, back_ms, passed, at_us }: DrillRecord): string {
  return `Last rollback drill, ${moment(at_us / 1_000)}: ${figure(points)} points back within ${span(back_ms)}, ${passed ? "passed" : "too slow"}.`;
}

/** What comes next is started in Prefect, where it is recorded who did; nothing is started here. */
function startText(rollout: Rollout, prefect: string): HTMLElement | null {
  const what = NEXT[rollout.phase];
  if (what === undefined) return null;
  const link = h("a", { href: prefectDeployments(prefect), target: "_blank", rel: "noreferrer" }, "Prefect’s deployments ↗");
  return h("p", { class: "muted start" }, `${what} in `, link);
}

/** "Accepted" is not "applied": who follows the flags in force. */
function appliedText(status: Status): { text: string; pending: boolean } {
  const live = status.instances.filter((one) => one.live);
  const behind = live.filter((one) => one.flag_version < status.flags.version);
  const version = `Flags ${status.flags.version}`;
  if (live.length === 0) return { text: `${version}; no instance reports`, pending: true };
  if (behind.length === 0) return { text: `${version} applied by ${plural(live.length, "live instance")}`, pending: false };
  const names = behind.slice(0, 3).map((one) => one.instance).join(", ");
  return { text: `${version} pending: ${live.length - behind.length} of ${live.length} live instances follow; waiting for ${names}`, pending: true };
}

function progressOf(rollout: Rollout): number {
  if (rollout.phase === "soaking" && rollout.deadline_us !== null) {
    const total = rollout.deadline_us - rollout.since_us;
    return Math.min(1, Math.max(0, (Date.now() * 1_000 - rollout.since_us) / total));
  }
  return ["reconciling", "awaiting_approval", ...ENDED_WELL].includes(rollout.phase) ? 1 : 0;
}

/** The share of each transport, with the stages as marks on one scale. */
function fader(percent: number, rollout: Rollout): HTMLElement {
  const marks = rollout.stages.map((stage, number) => {
    const at = percentOf(stage.percent, "*") || Math.max(0, ...Object.values(stage.percent));
    return h("li", { style: `--at: ${at}`, "data-state": stateOf(rollout, number) }, h("span", {}, `${figure(at)} %`));
  });
  return h(
    "div",
    { class: "fader", style: `--served: ${percent}` },
    h("p", { class: "fader-ends" },
      h("span", { class: "to-realtime" }, h("strong", {}, `${figure(percent)} %`), " Supabase"),
      h("span", { class: "to-websocket" }, "WebSocket ", h("strong", {}, `${figure(100 - percent)} %`)),
    ),
    h("div", { class: "fader-track", "aria-hidden": "true" }, h("div", { class: "fader-served" })),
    h("ol", { class: "fader-marks", "aria-hidden": "true" }, ...marks),
  );
}

function stages(rollout: Rollout): HTMLElement {
  const items = rollout.stages.map((stage, number) => {
    const state = stateOf(rollout, number);
    const approval = rollout.approvals.findLast((one) => one.stage === number);
    const said =
      approval !== undefined
        ? `approved by ${approval.approver}, ${moment(approval.at_us / 1_000)}`
        : state === "current"
          ? words(rollout.phase)
          : `soaks ${span(stage.soak_s * 1_000)}`;
    const percent = [shares(stage.percent), ...(Object.keys(stage.written ?? {}).length ? [`writes ${shares(stage.written ?? {})}`] : [])].join(", ");
    return h(
      "li",
      { class: "stage", "data-state": state, "aria-current": state === "current" ? "step" : null },
      h("div", { class: "stage-progress", "aria-hidden": "true" }),
      h("p", { class: "stage-name" }, h("strong", {}, stage.name), h("span", {}, percent)),
      h("p", { class: "muted" }, said),
    );
  });
  return h("ol", { class: "stages", "aria-label": "Stages" }, ...items);
}

function shares(all: Readonly<Record<string, number>>): string {
  return Object.entries(all).map(([category, share]) => (category === "*" ? `${figure(share)} %` : `${words(category)} ${figure(share)} %`)).join(", ");
}

function stateOf(rollout: Rollout, number: number): "done" | "current" | "ahead" {
  if (ENDED_WELL.includes(rollout.phase) || number < rollout.stage) return "done";
  return number === rollout.stage ? "current" : "ahead";
}

function categories(status: Status): HTMLElement {
  const names = [...new Set(Object.values(status.flags.topics))].sort();
  return h(
    "dl",
    { class: "categories" },
    ...names.map((name) =>
      h("div", {}, h("dt", {}, words(name)), h("dd", {}, `${figure(percentOf(status.flags.served, name))} %`)),
    ),
  );
}
