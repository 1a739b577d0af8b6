/** A task's log, live: filters, search, copy, download, and a list of which only what is seen is in the page. */

import { h, setText } from "../dom.js";
import { count, exactTime, epoch, timeOfDay } from "../format.js";
import { icon } from "../icons.js";
import { rows } from "../layout.js";
import { LogBook } from "../log-book.js";
import { LogReader } from "../log-reader.js";
import { Code } from "../protocol.js";
import { VirtualList } from "../virtual-list.js";
import { LogTools } from "./log-tools.js";

const ROW_HEIGHT = 20;
const NEAR_TOP = 400;
const WIDE = 640;
const BATCH = 100;
const RETRY = 5_000;
const LETTERS = { debug: "D", info: "I", warn: "W", error: "E" };

export class LogView {
  #taskId;
  #book = new LogBook();
  #reader;
  #tools;
  #list;
  #viewport = h("div", { class: "log mono", tabindex: "0", role: "region", "aria-label": "Log" });
  #details = h("div", { class: "log-details", hidden: true });
  #jump;
  #notice = h("p", { class: "empty log-notice" }, "Reading the log …");
  #ruler = h("span", { class: "log-ruler", "aria-hidden": "true" }, "0".repeat(100));
  #unseen = 0;
  #waiting = [];
  #timer = 0;
  #retry = 0;
  #toasts;
  #resized;
  #selected = null;
  #joined = false;

