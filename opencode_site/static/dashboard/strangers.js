/** Agents that nobody here started: those of the server's own host, and those that other hosts have told of. Pure. */

import { epoch } from "./format.js";

/** The same process may be told with its start in whole seconds. */
const START_DIFFERS_BY = 1_500;

const startOf = (process) => epoch(process.start_time ?? process.create_time);

/** Whether two messages are about one process; a pid alone may have been used again. */
export function isSameProcess(one, other) {
  return one.pid === other.pid && Math.abs(startOf(one) - startOf(other)) <= START_DIFFERS_BY;
}

/**
 * All of them, those that use most CPU first. `canEnd` are those of the server's own host, as it listed them; an
 * agent's update is newer than that list and has the last word about what it uses.
 */
export function strangers(processes, agents) {
  const told = [...agents].filter((agent) => !agent.task_id);
  const here = processes.filter((process) => !process.task_id).map((process) => {
    const agent = told.find((one) => isSameProcess(one, process));
    return { ...process, ...usage(agent), host: agent?.host, canEnd: true };
  });
  const elsewhere = told
    .filter((agent) => !processes.some((process) => isSameProcess(process, agent)))
    .map((agent) => ({ ...agent, activity: agent.task, canEnd: false }));
  return [...here, ...elsewhere].sort((one, other) => (other.cpu_percent ?? 0) - (one.cpu_percent ?? 0) || one.pid - other.pid);
}

const usage = (agent) => (agent ? { cpu_percent: agent.cpu_percent, memory_usage: agent.memory_usage } : {});
