/** The words of the protocol that this page uses, each written once. */

export const Code = Object.freeze({
  CONNECTION_LOST: "CONNECTION_LOST",
  HEARTBEAT_TIMEOUT: "HEARTBEAT_TIMEOUT",
  RATE_LIMIT_EXCEEDED: "RATE_LIMIT_EXCEEDED",
  UNKNOWN_MESSAGE_TYPE: "UNKNOWN_MESSAGE_TYPE",
  INVALID_TASK_DATA: "INVALID_TASK_DATA",
  TASK_ALREADY_EXISTS: "TASK_ALREADY_EXISTS",
  TASK_NOT_FOUND: "TASK_NOT_FOUND",
});

export const Channel = Object.freeze({
  TASK_STATUS: "task_status",
  LOG_ENTRIES: "log_entries",
  SYSTEM_RESOURCES: "system_resources",
  AGENT_STATUS: "agent_status",
});

export const PRIORITIES = Object.freeze(["high", "medium", "low"]);
export const LEVELS = Object.freeze(["debug", "info", "warn", "error"]);
export const SIGNALS = Object.freeze(["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGKILL"]);

/** Where a task stands, in the order in which the page shows them. */
export const Group = Object.freeze({ RUNNING: "running", QUEUED: "queued", FAILED: "failed", FINISHED: "finished" });

const GROUP_OF = {
  running: Group.RUNNING,
  pending: Group.QUEUED,
  failed: Group.FAILED,
  completed: Group.FINISHED,
  cancelled: Group.FINISHED,
};

export const groupOf = (task) => GROUP_OF[task.status] ?? Group.FINISHED;
export const isUnfinished = (task) => task.status === "pending" || task.status === "running";
export const isFinished = (task) => !isUnfinished(task);
export const canCancel = isUnfinished;
export const canRetry = (task) => task.status === "failed" || task.status === "cancelled";

/** An error that the server answered, or that came instead of an answer. */
export class RequestError extends Error {
  constructor({ code, message, details = {} }) {
    super(message);
    this.code = code;
    this.details = details ?? {};
  }

  /** What the answer to a request is when the connection went away before it. */
  static lost() {
    return new RequestError({
      code: Code.CONNECTION_LOST,
      message: "The connection was lost before the server answered: look whether it was done before you try again.",
    });
  }
}
