/** Fields of a form, each with its label, a hint, and a place for what the server says against it. */

import { h, setText } from "../dom.js";

export class Field {
  #error = h("p", { class: "field-error", role: "alert" });

  /** `control` is the input; `hint` says what may stand in it. */
  constructor({ name, label, control, hint = "", wide = false }) {
    this.name = name;
    this.control = control;
    const id = `field-${name}`;
    control.id = id;
    this.#error.id = `${id}-error`;
    const help = hint && h("p", { class: "field-hint", id: `${id}-hint` }, hint);
    control.setAttribute("aria-describedby", `${id}-error${hint ? ` ${id}-hint` : ""}`);
    this.element = h("div", { class: `field${wide ? " wide" : ""}` }, h("label", { for: id }, label), control, help || null, this.#error);
    control.addEventListener("input", () => this.complain(""));
  }

  get value() {
    return this.control.value.trim();
  }

  set value(text) {
    this.control.value = text ?? "";
  }

  complain(text) {
    setText(this.#error, text);
    this.control.toggleAttribute("aria-invalid", Boolean(text));
    if (text) this.control.setAttribute("aria-invalid", "true");
  }
}

/** A field for several ids, each a chip that can be taken away; suggestions come from `options()`. */
export class IdsField extends Field {
  #ids = [];
  #chips;

  constructor({ options, ...rest }) {
    const list = h("datalist", { id: `${rest.name}-options` });
    const control = h("input", { type: "text", list: list.id, autocomplete: "off", placeholder: "Id of a task, then Enter" });
    super({ ...rest, control });
    this.#chips = h("ul", { class: "chips" });
    control.before(this.#chips);
    this.element.append(list);
    control.addEventListener("focus", () => list.replaceChildren(...options().map(([value, label]) => h("option", { value }, label))));
    control.addEventListener("keydown", (event) => this.#pressed(event));
    control.addEventListener("change", () => this.#take());
  }

  get ids() {
    this.#take();
    return [...this.#ids];
  }

  set ids(ids) {
    this.#ids = [...new Set(ids)];
    this.#draw();
  }

  #pressed(event) {
    if (event.key === "Enter" && this.control.value.trim()) {
      this.#take();
      event.preventDefault();
    } else if (event.key === "Backspace" && !this.control.value) {
      this.ids = this.#ids.slice(0, -1);
    }
  }

  #take() {
    const typed = this.control.value.split(/[\s,]+/).filter(Boolean);
    if (!typed.length) return;
    this.control.value = "";
    this.ids = [...this.#ids, ...typed];
  }

  #draw() {
    this.#chips.replaceChildren(...this.#ids.map((id) =>
      h("li", {}, h("span", { class: "mono", dir: "auto" }, id),
        h("button", { type: "button", "aria-label": `Remove ${id}`, onclick: () => { this.ids = this.#ids.filter((one) => one !== id); this.control.focus(); } }, "×"))));
  }
}
