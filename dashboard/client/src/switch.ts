/**
 * Moving partitions from one transport to the other: make before break (DESIGN section 5).
 *
 * Pure: it is told what is wanted, how far the streams are and what the time is, and answers
 * what each transport must cover. The sequencer keeps the events right whatever happens here;
 * the rules below only set when a subscriber can let go without waiting for a fill.
 */

import { streamKey } from "./event.js";
import type { Progress } from "./sequencer.js";
import type { TransportName } from "./transport.js";

/** A partition of a topic: the unit that is moved. */
export interface Place {
  readonly topic: string;
  readonly partition: number;
}

/**
 * `overlap`: both transports are open, the new one has not yet proven itself. `catching_up`:
 * it has brought a head; every stream must pass the heads known at that moment. `draining`:
 * the new one serves; the old one is heard a little longer, for what is still on its way.
 */
export type SwitchPhase = "overlap" | "catching_up" | "draining";

/** One move under way. */
export interface Move {
  readonly generation: number;
  readonly from: TransportName;
  readonly to: TransportName;
  readonly phase: SwitchPhase;
  readonly sinceMs: number;
  readonly places: readonly Place[];
}

/** Something that happened to a move. */
export interface SwitchFact {
  readonly kind: "proven" | "cut" | "done" | "switch_failed";
  readonly move: Move;
}

/** What must be known at a step. */
export interface SwitchView {
  /** Whether this transport is joined *and* has brought a head since, for this topic. */
  proven(via: TransportName, topic: string): boolean;
  /** Where the streams of a partition stand. */
  progress(topic: string, partition: number): readonly Progress[];
}

export interface SwitchOptions {
  /** A move that is not cut by then has failed; what was served stays. */
  timeoutMs: number;
  /** How long the old transport is heard after the cut. */
  drainMs: number;
}

interface Moving {
  generation: number;
  from: TransportName;
  to: TransportName;
  phase: SwitchPhase;
  sinceMs: number;
  places: Place[];
  cutMs: number;
  reported: boolean;
  readonly heads: Map<string, number>;
}

/** Which transport serves which partition, and the moves between them. */
export class Switch {
  readonly #options: SwitchOptions;
  readonly #places = new Map<string, Place>();
  readonly #serving = new Map<string, TransportName>();
  #moves: Moving[] = [];
  #generation = -1;

  constructor(options: SwitchOptions) {
    this.#options = options;
  }

  /** The moves under way, oldest first. */
  get moves(): readonly Move[] {
    return this.#moves;
  }

  /** How many partitions a transport serves. */
  served(via: TransportName): number {
    let count = 0;
    for (const name of this.#serving.values()) count += Number(name === via);
    return count;
  }

  /** The transport that serves a partition. */
  serving({ topic, partition }: Place): TransportName | undefined {
    return this.#serving.get(keyOf({ topic, partition }));
  }

  /**
   * Say where every partition is to be served. A generation that is not above the last one is
   * a late command and is ignored. Moves that were not cut yet start over from where they are.
   */
  want(
    places: Iterable<Place>,
    target: (place: Place) => TransportName,
    generation: number,
    nowMs: number,
  ): void {
    if (generation <= this.#generation) return;
    this.#generation = generation;
    const kept = this.#moves.filter((move) => move.phase === "draining");
    const underWay = this.#moves.filter((move) => move.phase !== "draining");
    const groups = new Map<string, Place[]>();
    for (const place of places) {
      const key = keyOf(place);
      this.#places.set(key, place);
      const to = target(place);
      const from = this.#serving.get(key);
      if (from === undefined) this.#serving.set(key, to);
      else if (from !== to) {
        // A move that is already on its way there keeps its phase and its deadline.
        const same = underWay.find(
          (move) => move.to === to && move.places.some((one) => keyOf(one) === key),
        );
        const group = `${to} ${same?.generation ?? generation}`;
        groups.set(group, [...(groups.get(group) ?? []), place]);
      }
    }
    for (const [group, wanted] of groups) {
      const [to, number] = group.split(" ") as [TransportName, string];
      const before = underWay.find((one) => one.to === to && one.generation === Number(number));
      kept.push(
        before === undefined
          ? begin(wanted, to, generation, nowMs)
          : { ...before, generation, places: wanted },
      );
    }
    this.#moves = kept;
  }

  /** See what has become possible; at most one phase further per call. */
  step(view: SwitchView, nowMs: number): SwitchFact[] {
    const facts: SwitchFact[] = [];
    this.#moves = this.#moves.filter((move) => this.#stepMove(move, view, nowMs, facts));
    return facts;
  }

  /** The partitions that a transport must cover now: those it serves, and both ends of a move. */
  coverage(via: TransportName): Place[] {
    const covered = new Map<string, Place>();
    for (const [key, name] of this.#serving) {
      if (name === via) covered.set(key, this.#places.get(key) as Place);
    }
    for (const move of this.#moves) {
      if ((move.phase === "draining" ? move.from : move.to) !== via) continue;
      for (const place of move.places) covered.set(keyOf(place), place);
    }
    return [...covered.values()];
  }

  #stepMove(move: Moving, view: SwitchView, nowMs: number, facts: SwitchFact[]): boolean {
    switch (move.phase) {
      case "overlap":
        if (!topicsOf(move.places).every((topic) => view.proven(move.to, topic))) break;
        move.phase = "catching_up";
        for (const { topic, partition } of move.places) {
          for (const { stream, head } of view.progress(topic, partition)) {
            move.heads.set(streamKey(stream), head);
          }
        }
        facts.push({ kind: "proven", move: { ...move } });
        return true;
      case "catching_up":
        if (!caughtUp(move, view)) break;
        this.#cut(move, nowMs, facts);
        return true;
      case "draining":
        if (nowMs - move.cutMs < this.#options.drainMs) return true;
        facts.push({ kind: "done", move: { ...move } });
        return false;
    }
    if (nowMs - move.sinceMs < this.#options.timeoutMs) return true;
    if (!move.reported) facts.push({ kind: "switch_failed", move: { ...move } });
    move.reported = true;
    // The way back to WebSocket is never given up: the other side may be dead for good, and
    // what is still missing will be filled.
    if (move.to !== "websocket") return false;
    if (move.phase === "catching_up") this.#cut(move, nowMs, facts);
    return true;
  }

  #cut(move: Moving, nowMs: number, facts: SwitchFact[]): void {
    for (const place of move.places) this.#serving.set(keyOf(place), move.to);
    move.phase = "draining";
    move.cutMs = nowMs;
    facts.push({ kind: "cut", move: { ...move } });
  }
}

function begin(places: Place[], to: TransportName, generation: number, nowMs: number): Moving {
  return {
    generation,
    from: to === "realtime" ? "websocket" : "realtime",
    to,
    phase: "overlap",
    sinceMs: nowMs,
    places,
    cutMs: 0,
    reported: false,
    heads: new Map(),
  };
}

function caughtUp(move: Moving, view: SwitchView): boolean {
  return move.places.every(({ topic, partition }) =>
    view
      .progress(topic, partition)
      .every(({ stream, next }) => next > (move.heads.get(streamKey(stream)) ?? 0)),
  );
}

function topicsOf(places: readonly Place[]): string[] {
  return [...new Set(places.map((place) => place.topic))];
}

function keyOf({ topic, partition }: Place): string {
  return `${topic}\x1f${partition}`;
}
