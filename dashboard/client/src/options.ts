/** What a subscriber is given, and what it tells of itself. */

import type { DeliveryConflict, Lost } from "./continuity.js";
import type { ControlOptions, FlagSource } from "./control.js";
import type { CrossfadeEvent } from "./event.js";
import type { Start } from "./facts.js";
import type { Follow } from "./interest.js";
import type { Resume } from "./position.js";
import type { RealtimeOptions } from "./realtime.js";
import type { SwitchFact } from "./route.js";
import type { Pace } from "./switch.js";
import type { TokenSource, TransportName, TransportState } from "./transport.js";

/** What a page shows of its own connection. */
export interface SubscriberState {
  /** Who serves this page's streams (while there is none: its partitions); `none` before anything was heard. */
  readonly source: TransportName | "both" | "none";
  /** Partitions per transport that serves them. */
  readonly serving: Readonly<Record<TransportName, number>>;
  /** Partitions that are being moved now. */
  readonly moving: number;
  /** Partitions on WebSocket only because Realtime is deaf or gone. */
  readonly fallenBack: number;
  /**
   * Everything up to this moment is here (wall clock, milliseconds): the time of the last head
   * of the transport that is furthest behind. Quiet is not stale: heads come every second.
   */
  readonly asOfMs: number | null;
  /** Whether `asOfMs` is recent. */
  readonly live: boolean;
  /** Streams with a hole that is being filled. */
  readonly holes: number;
  readonly flagVersion: number;
  readonly transports: Readonly<Record<TransportName, TransportState>>;
}

export interface SubscriberOptions {
  /** What to follow: topics, or per topic the keys, the partition numbers, or null for all. */
  topics: Follow;
  /** Events in order, each exactly once; a batch is what arrived together. */
  onEvents: (events: readonly CrossfadeEvent[]) => void;
  /** The legacy side. */
  websocket: { url: string; token?: TokenSource };
  /** Makes a Supabase client; without it everything stays on WebSocket. */
  supabase?: RealtimeOptions["supabase"];
  /** The control server, or any other source of flags. */
  control: ControlOptions | FlagSource;
  /** A range that no store holds any more. */
  onLost?: (lost: Lost) => void;
  /** Two contents at one position; the first was or will be handed over. */
  onConflict?: (conflict: DeliveryConflict) => void;
  /** The state has changed. */
  onState?: (state: SubscriberState) => void;
  /** A partition was moved, could not be moved, or fell back. */
  onSwitch?: (fact: SwitchFact) => void;
  /** What a handler threw, or the storage refused; nothing is swallowed. */
  onError?: (error: Error) => void;
  /** Where a stream without a position begins. */
  start?: Start;
  /** Keep the position over a reload of the page. */
  resume?: Resume;
  /** A name for reports; unique per page by default. */
  instance?: string;
  /** Whether to report to the control server; default: when `control` names one. */
  report?: boolean;
  /** Out-of-order events kept, all streams together. */
  bufferEvents?: number;
  /** How long a hole may mend itself before it is filled. */
  holeGraceMs?: number;
  connectTimeoutMs?: number;
  retryInitialMs?: number;
  retryMaxMs?: number;
  /** The switch's times. */
  pace?: Partial<Pace>;
}
