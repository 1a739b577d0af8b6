// A task's log: order, doubles, filters, layout, and catching up after a break.
import assert from "node:assert/strict";
import { test } from "node:test";

import { rowCount, rows } from "../../opencode_site/static/dashboard/layout.js";
import { LogBook } from "../../opencode_site/static/dashboard/log-book.js";
import { LogReader } from "../../opencode_site/static/dashboard/log-reader.js";

const entry = (id, more = {}) => ({ id, time: "2026-05-01T10:00:00.000Z", level: "info", message: `line ${id}`, agent: "t", details: {}, ...more });
const entries = (from, to) => Array.from({ length: to - from + 1 }, (_, place) => entry(from + place));
const ids = (book) => book.records.map((record) => record.id);

test("keeps each record once, in order, whatever order they come in", () => {
  const book = new LogBook();
  book.add([entry(5), entry(6)]);
  book.add([entry(6), entry(7), entry(7)]);
  book.add([entry(2), entry(9), entry(5), entry(3)]);
  assert.deepEqual(ids(book), [2, 3, 5, 6, 7, 9]);
});

test("tells by how many rows older records have moved what was there", () => {
  const book = new LogBook();
  book.add(entries(10, 12));
  assert.deepEqual(book.add([entry(8, { message: "one\ntwo\nthree" }), entry(9)]), { added: 2, moved: 4 });
  assert.deepEqual(book.add([entry(13)]), { added: 1, moved: 0 });
  assert.equal(book.rowTotal, 8);
});

test("finds the record and the line of every row", () => {
  const book = new LogBook();
  book.add([entry(1), entry(2, { message: "a\nb\nc" }), entry(3)]);
  assert.deepEqual([0, 1, 2, 3, 4].map((row) => [book.at(row).record.id, book.at(row).line]), [[1, 0], [2, 0], [2, 1], [2, 2], [3, 0]]);
});

test("shows only records of the level and with the text that are asked for, also of those that come later", () => {
  const book = new LogBook();
  book.add([entry(1, { level: "debug" }), entry(2, { level: "warn", message: "Disk FULL" }), entry(3, { level: "error" })]);
  book.filter({ level: "warn", search: "" });
  assert.deepEqual(book.visible.map(({ id }) => id), [2, 3]);
  book.filter({ level: "debug", search: "full" });
  book.add([entry(4, { message: "full again" }), entry(5)]);
  assert.deepEqual(book.visible.map(({ id }) => id), [2, 4]);
});

test("bounds what it keeps, and says that there is more", () => {
  const book = new LogBook();
  book.hasOlder = false;
  book.add(entries(1, 200_000));
  const { moved } = book.add(entries(200_001, 200_100));
  assert.equal(book.records.length, 180_000);
  assert.equal(book.newestId, 200_100);
  assert.equal(book.hasOlder, true);
  assert.equal(moved, -20_100);
});

test("lays a hundred thousand lines out anew in well under a second", () => {
  const book = new LogBook();
  book.add(Array.from({ length: 100_000 }, (_, id) => entry(id + 1, { message: "a line of an agent that goes on for a while ".repeat(4) })));
  const started = performance.now();
  book.setColumns(80);
  assert.ok(performance.now() - started < 1000);
  assert.equal(book.rowTotal, 300_000);
});

test("counts exactly the rows that it draws, in any script", () => {
  const texts = ["", "short", "exactly ten chars wide?", "words that wrap at the spaces between", "x".repeat(95), "  indented\n\n\tby a tab",
    "表を更新しました。テストは全部通りました", "🎉".repeat(21), "שלום עולם הקובץ נשמר בהצלחה", "mixed 表 and words and 🎉 and more words", "trailing space "];
  for (const text of texts) {
    for (const columns of [20, 21, 33, 80]) {
      const drawn = rows(text, columns);
      assert.equal(rowCount(text, columns), drawn.length, `${JSON.stringify(text)} in ${columns}`);
      assert.ok(drawn.every((row) => !/[\ud800-\udbff]$/.test(row)), "an emoji was cut in half");
      assert.equal(drawn.join("").replaceAll(/\s/g, ""), text.replaceAll(/\s/g, ""));
    }
  }
});

