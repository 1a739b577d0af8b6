// The connection, with a socket and a clock of the test's own: no waiting, no network.
import assert from "node:assert/strict";
import { test } from "node:test";

import { backoff, Connection, State, Timing } from "../../opencode_site/static/dashboard/connection.js";

class Socket {
  static all = [];
  readyState = 1;
  sent = [];
  constructor(url) {
    this.url = url;
    Socket.all.push(this);
  }
  send(text) {
    this.sent.push(JSON.parse(text));
  }
  close() {
    this.readyState = 3;
  }
  says(message) {
    this.onmessage({ data: JSON.stringify(message) });
  }
  breaks(code = 1006) {
    this.readyState = 3;
    this.onclose({ code });
  }
  last(type) {
    return this.sent.findLast((message) => message.type === type);
  }
}

/** A connection at time 1 000 000 whose events are kept; `to(ms)` lets time pass in ticks of half a second. */
function setUp({ live = true } = {}) {
  Socket.all = [];
  const world = { now: 1_000_000, states: [], lives: 0, messages: [], woke: 0, pongs: 0 };
  const connection = new Connection({
    url: "ws://here/ws",
    Socket,
    now: () => world.now,
    random: () => 1,
    on: {
      state: (state) => world.states.push(state.name),
      live: () => (world.lives += 1),
      message: (message) => world.messages.push(message),
      pong: () => (world.pongs += 1),
      woke: () => (world.woke += 1),
    },
  });
  world.pass = (ms) => {
    for (let left = ms; left > 0; left -= 500) {
      world.now += Math.min(left, 500);
      connection.tick();
    }
  };
  world.socket = () => Socket.all.at(-1);
  world.connection = connection;
  connection.connect();
  if (live) {
    world.socket().says({ type: "connection_established", server_version: "1.0.0" });
    world.socket().says({ type: "pong", timestamp: world.now });
  }
  return world;
}

test("is live only once the server has said that the connection is established", () => {
  const world = setUp({ live: false });
  assert.equal(world.connection.state.name, State.CONNECTING);
  world.socket().says({ type: "connection_established" });
  assert.equal(world.connection.state.name, State.LIVE);
  assert.equal(world.lives, 1);
});

test("gives up a socket that never says anything", () => {
  const world = setUp({ live: false });
  world.pass(Timing.OPEN_WITHIN + 1000);
  assert.ok(Socket.all[0].readyState === 3 && Socket.all.length >= 1);
  assert.ok(world.states.includes(State.WAITING));
});

test("sends a heartbeat every fifteen seconds and stays live while they are answered", () => {
  const world = setUp();
  for (let round = 0; round < 4; round += 1) {
    world.pass(Timing.PING_EVERY);
    world.socket().says({ type: "pong", timestamp: 0 });
  }
  assert.equal(world.socket().sent.filter(({ type }) => type === "ping").length, 5);
  assert.equal(world.connection.state.name, State.LIVE);
});

test("says that a heartbeat is late, then drops the connection and reconnects", () => {
  const world = setUp();
  world.pass(Timing.PING_EVERY + Timing.LATE_AFTER + 1000);
  assert.equal(world.connection.state.name, State.LATE);
  world.pass(Timing.DEAD_AFTER - Timing.LATE_AFTER - 500);
  assert.equal(world.connection.state.name, State.WAITING);
  assert.match(world.connection.state.reason, /stopped answering/);
  world.pass(1000);
  assert.equal(Socket.all.length, 2);
});

test("takes other traffic as a sign of life while a pong stands in the queue behind it", () => {
  const world = setUp();
  world.pass(Timing.PING_EVERY);
  for (let second = 0; second < 30; second += 1) {
    world.pass(1000);
    world.socket().says({ type: "log_entry", log: {} });
  }
  assert.equal(world.connection.state.name, State.LIVE);
});

test("is live again as soon as a late server is heard", () => {
  const world = setUp();
  world.pass(Timing.PING_EVERY + Timing.LATE_AFTER + 1000);
  world.socket().says({ type: "pong", timestamp: 0 });
  assert.equal(world.connection.state.name, State.LIVE);
});

test("backs off exponentially, with jitter, up to half a minute", () => {
  assert.deepEqual([1, 2, 3, 4].map((attempt) => backoff(attempt, () => 1)), [500, 1000, 2000, 4000]);
  assert.equal(backoff(30, () => 1), Timing.BACKOFF_MAX);
  assert.equal(backoff(3, () => 0), 1000);
});

