/** Pause and roll back: each asks for a reason and for the rollout's name. */

import { h } from "../dom.js";
import { call, Refusal, type Session } from "../session.js";
import type { Rollout } from "./status.js";

const ACTOR = "crossfade:actor";

interface Question {
  readonly verb: "hold" | "rollback";
  readonly title: string;
  readonly text: string;
  readonly button: string;
  readonly more?: Record<string, unknown>;
}

const PAUSE: Question = {
  verb: "hold",
  title: "Pause this rollout",
  text: "It stays where it is: percentages do not change, and nothing is promoted until it is resumed with a root cause and a fix.",
  button: "Pause",
};

const ROLLBACK: Question = {
  verb: "rollback",
  title: "Roll back to WebSocket",
  text: "Supabase serves nobody from now on; what is written to it stays complete. Resuming needs a root cause and a fix.",
  button: "Roll back",
  more: { scope: null, to: 0 },
};

/** Ask and, when confirmed, give the command; `done` is called once it was accepted. */
export function pause(session: Session, rollout: Rollout, done: () => void): void {
  ask(PAUSE, session, rollout, done);
}

/** See `pause`. */
export function rollback(session: Session, rollout: Rollout, done: () => void): void {
  ask(ROLLBACK, session, rollout, done);
}

function ask(question: Question, session: Session, rollout: Rollout, done: () => void): void {
  const problem = h("p", { class: "problem", role: "alert" });
  const actor = h("input", { id: "actor", required: true, maxlength: 200, autocomplete: "name", value: sessionStorage.getItem(ACTOR) ?? "" });
  const reason = h("textarea", { id: "reason", rows: 2, required: true, maxlength: 4_000 });
  const name = h("input", { id: "name", required: true, autocomplete: "off", spellcheck: "false" });
  const submit = h("button", { type: "submit", class: "danger primary", disabled: true }, question.button);
  const cancel = h("button", { type: "button", onclick: () => dialog.close() }, "Cancel");
  const form = h(
    "form",
    { method: "dialog" },
    h("h2", { id: "ask-title" }, question.title),
    h("p", { class: "muted" }, question.text),
    h("label", { for: "actor" }, "Your name"),
    actor,
    h("label", { for: "reason" }, "Reason"),
    reason,
    h("label", { for: "name" }, "Type ", h("strong", {}, rollout.name), " to confirm"),
    name,
    problem,
    h("div", { class: "buttons" }, cancel, submit),
  );
  const dialog = h("dialog", { "aria-labelledby": "ask-title" }, form);
  const ready = (): boolean => name.value === rollout.name && reason.value.trim() !== "" && actor.value.trim() !== "";
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
    const command = { verb: question.verb, actor: actor.value.trim(), stage, attempt, reason: reason.value.trim(), ...question.more };
    call(session.token, "/v1/rollout/commands", command)
      .then(() => {
        dialog.close();
        done();
      })
      .catch((error: unknown) => {
        problem.textContent = error instanceof Refusal ? error.message : "The control server does not answer; nothing was changed.";
        submit.disabled = false;
      });
  });
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  (actor.value ? reason : actor).focus();
}