  constructor({ taskId, connection, toasts }) {
    this.#taskId = taskId;
    this.#toasts = toasts;
    this.#reader = new LogReader({ connection, book: this.#book, taskId });
    this.#jump = h("button", { class: "button small primary log-jump", type: "button", hidden: true, onclick: () => this.follow() }, icon("down"), h("span", {}, "Newest"));
    this.#tools = new LogTools({ taskId, book: this.#book, reader: this.#reader, toasts,
      onFilter: (filter) => this.#filter(filter), onTaken: (change) => this.#changed(change) });
    this.element = h("div", { class: "log-view" }, this.#tools.element,
      h("div", { class: "log-frame" }, this.#viewport, this.#notice, this.#jump), this.#details);
    this.#viewport.append(this.#ruler);
    this.#list = new VirtualList(this.#viewport, { rowHeight: ROW_HEIGHT, draw: (element, row) => this.#draw(element, row), onFollow: (follows) => this.#followed(follows) });
    this.#viewport.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.#viewport.addEventListener("click", (event) => this.#clicked(event));
    this.#resized = new ResizeObserver(() => this.#measure());
    this.#resized.observe(this.#viewport);
  }

  /** Reads what is stored and joins what comes live; also after a reconnect. */
  async join() {
    clearTimeout(this.#retry);
    try {
      await this.#reader.join((change) => this.#changed(change));
      this.#joined = true;
    } catch (error) {
      // After a lost connection it is read again as soon as there is one.
      if (error.code !== Code.CONNECTION_LOST) this.#failed(error);
    }
    this.#showNotice();
  }

  /** Lines may be missing before those that come live: said where one sees it, and read again. */
  #failed(error) {
    setText(this.#notice, `The log cannot be read: ${error.message}`);
    if (this.#book.visible.length) this.#toasts.failed(`Lines of the log may be missing, it is read again: ${error.message}`);
    this.#reader.disconnected();
    this.#retry = setTimeout(() => this.join(), RETRY);
  }

  disconnected() {
    clearTimeout(this.#retry);
    this.#reader.disconnected();
  }

  /** A live record; drawn together with others. */
  receive(record) {
    if (record.agent !== this.#taskId) return;
    this.#waiting.push(record);
    this.#timer ||= setTimeout(() => this.#takeWaiting(), BATCH);
  }

  follow() {
    this.#list.follow();
    this.#viewport.focus({ preventScroll: true });
  }

  search() {
    this.#tools.focusSearch();
  }

  destroy() {
    clearTimeout(this.#timer);
    clearTimeout(this.#retry);
    this.#resized.disconnect();
    this.#tools.destroy();
    this.#list.destroy();
  }

  #takeWaiting() {
    this.#timer = 0;
    this.#changed(this.#book.add(this.#waiting.splice(0)));
  }

  #changed({ added, moved }) {
    if (!this.#list.following) this.#unseen += moved ? 0 : added;
    this.#list.set({ total: this.#book.rowTotal, version: this.#book.version, moved });
    this.#tools.show();
    this.#showJump();
    this.#showNotice();
  }

  #filter(filter) {
    this.#book.filter(filter);
    this.#changed({ added: 0, moved: 0 });
    this.#list.follow();
  }

  #showNotice() {
    this.#notice.hidden = this.#book.visible.length > 0;
    if (this.#book.visible.length || !this.#joined) return;
    setText(this.#notice, this.#book.records.length ? "No line matches." : "Nothing has been said yet. Lines appear here as they come.");
  }

  #followed(follows) {
    if (follows) this.#unseen = 0;
    this.#showJump();
  }

  #showJump() {
    this.#jump.hidden = this.#list.following;
    setText(this.#jump.lastElementChild, this.#unseen ? `${count(this.#unseen)} new` : "Newest");
  }

  #scrolled() {
    if (this.#viewport.scrollTop >= NEAR_TOP || this.#list.following || !this.#joined) return;
    this.#reader.older((change) => this.#changed(change)).catch((error) => setText(this.#notice, error.message));
  }

  #measure() {
    const width = this.#viewport.clientWidth;
    if (!width) return;
    const character = this.#ruler.getBoundingClientRect().width / 100;
    const wide = width >= WIDE;
    this.#viewport.classList.toggle("narrow", !wide);
    const gutter = (wide ? 17 : 3) * character + 28;
    this.#book.setColumns(Math.max(20, Math.floor((width - gutter) / character)));
    this.#list.set({ total: this.#book.rowTotal, version: this.#book.version });
  }

  #draw(element, row) {
    const { record, line } = this.#book.at(row);
    const text = rows(record.text, this.#book.columns)[line] ?? "";
    element.className = `log-row ${record.level}${record.id === this.#selected ? " selected" : ""}`;
    element.dataset.id = record.id;
    const at = epoch(record.time);
    element.append(
      h("span", { class: "log-time", title: exactTime(at) }, line ? "" : timeOfDay(at)),
      h("span", { class: "log-level" }, line ? "" : h("span", { class: "log-word" }, record.level), line ? "" : h("span", { class: "log-letter", title: record.level }, LETTERS[record.level])),
      h("span", { class: "log-text", dir: "auto" }, marked(text, this.#book.search)));
  }

  #clicked(event) {
    // Somebody who selects text wants to copy it.
    if (String(getSelection())) return;
    const id = Number(event.target.closest(".log-row")?.dataset.id);
    const record = this.#book.records.find((one) => one.id === id);
    this.#selected = record && this.#selected !== id ? id : null;
    for (const row of this.#viewport.querySelectorAll(".log-row")) row.classList.toggle("selected", Number(row.dataset.id) === this.#selected);
    this.#showDetails(this.#selected ? record : null);
  }

  #showDetails(record) {
    this.#details.hidden = !record;
    if (!record) return;
    this.#details.replaceChildren(...this.#tools.describe(record));
  }
}

/** The text with what was searched for marked. */
function marked(text, search) {
  if (!search) return [text];
  const parts = [];
  const lower = text.toLowerCase();
  let from = 0;
  // Lower case may be longer than the text in a few scripts; then nothing is marked.
  if (lower.length !== text.length) return [text];
  for (let at = lower.indexOf(search); at !== -1; at = lower.indexOf(search, from)) {
    parts.push(text.slice(from, at), h("mark", {}, text.slice(at, at + search.length)));
    from = at + search.length;
  }
  parts.push(text.slice(from));
  return parts;
}

