/** Short notes about what the user did; errors stay until they are closed. */

import { h } from "./dom.js";
import { icon } from "./icons.js";

const SHOWN_FOR = 6_000;
const MOST = 4;

export class Toasts {
  #place;

  constructor(place) {
    this.#place = place;
    // A manual popover stands in the top layer, above an open dialog.
    place.setAttribute("popover", "manual");
  }

  done(text) {
    const toast = this.#add(text, "status", "completed");
    setTimeout(() => this.#remove(toast), SHOWN_FOR);
  }

  failed(text) {
    this.#add(text, "alert", "failed");
  }

  /** A note with something to press. */
  offer(text, label, action) {
    this.#add(text, "status", "warn", h("button", { class: "button small", type: "button", onclick: action }, label));
  }

  #add(text, role, name, ...more) {
    const close = h("button", { class: "icon-button", type: "button", "aria-label": "Dismiss" }, icon("close"));
    const toast = h("div", { class: `toast ${name}`, role }, icon(name), h("span", { class: "toast-text", dir: "auto" }, text), ...more, close);
    close.addEventListener("click", () => this.#remove(toast));
    this.#place.append(toast);
    while (this.#place.children.length > MOST) this.#place.firstElementChild.remove();
    // Shown anew, it stands above a dialog that was opened meanwhile.
    if (this.#place.matches(":popover-open")) this.#place.hidePopover();
    this.#place.showPopover();
    return toast;
  }

  #remove(toast) {
    toast.remove();
    if (!this.#place.children.length && this.#place.matches(":popover-open")) this.#place.hidePopover();
  }
}
