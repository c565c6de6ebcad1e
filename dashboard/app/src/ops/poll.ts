/** Asks the control server for its documents, and says how that goes. */

import { call, Refusal } from "../session.js";
import type { AuditRow, Incident, Status } from "./status.js";

/** What a poll found. */
export interface Found {
  readonly status: Status;
  readonly audit: readonly AuditRow[];
  readonly incidents: readonly Incident[];
}

/** How the last call went: since when the figures are old, and when the next try is. */
export interface Trouble {
  readonly reason: string;
  readonly retryAtMs: number | null;
}

const EVERY_MS = 1_000;
const HIDDEN_MS = 10_000;
const MAX_PAUSE_MS = 10_000;
const AUDIT_ROWS = 1_000;
const AUDIT_KEPT = 2_000;

/**
 * Poll until the token is refused: every second while the page is seen, and with growing
 * pauses while the server does not answer. The audit log is read on from where it was.
 */
export class Poll {
  readonly #token: string;
  readonly #found: (found: Found) => void;
  readonly #trouble: (trouble: Trouble | null) => void;
  #audit: AuditRow[] = [];
  #incidents: Incident[] = [];
  #version = "";
  #failures = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #busy = false;

  constructor(
    token: string,
    found: (found: Found) => void,
    trouble: (trouble: Trouble | null) => void,
  ) {
    this.#token = token;
    this.#found = found;
    this.#trouble = trouble;
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible") this.now();
    });
    this.now();
  }

  /** Ask at once: something was just done. */
  now(): void {
    clearTimeout(this.#timer);
    if (!this.#busy) void this.#ask();
  }

  async #ask(): Promise<void> {
    this.#busy = true;
    let pauseMs = document.visibilityState === "visible" ? EVERY_MS : HIDDEN_MS;
    try {
      const status = await call<Status>(this.#token, "/v1/status");
      const version = `${status.rollout?.id} ${status.rollout?.version} ${status.flags.version}`;
      if (version !== this.#version) await this.#details();
      this.#version = version;
      if (this.#failures) this.#trouble(null);
      this.#failures = 0;
      this.#found({ status, audit: this.#audit, incidents: this.#incidents });
    } catch (error) {
      if (error instanceof Refusal && (error.status === 401 || error.status === 403)) {
        this.#trouble({ reason: error.message, retryAtMs: null });
        return;
      }
      this.#failures++;
      pauseMs = Math.min(MAX_PAUSE_MS, EVERY_MS * 2 ** this.#failures) * (0.5 + Math.random() / 2);
      this.#trouble({ reason: reasonOf(error), retryAtMs: Date.now() + pauseMs });
    } finally {
      this.#busy = false;
    }
    this.#timer = setTimeout(() => void this.#ask(), pauseMs);
  }

  async #details(): Promise<void> {
    const after = this.#audit.at(-1)?.id ?? 0;
    const rows = await call<AuditRow[]>(this.#token, `/v1/audit?after=${after}&limit=${AUDIT_ROWS}`);
    this.#audit = [...this.#audit, ...rows].slice(-AUDIT_KEPT);
    this.#incidents = await call<Incident[]>(this.#token, "/v1/incidents?limit=50");
  }
}

function reasonOf(error: unknown): string {
  if (error instanceof Refusal) return `the control server answered ${error.status}: ${error.message}`;
  return "the control server does not answer";
}
