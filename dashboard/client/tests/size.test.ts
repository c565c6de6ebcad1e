import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

import { build } from "vite";
import { expect, test } from "vitest";

/** What a page pays for the client, apart from supabase-js. */
const LIMIT_BYTES = 15_000;

test("the client stays under 15 kB, minified and gzipped", async () => {
  const built = await build({
    configFile: false,
    logLevel: "silent",
    root: fileURLToPath(new URL("..", import.meta.url)),
    build: {
      write: false,
      minify: true,
      modulePreload: false,
      rollupOptions: {
        input: "src/index.ts",
        preserveEntrySignatures: "strict",
        external: [/^@supabase\//],
      },
    },
  });
  const outputs = (Array.isArray(built) ? built : [built]).flatMap((one) =>
    "output" in one ? one.output : [],
  );
  const code = outputs.map((one) => (one.type === "chunk" ? one.code : "")).join("");
  expect(code).toContain("crossfade_fill_v1");
  expect(code).toContain("lost");
  const bytes = gzipSync(code, { level: 9 }).length;
  console.log(`client: ${code.length} bytes minified, ${bytes} gzipped`);
  expect(bytes).toBeLessThan(LIMIT_BYTES);
});
