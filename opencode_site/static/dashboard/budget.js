/** How many messages this page may send: the server counts them per connection, and so do we. Pure. */

const WINDOW = 60_000;
const USUAL_LIMIT = 100;
const OWN_SHARE = 0.9;
const BACKGROUND_SHARE = 0.6;

/** A sliding window of sent messages in which the user's own actions always keep some room. */
export class Budget {
  #limit = USUAL_LIMIT;
  #sent = [];
  #pausedUntil = 0;

  /** Takes a place for one message if there is one; `background` ones leave the last third to the user. */
  take(now, { background = false } = {}) {
    if (now < this.#pausedUntil) return false;
    this.#forget(now);
    if (this.#sent.length >= this.#limit * (background ? BACKGROUND_SHARE : OWN_SHARE)) return false;
    this.#sent.push(now);
    return true;
  }

  /** Counts a message that is sent in any case: a heartbeat. */
  note(now) {
    this.#sent.push(now);
  }

  /** The server refused a message: nothing is sent for as long as it said, and never more than it allows. */
  refused(now, { retry_after_seconds: seconds = 5, current_limit: limit = USUAL_LIMIT } = {}) {
    this.#pausedUntil = now + Math.max(1, Number(seconds) || 5) * 1000;
    if (Number(limit) > 0) this.#limit = Number(limit);
  }

  /** A new connection has a fresh count. */
  reset() {
    this.#sent = [];
    this.#pausedUntil = 0;
  }

  get pausedUntil() {
    return this.#pausedUntil;
  }

  #forget(now) {
    const first = this.#sent.findIndex((at) => at > now - WINDOW);
    if (first === -1) this.#sent = [];
    else if (first > 0) this.#sent.splice(0, first);
  }
}
