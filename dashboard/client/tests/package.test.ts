/** What a project gets that installs the package: it imports, and the README's lines compile. */

import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { afterAll, beforeAll, expect, test } from "vitest";

const CLIENT = fileURLToPath(new URL("..", import.meta.url));
const MODULES = join(CLIENT, "..", "node_modules");

let project: string;
let installed: string;

function run(command: string, args: string[], cwd: string): string {
  return execFileSync(command, args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

beforeAll(() => {
  project = mkdtempSync(join(tmpdir(), "crossfade-package-"));
  installed = join(project, "node_modules", "@crossfade", "client");
  run("npm", ["pack", "--silent", "--pack-destination", project], CLIENT);
  const packed = readdirSync(project).find((name) => name.endsWith(".tgz"));
  mkdirSync(installed, { recursive: true });
  run("tar", ["-xzf", join(project, String(packed)), "-C", installed, "--strip-components=1"], project);
  symlinkSync(join(MODULES, "@supabase"), join(project, "node_modules", "@supabase"));
  writeFileSync(join(project, "package.json"), '{"type":"module"}');
}, 60_000);

afterAll(() => rmSync(project, { recursive: true, force: true }));

test("it holds what is needed and nothing else", () => {
  expect(readdirSync(installed).sort()).toEqual(["LICENSE", "README.md", "dist", "package.json"]);
  const files = readdirSync(join(installed, "dist"));
  expect(files).toContain("index.js");
  expect(files).toContain("index.d.ts");
  expect(files.filter((name) => /test|fake/.test(name))).toEqual([]);
});

test("plain Node imports it, without a bundler", () => {
  const code = 'import * as client from "@crossfade/client"; console.log(JSON.stringify(Object.keys(client)));';
  writeFileSync(join(project, "use.js"), code);
  const names = JSON.parse(run(process.execPath, ["use.js"], project)) as string[];
  expect(names).toEqual(expect.arrayContaining(["createSubscriber", "ControlClient", "contentHash", "cohort", "partitionOf"]));
});

test("the README's lines compile, strictly, against the types that are shipped", () => {
  const readme = readFileSync(join(installed, "README.md"), "utf8");
  const block = /```ts\n([\s\S]*?)```/.exec(readme)?.[1];
  expect(block).toBeDefined();
  const given = [
    "declare const session: { hubToken: string; jwt: string; instanceToken: string };",
    "declare const SUPABASE_URL: string, SUPABASE_ANON_KEY: string;",
    "declare function show(event: { readonly type: string }): void;",
    "declare function badge(source: string, asOfMs: number | null): void;",
  ].join("\n");
  writeFileSync(join(project, "page.ts"), `${block}\n${given}\nexport { subscriber };\n`);
  const options = { strict: true, module: "nodenext", target: "es2022", lib: ["es2022", "dom"], noEmit: true, skipLibCheck: true, types: [] };
  writeFileSync(join(project, "tsconfig.json"), JSON.stringify({ compilerOptions: options, files: ["page.ts"] }));
  const compiler = join(dirname(MODULES), "node_modules", ".bin", "tsc");
  expect(run(compiler, ["-p", "."], project)).toBe("");
}, 60_000);
