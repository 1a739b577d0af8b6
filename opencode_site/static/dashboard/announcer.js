/** What a screen reader is told: politely and in batches, or at once for an alarm. */

import { plain } from "./format.js";

const BATCH = 1_000;
const MOST = 4;

export class Announcer {
  #polite;
  #urgent;
  #waiting = [];
  #timer = 0;

  constructor({ polite, urgent }) {
    this.#polite = polite;
    this.#urgent = urgent;
  }

  say(text) {
    this.#waiting.push(plain(text));
    this.#timer ||= setTimeout(() => this.#flush(), BATCH);
  }

  alarm(text) {
    this.#urgent.textContent = plain(text);
  }

  #flush() {
    this.#timer = 0;
    const told = this.#waiting.splice(0);
    const more = told.length > MOST ? ` And ${told.length - MOST} more.` : "";
    this.#polite.textContent = told.slice(0, MOST).join(" ") + more;
  }
}
