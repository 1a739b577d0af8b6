/** Agents on the machine that nobody here started, and the way to end one. */

import { h, KeyedList, setAttribute, setText } from "../dom.js";
import { count, epoch, firstLine, memory, percent, plain } from "../format.js";
import { moment, setMoment } from "../moments.js";
import { strangers } from "../strangers.js";

const NAMES = { opencode: "OpenCode", claude: "Claude Code", claude_desktop: "Claude Desktop", codex: "Codex", gemini: "Gemini" };
const STALE = 70_000;
const MOST = 50;

/** The product's name of an agent's type. */
export const agentName = (type) => NAMES[type] ?? plain(type ?? "agent");

class ProcessRow {
  #name = h("span", { class: "process-name", dir: "auto" });
  #pid = h("span", { class: "mono quiet-text" });
  #since = moment("for");
  #usage = h("span", { class: "process-usage" });
  #where = h("span", { class: "mono process-where", dir: "auto" });
  #end;
  #process = null;

  constructor(onEnd) {
    this.#end = h("button", { class: "button small quiet", type: "button", onclick: () => onEnd(this.#process) }, "End …");
    this.element = h("li", { class: "process" },
      h("div", { class: "process-main" }, h("div", { class: "process-head" }, this.#name, this.#pid, this.#since), this.#usage, this.#where),
      this.#end);
  }

  update(process, serverNow) {
    this.#process = process;
    setText(this.#name, agentName(process.type));
    setText(this.#pid, `pid ${process.pid}`);
    setMoment(this.#since, epoch(process.start_time ?? process.create_time), serverNow);
    setText(this.#usage, [process.activity && plain(process.activity).replaceAll("_", " "), `CPU ${percent(process.cpu_percent)}`,
      memory(process.memory_usage ?? process.memory_rss), process.host && plain(process.host)].filter(Boolean).join(" · "));
    this.#end.hidden = !process.canEnd;
    setText(this.#where, plain(process.working_dir ?? ""));
    this.#where.hidden = !process.working_dir;
    this.element.title = firstLine(process.cmdline ?? "", 500);
    setAttribute(this.#end, "aria-label", `End ${agentName(process.type)}, process ${process.pid}`);
  }
}

export class Processes {
  #list = h("ul", { class: "process-list" });
  #empty = h("p", { class: "empty" });
  #count = h("span", { class: "section-count" });
  #more = h("p", { class: "empty", hidden: true });
  #when = moment("ago");
  #keyed;
  #serverNow = 0;

  constructor(place, { onEnd }) {
    this.#keyed = new KeyedList(this.#list, {
      key: (process) => process.id ?? `${process.pid} ${process.start_time ?? process.create_time}`,
      create: () => {
        const row = new ProcessRow(onEnd);
        return { element: row.element, update: (process) => row.update(process, this.#serverNow) };
      },
    });
    place.append(h("section", { class: "card", "aria-labelledby": "processes-title" },
      h("div", { class: "card-head" }, h("h2", { id: "processes-title" }, "Other agents on this machine", this.#count),
        h("span", { class: "card-when" }, this.#when)),
      this.#empty, this.#list, this.#more));
  }

  show({ processes, processesAt, agents, unavailable, now, serverNow }) {
    this.#serverNow = serverNow;
    const others = strangers(processes ?? [], agents.values());
    this.#keyed.show(others.slice(0, MOST));
    setText(this.#count, processes ? count(others.length) : "");
    this.#more.hidden = others.length <= MOST;
    setText(this.#more, `And ${count(others.length - MOST)} more.`);
    this.#empty.hidden = others.length > 0;
    const missing = unavailable.has("request_claude_processes") && unavailable.has("request_status");
    setText(this.#empty, missing ? "This server does not look for other agents." : processes ? "No agent runs here but those that this server started." : "Waiting for the server …");
    const old = processes !== null && now - processesAt > STALE;
    setMoment(this.#when, old ? processesAt + serverNow - now : NaN, serverNow);
    this.#list.classList.toggle("stale", old);
  }
}
