/** The sample page: what a product's own dashboard looks like while its transport changes. */

import "../styles/base.css";
import "../styles/departures.css";

import { positionText } from "@crossfade/client";

import { Badge, lostRow } from "../badge.js";
import { connect } from "../connection.js";
import { byId, fill, h, keyed, setText } from "../dom.js";
import { count, plural } from "../format.js";
import { drawing } from "../frames.js";
import { measureLoad } from "../load.js";
import { signIn } from "../session.js";
import { Board, type BoardState, type Flight } from "./board.js";

const ZONE = "America/New_York";
const hour = new Intl.DateTimeFormat("en-GB", { timeZone: ZONE, hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { timeZone: ZONE, weekday: "long", day: "numeric", month: "long", year: "numeric" });

const FIGURES = [
  ["flight.departed", "departed"],
  ["flight.delayed", "delays announced"],
  ["flight.arrived", "arrived"],
  ["flight.cancelled", "cancelled"],
] as const;

async function main(): Promise<void> {
  const session = await signIn("Departures");
  const load = measureLoad(session.startMs);
  byId("main").dataset["signedIn"] = "true";
  const board = new Board();
  const badge = new Badge();
  byId("badge").append(badge.element);
  const draw = drawBoard(board);
  const subscriber = connect(session, {
    topics: Object.keys(session.config.topics),
    start: "latest",
    resume: { key: "departures", save: () => board.save(), load: (state) => board.load(state as BoardState) },
    onEvents: (events) => {
      for (const event of events) {
        const flight = board.take(event);
        if (flight !== null) draw.changed(flight);
      }
      draw.soon();
    },
    onLost: ({ stream, first, last }) => {
      const from = positionText({ ...stream, sequence: first });
      byId("lost").append(lostRow(`${plural(last - first + 1, "event")} lost from ${from} on: no store holds them any more.`));
    },
    onConflict: (conflict) => console.warn("conflict", conflict),
    onState: (state) => {
      badge.show(state);
      if (state.live) load.live(subscriber);
    },
  });
  draw.soon();
  Object.assign(window, { crossfade: subscriber });
}

/** More changes at once than this are not pointed at: a board that flickers says nothing. */
const POINTED_AT = 12;

/** Draws only what changed. */
function drawBoard(board: Board): { soon: () => void; changed: (flight: Flight) => void } {
  const rows = byId("flights");
  const changed = new Set<string>();
  const filter = { airport: "", text: "" };
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  const soon = drawing(() => {
    const shown = board.flights().filter((flight) => matches(flight, filter));
    const point = changed.size <= POINTED_AT && !calm.matches;
    keyed(rows, shown, (flight) => flight.key, makeRow, (row, flight) => {
      updateRow(row, flight);
      if (point && changed.has(flight.key)) flash(row);
    });
    changed.clear();
    byId("empty").hidden = shown.length > 0;
    setText(byId("empty"), filter.airport || filter.text ? "No flight matches." : "No departures yet. They appear here as they are published.");
    if (board.now) setText(byId("board-day"), `· ${day.format(new Date(board.now))}, ${hour.format(new Date(board.now))}`);
    drawFigures(board);
  });
  document.querySelector(".filters")?.addEventListener("submit", (event) => event.preventDefault());
  document.querySelector(".filters")?.addEventListener("input", () => {
    filter.airport = document.querySelector<HTMLInputElement>("[name=airport]:checked")?.value ?? "";
    filter.text = byId<HTMLInputElement>("find").value.trim().toLowerCase();
    soon();
  });
  return { soon, changed: (flight) => changed.add(flight.key) };
}

function matches(flight: Flight, { airport, text }: { airport: string; text: string }): boolean {
  if (airport && flight.origin !== airport) return false;
  return !text || `${flight.flight} ${flight.destination} ${flight.airline}`.toLowerCase().includes(text);
}

function makeRow(): HTMLElement {
  const cells = ["time", "flight", "to", "from", "airline", "status"].map((name) => h("td", { class: name }));
  return h("tr", {}, ...cells);
}

function updateRow(row: HTMLElement, flight: Flight): void {
  const cells = [...row.children];
  const texts = [hour.format(new Date(flight.scheduled)), flight.flight, flight.destination, flight.origin, flight.airline, statusText(flight)];
  texts.forEach((text, number) => {
    const cell = cells[number];
    if (cell !== undefined) setText(cell, text);
  });
  row.dataset["status"] = flight.status;
  row.dataset["position"] = flight.position;
}

function statusText(flight: Flight): string {
  const late = flight.delayMinutes;
  switch (flight.status) {
    case "delayed":
      return `Delayed ${late} min`;
    case "departed":
      return late >= 15 ? `Departed ${late} min late` : "Departed";
    case "arrived":
      return late >= 15 ? `Arrived ${late} min late` : "Arrived";
    case "cancelled":
      return "Cancelled";
    case "diverted":
      return "Diverted";
    case "scheduled":
      return "Scheduled";
  }
}

function flash(row: HTMLElement): void {
  row.lastElementChild?.animate([{ backgroundColor: "var(--flash)" }, { backgroundColor: "transparent" }], { duration: 900, easing: "ease-out" });
}

function drawFigures(board: Board): void {
  const list = byId("figures");
  if (list.children.length === 0) {
    fill(list, ...FIGURES.map(([type, label]) => h("div", {}, h("dt", {}, label), h("dd", { "data-type": type }, "0"))));
  }
  for (const [type] of FIGURES) {
    const cell = list.querySelector(`[data-type="${type}"]`);
    if (cell !== null) setText(cell, count(board.counts[type] ?? 0));
  }
}

void main();
