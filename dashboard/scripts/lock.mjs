// Writes package-lock.json without the addresses of sponsors' pages, which npm puts in and
// nobody needs: the lock then holds names, versions and checksums only.
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";

execFileSync(
  "npm",
  ["install", "--package-lock-only", "--omit-lockfile-registry-resolved", "--no-audit", "--no-fund"],
  { stdio: "inherit" },
);
const lock = JSON.parse(readFileSync("package-lock.json", "utf8"));
for (const found of Object.values(lock.packages)) delete found.funding;
writeFileSync("package-lock.json", `${JSON.stringify(lock, null, 2)}\n`);
