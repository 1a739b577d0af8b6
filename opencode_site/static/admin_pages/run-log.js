/**
 * The log of one run. What is stored is the truth: a message of the WebSocket only says when to read on, so
 * that a lost one, a reconnect or another run of the task can neither lose, double nor mix lines.
 */

import { Connection } from "../dashboard/connection.js";
import { plain } from "../dashboard/format.js";

const KEPT = 5000;
const root = document.getElementById("run-log");
const box = root.querySelector(".oc-log");
const list = box.querySelector("ol");
const older = root.querySelector(".oc-older");
const level = root.querySelector(".oc-level");
const state = root.querySelector(".oc-state");
let oldest = 0;
let newest = 0;
// As the page was made: the run may have ended before the first answer.
let wasLive = root.dataset.live === "1";
let reading = false;
let again = false;
let generation = 0;

async function read(bounds) {
  const url = new URL(root.dataset.url, location.href);
  url.search = new URLSearchParams({ level: level.value, ...bounds });
  const response = await fetch(url);
  if (!response.ok || response.redirected) throw new Error(`The log could not be read (${response.status}).`);
  return response.json();
}

function line(entry) {
  const item = document.createElement("li");
  item.className = entry.level;
  item.dataset.id = entry.id;
  item.textContent = `${entry.time.slice(11, 19)} ${entry.level.padEnd(5)} ${plain(entry.message)}`;
  return item;
}

async function readOn() {
  if (reading) {
    again = true;
    return;
  }
  reading = true;
  const mine = generation;
  try {
    do {
      again = false;
      const first = newest === 0;
      const page = await read(first ? {} : { after: newest });
      if (mine !== generation) break;
      show(page, first);
      again ||= !first && page.full;
    } while (again);
  } catch (error) {
    state.textContent = error.message;
  } finally {
    reading = false;
    if (mine !== generation) readOn();
  }
}

function show(page, first) {
  const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
  list.append(...page.entries.map(line));
  newest = page.entries.at(-1)?.id ?? newest;
  if (first) {
    oldest = page.entries[0]?.id ?? 0;
    older.hidden = !page.full;
  }
  if (list.childElementCount > KEPT) {
    while (list.childElementCount > KEPT) list.firstElementChild.remove();
    oldest = Number(list.firstElementChild.dataset.id);
    older.hidden = false;
  }
  if (first || atEnd) box.scrollTop = box.scrollHeight;
  state.textContent = page.ended ? page.state : `${page.state} · live`;
  // Badges, runs and buttons belong to the end of the run too.
  if (page.ended && wasLive) location.reload();
  wasLive = !page.ended;
}

older.addEventListener("click", async () => {
  const [mine, before] = [generation, oldest];
  try {
    const page = await read({ before });
    // Of another level, or joined to lines that have been taken away meanwhile.
    if (mine !== generation || before !== oldest) return;
    const height = box.scrollHeight;
    list.prepend(...page.entries.map(line));
    oldest = page.entries[0]?.id ?? oldest;
    older.hidden = !page.full;
    box.scrollTop += box.scrollHeight - height;
  } catch (error) {
    state.textContent = error.message;
  }
});

level.addEventListener("change", () => {
  generation += 1;
  newest = 0;
  list.replaceChildren();
  readOn();
});

const url = new URL("/ws", location.href);
url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
const task = root.dataset.task;
const connection = new Connection({
  url: url.href,
  on: {
    state() {},
    pong() {},
    woke: readOn,
    message: readOn,
    async live() {
      try {
        await connection.request({
          type: "subscribe_to_updates",
          channels: ["log_entries", "task_status"],
          filters: { log_entries: { agents: [task] }, task_status: { task_ids: [task] } },
        }, { background: true });
      } catch (error) {
        state.textContent = error.message;
      }
      readOn();
    },
  },
});
connection.connect();
setInterval(() => connection.tick(), 500);
readOn();
