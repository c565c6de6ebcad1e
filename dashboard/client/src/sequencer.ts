/**
 * The sequencer: whatever the transports do, each stream comes out as 1, 2, 3, …
 *
 * The same algorithm as `crossfade/core/sequencer.py`; `tests/vectors/sequencer.json` holds
 * both to it. Events, heads and fills go in, facts and wanted fills come out; time is an
 * argument, and nothing here touches the network.
 */

import type { Continuity, Lost } from "./continuity.js";
import {
  compareStreams,
  type CrossfadeEvent,
  type Head,
  type Stream,
  streamOf,
} from "./event.js";
import type { Fact, Progress, SequencerOptions, Standing, Start } from "./facts.js";
import { type Fill, type Flow, prove, RECENT } from "./flow.js";
import { laneKey, Streams } from "./streams.js";

const MASK = RECENT - 1;

/**
 * Puts the events of any number of streams in order, once each, and finds what is missing.
 *
 * An event below `next` is a duplicate; the one at `next` is delivered, and with it what
 * waited behind it; one above waits. Heads and waiting events open holes; a hole older than
 * the grace asks one source after the other for a fill, one at a time. Only delivered events
 * move a stream on, except where every source says that it holds nothing so low any more:
 * then the range is `Lost`. A stream of a newer epoch waits until the older ones of the same
 * source, topic and partition have delivered all that is known of them.
 */
export class Sequencer {
  readonly #names: readonly string[];
  readonly #index: ReadonlyMap<string, number>;
  readonly #sources: readonly string[];
  readonly #authority: string;
  readonly #start: Start;
  readonly #bufferEvents: number;
  readonly #graceMs: number;
  readonly #retryMaxMs: number;
  readonly #fills: number;
  readonly #streams: Streams;
  readonly #ahead = new Set<Flow>();
  #settled = false;
  #held = 0;
  #filling = 0;

  constructor(options: SequencerOptions = {}) {
    const transports = options.transports ?? ["websocket", "realtime"];
    this.#sources = options.sources ?? ["hub", "supabase"];
    this.#names = [...transports, ...this.#sources, "lost"];
    this.#streams = new Streams(this.#names);
    this.#index = new Map(this.#names.map((name, number) => [name, number]));
    this.#authority = options.authority ?? "hub";
    this.#start = options.start ?? "earliest";
    this.#bufferEvents = options.bufferEvents ?? 10_000;
    this.#graceMs = options.holeGraceMs ?? 250;
    this.#retryMaxMs = options.retryMaxMs ?? 5_000;
    this.#fills = options.fills ?? 8;
    const standings = [...(options.positions ?? [])];
    standings.sort((a, b) => compareStreams(a.stream, b.stream));
    for (const { stream, next } of standings) {
      const flow = this.#streams.add(stream, next);
      flow.origin = 1; // Above it, something was handed over before the restart.
    }
  }

  // -- what comes in -------------------------------------------------------------------

  /** Take events that `via` (a transport or a source) brought, in any order. */
  receive(events: Iterable<CrossfadeEvent>, via: string, nowMs: number): Fact[] {
    const facts: Fact[] = [];
    const number = this.#number(via);
    for (const event of events) {
      const sequence = event.sequence;
      const flow = this.#streams.get(event) ?? this.#open(streamOf(event), sequence);
      const next = flow.next;
      if (sequence === next && !flow.waits) {
        facts.push(event);
        flow.next = next + 1;
        flow.recent[sequence & MASK] = event.hash;
        flow.tally.first[number]!++;
        flow.tally.add(event.hash);
        if (flow.ahead) this.#advance(flow, number, facts, nowMs);
      } else if (sequence < next) {
        flow.tally.duplicates[number]!++;
        if (
          flow.recent[sequence & MASK] !== event.hash &&
          sequence >= next - RECENT &&
          sequence >= flow.knownFrom
        ) {
          this.#contradict(flow, event, via, facts);
        }
      } else {
        this.#wait(flow, event, number, facts, nowMs);
      }
    }
    return facts;
  }

  /** Take heads: what is known to exist and is not here opens a hole. */
  heads(heads: Iterable<Head>, nowMs: number): void {
    for (const head of sortedHeads(heads)) {
      const flow = this.#streams.get(head.stream) ?? this.#open(head.stream, head.sequence + 1);
      flow.mark(head.sequence, nowMs);
      if (flow.marks.length && !(flow.ahead && flow.order.length)) this.#look(flow);
    }
  }

