/**
 * One WebSocket that mends itself. It knows time only through `tick(now)`, so that it can be tested without
 * waiting, and so that a machine that slept is noticed: the next tick is late.
 */

import { Budget } from "./budget.js";
import { Code, RequestError } from "./protocol.js";

export const State = Object.freeze({
  CONNECTING: "connecting",
  LIVE: "live",
  /** A heartbeat is overdue: what is shown may be out of date. */
  LATE: "late",
  /** No connection; the next attempt is at `retryAt`. */
  WAITING: "waiting",
});

export const Timing = Object.freeze({
  PING_EVERY: 15_000,
  LATE_AFTER: 4_000,
  DEAD_AFTER: 10_000,
  OPEN_WITHIN: 10_000,
  BACKOFF_FIRST: 500,
  BACKOFF_MAX: 30_000,
  /** The server said that it is full or overloaded: not sooner than this. */
  BACKOFF_REFUSED: 10_000,
  /** A connection that held for so long was a good one: the back-off begins anew. */
  SETTLED_AFTER: 10_000,
  REQUEST_TIMEOUT: 30_000,
  SLEPT_AFTER: 8_000,
});

const TRY_AGAIN_LATER = 1013;
const SPECIAL_LIMITS = new Set(["start_task", "kill_process"]);
const MAX_REFUSALS = 5;

/** Milliseconds before the given attempt (1 for the first): exponential, with jitter, so that tabs spread out. */
export function backoff(attempt, random = Math.random) {
  const ceiling = Math.min(Timing.BACKOFF_MAX, Timing.BACKOFF_FIRST * 2 ** (attempt - 1));
  return ceiling * (0.5 + random() / 2);
}

export class Connection {
  #socket = null;
  #budget = new Budget();
  #pending = new Map();
  #queue = [];
  #nextId = 1;
  #attempt = 0;
  #state = { name: State.CONNECTING };
  #openedAt = 0;
  #liveAt = 0;
  #heardAt = 0;
  #pingedAt = 0;
  #awaitsPong = false;
  #tickedAt = 0;
  #complaint = "";

  /**
   * `on.state(state)`; `on.live(established)`, also after each reconnect; `on.message(update)`;
   * `on.pong(pong, sentAt, receivedAt)`; `on.woke()` when the page or the machine had slept.
   */
  constructor({ url, on, Socket = globalThis.WebSocket, now = Date.now, random = Math.random }) {
    Object.assign(this, { url, on, Socket, now, random });
  }

  get state() {
    return this.#state;
  }

  get isLive() {
    return this.#state.name === State.LIVE || this.#state.name === State.LATE;
  }

  /** When anything was last heard from the server; 0 for never. */
  get heardAt() {
    return this.#heardAt;
  }

  /** Opens a new socket at once, whatever there was before. */
  connect() {
    this.#drop();
    const socket = new this.Socket(this.url);
    this.#socket = socket;
    this.#openedAt = this.now();
    this.#complaint = "";
    this.#become({ name: State.CONNECTING, attempt: this.#attempt });
    socket.onmessage = ({ data }) => this.#socket === socket && this.#receive(data);
    socket.onclose = ({ code }) => this.#socket === socket && this.#lost(this.#whyClosed(code), code);
  }

