/** One task opened: its log, its runs with what they cost, and everything that is known about it. */

import { h, setText } from "../dom.js";
import { firstLine, plain } from "../format.js";
import { icon } from "../icons.js";
import { canCancel, canRetry, Code } from "../protocol.js";
import { makeDialog } from "./dialogs.js";
import { LogView } from "./log-view.js";
import { details, runs } from "./task-facts.js";
import { statusBadge } from "./task-row.js";
import { Tabs } from "./tabs.js";

const READ_EVERY = 15_000;
const SETTLE = 500;

export class TaskDialog {
  #id;
  #connection;
  #store;
  #act;
  #dialog;
  #heading;
  #badge = statusBadge();
  #log;
  #facts = h("div", { class: "task-details" });
  #runs = h("div", { class: "task-runs" });
  #summary = h("p", { class: "dialog-summary", dir: "auto" });
  #why = h("p", { class: "dialog-why", dir: "auto", hidden: true });
  #cancel;
  #retry;
  #again;
  #task = null;
  #timer = 0;

  constructor({ id, connection, store, act, toasts, pill, onClose }) {
    this.#id = id;
    this.#connection = connection;
    this.#store = store;
    this.#act = act;
    this.#log = new LogView({ taskId: id, connection, toasts });
    const button = (label, symbol, run) => h("button", { class: "button small", type: "button", onclick: run }, icon(symbol), label);
    this.#cancel = button("Cancel", "close", () => act.cancel(this.#task));
    this.#retry = button("Retry", "retry", () => act.retry(this.#task));
    this.#again = button("New from this", "plus", () => act.startLike(this.#task));
    const tabs = new Tabs([["Log", this.#log.element], ["Runs", this.#runs], ["Details", this.#facts]]);
    ({ dialog: this.#dialog, heading: this.#heading } = makeDialog(
      { title: plain(id), className: "drawer", extra: [this.#badge.element, pill.element], onClose: () => this.#closed(onClose) },
      this.#summary, this.#why,
      h("div", { class: "dialog-tools" }, tabs.bar, h("div", { class: "dialog-actions" }, this.#again, this.#retry, this.#cancel)),
      ...tabs.panels));
    this.show();
    this.#dialog.showModal();
    this.#heading.focus();
    this.#log.join();
    this.#read();
  }

  get id() {
    return this.#id;
  }

  get log() {
    return this.#log;
  }

  close() {
    this.#dialog.close();
  }

  /** Shows what the store knows; asks for the rest in a moment if the status has changed. */
  show() {
    const known = this.#store.tasks.get(this.#id);
    if (known && this.#task && known.status !== this.#task.status) this.#readSoon(SETTLE);
    this.#task = { ...this.#task, ...known, id: this.#id };
    const task = this.#task;
    this.#badge.element.hidden = !task.status;
    if (task.status) this.#badge.show(task);
    setText(this.#summary, firstLine(task.description ?? ""));
    const why = task.status === "completed" ? "" : plain(task.error || task.runtime_detail || "");
    setText(this.#why, why);
    this.#why.hidden = !why;
    this.#cancel.hidden = !task.status || !canCancel(task);
    this.#retry.hidden = !task.status || !canRetry(task);
    this.#again.hidden = !task.description;
    this.#facts.replaceChildren(...details(task, this.#act.open));
    this.#runs.replaceChildren(...runs(task.runs));
  }

  reconnected() {
    this.#log.join();
    this.#readSoon(0);
  }

  async #read() {
    try {
      const { task } = await this.#connection.request({ type: "get_task_status", task_id: this.#id });
      this.#task = task;
      this.#store.receive({ type: "task_status", task }, Date.now());
      this.show();
    } catch (error) {
      // After a lost connection everything is read again anyway.
      if (error.code !== Code.CONNECTION_LOST) this.#fail(error.message);
    }
    if (this.#dialog.open && this.#task?.status === "running") this.#readSoon(READ_EVERY);
  }

  #fail(message) {
    setText(this.#why, message);
    this.#why.hidden = false;
  }

  #readSoon(delay) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#read(), delay);
  }

  #closed(onClose) {
    clearTimeout(this.#timer);
    this.#log.destroy();
    onClose();
  }
}
