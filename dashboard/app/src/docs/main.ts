/** Great Expectations' pages of the validations, fetched with the person's token. */

import "../styles/base.css";
import "../styles/docs.css";

import { byId, fill, h, setText } from "../dom.js";
import { count } from "../format.js";
import { call, read, type Session, signIn } from "../session.js";

/** The pages of one comparison of the stores (`GET /v1/data-docs`). */
interface Run {
  readonly at_us: number;
  readonly verdict: string;
  readonly suites: readonly { readonly suite: string; readonly expectations: number; readonly held: number }[];
}

/** Removed from a page before it is shown. The policy would let none of it run or load. */
const ACTIVE = "script, style, link, meta, iframe, object, embed, form, input, base, img";

async function main(): Promise<void> {
  const session = await signIn("Data Docs");
  byId("main").dataset["signedIn"] = "true";
  let runs: readonly Run[] = [];
  try {
    runs = await call<readonly Run[]>(session.token, "/v1/data-docs");
  } catch (error) {
    setText(byId("problem"), `No pages: ${(error as Error).message}.`);
    return;
  }
  const asked = new URLSearchParams(location.search);
  const at = asked.get("at_us");
  const run = at === null ? runs[0] : runs.find((one) => String(one.at_us) === at);
  list(runs, run);
  if (run === undefined) {
    setText(byId("problem"), at === null ? "No comparison was judged by the suites yet." : "The pages of this comparison are gone; the newest are listed.");
    return;
  }
  const suite = asked.get("suite") ?? (run.suites.find((one) => one.held < one.expectations) ?? run.suites[0])?.suite;
  if (suite !== undefined) await show(session, run, suite);
}

function list(runs: readonly Run[], shown: Run | undefined): void {
  const items = runs.map((run) =>
    h(
      "li",
      {},
      h("a", { href: address(run), "aria-current": run === shown ? "page" : null }, moment(run), " ", h("span", { class: "said", "data-verdict": run.verdict }, run.verdict)),
      run === shown && h("ul", {}, ...run.suites.map((one) => h("li", {}, h("a", { href: address(run, one.suite) }, `${one.suite}: ${count(one.held)} of ${count(one.expectations)} hold`)))),
    ),
  );
  fill(byId("runs"), h("ol", {}, ...items));
}

async function show(session: Session, run: Run, suite: string): Promise<void> {
  try {
    const text = await read(session.token, `/v1/data-docs/${run.at_us}/${encodeURIComponent(suite)}`);
    // Its head holds a style for whoever opens the file itself.
    const found = new DOMParser().parseFromString(text.slice(Math.max(0, text.indexOf("<body"))), "text/html");
    for (const one of found.querySelectorAll(ACTIVE)) one.remove();
    // Links to the site around the page, which is this one.
    for (const one of found.querySelectorAll("a[href^='index.html']")) one.replaceWith(...one.childNodes);
    fill(byId("suite"), h("h2", {}, `${suite}, ${moment(run)}`), ...found.body.childNodes);
    document.title = `${suite} · Data Docs · Crossfade`;
  } catch (error) {
    setText(byId("problem"), `${suite}: ${(error as Error).message}.`);
  }
}

function address(run: Run, suite?: string): string {
  const to = `/data-docs?at_us=${run.at_us}`;
  return suite === undefined ? to : `${to}&suite=${encodeURIComponent(suite)}`;
}

function moment(run: Run): string {
  return new Date(run.at_us / 1_000).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" });
}

void main();
