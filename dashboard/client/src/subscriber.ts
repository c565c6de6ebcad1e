/** A page's subscriber: one sequencer, fed by both transports, switched while it runs. */

import type { Continuity } from "./continuity.js";
import { ControlClient, type FlagSource, tabStorage } from "./control.js";
import { type CrossfadeEvent, type Head, isOf, type Stream } from "./event.js";
import { type Fact, isEvent } from "./facts.js";
import { Fills } from "./fills.js";
import type { FlagsDocument } from "./flags.js";
import { isIntact } from "./hash.js";
import { Interest } from "./interest.js";
import type { SubscriberOptions, SubscriberState } from "./options.js";
import { PositionStore } from "./position.js";
import { RealtimePool } from "./realtime-pool.js";
import { Reporter } from "./reporter.js";
import { Sequencer } from "./sequencer.js";
import { Settling } from "./settling.js";
import { stateOf } from "./state.js";
import { PACE, type Pace, Switch } from "./switch.js";
import { Telemetry } from "./telemetry.js";
import {
  asError,
  type Coverage,
  type FillSource,
  IDLE,
  type Listener,
  monotonicMs,
  type TransportName,
  type TransportState,
} from "./transport.js";
import { onWake } from "./wake.js";
import { HubTransport } from "./websocket.js";

const TICK_MS = 100;
/** A page whose tick is late by more was busy or asleep: what it got meanwhile waited for it. */
const LATE_MS = 500;
const SAVE_MS = 250;
/** Longest wait for the first flags before the last known ones are used. */
const FIRST_FLAGS_MS = 1_500;
/** A page hidden for longer takes fresh tokens and channels rather than trust the old ones. */
const LONG_SLEEP_MS = 60_000;

/** Start a subscriber; it runs until `close`. */
export const createSubscriber = (options: SubscriberOptions): Subscriber => new Subscriber(options);

