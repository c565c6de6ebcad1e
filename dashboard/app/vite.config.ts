import { fileURLToPath } from "node:url";

import { defineConfig } from "vite";

const path = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url));

export default defineConfig({
  // The client is built from its source, so that one command builds everything.
  resolve: { alias: { "@crossfade/client": path("../client/src/index.ts") } },
  build: {
    // The control server serves this folder, and the wheel carries it.
    outDir: path("../../crossfade/_bundle/dashboard"),
    emptyOutDir: true,
    modulePreload: { polyfill: false },
    target: "es2022",
    rollupOptions: { input: { index: path("index.html"), departures: path("departures.html"), "data-docs": path("data-docs.html") } },
  },
});
