/** The load of a host: figures, the last hour, and how this server answers. */

import { h, setText } from "../dom.js";
import { bytes, counted, memory, milliseconds, percent, plain } from "../format.js";
import { moment, setMoment } from "../moments.js";
import { LoadChart } from "./charts.js";

const FIGURES = [
  { name: "CPU", field: "cpu", color: "--chart-cpu" },
  { name: "Memory", field: "memory", color: "--chart-memory" },
  { name: "Disk", field: "disk", color: "--chart-disk" },
  { name: "Network", field: "network", color: "--chart-received" },
];

export class Machine {
  #figures = new Map();
  #choice = h("select", { "aria-label": "Host", hidden: true });
  #name = h("span", { class: "host-name", dir: "auto" });
  #when = moment("ago");
  #body = h("div", { class: "card-body" });
  #empty = h("p", { class: "empty" });
  #load;
  #network;
  #server = h("p", { class: "server-facts" });

  constructor(place) {
    this.#load = new LoadChart({
      label: "CPU, memory and disk of the last hour in percent", unit: "percent",
      lines: [
        { field: "cpu", label: "CPU", color: "--chart-cpu" },
        { field: "memory", label: "Memory", color: "--chart-memory", dash: [6, 3] },
        { field: "disk", label: "Disk", color: "--chart-disk", dash: [2, 3] },
      ],
    });
    this.#network = new LoadChart({
      label: "Network traffic of the last hour", unit: "bytes",
      lines: [
        { field: "received", label: "Received", color: "--chart-received" },
        { field: "sent", label: "Sent", color: "--chart-sent", dash: [6, 3] },
      ],
    });
    this.#choice.addEventListener("change", () => this.redraw?.());
    this.#body.append(this.#figureGrid(), this.#load.element, this.#network.element, this.#server);
    place.append(h("section", { class: "card", "aria-labelledby": "machine-title" },
      h("div", { class: "card-head" }, h("h2", { id: "machine-title" }, "Machine", this.#name), this.#choice, h("span", { class: "card-when" }, this.#when)),
      this.#empty, this.#body));
  }

  show({ hosts, performance, unavailable, known, now, serverNow }) {
    const name = this.#chosen(hosts.names);
    const host = hosts.get(name);
    this.#body.hidden = !host;
    this.#empty.hidden = Boolean(host);
    const missing = unavailable.has("request_system_resources") && unavailable.has("request_status");
    setText(this.#empty, missing ? "This server does not measure its machine." : known ? "No measurement has come yet; the first takes a few seconds." : "Waiting for the server …");
    this.#showServer(performance);
    if (!host) return;
    this.#body.classList.toggle("stale", hosts.isStale(name, now));
    setMoment(this.#when, host.at, serverNow);
    this.#showFigures(host);
    const history = hosts.history(name);
    this.#load.show(history, serverNow);
    const traffic = history.some((sample) => Number.isFinite(sample.received));
    this.#network.element.hidden = !traffic;
    if (traffic) this.#network.show(history, serverNow);
  }

  /** Only what goes stale by itself: between two samples. */
  age({ hosts, now }) {
    const name = this.#chosen(hosts.names);
    if (hosts.get(name)) this.#body.classList.toggle("stale", hosts.isStale(name, now));
  }

  #figureGrid() {
    const grid = h("dl", { class: "figures" });
    for (const { name, field, color } of FIGURES) {
      const value = h("span", { class: "figure-value" });
      const more = h("span", { class: "figure-more" });
      const swatch = h("span", { class: "swatch", "aria-hidden": "true", data: { line: field } });
      swatch.style.setProperty("--swatch", `var(${color})`);
      grid.append(h("div", { class: "figure" }, h("dt", {}, swatch, name), h("dd", {}, value, more)));
      this.#figures.set(field, { value, more });
    }
    return grid;
  }

  #showFigures({ latest, rates }) {
    const set = (field, value, more) => {
      setText(this.#figures.get(field).value, value);
      setText(this.#figures.get(field).more, more);
    };
    set("cpu", percent(latest.cpu_usage), counted(latest.active_processes, "process", "processes"));
    set("memory", percent(latest.memory_usage), `${memory(latest.memory_used)} of ${memory(latest.memory_total)}`);
    set("disk", percent(latest.disk_usage), `${bytes(latest.disk_used)} of ${bytes(latest.disk_total)}`);
    const { received, sent } = rates ?? {};
    set("network", Number.isFinite(received) ? `${bytes(received)}/s` : "–", Number.isFinite(sent) ? `received, ${bytes(sent)}/s sent` : "");
  }

  #showServer(performance) {
    const { response_times: times, throughput, error_rates: errors } = performance ?? {};
    this.#server.hidden = !times;
    if (!times) return;
    setText(this.#server, `This server in the last hour: answers in ${milliseconds(times.average)} on average, 95 % within ${milliseconds(times.p95)}; `
      + `${counted(Math.round((throughput?.requests_per_second ?? 0) * 60), "request")} a minute, ${counted(errors?.total_errors ?? 0, "error")}.`);
  }

  #chosen(names) {
    const known = [...this.#choice.options].map((option) => option.value);
    if (known.join("\n") !== names.join("\n")) {
      const chosen = this.#choice.value;
      this.#choice.replaceChildren(...names.map((name) => h("option", { value: name }, plain(name) || "this host")));
      if (names.includes(chosen)) this.#choice.value = chosen;
    }
    this.#choice.hidden = names.length < 2;
    setText(this.#name, names.length === 1 ? plain(names[0]) : "");
    return this.#choice.value;
  }
}
