/**
 * Which partition a key has, and which partitions belong to a cohort: a plain salted SHA-256,
 * the same in every language (`tests/vectors/routing.json` pins it).
 */

import { sha256First64 } from "./sha256.js";

/** The partition of `key` in `topic`: a number from 0 to `partitions` − 1. */
export function partitionOf(topic: string, key: string, partitions: number): number {
  const [high, low] = sha256First64(`${topic}\x1f${key}`);
  // (high · 2^32 + low) mod n in two steps, so that no product passes 2^53.
  return ((high % partitions) * (2 ** 32 % partitions) + (low % partitions)) % partitions;
}

const rankings = new Map<string, readonly number[]>();
const RANKINGS = 1_024;

/** All partitions of `topic` in the order in which they join the cohort. */
export function ranking(salt: string, topic: string, partitions: number): readonly number[] {
  const key = `${salt}\x1f${topic}\x1f${partitions}`;
  const known = rankings.get(key);
  if (known !== undefined) return known;
  const rows = Array.from({ length: partitions }, (_, number) => ({
    number,
    hash: sha256First64(`${salt}\x1f${topic}\x1f${number}`),
  }));
  rows.sort((a, b) => a.hash[0] - b.hash[0] || a.hash[1] - b.hash[1] || a.number - b.number);
  const found = rows.map((row) => row.number);
  if (rankings.size >= RANKINGS) rankings.clear();
  rankings.set(key, found);
  return found;
}

/** ⌈percent · partitions / 100⌉, free of floating-point surprises at exact shares. */
export function cohortSize(partitions: number, percent: number): number {
  const product = Math.round(percent * partitions * 1e6) / 1e6;
  return Math.max(0, Math.min(partitions, Math.ceil(product / 100)));
}

/**
 * The partitions of `topic` that are in the cohort at `percent`: exact, sticky, and growing
 * only, so the cohort at a lower percentage is a subset of the one at a higher.
 */
export function cohort(
  salt: string,
  topic: string,
  partitions: number,
  percent: number,
): ReadonlySet<number> {
  return new Set(ranking(salt, topic, partitions).slice(0, cohortSize(partitions, percent)));
}
