/** The board's own state: flights by what the events say of them, newest first. */

import type { CrossfadeEvent } from "@crossfade/client";

export type Status = "scheduled" | "delayed" | "departed" | "arrived" | "cancelled" | "diverted";

/** One flight as the board shows it. */
export interface Flight {
  readonly key: string;
  readonly flight: string;
  readonly airline: string;
  readonly origin: string;
  readonly destination: string;
  readonly scheduled: string;
  status: Status;
  delayMinutes: number;
  /** When its last event happened. */
  time: string;
  /** Position of its last event, for whoever wants to check. */
  position: string;
}

/** What is kept over a reload. */
export interface BoardState {
  readonly flights: readonly Flight[];
  readonly counts: Readonly<Record<string, number>>;
}

const STATUS: Readonly<Record<string, Status>> = {
  "flight.delayed": "delayed",
  "flight.departed": "departed",
  "flight.arrived": "arrived",
  "flight.cancelled": "cancelled",
  "flight.diverted": "diverted",
};

/** Most flights on the board; the earliest scheduled ones leave it. */
export const CAPACITY = 120;

interface FlightData {
  flight: string;
  airline: string;
  origin: string;
  destination: string;
  scheduled_departure: string;
  delay_minutes?: number;
  arrival_delay_minutes?: number;
}

/** Flights by key, and how many events of each kind were seen. */
export class Board {
  readonly #flights = new Map<string, Flight>();
  readonly counts: Record<string, number> = {};
  /** Time of the last event: "now" on the board. */
  now = "";

  /** Take an event; the flight that it changed, or null when it is of no flight. */
  take(event: CrossfadeEvent): Flight | null {
    const status = STATUS[event.type];
    this.counts[event.type] = (this.counts[event.type] ?? 0) + 1;
    if (event.time > this.now) this.now = event.time;
    if (status === undefined) return null;
    const data = JSON.parse(event.data) as FlightData;
    const key = `${data.flight} ${data.scheduled_departure} ${data.origin}`;
    let flight = this.#flights.get(key);
    if (flight === undefined) {
      flight = {
        key,
        flight: data.flight,
        airline: data.airline,
        origin: data.origin,
        destination: data.destination,
        scheduled: data.scheduled_departure,
        status,
        delayMinutes: 0,
        time: event.time,
        position: "",
      };
      this.#flights.set(key, flight);
      if (this.#flights.size > CAPACITY * 2) this.#trim();
    }
    flight.status = status;
    flight.delayMinutes = data.delay_minutes ?? data.arrival_delay_minutes ?? flight.delayMinutes;
    flight.time = event.time;
    flight.position = `${event.topic}/${event.partition}/${event.sequence}`;
    return flight;
  }

  /** The flights to show: newest scheduled first, at most `CAPACITY`. */
  flights(): Flight[] {
    const sorted = [...this.#flights.values()].sort(
      (a, b) => compare(b.scheduled, a.scheduled) || compare(a.key, b.key),
    );
    return sorted.slice(0, CAPACITY);
  }

  save(): BoardState {
    return { flights: this.flights(), counts: this.counts };
  }

  load(state: BoardState): void {
    for (const flight of state.flights) this.#flights.set(flight.key, flight);
    Object.assign(this.counts, state.counts);
  }

  #trim(): void {
    const kept = new Set(this.flights().map((flight) => flight.key));
    for (const key of this.#flights.keys()) if (!kept.has(key)) this.#flights.delete(key);
  }
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
