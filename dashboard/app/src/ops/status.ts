/** The documents of the control server, as this page reads them (docs/protocol.md, section 6). */

import type { FlagsDocument } from "@crossfade/client";

export type Verdict = "pass" | "fail" | "inconclusive" | "error";

export interface Measurement {
  readonly name: string;
  readonly value: number | null;
  readonly limit: number | null;
  readonly n: number;
  readonly unit: string;
  readonly verdict: Verdict;
  readonly relation: string;
  readonly detail: string;
}

export interface Stage {
  readonly name: string;
  readonly percent: Readonly<Record<string, number>>;
  readonly soak_s: number;
  readonly targets: Readonly<Record<string, number>>;
  readonly ramp?: readonly number[];
  readonly written?: Readonly<Record<string, number>>;
  readonly promote?: string;
}

export interface Approval {
  readonly stage: number;
  readonly attempt: number;
  readonly evidence_hash: string;
  readonly approver: string;
  readonly comment: string;
  readonly tickets: number;
  readonly at_us: number;
}

export type Phase =
  | "ready"
  | "preflight"
  | "ramping"
  | "soaking"
  | "reconciling"
  | "awaiting_approval"
  | "drilling"
  | "rolling_back"
  | "rolled_back"
  | "held"
  | "completed"
  | "cut_over"
  | "decommissioned"
  | "cancelled";

/** The last rollback drill: how long everybody took to be back. */
export interface DrillRecord {
  readonly points: number;
  readonly back_ms: number;
  readonly passed: boolean;
  readonly at_us: number;
}

export interface Rollout {
  readonly id: string;
  readonly name: string;
  readonly version: number;
  readonly phase: Phase;
  readonly stage: number;
  readonly stages: readonly Stage[];
  readonly attempt: number;
  readonly actor: string;
  readonly reason: string;
  readonly started_us: number;
  readonly since_us: number;
  readonly deadline_us: number | null;
  readonly ramp_step?: number;
  readonly last_drill?: DrillRecord | null;
  readonly percentages: {
    readonly served: Readonly<Record<string, number>>;
    readonly written: Readonly<Record<string, number>>;
  };
  readonly incident_id: string | null;
  readonly approvals: readonly Approval[];
}

export interface Evidence {
  readonly hash: string;
  readonly at_us: number;
  readonly verdict: Verdict;
  readonly measurements: readonly Measurement[];
  readonly required?: readonly string[];
}

export interface TransportWindow {
  readonly connected: boolean;
  readonly received: number;
  readonly delivered: number;
  readonly duplicates: number;
  readonly reconnects: number;
  readonly head_age_ms: number | null;
  readonly partitions: number;
  readonly latency_ms: { readonly counts: Readonly<Record<string, number>> };
}

export interface Report {
  readonly interval_ms: number;
  readonly sinks: Readonly<Record<string, { readonly owed: number; readonly breaker: string }>>;
  readonly transports: Readonly<Record<string, TransportWindow>>;
  readonly totals: Readonly<Record<string, number>>;
  readonly resources: Readonly<Record<string, number>>;
}

export interface Instance {
  readonly instance: string;
  readonly role: "publisher" | "subscriber" | "page" | "tap";
  readonly age_ms: number;
  readonly live: boolean;
  readonly flag_version: number;
  readonly report: Report;
}

export interface StoreState {
  readonly owed: number;
  readonly oldest_owed_ms: number;
  readonly breaker: string;
  readonly lag_ms: number;
  readonly last_error?: string;
}

export interface Discrepancy {
  readonly kind: string;
  readonly store: string;
  readonly position: string;
  readonly id: string;
  readonly type: string;
  readonly category: string;
  readonly severity: string;
  readonly detail: string;
}