test("tries again and again, each time after a longer pause", () => {
  const world = setUp();
  const pauses = [];
  for (let attempt = 0; attempt < 8; attempt += 1) {
    world.socket().breaks();
    pauses.push(world.connection.state.retryAt - world.now);
    const tried = Socket.all.length;
    world.pass(pauses.at(-1) + 500);
    assert.equal(Socket.all.length, tried + 1);
  }
  assert.deepEqual(pauses, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
});

test("does not hammer a server that accepts and breaks at once", () => {
  const world = setUp();
  for (let round = 0; round < 4; round += 1) {
    world.socket().breaks();
    world.pass(world.connection.state.retryAt - world.now + 500);
    world.socket().says({ type: "connection_established" });
  }
  world.socket().breaks();
  assert.equal(world.connection.state.retryAt - world.now, 8000);
});

test("begins the back-off anew after a connection that held", () => {
  const world = setUp();
  world.socket().breaks();
  world.pass(1000);
  world.socket().says({ type: "connection_established" });
  world.socket().says({ type: "pong", timestamp: 0 });
  world.pass(Timing.SETTLED_AFTER + 1000);
  world.socket().breaks();
  assert.equal(world.connection.state.retryAt - world.now, 500);
});

test("waits longer, and says why, when the server turns it away", () => {
  const world = setUp({ live: false });
  world.socket().says({ type: "error", code: "RATE_LIMIT_EXCEEDED", message: "Too many connections." });
  world.socket().breaks(1013);
  assert.equal(world.connection.state.reason, "Too many connections.");
  assert.ok(world.connection.state.retryAt - world.now >= Timing.BACKOFF_REFUSED);
});

test("notices that the machine slept, and asks at once whether the server is still there", () => {
  const world = setUp();
  world.pass(1000);
  world.now += 3_600_000;
  world.connection.tick();
  assert.equal(world.woke, 1);
  assert.equal(world.socket().last("ping").timestamp, world.now);
  world.pass(Timing.DEAD_AFTER + 1000);
  assert.equal(Socket.all.length, 2);
});

test("connects at once after a sleep in which it was waiting to reconnect", () => {
  const world = setUp();
  for (let attempt = 0; attempt < 7; attempt += 1) {
    world.socket().breaks();
    world.pass(world.connection.state.retryAt - world.now + 500);
  }
  world.socket().breaks();
  const tried = Socket.all.length;
  world.now += Timing.SLEPT_AFTER + 1000;
  world.connection.tick();
  assert.equal(Socket.all.length, tried + 1);
});

test("gives each reply to the request that it answers", async () => {
  const world = setUp();
  const one = world.connection.request({ type: "get_task_status", task_id: "one" });
  const other = world.connection.request({ type: "get_task_status", task_id: "other" });
  const [first, second] = world.socket().sent.slice(-2);
  world.socket().says({ type: "task_status", task: { id: "other" }, request_id: second.request_id });
  world.socket().says({ type: "task_status", task: { id: "one" }, request_id: first.request_id });
  assert.equal((await one).task.id, "one");
  assert.equal((await other).task.id, "other");
  assert.deepEqual(world.messages, []);
});

test("rejects a request with the server's error", async () => {
  const world = setUp();
  const request = world.connection.request({ type: "start_task", task: {} });
  const { request_id } = world.socket().last("start_task");
  world.socket().says({ type: "error", code: "INVALID_FIELD_VALUE", message: "no", details: { field: "task.type" }, request_id });
  await assert.rejects(request, { code: "INVALID_FIELD_VALUE", message: "no", details: { field: "task.type" } });
});

test("rejects what was not answered when the connection is lost, and at once while there is none", async () => {
  const world = setUp();
  const request = world.connection.request({ type: "list_tasks" });
  world.socket().breaks();
  await assert.rejects(request, { code: "CONNECTION_LOST" });
  await assert.rejects(world.connection.request({ type: "list_tasks" }), { code: "CONNECTION_LOST" });
});

test("rejects a request that is not answered in its time", async () => {
  const world = setUp();
  const request = world.connection.request({ type: "list_tasks" }, { timeout: 5000 });
  world.pass(6000);
  await assert.rejects(request, { code: "HEARTBEAT_TIMEOUT" });
});

test("waits as long as the server says and sends a background request again", async () => {
  const world = setUp();
  const request = world.connection.request({ type: "request_status" }, { background: true });
  const { request_id } = world.socket().last("request_status");
  const details = { retry_after_seconds: 7, current_limit: 100 };
  world.socket().says({ type: "error", code: "RATE_LIMIT_EXCEEDED", message: "slow", details, request_id });
  const count = () => world.socket().sent.filter(({ type }) => type === "request_status").length;
  world.pass(6500);
  assert.equal(count(), 1);
  world.pass(1000);
  assert.equal(count(), 2);
  world.socket().says({ type: "full_status", data: {}, request_id: world.socket().last("request_status").request_id });
  assert.equal((await request).type, "full_status");
});

test("does not take a rate-limited heartbeat for a dead server", () => {
  const world = setUp();
  world.pass(Timing.PING_EVERY);
  world.socket().says({ type: "error", code: "RATE_LIMIT_EXCEEDED", message: "slow", details: { retry_after_seconds: 5 } });
  world.pass(Timing.DEAD_AFTER + 1000);
  assert.equal(world.connection.state.name, State.LIVE);
});

test("never sends more than the server allows in a minute, and keeps room for the user", () => {
  const world = setUp();
  for (let number = 0; number < 200; number += 1) {
    world.connection.request({ type: "list_tasks" }, { background: true, timeout: 1e9 }).catch(() => {});
  }
  assert.ok(world.socket().sent.length <= 61);
  world.connection.request({ type: "cancel_task", task_id: "x" }).catch(() => {});
  assert.equal(world.socket().sent.at(-1).type, "cancel_task");
});

test("ignores what an abandoned socket still says", () => {
  const world = setUp();
  const old = world.socket();
  world.connection.connect();
  old.says({ type: "log_entry", log: { id: 1 } });
  old.breaks();
  assert.deepEqual(world.messages, []);
  assert.equal(world.connection.state.name, State.CONNECTING);
});
