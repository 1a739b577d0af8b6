/** The log of one task: records in order, each once, filtered, and laid out in rows of equal height. Pure. */

import { plain } from "./format.js";
import { LEVELS } from "./protocol.js";
import { rowCount } from "./layout.js";

const MAX_RECORDS = 200_000;
const KEPT_AFTER_TRIM = 180_000;

export class LogBook {
  /** All records, by id; those that pass the filter; and the row at which each of the latter begins. */
  records = [];
  visible = [];
  #starts = [0];
  #columns = 120;
  #level = 0;
  #search = "";
  /** Whether the server may have older records than these. */
  hasOlder = true;
  /** Changes whenever rows that exist already may mean something else. */
  version = 0;

  /** Whether older records would have no room. */
  get isFull() {
    return this.records.length >= KEPT_AFTER_TRIM;
  }

  get newestId() {
    return this.records.at(-1)?.id ?? 0;
  }

  get oldestId() {
    return this.records[0]?.id ?? Infinity;
  }

  get rowTotal() {
    return this.#starts[this.visible.length];
  }

  /**
   * Takes records in, in any order, each id once. Returns how many were new, and by how many rows those that
   * were there before have moved.
   */
  add(entries) {
    const fresh = entries.filter((entry) => Number.isFinite(entry.id)).sort((one, other) => one.id - other.id).map(prepared);
    if (!fresh.length) return { added: 0, moved: 0 };
    if (fresh[0].id > this.newestId) return this.#append(withoutDoubles(fresh));
    if (fresh.at(-1).id < this.oldestId) return this.#prepend(withoutDoubles(fresh));
    return this.#merge(fresh);
  }

  /** Forgets everything up to a record: what comes now is not joined to what was there. */
  keepNewerThan(id) {
    this.records = this.records.filter((record) => record.id > id);
    this.hasOlder = true;
    this.#rebuild();
  }

  /** Shows only records of at least this level that contain the text. */
  filter({ level = "debug", search = "" }) {
    this.#level = Math.max(0, LEVELS.indexOf(level));
    this.#search = search.toLowerCase();
    this.#rebuild();
  }

  get search() {
    return this.#search;
  }

  /** Lays the rows out for a line of so many characters. */
  setColumns(columns) {
    if (columns === this.#columns || columns < 1) return;
    this.#columns = columns;
    this.#rebuild();
  }

  get columns() {
    return this.#columns;
  }

  /** The record that a row belongs to, and which of its rows it is. */
  at(row) {
    let low = 0;
    let high = this.visible.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#starts[middle] <= row) low = middle;
      else high = middle - 1;
    }
    return { record: this.visible[low], line: row - this.#starts[low] };
  }

  /** Records as a text file: those that are shown, or all that are loaded. */
  text(records = this.visible) {
    return records.map((record) => `${record.time} ${record.level.padEnd(5)} ${record.text}\n`).join("");
  }

  #append(fresh) {
    const rowsBefore = this.rowTotal;
    for (const record of fresh) {
      this.records.push(record);
      if (this.#passes(record)) this.#show(record);
    }
    if (this.records.length <= MAX_RECORDS) return { added: fresh.length, moved: 0 };
    this.records.splice(0, this.records.length - KEPT_AFTER_TRIM);
    this.hasOlder = true;
    const rowsWithAll = this.rowTotal;
    this.#rebuild();
    return { added: fresh.length, moved: Math.max(-rowsBefore, this.rowTotal - rowsWithAll) };
  }

  /** What scrolling up and "load all" do, again and again: only the new lines are laid out. */
  #prepend(fresh) {
    const [visible, starts] = [this.visible, this.#starts];
    this.version += 1;
    this.records = fresh.concat(this.records);
    this.visible = [];
    this.#starts = [0];
    for (const record of fresh) if (this.#passes(record)) this.#show(record);
    const moved = this.rowTotal;
    this.visible = this.visible.concat(visible);
    for (let place = 1; place < starts.length; place += 1) this.#starts.push(starts[place] + moved);
    return { added: fresh.length, moved };
  }

  #merge(fresh) {
    const known = new Set(this.records.map((record) => record.id));
    const missing = withoutDoubles(fresh.filter((record) => !known.has(record.id)));
    if (!missing.length) return { added: 0, moved: 0 };
    const oldest = this.oldestId;
    const before = missing.filter((record) => record.id < oldest && this.#passes(record));
    this.records = [...missing, ...this.records].sort((one, other) => one.id - other.id);
    this.#rebuild();
    return { added: missing.length, moved: this.#starts[before.length] };
  }

  #rebuild() {
    this.version += 1;
    this.visible = [];
    this.#starts = [0];
    for (const record of this.records) if (this.#passes(record)) this.#show(record);
  }

  #show(record) {
    this.visible.push(record);
    this.#starts.push(this.#starts.at(-1) + rowCount(record.text, this.#columns));
  }


  #passes(record) {
    if (record.rank < this.#level) return false;
    return !this.#search || record.text.toLowerCase().includes(this.#search);
  }
}

function prepared(entry) {
  return {
    id: entry.id,
    time: entry.time,
    level: LEVELS.includes(entry.level) ? entry.level : "info",
    rank: Math.max(0, LEVELS.indexOf(entry.level)),
    text: plain(entry.message).trimEnd(),
    details: entry.details,
  };
}

const withoutDoubles = (sorted) => sorted.filter((record, place) => place === 0 || record.id !== sorted[place - 1].id);