/** See `createSubscriber`. */
export class Subscriber {
  readonly instance: string;
  readonly #options: SubscriberOptions;
  readonly #pace: Pace;
  readonly #interest: Interest;
  readonly #sequencer: Sequencer;
  readonly #settling: Settling;
  readonly #switch: Switch;
  readonly #hub: HubTransport;
  readonly #realtime: RealtimePool | null;
  readonly #flags: FlagSource;
  readonly #store: PositionStore | null;
  readonly #telemetry: Telemetry;
  readonly #reporter: Reporter;
  readonly #heardMs: Record<TransportName, number | null> = { websocket: null, realtime: null };
  readonly #fills: Fills;
  readonly #ends: (() => void)[] = [];
  #flagsKnown = false;
  #revision = -1;
  #applied = 0;
  #listens: Record<TransportName, ReadonlyMap<string, ReadonlySet<number>>> = {
    websocket: new Map(),
    realtime: new Map(),
  };
  #unsaved = false;
  #changed = true;
  #savedMs = 0;
  #tickedMs = monotonicMs();
  #shown = "";
  #closed = false;

  constructor(options: SubscriberOptions) {
    this.#options = options;
    this.#pace = { ...PACE, spreadMs: 500, ...options.pace };
    this.instance = options.instance ?? `browser-${randomName()}`;
    this.#store = options.resume === undefined ? null : new PositionStore(options.resume);
    this.#interest = new Interest(options.topics);
    this.#switch = new Switch(this.#pace);
    this.#telemetry = new Telemetry(this.instance, monotonicMs());
    const positions = this.#store?.restore() ?? [];
    this.#sequencer = new Sequencer({
      sources: options.supabase === undefined ? ["hub"] : ["hub", "supabase"],
      start: options.start ?? "latest",
      positions,
      bufferEvents: options.bufferEvents ?? 10_000,
      holeGraceMs: options.holeGraceMs ?? 250,
    });
    // A page that was here before knows what existed: anything else is new to it.
    if (positions.length) this.#sequencer.settle();
    this.#settling = new Settling(() => this.#sequencer.settle());
    const shared = {
      listener: this.#listener(),
      deafMs: this.#pace.deafMs,
      connectTimeoutMs: options.connectTimeoutMs ?? 10_000,
      retryInitialMs: options.retryInitialMs ?? 200,
      retryMaxMs: options.retryMaxMs ?? 15_000,
    };
    this.#hub = new HubTransport({
      ...shared,
      ...options.websocket,
      instance: this.instance,
      positions: () => this.#sequencer.positions(),
    });
    const { supabase, control } = options;
    this.#realtime = supabase === undefined ? null : new RealtimePool({ ...shared, supabase });
    const sources = new Map<string, FillSource>([["hub", this.#hub]]);
    if (this.#realtime !== null) sources.set("supabase", this.#realtime);
    this.#fills = new Fills(
      sources,
      (fill, { events, floor, head }) => {
        const own = events.filter((event) => isOf(event, fill.stream) && this.#intact(event));
        this.#deliver(this.#sequencer.filled(fill, own, floor, head, monotonicMs()), null);
      },
      (fill) => this.#deliver(this.#sequencer.fillFailed(fill, monotonicMs()), null),
    );
    this.#flags = "url" in control ? new ControlClient({ storage: tabStorage(), ...control }) : control;
    const reports = (options.report ?? true) && this.#flags instanceof ControlClient;
    this.#reporter = new Reporter(reports ? this.#flags : null, (nowMs) => this.#report(nowMs));
    this.#begin();
  }

  /** How it stands now. */
  get state(): SubscriberState {
    const sides = this.#sequencer.positions().map(({ stream }) => this.#switch.sideOf(stream));
    return stateOf(
      this.#switch,
      new Set(sides.filter((side) => side !== null)),
      this.#heardMs,
      { websocket: this.#hub.state, realtime: this.#realtime?.state ?? IDLE },
      this.#sequencer.holes,
      this.#pace.deafMs,
    );
  }

  /** What it can prove of its own deliveries, per source. */
  continuity(): Continuity[] {
    return this.#sequencer.continuity(monotonicMs());
  }

  /**
   * One event as a store holds it; null when it holds none at that sequence.
   *
   * Rejects when the store does not answer.
   */
  async lookUp(
    store: "hub" | "supabase",
    stream: Stream,
    sequence: number,
  ): Promise<CrossfadeEvent | null> {
    const source: FillSource | null = store === "hub" ? this.#hub : this.#realtime;
    if (source === null) throw new Error(`there is no ${store} here`);
    const { events } = await source.fill(stream, sequence, sequence);
    return events.find((event) => event.sequence === sequence) ?? null;
  }

  /** Add a figure of the page to its reports, for example `dashboard.load` in milliseconds. */
  measure(name: string, value: number): void {
    this.#telemetry.resources[name] = value;
  }

  /** End: both transports are closed and the position is written a last time. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const end of this.#ends) end();
    this.#fills.close();
    this.#save();
    this.#hub.close();
    this.#realtime?.close();
  }

  // -- its beginning -------------------------------------------------------------------

  #begin(): void {
    this.#ends.push(this.#flags.follow((flags) => this.#takeFlags(flags)));
    const first = setTimeout(() => this.#takeFlags(this.#flags.flags), FIRST_FLAGS_MS);
    const timer = setInterval(() => this.#tick(), TICK_MS);
    this.#ends.push(
      () => clearTimeout(first),
      () => clearInterval(timer),
      onWake((asleepMs, online) => this.#wake(asleepMs, online), () => this.#save()),
    );
    // Flags that are known already need not be waited for.
    if (this.#flags.flags.version > 0) queueMicrotask(() => this.#takeFlags(this.#flags.flags));
  }

  #takeFlags(flags: FlagsDocument): void {
    if (this.#closed) return;
    const added = this.#interest.resolve(flags.partitions);
    for (const [topic, numbers] of added) this.#switch.follow(topic, numbers);
    // Without a Supabase client nobody can be served by it, whatever the flags say.
    const usable = this.#realtime === null ? { ...flags, kill: true } : flags;
    this.#switch.flags(usable, monotonicMs(), this.#flagsKnown ? Math.random() : 0);
    this.#flagsKnown = true;
    this.#tick();
  }

  #listener(): Listener {
    return {
      events: (events, via) => {
        this.#telemetry.received(via, events.length);
        const wanted = events.filter((event) => this.#listensTo(via, event) && this.#intact(event));
        this.#deliver(this.#sequencer.receive(wanted, via, monotonicMs()), via);
      },
      heads: (heads, via, proves, atUs) => {
        if (Number.isFinite(atUs)) this.#telemetry.skew.heard(atUs, Date.now());
        this.#takeHeads(heads, via, proves);
      },
      meet: (heads) => this.#meet(heads),
      joined: (via, coverage) => {
        this.#switch.joined(via, coverage);
        if (via === "websocket") this.#settling.announced(monotonicMs());
      },
      left: (via) => {
        this.#switch.left(via);
        this.#changed = true;
      },
      failed: (via) => this.#switch.failed(via),
      changed: () => {
        this.#changed = true;
      },
    };
  }

  /** These streams are there already: whoever begins at the latest begins behind them. */
  #meet(heads: readonly Head[]): void {
    this.#settling.met(heads.length);
    const wanted = heads.filter((one) => one.sequence > 0 && this.#interest.covers(one.stream));
    this.#sequencer.meet(wanted, monotonicMs());
    this.#telemetry.replays(wanted);
  }

  #takeHeads(heads: Head[], via: TransportName, proves: Coverage | null): void {
    const nowMs = monotonicMs();
    if (via === "websocket" && this.#settling.isBack(heads.length)) {
      this.#meet(heads);
      this.#settling.announced(nowMs);
    }
    this.#sequencer.heads(
      heads.filter(({ stream, sequence }) => sequence > 0 && this.#listensTo(via, stream)),
      nowMs,
    );
    if (proves === null) return;
    this.#heardMs[via] = Date.now();
    this.#switch.heard(via, proves, nowMs);
    if (via === "realtime") this.#settling.heard(nowMs);
    this.#changed = true;
  }

  #listensTo(via: TransportName, { topic, partition }: Stream): boolean {
    return this.#listens[via].get(topic)?.has(partition) ?? false;
  }

  /** What was altered on its way is left out, so that another source is asked for it. */
  #intact(event: CrossfadeEvent): boolean {
    const intact = isIntact(event);
    if (!intact) this.#telemetry.altered++;
    return intact;
  }

  // -- what goes out -------------------------------------------------------------------

  #deliver(facts: readonly Fact[], via: TransportName | null): void {
    if (facts.length === 0 || this.#closed) return;
    this.#unsaved = true;
    this.#changed = true;
    let batch: CrossfadeEvent[] = [];
    const flush = (): void => {
      const events = batch;
      batch = [];
      if (events.length) this.#guard(() => this.#options.onEvents(events));
    };
    const late = monotonicMs() - this.#tickedMs > LATE_MS;
    for (const fact of facts) {
      if (isEvent(fact)) {
        this.#telemetry.delivered(fact, via, this.#switch.inCohort(fact.topic, fact.partition), late);
        if (this.#interest.wants(fact)) batch.push(fact);
        continue;
      }
      flush();
      if (fact.kind === "lost") this.#guard(() => this.#options.onLost?.(fact));
      else this.#guard(() => this.#options.onConflict?.(fact));
    }
    flush();
  }

  /** A handler that throws must not end the listening. */
  #guard(call: () => void): void {
    try {
      call();
    } catch (error) {
      if (this.#options.onError === undefined) reportError(error);
      else this.#options.onError(asError(error));
    }
  }

  // -- as time passes ------------------------------------------------------------------

  #tick(): void {
    if (this.#closed) return;
    const nowMs = monotonicMs();
    this.#tickedMs = nowMs;
    const progress = (topic: string, partition: number) => this.#sequencer.progress(topic, partition);
    for (const fact of this.#switch.step(nowMs, progress, Math.random())) {
      this.#guard(() => this.#options.onSwitch?.(fact));
    }
    if (this.#revision !== this.#switch.revision) {
      this.#revision = this.#switch.revision;
      this.#listens = {
        websocket: this.#switch.wanted("websocket"),
        realtime: this.#switch.wanted("realtime"),
      };
      this.#hub.follow(this.#interest.coverage(this.#listens.websocket));
      this.#realtime?.follow(new Set(this.#listens.realtime.keys()));
      this.#changed = true;
    }
    this.#settling.tick(nowMs);
    for (const fill of this.#sequencer.tick(nowMs)) this.#fills.start(fill);
    if (this.#applied !== this.#switch.applied) {
      this.#applied = this.#switch.applied;
      this.#reporter.hurry(); // A rollout waits for this.
    }
    if (this.#unsaved && nowMs - this.#savedMs >= SAVE_MS) this.#save();
    this.#reporter.tick(nowMs);
    this.#show();
  }

  #save(): void {
    this.#savedMs = monotonicMs();
    if (this.#store === null || !this.#unsaved) return;
    this.#unsaved = false;
    this.#guard(() => this.#store?.save(this.#sequencer.positions()));
  }

  #report(nowMs: number): object {
    const standing = (name: TransportName, state: TransportState) => ({
      state,
      headAgeMs: this.#heardMs[name] === null ? null : Date.now() - this.#heardMs[name],
      serving: this.#switch.serving(name),
    });
    const standings = {
      continuity: this.continuity(),
      transports: {
        websocket: standing("websocket", this.#hub.state),
        realtime: standing("realtime", this.#realtime?.state ?? IDLE),
      },
      flagVersion: this.#switch.applied,
      switchFailed: this.#switch.failures,
      fallenBack: this.#switch.fallenBack,
    };
    return this.#telemetry.report(standings, nowMs);
  }

  #show(): void {
    const { onState } = this.#options;
    if (onState === undefined || !this.#changed) return;
    this.#changed = false;
    const state = this.state;
    const shown = JSON.stringify(state);
    if (shown === this.#shown) return;
    this.#shown = shown;
    this.#guard(() => onState(state));
  }

  /** The page was asleep, or the network is back: what is stale is replaced at once. */
  #wake(asleepMs: number, online: boolean): void {
    if (this.#closed) return;
    const stale = (name: TransportName): boolean => {
      const at = this.#heardMs[name];
      return at === null || Date.now() - at > this.#pace.deafMs;
    };
    this.#fills.wake();
    if (online || stale("websocket")) this.#hub.restart();
    // A token may have expired meanwhile: only a new channel with a fresh one is sure.
    if (online || stale("realtime") || asleepMs > LONG_SLEEP_MS) this.#realtime?.restart();
    this.#tick();
  }
}

/** Eight random digits; a page that does not come by https has no `crypto.randomUUID`. */
function randomName(): string {
  const [number = 0] = crypto.getRandomValues(new Uint32Array(1));
  return number.toString(16).padStart(8, "0");
}
