/** What one can do with a log: choose a level, search, load all of it, copy it, download it. */

import { h, setText } from "../dom.js";
import { count, epoch, exactTime, plain } from "../format.js";
import { icon } from "../icons.js";

const TYPING = 150;
const LEVEL_CHOICES = [["debug", "All levels"], ["info", "Info and above"], ["warn", "Warnings and errors"], ["error", "Errors only"]];

const lines = (number, what = "") => `${count(number)}${what} ${number === 1 ? "line" : "lines"}`;

export class LogTools {
  #book;
  #reader;
  #toasts;
  #taskId;
  #onTaken;
  #level;
  #search = h("input", { type: "search", placeholder: "Search in the log", "aria-label": "Search in the log", spellcheck: "false" });
  #count = h("span", { class: "log-count", role: "status" });
  #all;
  #loading = null;
  #timer = 0;

  constructor({ taskId, book, reader, toasts, onFilter, onTaken }) {
    this.#taskId = taskId;
    this.#book = book;
    this.#reader = reader;
    this.#toasts = toasts;
    this.#onTaken = onTaken;
    this.#level = h("select", { "aria-label": "Level" }, LEVEL_CHOICES.map(([value, label]) => h("option", { value }, label)));
    const changed = () => onFilter({ level: this.#level.value, search: this.#search.value.trim() });
    this.#level.addEventListener("change", changed);
    this.#search.addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(changed, TYPING);
    });
    this.#all = h("button", { class: "button small quiet", type: "button", onclick: () => this.#toggleAll() }, "Load all");
    const tool = (label, symbol, run) => h("button", { class: "icon-button", type: "button", "aria-label": label, title: label, onclick: run }, icon(symbol));
    this.element = h("div", { class: "log-tools" }, this.#search, this.#level, this.#count, this.#all,
      tool("Copy the lines shown", "copy", () => this.#copy(this.#book.text(), `${lines(this.#book.visible.length)} copied.`)),
      tool("Download the log", "download", () => this.#download()));
  }

  show() {
    const { records, visible, hasOlder } = this.#book;
    const loaded = lines(records.length, hasOlder ? " loaded" : "");
    setText(this.#count, visible.length === records.length ? loaded : `${count(visible.length)} of ${loaded}`);
    this.#all.hidden = (!hasOlder || this.#book.isFull) && !this.#loading;
    setText(this.#all, this.#loading ? "Stop loading" : "Load all");
  }

  focusSearch() {
    this.#search.focus();
  }

  destroy() {
    clearTimeout(this.#timer);
    this.#loading?.abort();
  }

  /** The elements that show one record in full. */
  describe(record) {
    const details = Object.keys(record.details ?? {}).length ? plain(JSON.stringify(record.details, null, 2)) : "";
    const copy = h("button", { class: "button small quiet", type: "button", onclick: () => this.#copy([record.text, details].filter(Boolean).join("\n"), "Line copied.") }, icon("copy"), "Copy");
    return [
      h("div", { class: "log-details-head" }, h("strong", {}, record.level), h("span", {}, exactTime(epoch(record.time))), copy),
      h("pre", { dir: "auto" }, record.text),
      details && h("pre", { class: "quiet-text", dir: "auto" }, details),
    ].filter(Boolean);
  }

  #toggleAll() {
    if (this.#loading) this.#loading.abort();
    else this.#readAll();
  }

  async #readAll() {
    this.#loading = new AbortController();
    this.show();
    try {
      await this.#reader.all(this.#onTaken, this.#loading.signal);
    } catch (error) {
      this.#toasts.failed(`Not all of the log could be read: ${error.message}`);
    } finally {
      this.#loading = null;
      this.show();
    }
  }

  async #copy(text, done) {
    try {
      await navigator.clipboard.writeText(text);
      this.#toasts.done(done);
    } catch {
      this.#toasts.failed("The browser does not let this page copy; download the log instead.");
    }
  }

  async #download() {
    if (this.#book.hasOlder && !this.#loading) await this.#readAll();
    const url = URL.createObjectURL(new Blob([this.#book.text(this.#book.records)], { type: "text/plain;charset=utf-8" }));
    h("a", { href: url, download: `${this.#taskId.replaceAll(/[^\w.-]/g, "_")}.log` }).click();
    URL.revokeObjectURL(url);
  }
}
