/**
 * What the page knows, and how each message changes it. No DOM, no network, no clock: `now` is handed in.
 * `receive` returns the names of the slices that changed, so that only their views are drawn again.
 */

import { epoch } from "./format.js";
import { Hosts } from "./hosts.js";
import { isFinished, isUnfinished } from "./protocol.js";
import { isSameProcess } from "./strangers.js";

const MAX_FINISHED = 1_000;
const MAX_AGENTS = 500;
/** The server lists at most so many unfinished tasks. */
const MAX_LISTED = 1_000;
const NONE = new Set();
/** States of an agent that has ended: a run's outcome, or what the server says of others. */
const GONE = new Set(["ended", "completed", "failed", "cancelled"]);

export class Store {
  /** Task id → task, with `heardAt` of the last update in epoch milliseconds of the server. */
  tasks = new Map();
  /** Task id → the newest log record of its agent. */
  said = new Map();
  /** Agent id → agent, with `measuredAt`: when its figures were measured, in epoch milliseconds of this machine. */
  agents = new Map();
  /** Agent processes of the machine; null as long as the server has not told. */
  processes = null;
  processesAt = 0;
  hosts = new Hosts();
  performance = null;
  /** Hosts' slots and agents, if the server tells them: [{name, slots, agents}]. */
  workers = [];
  serverVersion = "";
  /** Whether the server has listed its tasks yet. */
  loaded = false;
  /** Whether there may be more unfinished tasks than the server lists. */
  truncated = false;
  /** Whether the server's lists say why each task waits. */
  listsExplain = false;
  /** Whether the network's counters come with the updates, or have to be asked for. */
  updatesTellTraffic = false;
  /** Types of requests that this server does not know. */
  unavailable = new Set();
  /** Server's clock minus ours, in milliseconds. */
  clockOffset = 0;
  #changes = [];
  /** Updates that came while a list was under way: the list may be older than they are. */
  #sinceAsked = null;

