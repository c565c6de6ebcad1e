/**
 * Realtime for more topics than a connection holds: one more connection for every hundred.
 *
 * To its listener it is one transport. A topic stays where it is as long as it is followed.
 */
import { type RealtimeOptions, RealtimeTransport } from "./realtime.js";
import type { Stream } from "./event.js";
import { type Coverage, type FillPage, type FillSource, IDLE, type TransportState } from "./transport.js";

/** Realtime's own limit of a connection; it refuses the joins above. */
const CHANNELS = 100;
/** Connections of one page at most; a plan counts each. Topics above stay on WebSocket. */
const CONNECTIONS = 10;
/** From bad to good: the pool stands as its worst connection does. */
const PHASES = ["refused", "waiting", "connecting", "joined", "idle"] as const;

interface Member {
  readonly transport: RealtimeTransport;
  topics: Set<string>;
  joined: Coverage;
}

export interface PoolOptions extends RealtimeOptions {
  /** Channels a connection, for tests. */
  channels?: number;
}

/** Used like one `RealtimeTransport`. */
export class RealtimePool implements FillSource {
  readonly #options: PoolOptions;
  readonly #members: Member[];
  readonly #channels: number;

  constructor(options: PoolOptions) {
    this.#options = options;
    this.#channels = options.channels ?? CHANNELS;
    this.#members = [this.#member()]; // idle until something is followed; it fills, too
  }

  get state(): TransportState {
    const states = this.#members.map(({ transport }) => transport.state);
    const worst = (one: TransportState): number => PHASES.indexOf(one.phase);
    const state = states.reduce((a, b) => (worst(b) < worst(a) ? b : a), IDLE);
    return {
      ...state,
      failures: Math.max(...states.map((one) => one.failures)),
      reconnects: states.reduce((sum, one) => sum + one.reconnects, 0),
    };
  }

  /** Follow these topics from now on; none closes the connections. */
  follow(topics: ReadonlySet<string>): void {
    const fresh = new Set(topics);
    for (const member of this.#members) {
      member.topics = new Set([...member.topics].filter((name) => topics.has(name)));
      for (const name of member.topics) fresh.delete(name);
    }
    for (const name of [...fresh].sort()) {
      let room = this.#members.find((one) => one.topics.size < this.#channels);
      if (room === undefined) {
        if (this.#members.length === CONNECTIONS) break;
        room = this.#member();
        this.#members.push(room);
      }
      room.topics.add(name);
    }
    for (const { transport, topics: own } of this.#members) transport.follow(own);
  }

  /** Connect anew, with a fresh token. */
  restart(): void {
    for (const { transport } of this.#members) transport.restart();
  }

  /** End for good. */
  close(): void {
    for (const { transport } of this.#members) transport.close();
  }

  fill(stream: Stream, first: number, last: number): Promise<FillPage> {
    return (this.#members[0] as Member).transport.fill(stream, first, last);
  }

  #member(): Member {
    const { listener } = this.#options;
    const tell = (): void => {
      listener.joined("realtime", new Map(this.#members.flatMap((one) => [...one.joined])));
    };
    const member: Member = {
      topics: new Set(),
      joined: new Map(),
      transport: new RealtimeTransport({
        ...this.#options,
        listener: {
          events: (events, via) => {
            listener.events(events, via);
          },
          heads: (heads, via, proves, atUs) => {
            listener.heads(heads, via, proves, atUs);
          },
          meet: (heads) => {
            listener.meet(heads);
          },
          joined: (_, coverage) => {
            member.joined = coverage;
            tell();
          },
          // What the lost connection proved is forgotten; what still stands is told at once.
          left: (via) => {
            member.joined = new Map();
            listener.left(via);
            if (this.#members.some((one) => one.joined.size > 0)) tell();
          },
          failed: (via) => {
            listener.failed(via);
          },
          changed: (via) => {
            listener.changed(via);
          },
        },
      }),
    };
    return member;
  }
}
