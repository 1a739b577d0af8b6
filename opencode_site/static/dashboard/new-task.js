/** The form's values as a task of the protocol, and the server's error as a field's. Pure. */

import { Code } from "./protocol.js";

const UNITS = { minutes: 60_000, hours: 3_600_000 };
const MAX_SLUG = 40;

/** The task to send: fields left empty are left out, so that the server's defaults hold. */
export function taskFrom(values) {
  const task = { id: values.id, type: values.type, priority: values.priority, description: values.description };
  for (const name of ["files_pattern", "working_dir", "agent", "model"]) if (values[name]) task[name] = values[name];
  if (values.dependencies?.length) task.dependencies = values.dependencies;
  if (values.timeout) task.timeout = wholeOrText(values.timeout, UNITS[values.timeout_unit] ?? UNITS.minutes);
  if (values.max_retries) task.max_retries = wholeOrText(values.max_retries, 1);
  return task;
}

/** What is not a number is sent as it is: the server's error says what it expects. */
function wholeOrText(text, factor) {
  const number = Number(String(text).replace(",", "."));
  return Number.isFinite(number) ? Math.round(number * factor) : text;
}

/** Which field an error is about, and what to say there; `field` is "" when it is about none. */
export function fieldError({ code, message, details = {} }) {
  if (code === Code.INVALID_TASK_DATA && details.missing?.length) return { field: details.missing[0], message };
  if (code === Code.TASK_ALREADY_EXISTS) return { field: "id", message };
  if (code === Code.TASK_NOT_FOUND) return { field: "dependencies", message };
  const path = typeof details.field === "string" ? details.field.split(".") : [];
  return { field: (path[0] === "task" ? path[1] : path[0]) ?? "", message };
}

/** An id from a description: its first words and something that makes it unique. */
export function suggestId(description, random = Math.random) {
  const ascii = description.slice(0, 500).replaceAll("ß", "ss").normalize("NFKD").replaceAll(/[\u0300-\u036f]/g, "");
  const words = ascii.toLowerCase().match(/[a-z0-9]+/g) ?? ["task"];
  let slug = words[0].slice(0, MAX_SLUG);
  for (const word of words.slice(1)) {
    if (slug.length + word.length >= MAX_SLUG) break;
    slug += `-${word}`;
  }
  return `${slug}-${Math.floor(random() * 36 ** 4).toString(36).padStart(4, "0")}`;
}
