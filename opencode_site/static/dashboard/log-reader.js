/** Reads a task's stored log in pages, and joins it to what comes live without a gap and without doubles. */

const PAGE = 500;
const BIG_PAGE = 1_000;
const MAX_CATCH_UP_PAGES = 20;

export class LogReader {
  #connection;
  #book;
  #taskId;
  #joinedTo = null;
  #busy = null;

  constructor({ connection, book, taskId }) {
    this.#connection = connection;
    this.#book = book;
    this.#taskId = taskId;
  }

  /** The connection went away: what is newer than this has to be read again. */
  disconnected() {
    this.#joinedTo ??= this.#book.newestId;
  }

  /** Reads the newest page; after a break, backwards until it meets what was known. Calls back per page. */
  async join(taken) {
    const known = this.#joinedTo ?? 0;
    let before = Infinity;
    const pages = [];
    for (let number = 0; number < MAX_CATCH_UP_PAGES; number += 1) {
      const entries = await this.#page(before, PAGE);
      pages.push(entries);
      before = entries[0]?.id ?? 0;
      const last = entries.length < PAGE;
      if (known === 0 || last || before <= known) {
        if (known === 0) this.#book.hasOlder = !last;
        this.#joinedTo = null;
        taken(this.#book.add(pages.flat()));
        return;
      }
    }
    // Too much was missed to close the gap: what is shown must not look whole when it is not. What came live
    // while the pages were read joins on to the newest of them.
    this.#book.keepNewerThan(pages[0].at(-1).id);
    this.#joinedTo = null;
    taken(this.#book.add(pages.flat()));
  }

  /** Reads one older page, if there may be one and none is being read. */
  older(taken, limit = PAGE) {
    const { hasOlder, isFull, records } = this.#book;
    if (this.#busy || !hasOlder || isFull || !records.length) return this.#busy ?? Promise.resolve();
    this.#busy = this.#readOlder(taken, limit).finally(() => {
      this.#busy = null;
    });
    return this.#busy;
  }

  /** Reads everything that is stored; `signal` stops it. */
  async all(taken, signal) {
    while (this.#book.hasOlder && !this.#book.isFull && !signal.aborted) await this.older(taken, BIG_PAGE);
  }

  async #readOlder(taken, limit) {
    const entries = await this.#page(this.#book.oldestId, limit);
    this.#book.hasOlder = entries.length === limit;
    taken(this.#book.add(entries));
  }

  async #page(before, limit) {
    const request = { type: "request_log_entries", limit, filter: { agent: this.#taskId } };
    if (Number.isFinite(before) && before > 0) request.before_id = before;
    const reply = await this.#connection.request(request, { background: true });
    return reply.data.entries;
  }
}
