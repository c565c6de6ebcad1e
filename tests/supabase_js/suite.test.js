// @supabase/supabase-js, unmodified, against the stand-in (or any project with the tables of
// __main__.py). Node 20 has no WebSocket of its own: `ws` stands in for it.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { after, test } from "node:test";
import { createClient } from "@supabase/supabase-js";
import ws from "ws";

const { SUPABASE_URL, SUPABASE_ANON_KEY, SUPABASE_SERVICE_ROLE_KEY, JWT_SECRET } = process.env;
const WAIT_MS = 10_000;
const clients = [];

function connect(key = SUPABASE_ANON_KEY, options = {}) {
  const client = createClient(SUPABASE_URL, key, {
    auth: { persistSession: false, autoRefreshToken: false },
    realtime: { transport: ws, reconnectAfterMs: () => 100, ...options.realtime },
  });
  clients.push(client);
  return client;
}

/** A user's token that is valid for so long, issued now. */
function mint(lifetimeS = 3600) {
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const iat = Date.now() / 1000;
  const sub = "11111111-1111-1111-1111-111111111111";
  const claims = { role: "authenticated", sub, iat, exp: Math.floor(iat + lifetimeS) };
  const body = `${encode({ alg: "HS256", typ: "JWT" })}.${encode(claims)}`;
  return `${body}.${createHmac("sha256", JWT_SECRET).update(body).digest("base64url")}`;
}

async function user(token = mint()) {
  const client = connect();
  await client.realtime.setAuth(token);
  return client;
}

after(async () => {
  for (const client of clients) await client.realtime.disconnect();
});

/** What comes, to be waited for in order. */
function inbox() {
  const waiting = [];
  const come = [];
  return {
    put(value) {
      const next = waiting.shift();
      if (next) next(value);
      else come.push(value);
    },
    next(what) {
      if (come.length) return Promise.resolve(come.shift());
      return new Promise((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error(`no ${what} came`)), WAIT_MS);
        waiting.push((value) => {
          clearTimeout(timer);
          resolve(value);
        });
      });
    },
    get size() {
      return come.length;
    },
  };
}

function subscribed(channel) {
  const states = inbox();
  channel.subscribe((state, error) => states.put([state, error?.message]));
  return states;
}

async function join(channel) {
  const states = subscribed(channel);
  assert.deepEqual(await states.next("state"), ["SUBSCRIBED", undefined]);
  return states;
}