  /** Whether there is still somebody: sends a heartbeat now, or connects now when there is no connection. */
  probe() {
    if (this.#state.name === State.WAITING) this.connect();
    else if (this.isLive) this.#ping(this.now());
  }

  /**
   * The reply to a request, or a `RequestError`. `background` requests wait for room in the rate limit and are
   * sent again when the server refuses them for it; the user's own are told to the user.
   */
  request(message, { background = false, timeout = Timing.REQUEST_TIMEOUT } = {}) {
    if (!this.isLive) return Promise.reject(RequestError.lost());
    return new Promise((resolve, reject) => {
      const entry = { message, background, timeout, resolve, reject, refusals: 0, sentAt: 0 };
      this.#queue.push(entry);
      this.#drain(this.now());
    });
  }

  /** To be called about twice a second; late or not at all while the page sleeps. */
  tick(now = this.now()) {
    const slept = this.#tickedAt > 0 && now - this.#tickedAt > Timing.SLEPT_AFTER;
    this.#tickedAt = now;
    if (slept) this.#woke(now);
    else if (this.#state.name === State.WAITING && now >= this.#state.retryAt) this.connect();
    else if (this.#state.name === State.CONNECTING && now - this.#openedAt > Timing.OPEN_WITHIN) {
      this.#lost("The server does not answer.");
    } else if (this.isLive) this.#watch(now);
  }

  #woke(now) {
    // Whatever was waited for was waited for in vain: a heartbeat or a new connection tells the truth soonest.
    if (this.isLive) this.#ping(now);
    else this.connect();
    this.on.woke();
  }

  #watch(now) {
    // Other traffic shows that the server is there, even when the pong stands in a long queue behind it.
    const waited = this.#awaitsPong ? now - Math.max(this.#pingedAt, this.#heardAt) : 0;
    if (waited > Timing.DEAD_AFTER) {
      this.#lost("The server has stopped answering.");
      return;
    }
    if (waited > Timing.LATE_AFTER && this.#state.name === State.LIVE) {
      this.#become({ name: State.LATE, since: this.#pingedAt });
    }
    if (!this.#awaitsPong && now - this.#pingedAt >= Timing.PING_EVERY) this.#ping(now);
    if (now - this.#liveAt > Timing.SETTLED_AFTER) this.#attempt = 0;
    this.#expire(now);
    this.#drain(now);
  }

  #ping(now) {
    this.#pingedAt = now;
    this.#awaitsPong = true;
    this.#budget.note(now);
    this.#send({ type: "ping", timestamp: now });
  }

  #receive(data) {
    const now = this.now();
    this.#heardAt = now;
    if (this.#state.name === State.LATE) this.#become({ name: State.LIVE });
    const message = JSON.parse(data);
    if (message.type === "connection_established") this.#established(message, now);
    else if (message.type === "pong") this.#pong(message, now);
    else if (this.#pending.has(message.request_id)) this.#settle(message, now);
    else if (message.type === "error") this.#complain(message, now);
    else this.on.message(message);
  }

  #pong(message, now) {
    this.#awaitsPong = false;
    this.on.pong(message, Number(message.timestamp), now);
  }

  /** An error that answers no request: about a heartbeat of ours, or the reason of the close that follows. */
  #complain(message, now) {
    if (this.isLive && message.code === Code.RATE_LIMIT_EXCEEDED) {
      this.#awaitsPong = false;
      this.#budget.refused(now, message.details);
    } else this.#complaint = message.message;
  }

  #established(message, now) {
    this.#liveAt = now;
    this.#budget.reset();
    this.#become({ name: State.LIVE });
    this.#ping(now);
    this.on.live(message);
  }

  #settle(message, now) {
    const entry = this.#pending.get(message.request_id);
    this.#pending.delete(message.request_id);
    if (message.type !== "error") {
      entry.resolve(message);
      return;
    }
    const limited = message.code === Code.RATE_LIMIT_EXCEEDED && !SPECIAL_LIMITS.has(entry.message.type);
    if (limited) this.#budget.refused(now, message.details);
    if (limited && entry.background && ++entry.refusals < MAX_REFUSALS) this.#queue.unshift(entry);
    else entry.reject(new RequestError(message));
  }

  #drain(now) {
    for (const background of [false, true]) {
      let place = 0;
      while (place < this.#queue.length) {
        if (this.#queue[place].background !== background) place += 1;
        else if (!this.#budget.take(now, { background })) break;
        else this.#dispatch(this.#queue.splice(place, 1)[0], now);
      }
    }
  }

  #dispatch(entry, now) {
    const id = `d${this.#nextId++}`;
    entry.sentAt = now;
    this.#pending.set(id, entry);
    this.#send({ ...entry.message, request_id: id });
  }

  #send(message) {
    // A socket that is closing already tells so by its own event; there is nothing to add here.
    if (this.#socket?.readyState === 1) this.#socket.send(JSON.stringify(message));
  }

  #expire(now) {
    for (const [id, entry] of this.#pending) {
      if (now - entry.sentAt <= entry.timeout) continue;
      this.#pending.delete(id);
      entry.reject(
        new RequestError({ code: Code.HEARTBEAT_TIMEOUT, message: "The server has not answered this request." }),
      );
    }
  }

  #lost(reason, code = 0) {
    this.#drop();
    this.#attempt += 1;
    const least = code === TRY_AGAIN_LATER ? Timing.BACKOFF_REFUSED : 0;
    const delay = Math.max(least, backoff(this.#attempt, this.random));
    this.#become({ name: State.WAITING, retryAt: this.now() + delay, reason, attempt: this.#attempt });
  }

  #drop() {
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
    const waiting = [...this.#pending.values(), ...this.#queue];
    this.#pending.clear();
    this.#queue = [];
    for (const entry of waiting) entry.reject(RequestError.lost());
  }

  #whyClosed(code) {
    if (this.#complaint) return this.#complaint;
    if (this.isLive) return code === 1001 ? "The server is restarting." : "The connection broke.";
    return "The server cannot be reached.";
  }

  #become(state) {
    this.#state = state;
    this.on.state(state);
  }
}
