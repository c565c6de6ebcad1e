/** A subscriber from the control server's client configuration. */

import { createSubscriber, type Subscriber, type SubscriberOptions } from "@crossfade/client";
import { createClient } from "@supabase/supabase-js";

import { call, type ClientConfig, type Session } from "./session.js";

/** A token is replaced this long before it expires. */
const RENEW_MS = 120_000;
/** One that was fetched so recently is not fetched again for a new connection. */
const FRESH_MS = 2_000;

type Given = Omit<SubscriberOptions, "websocket" | "supabase" | "control">;

/** Start a subscriber with this session's addresses and tokens, which are renewed as needed. */
export function connect(session: Session, options: Given): Subscriber {
  const config = new Renewed(session);
  const { websocket, supabase } = session.config;
  const all: SubscriberOptions = {
    ...options,
    websocket: { url: websocket.url, token: async () => (await config.get()).websocket.token },
    control: { url: "", token: session.token },
  };
  if (supabase !== null) {
    const { url, anon_key } = supabase;
    all.supabase = () => {
      config.renew();
      return createClient(url, anon_key, {
        accessToken: async () => (await config.get()).supabase?.access_token ?? null,
      });
    };
  }
  return createSubscriber(all);
}

/** The configuration, fetched again for every connection and before its token expires. */
class Renewed {
  readonly #session: Session;
  #config: ClientConfig;
  #fetchedMs = Date.now();
  #fetching: Promise<ClientConfig> | null = null;
  #stale = false;

  constructor(session: Session) {
    this.#session = session;
    this.#config = session.config;
  }

  /** A new connection is about to be made: the token may be why the last one ended. */
  renew(): void {
    this.#stale = Date.now() - this.#fetchedMs > FRESH_MS;
  }

  async get(): Promise<ClientConfig> {
    if (!this.#stale && !this.#old) return this.#config;
    this.#fetching ??= call<ClientConfig>(this.#session.token, "/v1/client-config").finally(() => {
      this.#fetching = null;
    });
    try {
      this.#config = await this.#fetching;
      this.#fetchedMs = Date.now();
      this.#stale = false;
    } catch {
      // The control server is away: the token at hand may still be good, and the transports
      // say so themselves when it is not.
    }
    return this.#config;
  }

  get #old(): boolean {
    const { supabase, at_us } = this.#config;
    if (supabase === null || supabase.expires_at_us === null) return false;
    // By the server's own clock: this computer's may be wrong.
    const validMs = (supabase.expires_at_us - at_us) / 1_000;
    return Date.now() - this.#fetchedMs > validMs - RENEW_MS;
  }
}