async function admin(path, body) {
  const answer = await fetch(`${SUPABASE_URL}/${path}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  assert.equal(answer.status, 200);
}

test("broadcast reaches others, and the sender when it asks for its own", async () => {
  const received = inbox();
  const mine = inbox();
  const listener = connect().channel("room");
  listener.on("broadcast", { event: "hello" }, (message) => received.put(message.payload));
  await join(listener);
  const sender = connect().channel("room", { config: { broadcast: { self: true, ack: true } } });
  sender.on("broadcast", { event: "*" }, (message) => mine.put(message));
  await join(sender);
  const sent = await sender.send({ type: "broadcast", event: "hello", payload: { n: 1, é: "ü" } });
  assert.equal(sent, "ok");
  assert.deepEqual(await received.next("broadcast"), { n: 1, é: "ü" });
  assert.equal((await mine.next("own broadcast")).event, "hello");
});

for (const vsn of ["1.0.0", "2.0.0"]) {
  test(`protocol ${vsn}: binary and JSON payloads`, async () => {
    const received = inbox();
    const options = { realtime: { vsn } };
    const listener = connect(SUPABASE_ANON_KEY, options).channel(`versions-${vsn}`);
    listener.on("broadcast", { event: "b" }, (message) => received.put(message.payload));
    await join(listener);
    const sender = connect(SUPABASE_ANON_KEY, options).channel(`versions-${vsn}`);
    await join(sender);
    await sender.send({ type: "broadcast", event: "b", payload: { json: true } });
    assert.deepEqual(await received.next("JSON"), { json: true });
    if (vsn === "2.0.0") {
      const bytes = new Uint8Array([0, 1, 255]).buffer;
      await sender.send({ type: "broadcast", event: "b", payload: bytes });
      assert.deepEqual(new Uint8Array(await received.next("bytes")), new Uint8Array(bytes));
    }
  });
}

test("broadcast by REST, without a subscription", async () => {
  const received = inbox();
  const listener = connect().channel("rest");
  listener.on("broadcast", { event: "e" }, (message) => received.put(message.payload));
  await join(listener);
  const answer = await connect().channel("rest").httpSend("e", { by: "rest" });
  assert.equal(answer.success, true);
  assert.deepEqual(await received.next("broadcast"), { by: "rest" });
});

test("a private channel needs a policy; the database sends on it", async () => {
  const refused = subscribed(connect().channel("chat:1", { config: { private: true } }));
  const [state, why] = await refused.next("refusal");
  assert.equal(state, "CHANNEL_ERROR");
  assert.match(why, /You do not have permissions to read from this Channel topic: chat:1/);

  const received = inbox();
  const client = await user();
  const channel = client.channel("chat:1", { config: { private: true } });
  channel.on("broadcast", { event: "news" }, (message) => received.put(message.payload));
  await join(channel);
  const server = connect(SUPABASE_SERVICE_ROLE_KEY);
  const { error } = await server.rpc("announce", { topic: "chat:1", n: 7 });
  assert.equal(error, null);
  assert.equal((await received.next("row")).n, 7);
});

test("replay of a private channel", async () => {
  const since = Date.now() - 60_000;
  const server = connect(SUPABASE_SERVICE_ROLE_KEY);
  for (const n of [1, 2]) await server.rpc("announce", { topic: "chat:replay", n });
  const received = inbox();
  const client = await user();
  const config = { private: true, broadcast: { replay: { since, limit: 10 } } };
  const channel = client.channel("chat:replay", { config });
  channel.on("broadcast", { event: "news" }, (message) => received.put(message));
  await join(channel);
  for (const n of [1, 2]) {
    const message = await received.next("replayed row");
    assert.equal(message.payload.n, n);
    assert.equal(message.meta.replayed, true);
  }
});

test("a refreshed token keeps the channel; an expired one ends it", async () => {
  const kept = await user(mint(3));
  const channel = kept.channel("chat:token", { config: { private: true } });
  const received = inbox();
  channel.on("broadcast", { event: "news" }, (message) => received.put(message.payload));
  const states = await join(channel);
  await kept.realtime.setAuth(mint());

  const lost = await user(mint(3));
  const system = inbox();
  const other = lost.channel("chat:token2", { config: { private: true } });
  other.on("system", {}, (message) => system.put(message));
  await join(other);
  let message = await system.next("system message");
  while (message.status !== "error") message = await system.next("system message");
  assert.match(message.message, /Token has expired/);

  const server = connect(SUPABASE_SERVICE_ROLE_KEY);
  await server.rpc("announce", { topic: "chat:token", n: 1 });
  assert.equal((await received.next("row after the refresh")).n, 1);
  assert.equal(states.size, 0);
});

test("forced expiry of all tokens ends private channels", async () => {
  const client = await user();
  const system = inbox();
  const channel = client.channel("chat:forced", { config: { private: true } });
  channel.on("system", {}, (message) => system.put(message));
  await join(channel);
  await admin("_faults", { expire_tokens: true });
  let message = await system.next("system message");
  while (message.status !== "error") message = await system.next("system message");
  assert.match(message.message, /Token has expired/);
  await client.realtime.setAuth(mint());
  await join(client.channel("chat:forced again", { config: { private: true } }));
});

test("it reconnects and joins again after the socket was closed", async () => {
  const client = connect();
  const received = inbox();
  const channel = client.channel("again");
  channel.on("broadcast", { event: "e" }, (message) => received.put(message.payload));
  const states = await join(channel);
  await admin("_faults", { close_sockets: 1012 });
  let state = await states.next("state");
  while (state[0] !== "SUBSCRIBED") state = await states.next("state");
  await connect().channel("again").httpSend("e", { after: true });
  assert.deepEqual(await received.next("broadcast"), { after: true });
});

test("presence: state, join, update, leave", async () => {
  const seen = inbox();
  const alice = connect().channel("presence", { config: { presence: { key: "alice" } } });
  alice.on("presence", { event: "sync" }, () => seen.put(["sync"]));
  alice.on("presence", { event: "join" }, ({ key, newPresences }) =>
    seen.put(["join", key, newPresences.map((one) => one.mood)]),
  );
  alice.on("presence", { event: "leave" }, ({ key }) => seen.put(["leave", key]));
  await join(alice);
  assert.equal(await alice.track({ mood: "ok" }), "ok");
  const bob = connect().channel("presence", { config: { presence: { key: "bob" } } });
  bob.on("presence", { event: "sync" }, () => {});
  await join(bob);
  assert.equal(await bob.track({ mood: "meh" }), "ok");
  const until = async (wanted) => {
    let event = await seen.next(wanted.join(" "));
    while (JSON.stringify(event) !== JSON.stringify(wanted)) event = await seen.next(wanted.join(" "));
  };
  await until(["join", "alice", ["ok"]]);
  await until(["join", "bob", ["meh"]]);
  assert.deepEqual(Object.keys(alice.presenceState()).sort(), ["alice", "bob"]);
  assert.deepEqual(Object.keys(bob.presenceState()).sort(), ["alice", "bob"]);
  assert.equal(await bob.untrack(), "ok");
  await until(["leave", "bob"]);
  assert.deepEqual(Object.keys(alice.presenceState()), ["alice"]);
});

test("postgres_changes: every event, filters, and row level security", async () => {
  const all = inbox();
  const milk = inbox();
  const notes = inbox();
  const client = await user();
  const channel = client.channel("changes");
  const ready = inbox();
  channel
    .on("postgres_changes", { event: "*", schema: "public", table: "todos" }, (c) => all.put(c))
    .on(
      "postgres_changes",
      { event: "INSERT", schema: "public", table: "todos", filter: "title=eq.milk" },
      (change) => milk.put(change.new.title),
    )
    .on("postgres_changes", { event: "INSERT", schema: "public", table: "notes" }, (change) =>
      notes.put(change.new.body),
    )
    .on("system", {}, (message) => ready.put(message));
  await join(channel);
  assert.equal((await ready.next("system message")).status, "ok");
  const server = connect(SUPABASE_SERVICE_ROLE_KEY);
  await server.from("todos").insert([{ title: "bread" }, { title: "milk" }]);
  await server.from("todos").update({ done: true }).eq("title", "milk");
  await server.from("todos").delete().eq("title", "milk");
  const kinds = [];
  for (let n = 0; n < 4; n += 1) {
    const change = await all.next("change");
    kinds.push([change.eventType, change.new.title ?? change.old.title]);
  }
  assert.deepEqual(kinds, [
    ["INSERT", "bread"],
    ["INSERT", "milk"],
    ["UPDATE", "milk"],
    ["DELETE", "milk"],
  ]);
  assert.equal(await milk.next("filtered change"), "milk");
  await server.from("notes").insert([
    { id: 1, owner: "22222222-2222-2222-2222-222222222222", body: "theirs" },
    { id: 2, owner: "11111111-1111-1111-1111-111111111111", body: "mine" },
  ]);
  assert.equal(await notes.next("own note"), "mine");
  assert.equal(milk.size, 0);
});

test("REST: select, insert, upsert, update, delete, rpc, errors", async () => {
  const server = connect(SUPABASE_SERVICE_ROLE_KEY);
  const todos = () => server.from("todos");
  await todos().delete().gt("id", 0);
  const inserted = await todos().insert({ title: "a" }).select().single();
  assert.equal(inserted.data.title, "a");
  const { id } = inserted.data;
  const upserted = await todos()
    .upsert([{ id, title: "b" }, { id: id + 1, title: "c" }])
    .select("title");
  assert.deepEqual(upserted.data, [{ title: "b" }, { title: "c" }]);
  const counted = await todos().select("*", { count: "exact", head: true });
  assert.deepEqual([counted.data, counted.count, counted.status], [null, 2, 200]);
  const found = await todos().select("title").or(`id.eq.${id},title.eq.x`).order("id").range(0, 0);
  assert.deepEqual(found.data, [{ title: "b" }]);
  const none = await todos().select().eq("title", "nobody").maybeSingle();
  assert.deepEqual([none.data, none.error], [null, null]);
  const error = (await todos().select().eq("title", "nobody").single()).error;
  assert.deepEqual([error.code, error.details], ["PGRST116", "The result contains 0 rows"]);
  assert.equal((await server.rpc("add", { a: 1, b: 2 })).data, 3);
  assert.equal((await server.rpc("add", { a: 1, b: 2 }, { get: true })).data, 3);
  assert.equal((await server.from("nothing").select()).error.code, "PGRST205");
  const embedded = await todos().select("title,notes(*)");
  assert.equal(embedded.status, 501);
  assert.match(embedded.error.message, /not built in this stand-in/);
});

test("what the project does not need is refused clearly", async () => {
  const client = connect();
  const { error } = await client.auth.signInAnonymously();
  assert.match(error.message, /not built in this stand-in/);
  const bucket = await client.storage.listBuckets();
  assert.match(bucket.error.message, /not built in this stand-in/);
});
