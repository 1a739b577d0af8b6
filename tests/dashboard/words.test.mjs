// Text, numbers, selection and the form: what is pure about the rest.
import assert from "node:assert/strict";
import { test } from "node:test";

import { ago, bytes, dollars, duration, firstLine, memory, percent, plain, took } from "../../opencode_site/static/dashboard/format.js";
import { fieldError, suggestId, taskFrom } from "../../opencode_site/static/dashboard/new-task.js";
import { queueOrder, select, taskInAddress } from "../../opencode_site/static/dashboard/selection.js";
import { strangers } from "../../opencode_site/static/dashboard/strangers.js";

test("takes colours, titles, links and cursor movements out of what an agent prints", () => {
  assert.equal(plain("\x1b[1;31mred\x1b[0m and \x1b[2Kgone\x1b[10;5H"), "red and gone");
  assert.equal(plain("\x1b]0;title\x07text \x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\"), "text link");
  assert.equal(plain("\x9b31mred\x9b0m\x1b(B\x1b7"), "red");
});

test("never lets an unfinished sequence swallow the lines after it", () => {
  assert.equal(plain("one \x1b]0;never ends\ntwo\nthree"), "one 0;never ends\ntwo\nthree");
  assert.match(plain("a\x1b[31"), /^a/);
});

test("takes control and bidirectional control characters out, and leaves every script as it is", () => {
  assert.equal(plain("a\x00b\x08c\x7fd\ufeff"), "abcd");
  assert.equal(plain("if \u202eadmin\u2066 x\u200f"), "if admin x");
  for (const text of ["שלום עולם", "表を更新", "👩‍👩‍👧 family", "Größe\tä", "a\nb"]) assert.equal(plain(text), text);
  assert.equal(plain("progress 1\rprogress 2\r\ndone\u2028x"), "progress 1\nprogress 2\ndone\nx");
});

test("takes anything for text", () => {
  assert.equal(plain(null), "");
  assert.equal(plain(12), "12");
});

test("gives the first line that says something, clipped", () => {
  assert.equal(firstLine("\n  \n first \nsecond"), "first");
  assert.equal(firstLine("x".repeat(500), 10), `${"x".repeat(10)}…`);
});

test("writes durations, ages and amounts as people read them", () => {
  assert.deepEqual([0, 59_999, 61_000, 3_900_000, 100_000_000].map(duration), ["0 s", "59 s", "1 min 01 s", "1 h 05 min", "1 d 3 h"]);
  assert.deepEqual([-5, 40_000, 125_000, 9_000_000, 300_000_000].map(ago), ["just now", "40 s ago", "2 min ago", "2 h ago", "3 d ago"]);
  assert.deepEqual([memory(125829120), memory(17179869184), bytes(250e9), bytes(1e12), bytes(999_999)], ["120 MiB", "16 GiB", "250 GB", "1.0 TB", "1.0 MB"]);
  assert.deepEqual([percent(12.5), percent(undefined), took(1234), dollars(0.0342), dollars(12), dollars(0), dollars(null)], ["13 %", "–", "1.2 s", "$0.0342", "$12.00", "$0.00", "–"]);
});

const task = (id, status, more = {}) => ({ id, status, priority: "medium", description: `About ${id}`, created_at: "2026-05-01T10:00:00Z", ...more });

test("shows the queue in the order in which the server starts it", () => {
  const queued = [task("young", "pending", { created_at: "2026-05-01T11:00:00Z" }), task("low", "pending", { priority: "low" }), task("old", "pending"), task("high", "pending", { priority: "high", created_at: "2026-05-01T12:00:00Z" })];
  assert.deepEqual(queued.sort(queueOrder).map(({ id }) => id), ["high", "old", "young", "low"]);
});

test("filters by group, priority and every word of the search, and counts without filters", () => {
  const tasks = [task("a", "running"), task("b", "failed", { error: "No API key" }), task("c", "cancelled"), task("d", "completed", { priority: "high" })];
  const { shown, totals } = select(tasks, { group: "", priority: "", search: "api KEY" });
  assert.deepEqual(Object.values(shown).flat().map(({ id }) => id), ["b"]);
  assert.deepEqual(totals, { running: 1, queued: 0, failed: 1, finished: 2 });
  assert.deepEqual(select(tasks, { group: "finished", priority: "high", search: "" }).shown.finished.map(({ id }) => id), ["d"]);
});

test("shows as other agents only those that work on no task of ours, each once, with the newest figures", () => {
  const start_time = "2026-05-01T10:00:00.400Z";
  const processes = [{ pid: 1, task_id: "a", start_time }, { pid: 2, cpu_percent: 1, start_time }, { pid: 3, cpu_percent: 9, start_time }];
  const agents = [
    { id: "a", task_id: "a", pid: 1, start_time },
    { id: "x:2", pid: 2, cpu_percent: 30, memory_usage: 7, host: "here", start_time: "2026-05-01T10:00:00Z" },
    { id: "y:3", pid: 3, cpu_percent: 2, host: "there", start_time: "2026-05-01T11:11:11Z" },
  ];
  const found = strangers(processes, agents).map(({ pid, cpu_percent, host, canEnd }) => ({ pid, cpu_percent, host, canEnd }));
  assert.deepEqual(found, [
    { pid: 2, cpu_percent: 30, host: "here", canEnd: true },
    { pid: 3, cpu_percent: 9, host: undefined, canEnd: true },
    { pid: 3, cpu_percent: 2, host: "there", canEnd: false },
  ]);
});

test("sends only what was filled in, with the time limit in milliseconds", () => {
  const values = { id: "a", type: "testing", priority: "high", description: "x", model: "", agent: "", working_dir: "", files_pattern: "", dependencies: [], timeout: "1,5", timeout_unit: "hours", max_retries: "2" };
  assert.deepEqual(taskFrom(values), { id: "a", type: "testing", priority: "high", description: "x", timeout: 5_400_000, max_retries: 2 });
  assert.equal(taskFrom({ ...values, timeout: "soon" }).timeout, "soon");
});

test("puts the server's error at the field that it is about", () => {
  const field = (error) => fieldError(error).field;
  assert.equal(field({ code: "INVALID_FIELD_VALUE", details: { field: "task.working_dir" } }), "working_dir");
  assert.equal(field({ code: "INVALID_FIELD_VALUE", details: { field: "task.dependencies.0" } }), "dependencies");
  assert.equal(field({ code: "INVALID_TASK_DATA", details: { missing: ["type", "description"] } }), "type");
  assert.equal(field({ code: "TASK_ALREADY_EXISTS", details: { task_id: "a" } }), "id");
  assert.equal(field({ code: "TASK_NOT_FOUND", details: { task_id: "b" } }), "dependencies");
  assert.equal(field({ code: "DATABASE_ERROR", details: {} }), "");
});

test("suggests an id that the server accepts for any description", () => {
  const rule = /^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$/;
  for (const text of ["Fix the tests", "Größe überprüfen", "表を更新", "", "-- 123", "x".repeat(1000)]) assert.match(suggestId(text), rule);
  assert.equal(suggestId("Prüfe die Straße", () => 0), "prufe-die-strasse-0000");
});

test("finds the task that an address names, whatever else the address says", () => {
  assert.equal(taskInAddress("#task=a%2Fb"), "a/b");
  for (const hash of ["", "#", "#task=", "#other=x", "#task=%E0", "#task=%"]) assert.equal(taskInAddress(hash), "");
});
