/** Elements from values. Text only ever becomes a text node: there is no way to markup in here. */

const PROPERTIES = new Set(["value", "checked", "disabled", "hidden", "open", "selected", "indeterminate", "required"]);

/** `h("button", {class: "x", type: "button", onclick: f, data: {id}}, "text", child)` */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) assign(element, name, value);
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

function assign(element, name, value) {
  if (value === undefined || value === null || value === false) return;
  if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
  else if (name === "data") Object.assign(element.dataset, value);
  else if (PROPERTIES.has(name)) element[name] = value;
  else element.setAttribute(name, value === true ? "" : value);
}

/** Sets the text if it is another one: an unchanged node keeps the user's selection. */
export function setText(element, text) {
  const wanted = text ?? "";
  if (element.textContent !== wanted) element.textContent = wanted;
}

/** Sets an attribute, or takes it away for null, undefined and false; unchanged ones are left alone. */
export function setAttribute(element, name, value) {
  if (value === null || value === undefined || value === false) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

/**
 * A container whose children follow a list: each item keeps its element, so that focus, selection and
 * scrolling survive an update.
 */
export class KeyedList {
  #container;
  #rows = new Map();
  #key;
  #create;

  /** `create(item)` returns {element, update(item, place)}. */
  constructor(container, { key, create }) {
    this.#container = container;
    this.#key = key;
    this.#create = create;
  }

  show(items) {
    const wanted = new Set(items.map(this.#key));
    for (const [key, row] of this.#rows) {
      if (wanted.has(key)) continue;
      row.element.remove();
      this.#rows.delete(key);
    }
    let before = this.#container.firstElementChild;
    items.forEach((item, place) => {
      const row = this.#row(item);
      row.update(item, place);
      if (row.element === before) before = before.nextElementSibling;
      else this.#container.insertBefore(row.element, before);
    });
  }

  get rows() {
    return this.#rows.values();
  }

  #row(item) {
    const key = this.#key(item);
    if (!this.#rows.has(key)) this.#rows.set(key, this.#create(item));
    return this.#rows.get(key);
  }
}
