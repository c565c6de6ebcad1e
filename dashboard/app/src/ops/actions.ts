/** Pause, roll back and resume: each asks for its reasons and for the rollout's name. */

import { h } from "../dom.js";
import { call, Refusal, type Session } from "../session.js";
import type { Rollout } from "./status.js";

const ACTOR = "crossfade:actor";

/** What a person writes; `name` is the command's field. */
interface Field {
  readonly name: "reason" | "root_cause" | "fix";
  readonly label: string;
}

interface Question {
  readonly verb: "hold" | "rollback" | "resume";
  readonly title: string;
  readonly text: string;
  readonly button: string;
  readonly tone: "danger primary" | "primary";
  readonly fields: readonly Field[];
  readonly more?: Record<string, unknown>;
}

const REASON: readonly Field[] = [{ name: "reason", label: "Reason" }];

const QUESTIONS: Readonly<Record<"pause" | "rollback" | "resume", Question>> = {
  pause: {
    verb: "hold",
    title: "Pause this rollout",
    text: "It stays where it is: percentages do not change, and nothing is promoted until it is resumed with a root cause and a fix.",
    button: "Pause",
    tone: "danger primary",
    fields: REASON,
  },
  rollback: {
    verb: "rollback",
    title: "Roll back to WebSocket",
    text: "Supabase serves nobody from now on; what is written to it stays complete. Resuming needs a root cause and a fix.",
    button: "Roll back",
    tone: "danger primary",
    fields: REASON,
    more: { scope: null, to: 0 },
  },
  resume: {
    verb: "resume",
    title: "Resume this rollout",
    text: "The stage begins again as a new attempt, with fresh evidence. What you write here closes the incident and stays in its record.",
    button: "Resume",
    tone: "primary",
    fields: [
      { name: "root_cause", label: "Root cause" },
      { name: "fix", label: "Fix" },
    ],
  },
};

export type Action = keyof typeof QUESTIONS;

/** Ask and, when confirmed, give the command; `done` is called once it was accepted. */
export function act(action: Action, session: Session, rollout: Rollout, done: () => void): void {
  const question = QUESTIONS[action];
  const problem = h("p", { class: "problem", role: "alert" });
  const actor = h("input", { id: "actor", required: true, maxlength: 200, autocomplete: "name", value: sessionStorage.getItem(ACTOR) ?? "" });
  const texts = question.fields.map((field) => h("textarea", { id: field.name, rows: 2, required: true, maxlength: 4_000 }));
  // A link's token may only look; one that may act is used for this one command and not kept.
  const token = session.access === "operator" ? null : h("input", { id: "operator-token", type: "password", required: true, autocomplete: "off", spellcheck: "false" });
  const name = h("input", { id: "name", required: true, autocomplete: "off", spellcheck: "false" });
  const submit = h("button", { type: "submit", class: question.tone, disabled: true }, question.button);
  const cancel = h("button", { type: "button", onclick: () => dialog.close() }, "Cancel");
  const form = h(
    "form",
    { method: "dialog" },
    h("h2", { id: "ask-title" }, question.title),
    h("p", { class: "muted" }, question.text),
    h("label", { for: "actor" }, "Your name"),
    actor,
    ...question.fields.flatMap((field, number) => [h("label", { for: field.name }, field.label), texts[number]]),
    ...(token === null ? [] : [h("label", { for: "operator-token" }, "Operator's token"), token]),
    h("label", { for: "name" }, "Type ", h("strong", {}, rollout.name), " to confirm"),
    name,
    problem,
    h("div", { class: "buttons" }, cancel, submit),
  );
  const dialog = h("dialog", { "aria-labelledby": "ask-title" }, form);
  const filled = [actor, ...texts, ...(token === null ? [] : [token])];
  const ready = (): boolean => name.value === rollout.name && filled.every((field) => field.value.trim() !== "");
  form.addEventListener("input", () => {
    submit.disabled = !ready();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!ready()) return;
    submit.disabled = true;
    sessionStorage.setItem(ACTOR, actor.value.trim());
    // Stage and attempt bind the command to what the person saw.
    const { stage, attempt } = rollout;
    const written = Object.fromEntries(question.fields.map((field, number) => [field.name, texts[number]?.value.trim()]));
    const command = { verb: question.verb, actor: actor.value.trim(), stage, attempt, ...written, ...question.more };
    call(token?.value.trim() ?? session.token, "/v1/rollout/commands", command)
      .then(() => {
        dialog.close();
        done();
      })
      .catch((error: unknown) => {
        problem.textContent = error instanceof Refusal ? error.message : "The control server does not answer; nothing is known to have changed.";
        submit.disabled = false;
      });
  });
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  (actor.value ? texts[0] : actor)?.focus();
}
