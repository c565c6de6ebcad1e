/** The person's token: entered once per tab, kept in its session, sent only in headers. */

import { byId, h } from "./dom.js";

const KEY = "crossfade:token";

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
  /** Whether the token may give commands, not only read flags. */
  readonly operator: boolean;
  readonly config: ClientConfig;
  /** Milliseconds since the navigation began at which the page could begin: 0, unless a person
   * had to give a token first. */
  readonly startMs: number;
}

const TIMEOUT_MS = 8_000;

/**
 * Call the control server.
 *
 * Rejects with `Refusal` when it answers an error, and with what `fetch` says when it does not.
 */
export async function call<T>(token: string, path: string, body?: object): Promise<T> {
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
  const value: unknown = await answer.json();
  if (!answer.ok) throw new Refusal(answer.status, (value as { error?: string }).error ?? answer.statusText);
  return value as T;
}

/** The session of this tab; asks for a token until one is accepted. */
export async function signIn(title: string): Promise<Session> {
  const kept = sessionStorage.getItem(KEY);
  if (kept !== null) {
    try {
      return await open(kept, 0);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      sessionStorage.removeItem(KEY);
    }
  }
  return new Promise((resolve) => ask(title, resolve));
}

/** Forget the token and show the sign-in again. */
export function signOut(): void {
  sessionStorage.removeItem(KEY);
  location.reload();
}

async function open(token: string, startMs: number): Promise<Session> {
  const config = await call<ClientConfig>(token, "/v1/client-config");
  let operator = true;
  try {
    await call(token, "/v1/rollout");
  } catch (error) {
    if (!(error instanceof Refusal) || error.status !== 403) throw error;
    operator = false;
  }
  return { token, operator, config, startMs };
}

function ask(title: string, done: (session: Session) => void): void {
  const problem = h("p", { class: "problem", role: "alert" });
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
      "The operator's token, or an instance's for reading. ",
      h("code", {}, "crossfade up"),
      " keeps both in ",
      h("code", {}, "stack.json"),
      " of its state folder. It stays in this tab.",
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
            ? `This token is not accepted: ${error.message}.`
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
