/** The operations page. */

import "../styles/base.css";
import "../styles/ops.css";

import { Badge } from "../badge.js";
import { connect } from "../connection.js";
import { byId, fill, h, setText } from "../dom.js";
import { clock, countdown, words } from "../format.js";
import { measureLoad } from "../load.js";
import { signIn, signOut } from "../session.js";
import { act } from "./actions.js";
import { Charts } from "./charts.js";
import { EventsPanel } from "./events.js";
import { drawSuccess, GatesPanel } from "./gates.js";
import { drawAudit, drawIncidents, flagsText } from "./history.js";
import { inspectDiscrepancy, inspectEvent } from "./inspector.js";
import { InstancesPanel } from "./instances.js";
import { prefectHome } from "./prefect.js";
import { type Found, Poll, type Trouble } from "./poll.js";
import { RolloutPanel } from "./rollout.js";
import { ReconciliationPanel, StoresPanel } from "./stores.js";
import type { Incident } from "./status.js";

async function main(): Promise<void> {
  const session = await signIn("Crossfade");
  const load = measureLoad(session.startMs);
  byId("sign-out").addEventListener("click", signOut);
  if (session.access === "instance") {
    fill(byId("notices"), h("p", { class: "notice" }, "This page needs the operator's token; the one you gave may only read events. ", h("a", { href: "/departures" }, "The departures board"), " works with it."));
    byId("main").dataset["signedIn"] = "partly";
    return;
  }
  byId("main").dataset["signedIn"] = "true";
  const { prefect_url: prefect, topics } = session.config;
  const link = byId<HTMLAnchorElement>("prefect");
  link.hidden = prefect === null;
  if (prefect !== null) link.href = prefectHome(prefect);

  const badge = new Badge();
  byId("badge").append(badge.element);
  const events = new EventsPanel(byId("events"), byId("events-summary"), (event) => inspectEvent(subscriber, event));
  const subscriber = connect(session, {
    topics: Object.keys(topics),
    start: "latest",
    onEvents: (batch) => events.add(batch),
    onLost: (lost) => events.lose(lost),
    onConflict: (conflict) => console.warn("conflict", conflict),
    onState: (state) => {
      badge.show(state);
      if (state.live) load.live(subscriber);
    },
  });

  const again = (): void => poll.now();
  const panels = [
    new RolloutPanel(byId("rollout"), (action, rollout) => act(action, session, rollout, again), prefect),
    new GatesPanel(byId("gates-body"), byId("gates-summary")),
    new StoresPanel(byId("stores")),
    new ReconciliationPanel(byId("reconciliation"), byId("reconciliation-summary"), (found) => inspectDiscrepancy(subscriber, found)),
    new InstancesPanel(byId("instances"), byId("instances-summary")),
    new Charts(byId("rate-chart"), byId("latency-chart")),
  ];
  const notices = new Notices(byId("notices"));
  let drawn = "";
  const show = ({ status, audit, incidents }: Found): void => {
    for (const panel of panels) panel.show(status);
    notices.incident(status.incident);
    setText(byId("flags-summary"), flagsText(status));
    const version = `${audit.at(-1)?.id} ${incidents.length} ${incidents[0]?.closed_us} ${incidents[0]?.figures === undefined}`;
    if (version !== drawn) {
      drawAudit(byId("audit"), audit);
      drawIncidents(byId("incidents"), incidents);
      drawn = version;
    }
    drawSuccess(byId("success"), status, audit);
    notices.seen(status.at_us / 1_000);
    setText(byId("spoken"), status.rollout === null ? "" : `${status.rollout.name}: ${words(status.rollout.phase)}`);
    document.title = status.rollout === null ? "Crossfade" : `${status.rollout.name}: ${words(status.rollout.phase)} · Crossfade`;
  };
  const poll = new Poll(session.token, show, (trouble) => notices.trouble(trouble));
  Object.assign(window, { crossfade: subscriber });
}

/** What stands above everything: an open incident, and a control server that is away. */
class Notices {
  readonly #incident = h("p", { class: "notice alarm" });
  readonly #trouble = h("p", { class: "notice" });
  #seenMs: number | null = null;
  #now: Trouble | null = null;

  constructor(element: HTMLElement) {
    this.#incident.hidden = this.#trouble.hidden = true;
    fill(element, this.#trouble, this.#incident);
    setInterval(() => this.#draw(), 1_000);
  }

  seen(atMs: number): void {
    this.#seenMs = atMs;
  }

  trouble(trouble: Trouble | null): void {
    this.#now = trouble;
    this.#draw();
  }

  incident(incident: Incident | null): void {
    this.#incident.hidden = incident === null;
    if (incident === null) return;
    const next = incident.closed_us === null ? "It resumes once a root cause and a fix are recorded." : "";
    const reason = incident.reason.replace(/[.\s]*$/, ".");
    setText(this.#incident, `Incident in ${incident.stage_name}: ${reason} ${next}`);
  }

  #draw(): void {
    const trouble = this.#now;
    this.#trouble.hidden = trouble === null;
    if (trouble === null) return;
    const seen = this.#seenMs === null ? "" : `; the figures below are of ${clock(this.#seenMs)}`;
    const next = trouble.retryAtMs === null ? "will not retry: sign in again" : `will retry in ${countdown(trouble.retryAtMs - Date.now())}`;
    setText(this.#trouble, `${trouble.reason}${seen}; ${next}`);
  }
}

void main();
