/** One task in the list: what it is, how it goes, and what one can do about it. */

import { h, setAttribute, setText } from "../dom.js";
import { ago, duration, epoch, firstLine, memory, percent, plain, took } from "../format.js";
import { icon } from "../icons.js";
import { moment, setMoment } from "../moments.js";
import { canCancel, canRetry } from "../protocol.js";

const LABELS = { pending: "Queued", running: "Running", completed: "Completed", failed: "Failed", cancelled: "Cancelled" };
const SYMBOLS = {
  pending: "queued", queued: "queued", waiting: "waiting", blocked: "warn", starting: "running", running: "running", stalled: "warn",
  cancelling: "cancelled", completed: "completed", failed: "failed", cancelled: "cancelled",
};
const SILENT = 180_000;

/** Words of a status with its symbol; never the colour alone. */
export function statusBadge() {
  const symbol = h("span", { class: "badge-symbol" });
  const label = h("span");
  const element = h("span", { class: "badge" }, symbol, label);
  return {
    element,
    show({ status, runtime_status: runtime, failure_reason: reason }) {
      const shown = SYMBOLS[runtime] ? runtime : status;
      if (element.dataset.status !== shown) {
        element.dataset.status = shown;
        symbol.replaceChildren(icon(SYMBOLS[shown] ?? "cancelled"));
      }
      const name = LABELS[shown] ?? words(shown);
      setText(label, status === "failed" && reason ? `${name} · ${words(reason).toLowerCase()}` : name);
    },
  };
}

export const words = (slug) => {
  const text = String(slug).replaceAll("_", " ");
  return text.charAt(0).toUpperCase() + text.slice(1);
};

export class TaskRow {
  #badge = statusBadge();
  #title = h("button", { class: "task-title", type: "button", dir: "auto" });
  #id = h("span", { class: "mono task-id", dir: "auto" });
  #type = h("span", { class: "tag", dir: "auto" });
  #priority = h("span", { class: "priority" });
  #retries = h("span", { class: "tag quiet" });
  #time = moment("ago");
  #lasted = moment("for");
  #took = h("span", { class: "took" });
  #progress = h("progress", { max: "100" });
  #percent = h("span", { class: "percent" });
  #bar = h("div", { class: "task-progress" });
  #usage = h("div", { class: "task-usage" });
  #why = h("p", { class: "task-why", dir: "auto" });
  #said = h("p", { class: "task-said mono", dir: "auto" });
  #cancel;
  #retry;
  #shownPriority = "";
  #task = null;

  /** `act` has open(id), cancel(task) and retry(task). */
  constructor(act) {
    const button = (label, symbol, run) =>
      h("button", { class: "button small quiet", type: "button", onclick: () => run(this.#task) }, icon(symbol), label);
    this.#cancel = button("Cancel", "close", act.cancel);
    this.#retry = button("Retry", "retry", act.retry);
    this.#title.addEventListener("click", () => act.open(this.#task.id));
    this.#bar.append(this.#progress, this.#percent);
    this.element = h("li", { class: "task" },
      h("div", { class: "task-head" }, this.#badge.element, h("span", { class: "task-when" }, this.#took, this.#lasted, this.#time)),
      this.#title,
      this.#bar,
      this.#why,
      this.#said,
      h("div", { class: "task-foot" },
        h("div", { class: "task-facts" }, this.#id, this.#type, this.#priority, this.#retries, this.#usage),
        h("div", { class: "task-actions" }, this.#retry, this.#cancel)));
  }

  /** `context`: {now, serverNow, said, agent, stale(agent)} */
  update(task, context) {
    this.#task = task;
    this.element.dataset.status = task.status;
    this.element.dataset.task = task.id;
    this.#badge.show({ ...task, runtime_status: task.status === "running" ? context.agent?.status : task.runtime_status });
    setText(this.#title, firstLine(task.description) || plain(task.id));
    setText(this.#id, plain(task.id));
    setText(this.#type, plain(task.type ?? ""));
    this.#type.hidden = !task.type;
    this.#showPriority(task.priority ?? "");
    this.#retries.hidden = !task.retry_count;
    if (task.retry_count) setText(this.#retries, task.retry_count === 1 ? "1 retry" : `${task.retry_count} retries`);
    this.#cancel.hidden = !canCancel(task);
    this.#retry.hidden = !canRetry(task);
    setAttribute(this.#cancel, "aria-label", `Cancel ${plain(task.id)}`);
    setAttribute(this.#retry, "aria-label", `Retry ${plain(task.id)}`);
    this.#showTimes(task, context.serverNow);
    this.#showProgress(task);
    this.#showWhy(task, context);
    this.#showUsage(task, context);
  }

  focus() {
    this.#title.focus();
  }

  #showPriority(priority) {
    if (priority === this.#shownPriority) return;
    this.#shownPriority = priority;
    this.#priority.dataset.priority = priority;
    this.#priority.replaceChildren(...(priority ? [icon(priority), words(priority)] : []));
  }

  #showTimes(task, serverNow) {
    const started = epoch(task.started_at);
    const ended = epoch(task.completed_at);
    const running = task.status === "running";
    setMoment(this.#lasted, running ? started : NaN, serverNow);
    const known = running ? NaN : task.status === "pending" ? epoch(task.created_at) : ended;
    setMoment(this.#time, known, serverNow);
    setText(this.#took, Number.isFinite(ended - started) && !running ? `took ${took(ended - started)}` : "");
  }

  #showProgress(task) {
    this.#bar.hidden = task.status !== "running";
    if (this.#bar.hidden) return;
    // No todo list of the agent's, no percentage: a bar that says "at work" and no more.
    const known = task.progress > 0;
    if (known) this.#progress.value = task.progress;
    else this.#progress.removeAttribute("value");
    setAttribute(this.#progress, "aria-label", `Progress of ${plain(task.id)}`);
    setText(this.#percent, known ? percent(task.progress) : "");
  }

  #showWhy(task, { said, agent, serverNow }) {
    const silent = task.status === "running" && said ? serverNow - epoch(said.time) : 0;
    const why = task.status === "failed" || task.status === "pending" ? task.error || task.runtime_detail : "";
    const quiet = silent > SILENT ? `No output for ${duration(silent)}.` : "";
    this.#why.hidden = !(why || quiet);
    setText(this.#why, why ? plain(why) : quiet);
    const last = task.status === "running" ? firstLine(said?.message ?? agent?.last_message ?? "") : "";
    this.#said.hidden = !last;
    this.#said.dataset.level = said?.level ?? "";
    setText(this.#said, last);
  }

  #showUsage(task, { agent, stale, now }) {
    const running = task.status === "running" && agent;
    this.#usage.hidden = !running;
    if (!running) return;
    const parts = [];
    if (agent.memory_usage && Number.isFinite(agent.cpu_percent)) parts.push(`CPU ${percent(agent.cpu_percent)}`);
    if (agent.memory_usage) parts.push(memory(agent.memory_usage));
    if (agent.host) parts.push(plain(agent.host));
    const old = stale(agent);
    if (old) parts.push(ago(now - agent.measuredAt));
    setText(this.#usage, parts.join(" · "));
    this.#usage.classList.toggle("stale", old);
  }
}
