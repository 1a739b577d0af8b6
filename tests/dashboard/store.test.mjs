// The store: what each message changes, whatever the order in which they come.
import assert from "node:assert/strict";
import { test } from "node:test";

import { Store } from "../../opencode_site/static/dashboard/store.js";

const NOW = Date.parse("2026-05-01T10:00:00Z");
const at = (seconds) => new Date(NOW + seconds * 1000).toISOString();
const task = (id, status, more = {}) => ({ id, type: "testing", priority: "medium", description: id, status, progress: 0, created_at: at(-60), ...more });
const update = (task_id, old_status, new_status, seconds, progress = 0) =>
  ({ type: "task_status_update", task_id, old_status, new_status, progress, timestamp: at(seconds) });

function storeWith(...tasks) {
  const store = new Store();
  store.asking();
  store.replaceUnfinished(tasks);
  store.takeChanges();
  return store;
}

test("follows a task through its life by updates alone", () => {
  const store = storeWith();
  store.receive(update("a", "pending", "pending", 0), NOW);
  store.receive(update("a", "pending", "running", 1), NOW);
  store.receive(update("a", "running", "running", 2, 40), NOW);
  assert.equal(store.tasks.get("a").progress, 40);
  store.receive(update("a", "running", "completed", 3, 100), NOW);
  const { status, progress, started_at, completed_at } = store.tasks.get("a");
  assert.deepEqual({ status, progress, started_at, completed_at }, { status: "completed", progress: 100, started_at: at(1), completed_at: at(3) });
});

test("tells each change of status once", () => {
  const store = storeWith(task("a", "pending"));
  store.receive(update("a", "pending", "running", 1), NOW);
  store.receive(update("a", "pending", "running", 1), NOW);
  store.receive(update("a", "running", "running", 2, 10), NOW);
  assert.deepEqual(store.takeChanges(), [{ id: "a", from: "pending", to: "running" }]);
  assert.deepEqual(store.takeChanges(), []);
});

test("is not set back by an old update that is sent again", () => {
  const store = storeWith(task("a", "completed", { completed_at: at(10) }));
  store.receive(update("a", "pending", "running", 1), NOW);
  assert.equal(store.tasks.get("a").status, "completed");
});

test("does not let a list that is older than an update undo it", () => {
  const store = storeWith(task("a", "running"));
  store.asking();
  store.receive(update("a", "running", "failed", 5), NOW);
  store.replaceUnfinished([task("a", "running")]);
  assert.equal(store.tasks.get("a").status, "failed");
});

test("keeps a task that was submitted while the list was made", () => {
  const store = storeWith();
  store.asking();
  store.receive(update("new", "pending", "pending", 5), NOW);
  store.replaceUnfinished([]);
  assert.equal(store.tasks.get("new").status, "pending");
});

test("forgets unfinished tasks that the server no longer has, and keeps finished ones", () => {
  const store = storeWith(task("gone", "running"), task("done", "completed", { completed_at: at(-5) }));
  store.asking();
  store.replaceUnfinished([task("other", "pending")]);
  assert.deepEqual([...store.tasks.keys()].sort(), ["done", "other"]);
});

test("forgets nothing when there are more unfinished tasks than the server lists", () => {
  const store = storeWith(task("beyond", "pending"));
  store.asking();
  store.replaceUnfinished(Array.from({ length: 1000 }, (_, number) => task(`t${number}`, "pending")));
  assert.equal(store.tasks.size, 1001);
  assert.equal(store.truncated, true);
});

test("forgets the error of a run when the task is queued again", () => {
  const store = storeWith(task("a", "failed", { error: "no key", failure_reason: "auth", completed_at: at(0) }));
  store.receive(update("a", "failed", "pending", 5), NOW);
  const { error, failure_reason, completed_at } = store.tasks.get("a");
  assert.deepEqual([error, failure_reason, completed_at], [undefined, undefined, undefined]);
});

