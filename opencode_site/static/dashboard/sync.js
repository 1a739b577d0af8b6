/**
 * Keeps the store true: what is asked for when, and how seldom. Updates come by subscription; lists are read
 * again after each connect, after a change of status (together with others), and once a minute to be sure.
 */

import { Channel, Code, Group, groupOf } from "./protocol.js";
import { queueOrder } from "./selection.js";
import { isSameProcess } from "./strangers.js";

const NEEDED = [Channel.TASK_STATUS, Channel.LOG_ENTRIES];
// One by one: a server may not have them.
const WELCOME = [Channel.SYSTEM_RESOURCES, Channel.AGENT_STATUS];
const SUBSCRIBE_AGAIN = 2_000;
const SETTLE = 400;
const REFRESH_AT_MOST_EVERY = 3_000;
const REFRESH_AT_LEAST_EVERY = 60_000;
const READ_AGAIN = 5_000;
const PROCESSES_EVERY = 20_000;
const METRICS_EVERY = 60_000;
const TRAFFIC_FIRST = 6_000;
const TRAFFIC_EVERY = 15_000;
const RECALLED_TASKS = 12;
const RECALLED_LINES = 10;
const EXPLAINED_TASKS = 8;
const EXPLAIN_EVERY = 20_000;
const MEET_AFTER = 1_000;
const INTRODUCED_AT_ONCE = 3;
const LIST_LIMIT = 1_000;
const RECENT_LIMIT = 100;

export class Sync {
  #connection;
  #store;
  #changed;
  #now;
  #due = new Map();
  #refreshing = false;
  #refreshedAt = 0;
  #refreshCost = 0;
  #trafficAsked = 0;
  /** Task id → when, and after how many changes, the server said why it waits. */
  #explained = new Map();
  #generation = 0;
  #recalled = new Set();
  #introducing = new Set();
  #met = new Set();

  /** `changed(slices)` is called after replies have been taken in. */
  constructor({ connection, store, changed, now = Date.now }) {
    this.#connection = connection;
    this.#store = store;
    this.#changed = changed;
    this.#now = now;
  }

  /** A connection stands: subscribes first and reads then, so that nothing falls between. */
  async live(established) {
    this.#store.serverVersion = established.server_version ?? "";
    this.#store.unavailable.clear();
    this.#due.clear();
    this.#explained.clear();
    this.#recalled.clear();
    this.#met.clear();
    this.#refreshing = false;
    this.subscribed = false;
    await this.#subscribe();
    for (const channel of WELCOME) this.#ask({ type: "subscribe_to_updates", channels: [channel] });
    this.#at("metrics", 0);
    this.#trafficAsked = 0;
    this.#at("traffic", 1_000);
    this.tick();
  }

  /** Whether updates come. A server whose broker is away answers, but has nothing to tell. */
  subscribed = false;

  async #subscribe() {
    this.subscribed = (await this.#ask({ type: "subscribe_to_updates", channels: NEEDED })) !== null;
    if (!this.subscribed) this.#at("subscribe", SUBSCRIBE_AGAIN);
    this.#at("refresh", 0);
    this.#changed(new Set(["connection"]));
  }