  /**
   * Take heads of streams that are about to be caught up with. They open no hole yet, except
   * in an epoch that is over: the next one waits for it.
   */
  meet(heads: Iterable<Head>, nowMs: number): void {
    const sorted = sortedHeads(heads);
    const newest = new Map(sorted.map(({ stream }) => [laneKey(stream), stream.epoch]));
    for (const { stream, sequence } of sorted) {
      const flow = this.#streams.get(stream) ?? this.#open(stream, sequence + 1);
      if (stream.epoch < (newest.get(laneKey(stream)) ?? 0)) {
        flow.mark(sequence, nowMs);
        this.#look(flow);
      }
    }
  }

  /** From now on a stream that was never seen before begins at 1: it is new. */
  settle(): void {
    this.#settled = true;
  }

  // -- fills ---------------------------------------------------------------------------

  /** The fills to start now; each is answered by `filled` or `fillFailed`. */
  tick(nowMs: number): Fill[] {
    const wanted: Fill[] = [];
    for (const flow of this.#ahead) {
      if (this.#filling >= this.#fills) break;
      if (
        flow.waits ||
        flow.fill !== null ||
        nowMs < flow.notBeforeMs ||
        nowMs - flow.gapMs < this.#graceMs ||
        flow.gapLast < flow.next
      ) {
        continue;
      }
      const source = this.#sources[flow.turn] as string;
      flow.fill = { stream: flow.stream, first: flow.next, last: flow.gapLast, source };
      this.#filling++;
      wanted.push(flow.fill);
    }
    return wanted;
  }

  /**
   * Take a page; `floor` and `head` are what the source holds of the stream. A short or empty
   * page proves nothing by itself: the next source is asked.
   */
  filled(
    fill: Fill,
    events: readonly CrossfadeEvent[],
    floor: number | null,
    head: number | null,
    nowMs: number,
  ): Fact[] {
    const flow = this.#flow(fill);
    const answered = this.#ends(flow, fill);
    const facts = this.receive(events, fill.source, nowMs);
    if (!answered || !flow.ahead) return facts;
    if (flow.next > fill.first) {
      flow.attempts = 0;
      flow.answers.clear();
      return facts;
    }
    const byAuthority = fill.source === this.#authority;
    flow.answers.set(flow.turn, prove(fill, events, floor, head, byAuthority));
    this.#nextSource(flow, facts, nowMs);
    return facts;
  }

  /** The source did not answer: the next one is asked, and nothing is given up. */
  fillFailed(fill: Fill, nowMs: number): Fact[] {
    const flow = this.#flow(fill);
    const facts: Fact[] = [];
    if (this.#ends(flow, fill) && flow.ahead) {
      flow.answers.set(flow.turn, null);
      this.#nextSource(flow, facts, nowMs);
    }
    return facts;
  }

  // -- what can be asked ---------------------------------------------------------------

  /** Events that wait for an earlier one. */
  get buffered(): number {
    return this.#held;
  }

  /** Streams that have a hole now. */
  get holes(): number {
    return this.#ahead.size;
  }

  /** Per stream the sequence to be delivered next. */
  positions(): Standing[] {
    return Array.from(this.#streams.all(), ({ stream, next }) => ({ stream, next }));
  }

  /** Where the streams of a partition stand. */
  progress(topic: string, partition: number): Progress[] {
    const flows = this.#streams.ofPartition(topic, partition);
    return flows.map(({ stream, next, head }) => ({ stream, next, head }));
  }

  /** The report per source; with `nowMs` open holes count into the longest. */
  continuity(nowMs = 0): Continuity[] {
    return this.#streams.continuity(nowMs);
  }

  // -- streams -------------------------------------------------------------------------

  #number(via: string): number {
    const number = this.#index.get(via);
    if (number === undefined) throw new RangeError(`${via} is no transport or source here`);
    return number;
  }

  #flow(fill: Fill): Flow {
    const flow = this.#streams.get(fill.stream);
    if (flow === undefined) throw new RangeError("the fill is of a stream that is not followed");
    return flow;
  }

