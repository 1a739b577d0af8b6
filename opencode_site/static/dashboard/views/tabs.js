/** Tabs as the ARIA practices describe them: arrow keys move, only the chosen one is in the tab order. */

import { h } from "../dom.js";

let last = 0;

export class Tabs {
  #tabs;
  panels;

  /** `entries`: [[label, element], …] */
  constructor(entries) {
    const id = `tabs-${(last += 1)}`;
    this.#tabs = entries.map(([label], place) =>
      h("button", { role: "tab", type: "button", id: `${id}-${place}`, "aria-controls": `${id}-panel-${place}`, onclick: () => this.choose(place) }, label));
    this.panels = entries.map(([, content], place) =>
      h("div", { role: "tabpanel", class: "tabpanel", id: `${id}-panel-${place}`, "aria-labelledby": `${id}-${place}` }, content));
    this.bar = h("div", { role: "tablist", class: "tabs" }, this.#tabs);
    this.bar.addEventListener("keydown", (event) => this.#pressed(event));
    this.choose(0);
  }

  choose(chosen) {
    this.#tabs.forEach((tab, place) => {
      tab.setAttribute("aria-selected", String(place === chosen));
      tab.tabIndex = place === chosen ? 0 : -1;
      this.panels[place].hidden = place !== chosen;
    });
  }

  #pressed(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = (this.#tabs.indexOf(document.activeElement) + step + this.#tabs.length) % this.#tabs.length;
    this.choose(next);
    this.#tabs[next].focus();
    event.preventDefault();
  }
}
