/** The four groups of tasks, each with what to do when there is nothing to show. */

import { h, KeyedList, setText } from "../dom.js";
import { count } from "../format.js";
import { Group } from "../protocol.js";
import { TaskRow } from "./task-row.js";

const FIRST = { [Group.RUNNING]: 50, [Group.QUEUED]: 20, [Group.FAILED]: 10, [Group.FINISHED]: 10 };
const MORE = 100;
const TITLES = { [Group.RUNNING]: "Running", [Group.QUEUED]: "Queue", [Group.FAILED]: "Failed", [Group.FINISHED]: "Finished" };
const EMPTY = {
  [Group.RUNNING]: "No agent is at work. Press n to give one a task.",
  [Group.QUEUED]: "Nothing waits: a new task starts at once when a slot is free.",
  [Group.FAILED]: "Nothing has failed.",
  [Group.FINISHED]: "Nothing has finished yet.",
};

class Section {
  #number = h("span", { class: "section-count" });
  #list = h("ol", { class: "task-list" });
  #empty = h("p", { class: "empty" });
  #more = h("button", { class: "button small quiet more", type: "button" });
  #keyed;
  #limit;

  constructor(group, { act, onOlder }) {
    this.group = group;
    this.#limit = FIRST[group];
    this.#more.addEventListener("click", () => {
      this.#limit += MORE;
      onOlder(group);
    });
    const title = h("h2", { id: `group-${group}` }, TITLES[group], this.#number);
    this.element = h("section", { class: `group ${group}`, "aria-labelledby": `group-${group}` },
      title, this.#list, this.#empty, this.#more);
    this.#keyed = new KeyedList(this.#list, {
      key: (item) => item.task.id,
      create: () => {
        const row = new TaskRow(act);
        return { element: row.element, update: ({ task, context }) => row.update(task, context), focus: () => row.focus() };
      },
    });
  }

  show(tasks, { filtered, known, contextOf, mayHaveOlder }) {
    const shown = tasks.slice(0, this.#limit);
    this.#keyed.show(shown.map((task) => ({ task, context: contextOf(task) })));
    setText(this.#number, known ? count(tasks.length) : "");
    this.#empty.hidden = tasks.length > 0;
    setText(this.#empty, known ? (filtered ? "No task here matches the filters." : EMPTY[this.group]) : "Waiting for the server …");
    const hidden = tasks.length - shown.length;
    this.#more.hidden = !(hidden || (mayHaveOlder && tasks.length));
    setText(this.#more, hidden ? `Show ${count(Math.min(hidden, MORE))} more of ${count(hidden)}` : "Load older ones");
  }

  get rows() {
    return [...this.#keyed.rows];
  }
}

export class TaskList {
  #sections;
  #hasOlder = new Map();

  /** `readOlder(group)` asks the server for older tasks of a group; it resolves to whether there may be more. */
  constructor(place, { act, readOlder, redraw }) {
    const onOlder = async (group) => {
      redraw();
      if (group === Group.FAILED || group === Group.FINISHED) this.#hasOlder.set(group, await readOlder(group));
      redraw();
    };
    this.#sections = Object.values(Group).map((group) => new Section(group, { act, onOlder }));
    const column = (...groups) => h("div", { class: "task-column" }, this.#sections.filter((one) => groups.includes(one.group)).map((one) => one.element));
    place.append(column(Group.RUNNING, Group.QUEUED), column(Group.FAILED, Group.FINISHED));
  }

  show({ shown, totals, filter, known, contextOf, mayHaveOlder }) {
    const filtered = Boolean(filter.search || filter.priority);
    for (const section of this.#sections) {
      section.element.hidden = Boolean(filter.group) && filter.group !== section.group;
      const older = this.#hasOlder.get(section.group) ?? (mayHaveOlder && totals[section.group] > 0 && section.group === Group.FINISHED);
      section.show(shown[section.group], { filtered, known, contextOf, mayHaveOlder: older });
    }
  }

  /** Moves the focus by so many tasks, over all groups that are shown. */
  move(step) {
    const rows = this.#sections.filter((section) => !section.element.hidden).flatMap((section) => section.rows);
    const list = rows.sort((one, other) => (one.element.compareDocumentPosition(other.element) & Node.DOCUMENT_POSITION_FOLLOWING ? -1 : 1));
    if (!list.length) return;
    const now = list.findIndex((row) => row.element.contains(document.activeElement));
    const next = now === -1 ? (step > 0 ? 0 : list.length - 1) : Math.min(list.length - 1, Math.max(0, now + step));
    list[next].focus();
    list[next].element.scrollIntoView({ block: "nearest" });
  }

  /** The id of the task that has the focus. */
  get focusedId() {
    return document.activeElement?.closest("[data-task]")?.dataset.task ?? null;
  }
}
