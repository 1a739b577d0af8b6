/** What is known about a task and its runs, as definition lists. */

import { h } from "../dom.js";
import { count, dollars, duration, epoch, exactTime, memory, plain, took } from "../format.js";
import { words } from "./task-row.js";

const text = (value) => h("span", { dir: "auto" }, plain(value));
const mono = (value) => h("span", { class: "mono", dir: "auto" }, plain(value));
const at = (value) => exactTime(epoch(value));

function facts(entries) {
  const known = entries.filter(([, value]) => value !== undefined && value !== null && value !== "");
  return h("dl", { class: "facts" }, known.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

/** Everything about a task; `open` is called with the id of a dependency that was pressed. */
export function details(task, open) {
  const needs = (task.dependencies ?? []).map((id) => h("button", { class: "link mono", type: "button", onclick: () => open(id) }, plain(id)));
  return [
    h("h3", {}, "Description"),
    h("pre", { class: "description", dir: "auto" }, plain(task.description ?? "")),
    facts([
      ["Type", task.type && text(task.type)],
      ["Priority", task.priority && words(task.priority)],
      ["Why it failed", task.failure_reason && words(task.failure_reason)],
      ["Depends on", needs.length ? h("span", { class: "links" }, needs) : null],
      ["Files", task.files_pattern && mono(task.files_pattern)],
      ["Directory", task.working_dir && mono(task.working_dir)],
      ["Agent", task.agent && text(task.agent)],
      ["Model", task.model && mono(task.model)],
      ["Time limit", task.timeout ? duration(task.timeout) : null],
      ["Retries", `${count(task.retry_count ?? 0)} so far${task.max_retries ? `, up to ${count(task.max_retries)} by itself` : ""}`],
      ["Created", task.created_at && at(task.created_at)],
      ["Started", task.started_at && at(task.started_at)],
      ["Ended", task.completed_at && at(task.completed_at)],
    ]),
  ];
}

/** The runs of a task, newest first, and what they cost together. */
export function runs(list) {
  if (!list) return [h("p", { class: "empty" }, "Reading the runs …")];
  if (!list.length) return [h("p", { class: "empty" }, "It has not been started yet.")];
  const cost = list.reduce((sum, run) => sum + Number(run.cost ?? 0), 0);
  const tokens = list.reduce((sum, run) => sum + allTokens(run), 0);
  return [
    h("p", { class: "runs-total" }, `${list.length === 1 ? "One run" : `${count(list.length)} runs`}, ${count(tokens)} tokens, ${dollars(cost)} in all`),
    ...list.map(oneRun),
  ];
}

const allTokens = (run) =>
  ["input", "output", "reasoning", "cache_read", "cache_write"].reduce((sum, kind) => sum + Number(run[`tokens_${kind}`] ?? 0), 0);

function oneRun(run) {
  const started = epoch(run.started_at);
  const ended = epoch(run.ended_at);
  const exit = run.exit_signal ? `by signal ${run.exit_signal}` : run.exit_code;
  const tokens = [["input", "in"], ["output", "out"], ["reasoning", "reasoning"], ["cache_read", "from cache"], ["cache_write", "to cache"]]
    .filter(([kind]) => run[`tokens_${kind}`])
    .map(([kind, label]) => `${count(run[`tokens_${kind}`])} ${label}`);
  return h("article", { class: "run", data: { outcome: run.outcome ?? run.state } },
    h("h3", {}, `Run ${run.number}`, h("span", { class: "tag" }, words(run.outcome || run.state))),
    run.error && h("p", { class: "task-why", dir: "auto" }, plain(run.error)),
    facts([
      ["Host", run.host && text(run.host)],
      ["Why it failed", run.failure_reason && words(run.failure_reason)],
      ["Started", Number.isFinite(started) ? exactTime(started) : null],
      ["Took", Number.isFinite(ended - started) ? took(ended - started) : null],
      ["Model", run.model && mono(run.model)],
      ["Tokens", tokens.join(", ")],
      ["Cost", run.cost !== undefined ? dollars(run.cost) : null],
      ["Peak memory", run.peak_memory ? memory(run.peak_memory) : null],
      ["CPU time", Number.isFinite(run.cpu_seconds) ? took(run.cpu_seconds * 1000) : null],
      ["Process", run.agent_pid ? `pid ${run.agent_pid}` : null],
      ["Exit", exit === undefined || exit === null ? null : String(exit)],
      ["Session", run.session_id && mono(run.session_id)],
    ]));
}