  /** Something about a task changed that its update does not tell in full. */
  taskChanged(id) {
    const now = this.#now();
    this.#generation += 1;
    this.#introduce(id);
    for (const task of this.#store.tasks.values()) if (task.dependencies?.includes(id)) this.#explained.delete(task.id);
    // A list that takes long to make is asked for more seldom.
    const pause = Math.max(REFRESH_AT_MOST_EVERY, 10 * this.#refreshCost);
    this.#at("refresh", Math.max(SETTLE, this.#refreshedAt + pause - now));
  }

  /** A task that was submitted just now is known by its id alone; a burst of them waits for the next list. */
  async #introduce(id) {
    const task = this.#store.tasks.get(id);
    if (!task || task.type || this.#introducing.size >= INTRODUCED_AT_ONCE || this.#introducing.has(id)) return;
    this.#introducing.add(id);
    await this.#take({ type: "get_task_status", task_id: id });
    this.#introducing.delete(id);
  }

  /** An agent of somebody else's: the list of processes says more about one that is new. */
  strangerSeen(agent) {
    const { processes } = this.#store;
    if (processes && !this.#met.has(agent.id) && !processes.some((process) => isSameProcess(process, agent))) this.#at("processes", MEET_AFTER);
    this.#met.add(agent.id);
  }

  /** Everything is read again now: after a sleep. */
  resync() {
    this.#at("refresh", 0);
    this.tick();
  }

  /** To be called about twice a second. */
  tick() {
    if (!this.#connection.isLive) return;
    const now = this.#now();
    for (const [job, at] of this.#due) {
      if (at > now) continue;
      this.#due.delete(job);
      this.#run(job);
    }
  }

  #run(job) {
    if (job === "subscribe") this.#subscribe();
    if (job === "refresh") this.#refresh();
    if (job === "explain") this.#explain();
    if (job === "metrics") this.#every(METRICS_EVERY, job, { type: "request_performance_metrics", time_range: "1h" });
    if (job === "processes") this.#every(PROCESSES_EVERY, job, { type: "request_claude_processes" });
    if (job === "traffic") this.#traffic();
  }

  async #every(pause, job, message) {
    if (globalThis.document?.hidden) this.#at(job, pause);
    else if (await this.#take(message)) this.#at(job, pause);
  }

  /** A rate needs two counters: the first ones are asked for soon after each other. */
  #traffic() {
    if (this.#store.updatesTellTraffic) return;
    this.#trafficAsked += 1;
    this.#every(this.#trafficAsked < 3 ? TRAFFIC_FIRST : TRAFFIC_EVERY, "traffic", { type: "request_system_resources" });
  }

  async #refresh() {
    if (this.#refreshing) {
      this.taskChanged();
      return;
    }
    this.#refreshing = true;
    const started = this.#now();
    let read = false;
    try {
      read = await this.#readTasks();
    } finally {
      this.#refreshing = false;
      this.#refreshedAt = this.#now();
      this.#refreshCost = this.#refreshedAt - started;
    }
    this.#at("refresh", read ? REFRESH_AT_LEAST_EVERY : READ_AGAIN);
    await this.#recall();
    await this.#explain();
  }

  /** What the running agents said last, before this page listened. */
  async #recall() {
    const silent = [...this.#store.tasks.values()].filter(
      (task) => groupOf(task) === Group.RUNNING && !this.#store.said.has(task.id) && !this.#recalled.has(task.id),
    );
    for (const task of silent.slice(0, RECALLED_TASKS)) {
      this.#recalled.add(task.id);
      await this.#take({ type: "request_log_entries", limit: RECALLED_LINES, filter: { agent: task.id } });
    }
  }

  /** Whether the server told its tasks. */
  async #readTasks() {
    this.#store.asking();
    if (await this.#take({ type: "request_status" })) {
      this.#at("processes", PROCESSES_EVERY);
      return true;
    }
    if (!this.#store.unavailable.has("request_status")) return false;
    const list = (filter, limit) => this.#ask({ type: "list_tasks", filter, limit });
    const replies = await Promise.all([
      list({ status: "running" }, LIST_LIMIT),
      list({ status: "pending" }, LIST_LIMIT),
      list({}, RECENT_LIMIT),
    ]);
    if (replies.includes(null)) return false;
    const [running, pending, recent] = replies.map((reply) => reply.tasks);
    this.#changed(this.#store.replaceUnfinished([...recent, ...pending, ...running]));
    await this.#take({ type: "request_claude_processes" });
    return true;
  }

  /** Why the next few wait, where the lists do not say; again when something has changed since. */
  async #explain() {
    if (this.#store.listsExplain) return;
    const now = this.#now();
    const queued = [...this.#store.tasks.values()].filter((task) => groupOf(task) === Group.QUEUED).sort(queueOrder);
    const outdated = queued.slice(0, EXPLAINED_TASKS).filter(({ id }) => this.#explained.get(id)?.generation !== this.#generation);
    const due = outdated.filter(({ id }) => now - (this.#explained.get(id)?.at ?? 0) > EXPLAIN_EVERY);
    if (due.length < outdated.length) this.#at("explain", EXPLAIN_EVERY);
    for (const { id } of due) {
      this.#explained.set(id, { at: now, generation: this.#generation });
      await this.#take({ type: "get_task_status", task_id: id });
    }
  }

  /** Asks and takes the reply in; false if there was none. */
  async #take(message) {
    const reply = await this.#ask(message);
    if (reply) this.#changed(this.#store.receive(reply, this.#now()));
    return reply !== null;
  }

  /** The reply, or null: a background request that fails is asked again with the next round. */
  async #ask(message) {
    if (this.#store.unavailable.has(message.type)) return null;
    try {
      return await this.#connection.request(message, { background: true });
    } catch (error) {
      if (error.code === Code.UNKNOWN_MESSAGE_TYPE) {
        this.#store.unavailable.add(message.type);
        this.#changed(new Set(["hosts", "processes", "performance"]));
      } else if (error.code !== Code.CONNECTION_LOST) console.warn(`${message.type}: ${error.code} ${error.message}`);
      return null;
    }
  }

  #at(job, delay) {
    const at = this.#now() + delay;
    this.#due.set(job, Math.min(at, this.#due.get(job) ?? Infinity));
  }
}
