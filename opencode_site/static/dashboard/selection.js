/** Which tasks are shown where, in which order. Pure. */

import { epoch, plain } from "./format.js";
import { Group, PRIORITIES, groupOf } from "./protocol.js";
import { endedAt } from "./store.js";

const rank = (task) => {
  const place = PRIORITIES.indexOf(task.priority);
  return place === -1 ? 1 : place;
};
const created = (task) => epoch(task.created_at) || 0;

/** The order in which the server starts tasks: priority, then age. */
export function queueOrder(one, other) {
  return rank(one) - rank(other) || created(one) - created(other) || (one.id < other.id ? -1 : 1);
}

const ORDER = {
  // By start, so that cards do not jump while agents work.
  [Group.RUNNING]: (one, other) => (epoch(one.started_at) || 0) - (epoch(other.started_at) || 0) || (one.id < other.id ? -1 : 1),
  [Group.QUEUED]: queueOrder,
  [Group.FAILED]: (one, other) => endedAt(other) - endedAt(one) || (one.id < other.id ? -1 : 1),
  [Group.FINISHED]: (one, other) => endedAt(other) - endedAt(one) || (one.id < other.id ? -1 : 1),
};

/** Whether every word of the search is in the task's id, type, description, error or last words. */
export function matches(task, { search = "", priority = "" }) {
  if (priority && task.priority !== priority) return false;
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return true;
  const text = plain([task.id, task.type, task.agent, task.model, task.failure_reason, task.error, task.description].join("\n"));
  const lower = text.toLowerCase();
  return words.every((word) => lower.includes(word));
}

/** The tasks by group, filtered and in order, and how many each group has in all. */
export function select(tasks, filter) {
  const shown = Object.fromEntries(Object.values(Group).map((group) => [group, []]));
  const totals = Object.fromEntries(Object.values(Group).map((group) => [group, 0]));
  for (const task of tasks) {
    const group = groupOf(task);
    totals[group] += 1;
    if ((!filter.group || filter.group === group) && matches(task, filter)) shown[group].push(task);
  }
  for (const group of Object.values(Group)) shown[group].sort(ORDER[group]);
  return { shown, totals };
}

/** The id of the task that the address's fragment names; "" where it names none. */
export function taskInAddress(hash) {
  const [, id] = /^#task=(.+)$/.exec(hash) ?? [];
  try {
    return decodeURIComponent(id ?? "");
  } catch {
    // Half of a percent-encoded letter, as a cut-off link has it.
    return "";
  }
}