  #reducers = {
    full_status: (message, now) => this.#fullStatus(message.data ?? {}, now),
    log_entries: (message) => this.#logPage(message.data?.entries ?? []),
    task_list: (message) => this.#taskList(message.tasks ?? []),
    task_status: (message) => this.#mergeTask(message.task),
    task_status_update: (message) => this.#statusUpdate(message),
    log_entry: (message) => this.#logEntry(message.log),
    agent_update: (message, now) => this.#agent(message.agent, now),
    resource_update: (message, now) => {
      this.updatesTellTraffic ||= Boolean(message.resources?.network_stats);
      return this.#resources(message.resources, now);
    },
    system_resources: (message, now) => this.#listedResources(message.data, now),
    claude_processes: (message, now) => this.#processList(message.processes ?? [], now),
    performance_metrics: (message) => this.#metrics(message.data),
  };

  /** Takes a message in; returns the changed slices: tasks, said, agents, processes, hosts, performance. */
  receive(message, now) {
    const reduce = this.#reducers[message.type];
    return reduce ? new Set(reduce(message, now)) : NONE;
  }

  /** To be called before a full list is asked for; afterwards the updates in between are applied again. */
  asking() {
    this.#sinceAsked = [];
  }

  /** The unfinished tasks as the server has just listed them: whatever it does not list has gone. */
  replaceUnfinished(tasks) {
    this.truncated = tasks.filter(isUnfinished).length >= MAX_LISTED;
    if (!this.truncated) this.#forgetUnlisted(tasks);
    this.listsExplain = tasks.some((task) => task.runtime_detail !== undefined);
    this.#taskList(tasks);
    const missed = this.#sinceAsked ?? [];
    this.#sinceAsked = null;
    this.loaded = true;
    for (const update of missed) this.#statusUpdate(update);
    return new Set(["tasks", "said"]);
  }

  #forgetUnlisted(tasks) {
    const listed = new Set(tasks.map((task) => task.id));
    const touched = new Set((this.#sinceAsked ?? []).map((update) => update.task_id));
    for (const [id, task] of this.tasks) {
      if (isUnfinished(task) && !listed.has(id) && !touched.has(id)) this.tasks.delete(id);
    }
  }

  /** Changes of status that nobody has been told of yet: [{task, from, to}]. */
  takeChanges() {
    return this.#changes.splice(0);
  }

  /** Now, by the server's clock. */
  serverNow(now) {
    return now + this.clockOffset;
  }

  noteClock(pong, sentAt, receivedAt) {
    const server = epoch(pong.server_time);
    // A slow answer says little about the clock.
    if (Number.isFinite(server) && receivedAt - sentAt < 2_000) this.clockOffset = server - (sentAt + receivedAt) / 2;
  }

  #fullStatus(data, now) {
    const changed = new Set(this.replaceUnfinished(data.tasks ?? []));
    const known = this.agents;
    this.agents = new Map();
    for (const agent of data.agents ?? []) {
      const before = known.get(agent.id);
      this.#agent(agent, before && before.timestamp === agent.timestamp ? before.measuredAt : this.#told(agent.timestamp, now));
    }
    this.#listedResources(data.system_resources, now);
    if (data.claude_processes) this.#processList(data.claude_processes, now);
    if (Array.isArray(data.hosts)) this.workers = data.hosts;
    for (const slice of ["agents", "hosts", "processes"]) changed.add(slice);
    return changed;
  }

  #taskList(tasks) {
    for (const task of tasks) this.#mergeTask(task);
    this.#forgetFinished();
    return ["tasks"];
  }

  #mergeTask(task) {
    if (!task?.id) return [];
    const known = this.tasks.get(task.id);
    const merged = { ...kept(known, task), ...task };
    if (known && known.status !== task.status) this.#changed(merged, known.status);
    this.tasks.set(task.id, merged);
    return ["tasks"];
  }

  #statusUpdate(update) {
    this.#sinceAsked?.push(update);
    const at = epoch(update.timestamp);
    const known = this.tasks.get(update.task_id);
    const newest = Math.max(known?.heardAt ?? 0, epoch(known?.completed_at) || 0, epoch(known?.started_at) || 0);
    // One that was sent again, after newer ones, tells nothing new.
    if (known && at < newest) return [];
    const task = { created_at: update.timestamp, ...known, id: update.task_id, status: update.new_status,
      progress: update.progress, heardAt: at };
    if (!known || known.status !== update.new_status) {
      moveTo(task, update);
      this.#changed(task, known ? known.status : update.old_status);
    }
    this.tasks.set(task.id, task);
    return ["tasks"];
  }

  #changed(task, from) {
    if (from !== task.status) this.#changes.push({ id: task.id, from, to: task.status });
  }

  #logPage(entries) {
    for (const entry of entries) this.#logEntry(entry);
    return ["said"];
  }

  #logEntry(record) {
    // What an agent notes for debugging is not what it has to say.
    if (!record?.agent || record.level === "debug") return [];
    const last = this.said.get(record.agent);
    if (last && last.id >= record.id) return [];
    // Only who is running is shown with a last word; `tasks` bounds the map.
    if (this.tasks.has(record.agent)) this.said.set(record.agent, record);
    return ["said"];
  }

  #agent(agent, measuredAt) {
    if (!agent?.id) return [];
    const known = this.agents.get(agent.id);
    this.agents.delete(agent.id);
    if (GONE.has(agent.status)) {
      this.processes = this.processes?.filter((process) => !isSameProcess(process, agent)) ?? null;
      return ["agents", "processes"];
    }
    this.agents.set(agent.id, { ...known, ...agent, measuredAt });
    if (this.agents.size > MAX_AGENTS) this.agents.delete(this.agents.keys().next().value);
    return ["agents"];
  }

  #resources(resources, now) {
    this.hosts.add(resources, now);
    return ["hosts"];
  }

  #listedResources(resources, now) {
    return this.#resources(resources, this.#told(resources?.timestamp, now));
  }

  /** When something that is listed now was measured, by the clock of this machine: updates are new, lists need not be. */
  #told(timestamp, now) {
    const age = this.serverNow(now) - epoch(timestamp);
    return now - (age > 0 ? age : 0);
  }

  #processList(processes, now) {
    this.processes = processes;
    this.processesAt = now;
    return ["processes"];
  }

  #metrics(data) {
    this.performance = data;
    this.hosts.seed(data);
    return ["performance", "hosts"];
  }

  #forgetFinished() {
    const finished = [...this.tasks.values()].filter(isFinished);
    if (finished.length <= MAX_FINISHED) return;
    finished.sort((one, other) => endedAt(other) - endedAt(one));
    for (const task of finished.slice(MAX_FINISHED)) {
      this.tasks.delete(task.id);
      this.said.delete(task.id);
    }
  }
}

/** What a change of status says about the other fields, until the server tells them itself. */
function moveTo(task, update) {
  for (const field of ["runtime_status", "runtime_detail"]) delete task[field];
  if (update.new_status === "running") task.started_at = update.timestamp;
  if (update.new_status === "pending") {
    for (const field of ["started_at", "completed_at", "error", "failure_reason"]) delete task[field];
  }
  if (isFinished(task)) task.completed_at = update.timestamp;
}

/** What lists do not tell: it stays as long as it can still be true. Fields that a reply lacks are not set. */
function kept(known, task) {
  if (!known) return {};
  const { heardAt, dependencies, runtime_status, runtime_detail } = known;
  return known.status === task.status ? { heardAt, dependencies, runtime_status, runtime_detail } : { heardAt, dependencies };
}

/** When a task ended, in epoch milliseconds; when it was made, if that is not known. */
export function endedAt(task) {
  return epoch(task.completed_at) || task.heardAt || epoch(task.created_at) || 0;
}