export interface StoreRow {
  readonly expected: number;
  readonly present: number;
  readonly missing: number;
  readonly duplicated: number;
  readonly altered: number;
  readonly late?: number;
  readonly reserialised?: number;
  readonly stale_hash?: number;
  readonly phantom: number;
  readonly out_of_order: number;
  readonly in_flight: number;
  readonly uncovered: number;
}

export interface Reconciliation {
  readonly at_us: number;
  readonly duration_ms: number;
  readonly verdict: Verdict;
  readonly trigger: string;
  readonly checked_events: number;
  readonly blocks: { readonly checked: number; readonly differing: number; readonly sealed: number };
  readonly stores: Readonly<Record<string, StoreRow>>;
  readonly discrepancies: readonly Discrepancy[];
  readonly discrepancy_count: number;
  readonly errors?: Readonly<Record<string, string>>;
  readonly suites?: readonly { readonly suite: string; readonly verdict: Verdict }[];
  /** Where Great Expectations' pages of it are, where they are kept. */
  readonly data_docs: string | null;
}

export interface Incident {
  readonly id: string;
  readonly rollout_id: string;
  readonly opened_us: number;
  readonly closed_us: number | null;
  readonly rollout: string;
  readonly stage_name: string;
  readonly attempt: number;
  readonly reason: string;
  readonly measurements: readonly Measurement[];
  readonly opened_by: string;
  readonly figures?: Readonly<Record<string, number>>;
  readonly root_cause?: string;
  readonly fix?: string;
  readonly closed_by?: string;
}

export interface AuditRow {
  readonly id: number;
  readonly at_us: number;
  readonly actor: string;
  readonly verb: string;
  readonly rollout_id: string;
  readonly version: number;
  readonly command: Readonly<Record<string, unknown>>;
  readonly facts: readonly { readonly kind: string; readonly detail: Readonly<Record<string, unknown>> }[];
}

export interface Status {
  readonly at_us: number;
  readonly rollout: Rollout | null;
  readonly flags: FlagsDocument;
  readonly evidence: Evidence | null;
  readonly instances: readonly Instance[];
  readonly stores: Readonly<Record<string, StoreState>>;
  readonly rates: Readonly<Record<string, number>>;
  readonly reconciliation: Reconciliation | null;
  readonly incident: Incident | null;
}

/** The percentage that `shares` give a category, by itself or by `*`. */
export function percentOf(shares: Readonly<Record<string, number>>, category: string): number {
  return shares[category] ?? shares["*"] ?? 0;
}

/** The mean percentage over the categories of `topics`, and whether all have the same. */
export function meanPercent(
  shares: Readonly<Record<string, number>>,
  topics: Readonly<Record<string, string>>,
): { percent: number; even: boolean } {
  const all = [...new Set(Object.values(topics))].map((category) => percentOf(shares, category));
  if (all.length === 0) return { percent: shares["*"] ?? 0, even: true };
  const percent = all.reduce((sum, one) => sum + one, 0) / all.length;
  return { percent, even: all.every((one) => one === all[0]) };
}

/** The value at quantile `q` of histogram buckets that grow by 5 % each; null when empty. */
export function quantile(counts: Readonly<Record<string, number>>, q: number): number | null {
  const rows = Object.entries(counts).map(([bucket, n]) => [Number(bucket), n] as const);
  rows.sort((a, b) => a[0] - b[0]);
  const total = rows.reduce((sum, [, n]) => sum + n, 0);
  let passed = 0;
  for (const [bucket, n] of rows) {
    passed += n;
    // The middle of the bucket, by ratio.
    if (total > 0 && passed >= q * total) return 1.05 ** (bucket + 0.5);
  }
  return null;
}

/** Add histograms up. */
export function merged(all: readonly Readonly<Record<string, number>>[]): Record<string, number> {
  const sum: Record<string, number> = {};
  for (const counts of all) {
    for (const [bucket, n] of Object.entries(counts)) sum[bucket] = (sum[bucket] ?? 0) + n;
  }
  return sum;
}
