// What the page asks for, when, and how it lives with a server that does not know or not want to answer.
import assert from "node:assert/strict";
import { test } from "node:test";

import { RequestError } from "../../opencode_site/static/dashboard/protocol.js";
import { Store } from "../../opencode_site/static/dashboard/store.js";
import { Sync } from "../../opencode_site/static/dashboard/sync.js";

const settle = () => new Promise((resolve) => setImmediate(resolve));

/** A sync with a clock of its own; `answer(message)` gives the reply, an error code, or nothing for a plain one. */
function setUp(answer = () => undefined) {
  const world = { now: 1_000_000, asked: [], changed: [] };
  const request = async (message) => {
    world.asked.push(message);
    const given = answer(message, world) ?? plainReply(message);
    if (typeof given === "string") throw new RequestError({ code: given, message: given });
    return given;
  };
  const store = new Store();
  const sync = new Sync({ connection: { isLive: true, request }, store, changed: (slices) => world.changed.push(...slices), now: () => world.now });
  world.pass = async (ms) => {
    for (let left = ms; left > 0; left -= 500) {
      world.now += Math.min(left, 500);
      sync.tick();
      await settle();
    }
  };
  world.count = (type) => world.asked.filter((message) => message.type === type).length;
  return Object.assign(world, { store, sync });
}

function plainReply({ type }) {
  if (type === "request_status") return { type: "full_status", data: { tasks: [], agents: [] } };
  if (type === "list_tasks") return { type: "task_list", tasks: [] };
  return { type: "subscription_confirmed" };
}

test("subscribes before it reads, so that nothing falls between", async () => {
  const world = setUp();
  await world.sync.live({ server_version: "1.2.3" });
  await settle();
  const types = world.asked.map(({ type }) => type);
  assert.equal(types[0], "subscribe_to_updates");
  assert.deepEqual(world.asked[0].channels, ["task_status", "log_entries"]);
  assert.ok(types.includes("request_status"));
  assert.equal(world.store.serverVersion, "1.2.3");
  assert.equal(world.sync.subscribed, true);
});

test("says that no updates come when the subscription is refused, and tries again", async () => {
  let away = true;
  const world = setUp(({ type }) => (type === "subscribe_to_updates" && away ? "SERVER_OVERLOAD" : undefined));
  await world.sync.live({});
  assert.equal(world.sync.subscribed, false);
  away = false;
  await world.pass(3000);
  assert.equal(world.sync.subscribed, true);
});

test("reads lists from a server that does not know request_status, and asks it only once", async () => {
  const lists = { running: [{ id: "r", status: "running" }], pending: [{ id: "p", status: "pending" }] };
  const world = setUp(({ type, filter }) => {
    if (type === "request_status") return "UNKNOWN_MESSAGE_TYPE";
    if (type === "list_tasks") return { type: "task_list", tasks: lists[filter.status] ?? [] };
    if (type === "get_task_status") return { type: "task_status", task: { id: "p", status: "pending", runtime_detail: "It waits." } };
    if (type === "request_log_entries") return { type: "log_entries", data: { entries: [{ id: 1, agent: "r", level: "info", message: "hello" }] } };
    return undefined;
  });
  await world.sync.live({});
  await world.pass(70_000);
  assert.deepEqual([...world.store.tasks.keys()].sort(), ["p", "r"]);
  assert.equal(world.store.tasks.get("p").runtime_detail, "It waits.");
  assert.equal(world.store.said.get("r").message, "hello");
  assert.equal(world.count("request_status"), 1);
  assert.ok(world.store.unavailable.has("request_status"));
});

test("reads a burst of changes together, and not more often than every three seconds", async () => {
  const world = setUp();
  await world.sync.live({});
  await world.pass(5000);
  const before = world.count("request_status");
  for (let second = 0; second < 30; second += 1) {
    for (let change = 0; change < 20; change += 1) world.sync.taskChanged();
    await world.pass(1000);
  }
  const asked = world.count("request_status") - before;
  assert.ok(asked >= 8 && asked <= 11, `asked ${asked} times`);
});

test("stays far below the rate limit on a quiet page", async () => {
  const world = setUp();
  await world.sync.live({});
  world.asked.length = 0;
  await world.pass(60_000);
  assert.ok(world.asked.length <= 12, `${world.asked.length} requests a minute`);
});

test("asks again soon when the server could not answer", async () => {
  let broken = true;
  const world = setUp(({ type }) => (type === "request_status" && broken ? "DATABASE_ERROR" : undefined));
  await world.sync.live({});
  await settle();
  assert.equal(world.store.loaded, false);
  broken = false;
  await world.pass(6000);
  assert.equal(world.store.loaded, true);
});

test("reads everything again after a sleep", async () => {
  const world = setUp();
  await world.sync.live({});
  await world.pass(1000);
  const before = world.count("request_status");
  world.sync.resync();
  await settle();
  assert.equal(world.count("request_status"), before + 1);
});
