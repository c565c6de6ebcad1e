import type { CrossfadeEvent } from "@crossfade/client";
import { describe, expect, test } from "vitest";

import { Board, CAPACITY } from "../src/departures/board.js";

let number = 0;

function event(type: string, flight: string, more: object = {}): CrossfadeEvent {
  number++;
  const data = {
    flight,
    airline: "Crossfade Air",
    origin: "JFK",
    destination: "BOS",
    scheduled_departure: "2013-01-01T12:00:00Z",
    ...more,
  };
  return {
    source: "flights",
    epoch: 1,
    topic: "system",
    partition: 3,
    sequence: number,
    id: String(number),
    type,
    time: "2013-01-01T12:05:00.000000Z",
    subject: "N1",
    category: "system",
    hash: "0".repeat(16),
    data: JSON.stringify(data),
  };
}

describe("the departures board", () => {
  test("one row per flight, with its last status", () => {
    const board = new Board();
    board.take(event("flight.delayed", "CF1", { delay_minutes: 20 }));
    board.take(event("flight.departed", "CF1", { delay_minutes: 25 }));
    expect(board.flights()).toMatchObject([{ flight: "CF1", status: "departed", delayMinutes: 25 }]);
    expect(board.counts).toEqual({ "flight.delayed": 1, "flight.departed": 1 });
  });

  test("the same flight on another day is another row", () => {
    const board = new Board();
    board.take(event("flight.departed", "CF1"));
    board.take(event("flight.departed", "CF1", { scheduled_departure: "2013-01-02T12:00:00Z" }));
    expect(board.flights().map((one) => one.scheduled)).toEqual(["2013-01-02T12:00:00Z", "2013-01-01T12:00:00Z"]);
  });

  test("the weather is counted and shows no row", () => {
    const board = new Board();
    expect(board.take(event("weather.observed", ""))).toBeNull();
    expect(board.flights()).toEqual([]);
  });

  test("holds a bounded number of flights, the newest", () => {
    const board = new Board();
    for (let minute = 0; minute < 1_000; minute++) {
      const scheduled = new Date(Date.UTC(2013, 0, 1, 0, minute)).toISOString();
      board.take(event("flight.departed", `CF${minute}`, { scheduled_departure: scheduled }));
    }
    expect(board.flights()).toHaveLength(CAPACITY);
    expect(board.flights()[0]?.flight).toBe("CF999");
    expect(board.save().flights).toHaveLength(CAPACITY);
  });

  test("what was saved is there after a reload", () => {
    const before = new Board();
    before.take(event("flight.cancelled", "CF9"));
    const after = new Board();
    after.load(JSON.parse(JSON.stringify(before.save())) as ReturnType<Board["save"]>);
    expect(after.flights()).toEqual(before.flights());
    expect(after.counts).toEqual(before.counts);
  });
});
