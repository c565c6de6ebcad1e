import { readFileSync } from "node:fs";

/** One of the files that hold both languages to the same answers. */
export function vectors<T>(name: string): T {
  const path = new URL(`../../../tests/vectors/${name}.json`, import.meta.url);
  return JSON.parse(readFileSync(path, "utf8")) as T;
}