test("drops fields that a later list no longer has, but not what lists never tell", () => {
  const store = storeWith(task("a", "failed", { error: "no key" }));
  store.receive({ type: "task_status", task: task("a", "pending", { dependencies: ["b"], runtime_detail: "It waits." }) }, NOW);
  store.receive({ type: "task_list", tasks: [task("a", "pending")] }, NOW);
  const { error, dependencies, runtime_detail } = store.tasks.get("a");
  assert.deepEqual([error, dependencies, runtime_detail], [undefined, ["b"], "It waits."]);
  store.receive({ type: "task_list", tasks: [task("a", "running")] }, NOW);
  assert.equal(store.tasks.get("a").runtime_detail, undefined);
});

test("remembers the newest thing that an agent said, without its debugging notes", () => {
  const store = storeWith(task("a", "running"));
  store.receive({ type: "log_entry", log: { id: 7, level: "info", agent: "a", message: "newer" } }, NOW);
  store.receive({ type: "log_entry", log: { id: 5, level: "info", agent: "a", message: "older" } }, NOW);
  store.receive({ type: "log_entry", log: { id: 9, level: "debug", agent: "a", message: "note" } }, NOW);
  assert.equal(store.said.get("a").message, "newer");
});

test("takes a full status in: tasks, agents, load, processes", () => {
  const store = storeWith(task("old", "running"));
  store.asking();
  const data = {
    tasks: [task("a", "running")],
    agents: [{ id: "agent_1", task_id: "a", cpu_percent: 12.5 }],
    system_resources: { cpu_usage: 45, timestamp: at(0) },
    claude_processes: [{ pid: 1 }],
  };
  const changed = store.receive({ type: "full_status", data }, NOW);
  assert.deepEqual([...changed].sort(), ["agents", "hosts", "processes", "said", "tasks"]);
  assert.deepEqual([...store.tasks.keys()], ["a"]);
  assert.equal(store.agents.get("agent_1").cpu_percent, 12.5);
  assert.equal(store.processes.length, 1);
});

test("knows how old the figures of a list are, however late and often they are listed", () => {
  const store = storeWith();
  const listed = (seconds) => ({ type: "full_status", data: {
    tasks: [], agents: [{ id: "a", status: "running", timestamp: at(seconds) }], system_resources: { host: "one", cpu_usage: 1, timestamp: at(seconds) },
  } });
  store.receive(listed(-60), NOW);
  assert.equal(store.agents.get("a").measuredAt, NOW - 60_000);
  assert.equal(store.hosts.isStale("one", NOW), true);
  store.receive({ type: "agent_update", agent: { id: "a", status: "running", timestamp: at(1) } }, NOW + 1_500);
  assert.equal(store.agents.get("a").measuredAt, NOW + 1_500);
  store.receive(listed(1), NOW + 90_000);
  assert.equal(store.agents.get("a").measuredAt, NOW + 1_500);
});

test("forgets an agent as soon as it has ended", () => {
  const store = storeWith(task("a", "running"));
  store.receive({ type: "claude_processes", processes: [{ pid: 7, start_time: at(0) }, { pid: 8, start_time: at(0) }] }, NOW);
  store.receive({ type: "agent_update", agent: { id: "h:7", pid: 7, status: "sleeping", start_time: at(0) } }, NOW);
  assert.ok(store.agents.has("h:7"));
  store.receive({ type: "agent_update", agent: { id: "h:7", pid: 7, status: "ended", start_time: at(0) } }, NOW);
  assert.equal(store.agents.size, 0);
  assert.deepEqual(store.processes.map(({ pid }) => pid), [8]);
});

test("keeps at most a thousand finished tasks, the newest", () => {
  const finished = Array.from({ length: 1500 }, (_, number) => task(`t${number}`, "completed", { completed_at: at(number) }));
  const store = storeWith(...finished, task("live", "running"));
  assert.equal(store.tasks.size, 1001);
  assert.ok(store.tasks.has("t1499") && store.tasks.has("live") && !store.tasks.has("t0"));
});

test("ignores messages that it does not know", () => {
  assert.equal(storeWith().receive({ type: "something_new" }, NOW).size, 0);
});

test("knows the server's clock from the answers to heartbeats", () => {
  const store = storeWith();
  store.noteClock({ server_time: at(100) }, NOW, NOW + 100);
  assert.equal(store.serverNow(NOW), NOW + 99_950);
  store.noteClock({ server_time: at(500) }, NOW, NOW + 5_000);
  assert.equal(store.serverNow(NOW), NOW + 99_950);
});
