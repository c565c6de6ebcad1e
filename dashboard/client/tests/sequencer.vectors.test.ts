import { describe, expect, test } from "vitest";

import { type Continuity, type Lost } from "../src/continuity.js";
import { type CrossfadeEvent, type Head, type Stream, streamKey } from "../src/event.js";
import type { Fill } from "../src/flow.js";
import { type Fact, isEvent, type SequencerOptions } from "../src/facts.js";
import { Sequencer } from "../src/sequencer.js";
import { vectors } from "./vectors.js";

type Row = (number | string)[];

interface Step {
  op: "receive" | "heads" | "meet" | "settle" | "tick" | "filled" | "failed";
  at?: number;
  via?: string;
  events?: [number, number, number?][];
  heads?: [number, number, number][];
  fill?: [number, string];
  floor?: number | null;
  head?: number | null;
  facts?: Row[];
  fills?: Row[];
}

interface Case {
  name: string;
  options?: {
    buffer_events?: number;
    fills?: number;
    hole_grace_ms?: number;
    start?: "earliest" | "latest";
    positions?: [number, number][];
  };
  steps: Step[];
  end: { positions: [number, number][]; continuity: Record<string, Record<string, unknown>> };
}

const file = vectors<{ streams: [string, number, string, number][]; cases: Case[] }>("sequencer");
const streams: Stream[] = file.streams.map(([source, epoch, topic, partition]) => ({
  source,
  epoch,
  topic,
  partition,
}));
const order = new Map(streams.map((stream, number) => [streamKey(stream), number]));

function hashOf(stream: number, sequence: number, variant = 0): string {
  const value = BigInt((stream + 1) * 1_000_003 + sequence * 31 + variant) * 0x9e3779b97f4a7c15n;
  return BigInt.asUintN(64, value).toString(16).padStart(16, "0");
}

function event(stream: number, sequence: number, variant = 0): CrossfadeEvent {
  return {
    ...(streams[stream] as Stream),
    id: `${stream}-${sequence}`,
    type: "test",
    time: "1970-01-01T00:00:00.000000Z",
    subject: "",
    category: "",
    sequence,
    hash: hashOf(stream, sequence, variant),
    data: "{}",
  };
}

function rowOf(fact: Fact): Row {
  const number = order.get(streamKey(isEvent(fact) ? fact : fact.stream)) as number;
  if (isEvent(fact)) {
    let variant = 0;
    while (hashOf(number, fact.sequence, variant) !== fact.hash) variant++;
    return variant ? [number, fact.sequence, variant] : [number, fact.sequence];
  }
  if (fact.kind === "lost") return ["lost", number, fact.first, fact.last, fact.reason];
  return ["conflict", number, fact.sequence, fact.kept, fact.offered, fact.via];
}

function play(sequencer: Sequencer, step: Step, asked: [number, Fill][]): Row[] {
  const now = step.at ?? 0;
  const events = (step.events ?? []).map((row) => event(...row));
  const heads = (step.heads ?? []).map(
    ([stream, sequence, floor]): Head => ({ stream: streams[stream] as Stream, sequence, floor }),
  );
  switch (step.op) {
    case "receive":
      return sequencer.receive(events, step.via as string, now).map(rowOf);
    case "heads":
      sequencer.heads(heads, now);
      return [];
    case "meet":
      sequencer.meet(heads, now);
      return [];
    case "settle":
      sequencer.settle();
      return [];
    case "tick": {
      const fills = sequencer.tick(now);
      return fills.map((fill) => {
        const number = order.get(streamKey(fill.stream)) as number;
        asked.push([number, fill]);
        return [number, fill.first, fill.last, fill.source];
      });
    }
    case "filled":
    case "failed": {
      const [stream, source] = step.fill as [number, string];
      const at = asked.findIndex(([number, fill]) => number === stream && fill.source === source);
      expect(at).toBeGreaterThanOrEqual(0);
      const [[, fill]] = asked.splice(at, 1) as [[number, Fill]];
      const facts =
        step.op === "failed"
          ? sequencer.fillFailed(fill, now)
          : sequencer.filled(fill, events, step.floor ?? null, step.head ?? null, now);
      return facts.map(rowOf);
    }
  }
}

function snake(report: Continuity): Record<string, unknown> {
  const entries = Object.entries({ ...report, lost: report.lost.map((lost: Lost) => rowOf(lost)) });
  return Object.fromEntries(
    entries.map(([name, value]) => [name.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`), value]),
  );
}

describe("the schedules shared with Python", () => {
  test("are there", () => expect(file.cases.length).toBeGreaterThanOrEqual(40));

  test.each(file.cases)("$name", ({ options = {}, steps, end }) => {
    const known: SequencerOptions = {
      positions: (options.positions ?? []).map(([stream, next]) => ({
        stream: streams[stream] as Stream,
        next,
      })),
    };
    if (options.buffer_events !== undefined) known.bufferEvents = options.buffer_events;
    if (options.fills !== undefined) known.fills = options.fills;
    if (options.hole_grace_ms !== undefined) known.holeGraceMs = options.hole_grace_ms;
    if (options.start !== undefined) known.start = options.start;
    const sequencer = new Sequencer(known);
    const asked: [number, Fill][] = [];
    steps.forEach((step, number) => {
      const expected = step.op === "tick" ? step.fills : (step.facts ?? []);
      expect(play(sequencer, step, asked), `step ${number}: ${step.op}`).toEqual(expected);
    });
    const standing = sequencer
      .positions()
      .map(({ stream, next }) => [order.get(streamKey(stream)) as number, next]);
    standing.sort((a, b) => (a[0] as number) - (b[0] as number));
    expect(standing).toEqual(end.positions);
    const reports = Object.fromEntries(
      sequencer.continuity(10_000).map((report) => [report.source, snake(report)]),
    );
    expect(reports).toEqual(end.continuity);
  });
});
