/** How many tasks run, wait, have failed and are finished; each is also the filter for its group. */

import { h, setText, setAttribute } from "../dom.js";
import { count } from "../format.js";
import { icon } from "../icons.js";
import { Group, PRIORITIES } from "../protocol.js";

const TILES = [
  { group: Group.RUNNING, label: "Running", symbol: "running" },
  { group: Group.QUEUED, label: "Queued", symbol: "queued" },
  { group: Group.FAILED, label: "Failed", symbol: "failed" },
  { group: Group.FINISHED, label: "Finished", symbol: "completed" },
];

export class Overview {
  #tiles = new Map();
  #priority;
  #clear;

  /** `onFilter({group, priority})` is called with what the user chose. */
  constructor(place, { onFilter, onClear }) {
    const tiles = h("div", { class: "tiles", role: "group", "aria-label": "Show only" });
    for (const { group, label, symbol } of TILES) {
      const number = h("span", { class: "tile-number" }, "–");
      const hint = h("span", { class: "tile-hint" });
      const tile = h("button", { class: `tile ${group}`, type: "button", "aria-pressed": "false" },
        h("span", { class: "tile-label" }, icon(symbol), label), h("span", { class: "tile-value" }, number, hint));
      tile.addEventListener("click", () => onFilter({ group: tile.ariaPressed === "true" ? "" : group }));
      this.#tiles.set(group, { tile, number, hint });
      tiles.append(tile);
    }
    this.#priority = h("select", { "aria-label": "Priority", onchange: () => onFilter({ priority: this.#priority.value }) },
      h("option", { value: "" }, "All priorities"),
      PRIORITIES.map((name) => h("option", { value: name }, `${name[0].toUpperCase()}${name.slice(1)} priority`)));
    this.#clear = h("button", { class: "button small quiet", type: "button", hidden: true, onclick: onClear }, "Clear filters");
    place.append(tiles, h("div", { class: "filters" }, this.#priority, this.#clear));
  }

  show({ totals, filter, slots, known, truncated }) {
    for (const [group, { tile, number, hint }] of this.#tiles) {
      const more = truncated && group === Group.QUEUED ? "+" : "";
      setText(number, known ? count(totals[group]) + more : "–");
      setAttribute(tile, "aria-pressed", filter.group === group ? "true" : "false");
      if (group === Group.RUNNING) setText(hint, slots ? `of ${count(slots)} slots` : "");
      if (group === Group.FINISHED) setText(hint, known && totals[group] >= 90 ? "most recent" : "");
    }
    this.#priority.value = filter.priority;
    this.#clear.hidden = !(filter.group || filter.priority || filter.search);
  }
}
