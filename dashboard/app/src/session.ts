/**
 * The person's token: given by a link's fragment or entered once per tab, kept in the tab's
 * session, sent only in headers.
 */

import { byId, h } from "./dom.js";

const KEY = "crossfade:token";
/** What the fragment of a link to a page holds (`crossfade pages`); it is sent to no server. */
const LINKED = "#token=";

/** Whose token it is: the operator's, a link's, which may only look, or an instance's. */
export type Access = "operator" | "approver" | "page" | "instance";

/** What a page needs to reach both transports (`GET /v1/client-config`). */
export interface ClientConfig {
  readonly at_us: number;
  readonly websocket: { readonly url: string; readonly token: string };
  readonly supabase: {
    readonly url: string;
    readonly anon_key: string;
    readonly access_token: string;
    readonly expires_at_us: number | null;
  } | null;
  readonly topics: Readonly<Record<string, string>>;
  readonly partitions: number;
  readonly prefect_url: string | null;
  readonly version: string;
  readonly access: Access;
}

/** The control server refused a call; `status` says how. */
export class Refusal extends Error {
  override readonly name = "Refusal";
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

/** A signed-in person. */
export interface Session {
  readonly token: string;
  readonly access: Access;
  readonly config: ClientConfig;
  /** Milliseconds since the navigation began at which the page could begin: 0, unless a person
   * had to give a token first. */
  readonly startMs: number;
}

const TIMEOUT_MS = 8_000;
const RETRY_MS = 2_000;

/**
 * Call the control server.
 *
 * Rejects with `Refusal` when it answers an error, and with what `fetch` says when it does not.
 */
export async function call<T>(token: string, path: string, body?: object): Promise<T> {
  return (await (await fetched(token, path, body)).json()) as T;
}

/** Read a page of the control server as text; rejects like `call`. */
export async function read(token: string, path: string): Promise<string> {
  return (await fetched(token, path)).text();
}

async function fetched(token: string, path: string, body?: object): Promise<Response> {
  const init: RequestInit = {
    headers: { authorization: `Bearer ${token}` },
    signal: AbortSignal.timeout(TIMEOUT_MS),
    cache: "no-store",
  };
  if (body !== undefined) {
    init.method = "POST";
    init.body = JSON.stringify(body);
  }
  const answer = await fetch(path, init);
  if (answer.ok) return answer;
  const value: unknown = await answer.json();
  throw new Refusal(answer.status, (value as { error?: string }).error ?? answer.statusText);
}

/** The session of this tab; asks for a token until one is accepted. */
export async function signIn(title: string): Promise<Session> {
  takeLink();
  // The same page is open already and a newer link to it is followed.
  addEventListener("hashchange", () => {
    if (location.hash.startsWith(LINKED)) location.reload();
  });
  const kept = sessionStorage.getItem(KEY);
  if (kept === null) return new Promise((resolve) => ask(title, "", resolve));
  const waiting = h("p", { class: "notice", role: "status" });
  for (;;) {
    try {
      return await open(kept, 0);
    } catch (error) {
      if (error instanceof Refusal && error.status === 401) {
        sessionStorage.removeItem(KEY);
        return new Promise((resolve) => ask(title, refused(error.message), resolve));
      }
      waiting.textContent = `The control server does not answer; will retry in ${RETRY_MS / 1_000} s.`;
      byId("main").prepend(waiting);
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    } finally {
      waiting.remove();
    }
  }
}

/** Keep the token of a link, and take it out of the address, the history and the title bar. */
function takeLink(): void {
  if (!location.hash.startsWith(LINKED)) return;
  const token = decodeURIComponent(location.hash.slice(LINKED.length));
  history.replaceState(null, "", location.pathname + location.search);
  if (token) sessionStorage.setItem(KEY, token);
}

/** Forget the token and show the sign-in again. */
export function signOut(): void {
  sessionStorage.removeItem(KEY);
  location.reload();
}

async function open(token: string, startMs: number): Promise<Session> {
  const config = await call<ClientConfig>(token, "/v1/client-config");
  return { token, access: config.access, config, startMs };
}

function refused(reason: string): string {
  return `This token is not accepted: ${reason}.`;
}

function ask(title: string, before: string, done: (session: Session) => void): void {
  const problem = h("p", { class: "problem", role: "alert" }, before);
  const input = h("input", {
    id: "token",
    type: "password",
    autocomplete: "off",
    required: true,
    spellcheck: "false",
    "aria-describedby": "token-hint",
  });
  const button = h("button", { type: "submit", class: "primary" }, "Sign in");
  const form = h(
    "form",
    { class: "sign-in" },
    h("h1", {}, title),
    h("label", { for: "token" }, "Access token"),
    input,
    h(
      "p",
      { id: "token-hint", class: "hint" },
      "The operator's token, or an instance's for reading events. ",
      h("code", {}, "crossfade pages"),
      " prints links that need none. It stays in this tab.",
    ),
    button,
    problem,
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    button.disabled = true;
    problem.textContent = "";
    const token = input.value.trim();
    open(token, performance.now())
      .then((session) => {
        sessionStorage.setItem(KEY, token);
        form.remove();
        done(session);
      })
      .catch((error: unknown) => {
        problem.textContent =
          error instanceof Refusal
            ? refused(error.message)
            : "The control server does not answer. Try again in a moment.";
        input.select();
      })
      .finally(() => {
        button.disabled = false;
      });
  });
  byId("main").prepend(form);
  input.focus();
}
