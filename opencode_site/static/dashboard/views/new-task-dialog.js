/** The form for a new task; what the server says against a value stands at its field. */

import { h, setText } from "../dom.js";
import { firstLine } from "../format.js";
import { fieldError, suggestId, taskFrom } from "../new-task.js";
import { Code, PRIORITIES } from "../protocol.js";
import { makeDialog } from "./dialogs.js";
import { Field, IdsField } from "./fields.js";

const TYPES = ["bugfix", "documentation", "feature", "maintenance", "refactoring", "research", "review", "testing"];
const MOST_OPTIONS = 200;

export class NewTaskDialog {
  #connection;
  #store;
  #onStarted;
  #fields = new Map();
  #form;
  #dialog;
  #error = h("p", { class: "form-error", role: "alert", hidden: true });
  #submit = h("button", { class: "button primary", type: "submit" }, "Start task");
  #more;
  #idIsOwn = false;

  /** `like` is a task whose values the form begins with. */
  constructor({ connection, store, like, onStarted, onClose }) {
    this.#connection = connection;
    this.#store = store;
    this.#onStarted = onStarted;
    this.#more = h("details", { class: "form-more" }, h("summary", {}, "More: agent, model, directory, limits"), h("div", { class: "form-grid" }, this.#moreFields()));
    this.#form = h("form", { class: "dialog-body", novalidate: true },
      h("div", { class: "form-grid" }, this.#mainFields()), this.#more, this.#error,
      h("div", { class: "dialog-foot" },
        h("button", { class: "button", type: "button", onclick: () => this.#dialog.close() }, "Close"), this.#submit));
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    this.#form.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.#form.requestSubmit();
    });
    ({ dialog: this.#dialog } = makeDialog({ title: "New task", className: "keep form", onClose }, this.#form));
    this.#fill(like);
    this.#dialog.showModal();
    this.#fields.get("description").control.focus();
  }

  #mainFields() {
    const description = this.#field({ name: "description", label: "What is to be done?", wide: true,
      control: h("textarea", { rows: "5", dir: "auto", required: true, placeholder: "Describe the work as you would to a colleague." }) });
    const id = this.#field({ name: "id", label: "Id", control: h("input", { type: "text", autocomplete: "off", spellcheck: "false", class: "mono" }),
      hint: "Letters, digits and . _ : -" });
    description.control.addEventListener("input", () => this.#suggest());
    id.control.addEventListener("input", () => {
      this.#idIsOwn = id.value !== "";
    });
    return [
      description.element, id.element,
      this.#field({ name: "type", label: "Type", control: this.#suggesting("type", () => [...new Set([...TYPES, ...this.#seen("type")])]), hint: "A word like testing or code-review" }).element,
      this.#field({ name: "priority", label: "Priority", control: h("select", {}, PRIORITIES.map((name) => h("option", { value: name, selected: name === "medium" }, name[0].toUpperCase() + name.slice(1)))) }).element,
      this.#add(new IdsField({ name: "dependencies", label: "Only after these tasks", options: () => this.#taskOptions(), hint: "It starts when all of them are completed." })).element,
    ];
  }

  #moreFields() {
    const unit = h("select", { "aria-label": "Unit of the time limit", id: "field-timeout-unit" }, ["minutes", "hours"].map((name) => h("option", { value: name }, name)));
    const timeout = this.#field({ name: "timeout", label: "Time limit", control: h("input", { type: "text", inputmode: "decimal", placeholder: "7 days" }) });
    timeout.control.after(unit);
    timeout.element.classList.add("with-unit");
    this.unit = unit;
    return [
      this.#field({ name: "agent", label: "Agent", control: this.#suggesting("agent", () => this.#agents()), hint: "Empty: opencode" }).element,
      this.#field({ name: "model", label: "Model", control: this.#suggesting("model", () => this.#seen("model")), hint: "provider/model, as “opencode models” lists them; empty: the server's default" }).element,
      this.#field({ name: "working_dir", label: "Directory", wide: true, control: this.#suggesting("working_dir", () => this.#seen("working_dir")), hint: "On the server; empty: its project directory" }).element,
      this.#field({ name: "files_pattern", label: "Files", control: h("input", { type: "text", class: "mono", placeholder: "**/*.py", spellcheck: "false" }) }).element,
      timeout.element,
      this.#field({ name: "max_retries", label: "Retries by itself", control: h("input", { type: "text", inputmode: "numeric", placeholder: "0" }), hint: "After failures that may pass" }).element,
    ];
  }

  #field(options) {
    return this.#add(new Field(options));
  }

  #add(field) {
    this.#fields.set(field.name, field);
    return field;
  }

  #suggesting(name, options) {
    const list = h("datalist", { id: `options-${name}` });
    const input = h("input", { type: "text", list: list.id, autocomplete: "off", spellcheck: "false" });
    input.addEventListener("focus", () => {
      list.replaceChildren(...options().map((value) => h("option", { value })));
      if (!list.isConnected) input.after(list);
    });
    return input;
  }

  #seen(name) {
    return [...new Set([...this.#store.tasks.values()].map((task) => task[name]).filter(Boolean))].sort().slice(0, MOST_OPTIONS);
  }

  #agents() {
    const offered = this.#store.workers.flatMap((worker) => Object.keys(worker.agents ?? {}));
    return [...new Set(["opencode", ...offered, ...this.#seen("agent")])];
  }

  #taskOptions() {
    return [...this.#store.tasks.values()].slice(-MOST_OPTIONS).map((task) => [task.id, `${task.status} – ${firstLine(task.description, 60)}`]);
  }

  #fill(like) {
    if (like) for (const [name, field] of this.#fields) if (typeof like[name] === "string" && name !== "id") field.value = like[name];
    if (like?.dependencies) this.#fields.get("dependencies").ids = like.dependencies;
    if (like?.timeout) this.#fields.get("timeout").value = String(like.timeout / 60_000);
    if (like?.max_retries) this.#fields.get("max_retries").value = String(like.max_retries);
    if (!like) this.#fields.get("type").value = "feature";
    this.#suggest();
  }

  #suggest() {
    const { value } = this.#fields.get("description");
    if (!this.#idIsOwn && value) this.#fields.get("id").value = suggestId(value);
  }

  #values() {
    const values = Object.fromEntries([...this.#fields].map(([name, field]) => [name, field.value]));
    return { ...values, dependencies: this.#fields.get("dependencies").ids, timeout_unit: this.unit.value };
  }

  async #send() {
    const task = taskFrom(this.#values());
    this.#complain({ field: "", message: "" });
    this.#submit.disabled = true;
    try {
      await this.#connection.request({ type: "start_task", task });
      this.#dialog.close();
      this.#onStarted(task);
    } catch (error) {
      this.#complain(explained(error));
    } finally {
      this.#submit.disabled = false;
    }
  }

  #complain({ field, message }) {
    const place = this.#fields.get(field);
    for (const one of this.#fields.values()) one.complain("");
    this.#error.hidden = !message || Boolean(place);
    setText(this.#error, place ? "" : message);
    if (!place || !message) return;
    if (this.#more.contains(place.element)) this.#more.open = true;
    place.complain(message);
    place.control.focus();
  }
}

function explained(error) {
  if (error.code === Code.CONNECTION_LOST) {
    return { field: "", message: "There is no connection just now. Send it again when the page is live: the same id can never start twice." };
  }
  if (error.code === Code.RATE_LIMIT_EXCEEDED) {
    return { field: "", message: `${error.message} Possible again in ${error.details.retry_after_seconds ?? "a few"} s.` };
  }
  return fieldError(error);
}