/** A server's log as the connection answers it. */
function serving(stored) {
  const asked = [];
  const request = async (message) => {
    asked.push(message);
    const before = message.before_id ?? Infinity;
    return { data: { entries: stored.filter(({ id }) => id < before).slice(-message.limit) } };
  };
  return { asked, request };
}

test("joins what is stored with what came live meanwhile", async () => {
  const book = new LogBook();
  const reader = new LogReader({ connection: serving(entries(1, 40)), book, taskId: "t" });
  book.add(entries(39, 42));
  await reader.join(() => {});
  assert.deepEqual(ids(book), entries(1, 42).map(({ id }) => id));
  assert.equal(book.hasOlder, false);
});

test("closes the gap after a break, over several pages, without doubles", async () => {
  const stored = entries(1, 100);
  const connection = serving(stored);
  const book = new LogBook();
  const reader = new LogReader({ connection, book, taskId: "t" });
  await reader.join(() => {});
  reader.disconnected();
  stored.push(...entries(101, 1400));
  book.add(entries(1399, 1403));
  reader.disconnected();
  await reader.join(() => {});
  assert.deepEqual(ids(book), entries(1, 1403).map(({ id }) => id));
});

test("begins anew, rather than with a hole, when far too much was missed", async () => {
  const stored = entries(1, 10);
  const book = new LogBook();
  const reader = new LogReader({ connection: serving(stored), book, taskId: "t" });
  await reader.join(() => {});
  reader.disconnected();
  stored.push(...entries(11, 30_000));
  await reader.join(() => {});
  assert.equal(book.oldestId, 20_001);
  assert.equal(book.records.length, 10_000);
  assert.equal(book.hasOlder, true);
});

test("reads everything when asked, page by page", async () => {
  const book = new LogBook();
  const reader = new LogReader({ connection: serving(entries(1, 4321)), book, taskId: "t" });
  await reader.join(() => {});
  assert.equal(book.hasOlder, true);
  await reader.all(() => {}, new AbortController().signal);
  assert.equal(book.records.length, 4321);
  assert.equal(book.hasOlder, false);
});

test("keeps what came live while too much was missed to close the gap", async () => {
  const stored = entries(1, 600);
  const connection = serving(stored);
  const book = new LogBook();
  const reader = new LogReader({ connection, book, taskId: "t" });
  await reader.join(() => {});
  reader.disconnected();
  stored.push(...entries(601, 30_000));
  let live = 30_000;
  const { request } = connection;
  connection.request = async (message) => {
    const reply = await request(message);
    live += 1;
    book.add([entry(live)]);
    return reply;
  };
  await reader.join(() => {});
  assert.ok(live > 30_010);
  assert.equal(book.newestId, live);
  assert.deepEqual(ids(book), entries(book.oldestId, live).map(({ id }) => id));
  assert.equal(book.hasOlder, true);
});

test("lays older lines out as if they had been there from the start", () => {
  const whole = new LogBook();
  const parts = new LogBook();
  const all = entries(1, 300).map((line) => ({ ...line, level: line.id % 3 ? "info" : "debug", message: "word ".repeat(line.id % 70) }));
  for (const book of [whole, parts]) book.filter({ level: "info" });
  whole.add(all);
  for (const part of [all.slice(200), all.slice(100, 200), all.slice(0, 100)]) parts.add(part);
  assert.deepEqual(ids(parts), ids(whole));
  assert.equal(parts.rowTotal, whole.rowTotal);
  for (let row = 0; row < whole.rowTotal; row += 1) {
    assert.deepEqual([parts.at(row).record.id, parts.at(row).line], [whole.at(row).record.id, whole.at(row).line]);
  }
});
