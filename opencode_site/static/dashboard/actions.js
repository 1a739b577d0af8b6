/** What the user can do to tasks and processes; each tells what came of it. */

import { firstLine, plain } from "./format.js";
import { h } from "./dom.js";
import { canCancel, canRetry, Code, SIGNALS } from "./protocol.js";
import { agentName } from "./views/processes.js";
import { ask } from "./views/dialogs.js";

/** A running agent gets its grace before it is killed. */
const CANCEL_TIMEOUT = 90_000;
const KILL_TIMEOUT = 330_000;

export class Actions {
  #connection;
  #toasts;
  #sync;
  #open;
  #startLike;

  constructor({ connection, toasts, sync, open, startLike }) {
    this.#connection = connection;
    this.#toasts = toasts;
    this.#sync = sync;
    this.#open = open;
    this.#startLike = startLike;
  }

  open = (id) => this.#open(id);

  startLike = (task) => this.#startLike(task);

  /** Asks before it takes work away from an agent; a task that only waits is cancelled at once. */
  cancel = async (task) => {
    if (!task || !canCancel(task)) return;
    const id = plain(task.id);
    if (task.status === "running" && !(await ask({
      title: "Cancel this task?",
      lines: [firstLine(task.description, 200) || id, "Its agent and every process that it started are ended. The task can be retried later, from the beginning."],
      action: "Cancel the task",
      cancel: "Keep it running",
    }))) return;
    await this.#do({ type: "cancel_task", task_id: task.id }, { timeout: CANCEL_TIMEOUT,
      done: (reply) => (reply.status === "running" ? `${id} is being cancelled.` : `${id} is cancelled.`) });
  };

  retry = async (task) => {
    if (!task || !canRetry(task)) return;
    await this.#do({ type: "retry_task", task_id: task.id }, { done: () => `${plain(task.id)} is queued again.` });
  };

  /** Ends an agent process that is not ours, after asking. */
  end = async (process) => {
    const signal = h("select", { name: "signal", "aria-label": "How" },
      SIGNALS.map((name) => h("option", { value: name }, name === "SIGTERM" ? "SIGTERM – asks it to end" : name === "SIGKILL" ? "SIGKILL – at once, nothing is saved" : name)));
    const answer = await ask({
      title: `End ${agentName(process.type)}, process ${process.pid}?`,
      lines: [
        "Somebody else started it; what it works on is lost unless it saves by itself.",
        { text: firstLine(process.cmdline ?? "", 300), className: "mono command" },
      ],
      fields: [h("label", { class: "inline-field" }, "Signal", signal)],
      action: "End the process",
    });
    if (!answer) return;
    await this.#do({ type: "kill_process", pid: process.pid, signal: answer.signal }, { timeout: KILL_TIMEOUT, done: () => `Process ${process.pid} has ended.` });
  };

  async #do(message, { done, timeout }) {
    try {
      const reply = await this.#connection.request(message, { timeout });
      this.#toasts.done(done(reply));
      this.#sync.taskChanged(message.task_id);
    } catch (error) {
      this.#toasts.failed(explained(error));
    }
  }
}

function explained(error) {
  if (error.code === Code.UNKNOWN_MESSAGE_TYPE) return "This server cannot do that.";
  const wait = error.details?.retry_after_seconds;
  return wait ? `${error.message} Possible again in ${wait} s.` : error.message;
}