  #open(stream: Stream, latest: number): Flow {
    const late = this.#start === "latest" && !this.#settled;
    const flow = this.#streams.add(stream, late ? latest : 1);
    flow.movable = !late && !this.#settled;
    return flow;
  }

  /** Let the next epoch go on, now that an older one is complete as far as known. */
  #release(lane: readonly Flow[], facts: Fact[]): void {
    for (const flow of lane) {
      if (flow.waits) {
        flow.waits = false;
        if (flow.ahead) {
          this.#deliverWaiting(flow, facts);
          this.#look(flow);
          flow.tally.holes += Number(flow.ahead);
        }
      }
      if (flow.ahead) return;
    }
  }

  // -- holes ---------------------------------------------------------------------------

  #wait(flow: Flow, event: CrossfadeEvent, number: number, facts: Fact[], nowMs: number): void {
    const sequence = event.sequence;
    const tally = flow.tally;
    const held = flow.buffer.get(sequence);
    if (held !== undefined) {
      tally.duplicates[number]!++;
      if (held.event.hash !== event.hash) {
        this.#contradict(flow, event, this.#names[number] as string, facts);
      }
      return;
    }
    tally.reordered++;
    if (this.#held >= this.#bufferEvents) {
      tally.evicted++;
      if ((flow.order.at(-1) ?? 0) > sequence) {
        flow.evictHighest(nowMs);
        flow.hold(event, number, nowMs);
      } else {
        flow.mark(sequence, nowMs);
      }
    } else {
      this.#held++;
      flow.hold(event, number, nowMs);
    }
    if (!flow.ahead) this.#look(flow);
    else if (flow.order[0] !== undefined) flow.gapLast = flow.order[0] - 1;
  }

  /** See whether a hole stands before `next`, and count a new one. */
  #look(flow: Flow): void {
    const wasAhead = flow.ahead;
    flow.ahead = flow.lookForGap();
    if (flow.ahead && !wasAhead) {
      this.#ahead.add(flow);
      flow.tally.holes += Number(!flow.waits);
      for (const younger of flow.lane.slice(flow.lane.indexOf(flow) + 1)) {
        // It may wait as long as nothing of it has been handed over.
        younger.waits ||= younger.next === younger.origin;
      }
    } else if (wasAhead && !flow.ahead) {
      this.#ahead.delete(flow);
    }
  }

  /** `next` has moved: deliver what waited for it, and see whether the hole is closed. */
  #advance(flow: Flow, number: number, facts: Fact[], nowMs: number): void {
    if (flow.order.length) this.#deliverWaiting(flow, facts);
    if (flow.next <= flow.gapLast) return;
    const tally = flow.tally;
    tally.healed[number]!++;
    tally.longestMs = Math.max(tally.longestMs, nowMs - flow.gapMs);
    flow.calm();
    if (flow.lookForGap()) {
      tally.holes++;
      return;
    }
    flow.ahead = false;
    this.#ahead.delete(flow);
    if (flow.lane.length > 1) this.#release(flow.lane, facts);
  }

  #deliverWaiting(flow: Flow, facts: Fact[]): void {
    const { buffer, recent, tally } = flow;
    let next = flow.next;
    let count = 0;
    for (const sequence of flow.order) {
      const held = buffer.get(sequence);
      if (sequence !== next || held === undefined) break;
      buffer.delete(sequence);
      facts.push(held.event);
      recent[sequence & MASK] = held.event.hash;
      tally.first[held.via]!++;
      tally.add(held.event.hash);
      next++;
      count++;
    }
    flow.order.splice(0, count);
    this.#held -= count;
    flow.next = next;
  }

  #contradict(flow: Flow, event: CrossfadeEvent, via: string, facts: Fact[]): void {
    flow.tally.conflicts++;
    const held = flow.buffer.get(event.sequence);
    const kept = held?.event.hash ?? flow.recent[event.sequence & MASK] ?? "";
    facts.push({
      kind: "conflict",
      stream: flow.stream,
      sequence: event.sequence,
      kept,
      offered: event.hash,
      via,
    });
  }

  // -- sources -------------------------------------------------------------------------

  #ends(flow: Flow, fill: Fill): boolean {
    if (flow.fill !== fill) return false;
    flow.fill = null;
    this.#filling--;
    return true;
  }

  #nextSource(flow: Flow, facts: Fact[], nowMs: number): void {
    flow.turn = (flow.turn + 1) % this.#sources.length;
    if (flow.answers.size < this.#sources.length) return;
    // Every source has been asked about this very sequence, and none had it.
    flow.attempts++;
    const gone = flow.givenUp();
    flow.answers.clear();
    if (gone !== null) {
      this.#lose(flow, gone.last, gone.reason, facts, nowMs);
      return;
    }
    const pauseMs = Math.max(this.#graceMs, 50) * 2 ** Math.min(flow.attempts, 10);
    flow.notBeforeMs = nowMs + Math.min(pauseMs, this.#retryMaxMs);
  }

  #lose(flow: Flow, last: number, reason: Lost["reason"], facts: Fact[], nowMs: number): void {
    const first = flow.next;
    if (flow.movable && first === flow.origin) {
      flow.tally.skipped += last + 1 - first;
      flow.origin = last + 1;
    } else {
      const lost: Lost = { kind: "lost", stream: flow.stream, first, last, reason };
      flow.tally.lose(lost);
      facts.push(lost);
    }
    flow.next = last + 1;
    flow.knownFrom = last + 1;
    this.#advance(flow, this.#number("lost"), facts, nowMs);
  }
}

function sortedHeads(heads: Iterable<Head>): Head[] {
  return [...heads].sort(
    (a, b) =>
      compareStreams(a.stream, b.stream) || a.sequence - b.sequence || a.floor - b.floor,
  );
}
