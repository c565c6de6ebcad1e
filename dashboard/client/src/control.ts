/** The control server as a page sees it: the flags to follow, and where to report. */

import { type FlagsDocument, NO_FLAGS, readFlags } from "./flags.js";
import { asError, jitteredMs, type TokenSource, within } from "./transport.js";

/** Where the flags come from; keeps the last known ones when its origin is gone. */
export interface FlagSource {
  /** The flags in force here and now. */
  readonly flags: FlagsDocument;
  /** Call `changed` whenever later flags are known, until the returned function is called. */
  follow(changed: (flags: FlagsDocument) => void): () => void;
}

export interface ControlOptions {
  /** The control server's address; "" for the page's own origin. */
  url: string;
  /** A token that may read flags and send telemetry. */
  token: TokenSource;
  /** Where the last known flags outlive a reload; null keeps them in memory only. */
  storage?: Storage | null;
}

const WAIT_S = 25;
const TIMEOUT_MS = 5_000;
const STORED = "crossfade:flags";

/** Follows the flags of a control server by long polling, and posts reports to it. */
export class ControlClient implements FlagSource {
  readonly #options: ControlOptions;
  #flags: FlagsDocument;
  /** Why the last call failed; "" when it did not. */
  error = "";

  constructor(options: ControlOptions) {
    this.#options = options;
    this.#flags = this.#stored() ?? NO_FLAGS;
  }

  get flags(): FlagsDocument {
    return this.#flags;
  }

  follow(changed: (flags: FlagsDocument) => void): () => void {
    const stop = new AbortController();
    void this.#poll(changed, stop.signal);
    return () => stop.abort();
  }

  /**
   * Post a report (`crossfade.core.telemetry.Report` as JSON).
   *
   * Rejects when it was not taken; nothing waits for it.
   */
  async report(report: object): Promise<void> {
    await this.#call("/v1/telemetry", TIMEOUT_MS, { method: "POST", body: JSON.stringify(report) });
  }

  async #poll(changed: (flags: FlagsDocument) => void, stop: AbortSignal): Promise<void> {
    let failures = 0;
    // The first answer is taken whatever its version: stored flags may be of another server.
    let after = -1;
    while (!stop.aborted) {
      try {
        const path = `/v1/flags?after=${after}&wait_s=${after < 0 ? 0 : WAIT_S}`;
        const flags = readFlags(await this.#call(path, WAIT_S * 1_000 + TIMEOUT_MS, {}, stop));
        failures = 0;
        this.error = "";
        if (after < 0 || flags.version > after) {
          after = flags.version;
          this.#flags = flags;
          this.#store(flags);
          changed(flags);
        }
      } catch (error) {
        if (stop.aborted) return;
        this.error = asError(error).message;
        failures++;
        await new Promise((resolve) => setTimeout(resolve, jitteredMs(failures, 500, 10_000)));
      }
    }
  }

  async #call(
    path: string,
    timeoutMs: number,
    init: RequestInit,
    stop?: AbortSignal,
  ): Promise<unknown> {
    const { url, token } = this.#options;
    const abort = new AbortController();
    const end = (): void => abort.abort();
    stop?.addEventListener("abort", end);
    const secret = typeof token === "string" ? token : await token();
    const headers = { authorization: `Bearer ${secret}`, "content-type": "application/json" };
    try {
      const call = fetch(url + path, { ...init, headers, signal: abort.signal, cache: "no-store" });
      const answer = await within(call, timeoutMs, "control server");
      if (!answer.ok) throw new Error(`the control server answered ${answer.status}`);
      return await within(answer.json(), timeoutMs, "control server");
    } finally {
      stop?.removeEventListener("abort", end);
      abort.abort();
    }
  }

  #stored(): FlagsDocument | null {
    try {
      const text = this.#options.storage?.getItem(STORED);
      return text ? readFlags(JSON.parse(text)) : null;
    } catch {
      return null; // What is stored is no flags document: the server's counts.
    }
  }

  #store(flags: FlagsDocument): void {
    try {
      this.#options.storage?.setItem(STORED, JSON.stringify(flags));
    } catch {
      // A full storage must not stop the flags; they are then fetched after a reload.
    }
  }
}

/** The tab's storage; null where a page may not store: it then begins with the server's flags. */
export function tabStorage(): Storage | null {
  try {
    return sessionStorage;
  } catch {
    return null;
  }
}
