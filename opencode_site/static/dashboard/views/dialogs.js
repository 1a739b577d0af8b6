/** What all dialogs share: native ones, so that focus stays inside and goes back where it came from. */

import { h } from "../dom.js";
import { icon } from "../icons.js";

let last = 0;

/** A dialog with a title and a button to close it. `extra` elements stand beside the title. */
export function makeDialog({ title, className = "", extra = [], onClose = () => {} }, ...content) {
  const id = `dialog-${(last += 1)}`;
  const close = h("button", { class: "icon-button", type: "button", "aria-label": "Close" }, icon("close"));
  const heading = h("h2", { id, dir: "auto", tabindex: "-1" }, title);
  const dialog = h("dialog", { class: `dialog ${className}`, "aria-labelledby": id },
    h("div", { class: "dialog-head" }, heading, ...extra, close), ...content);
  close.addEventListener("click", () => dialog.close());
  // A press on the backdrop that began there; one that began inside is somebody selecting text.
  let pressed = null;
  dialog.addEventListener("pointerdown", (event) => {
    pressed = event.target;
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog && pressed === dialog && !className.includes("keep")) dialog.close();
  });
  dialog.addEventListener("close", () => {
    dialog.remove();
    onClose();
  });
  document.body.append(dialog);
  return { dialog, heading };
}

/** Asks; resolves to what was chosen with the fields (an object), or null. */
export function ask({ title, lines, fields = [], action, cancel = "Keep it" }) {
  return new Promise((resolve) => {
    let answer = null;
    const form = h("form", { class: "dialog-body", method: "dialog" },
      ...lines.map((line) => h("p", { dir: "auto", class: line.className ?? "" }, line.text ?? line)), ...fields,
      h("div", { class: "dialog-foot" },
        h("button", { class: "button", type: "button", autofocus: true, onclick: () => dialog.close() }, cancel),
        h("button", { class: "button danger", type: "submit" }, action)));
    form.addEventListener("submit", () => {
      answer = Object.fromEntries(new FormData(form));
    });
    const { dialog } = makeDialog({ title, className: "small", onClose: () => resolve(answer) }, form);
    dialog.showModal();
  });
}

const SHORTCUTS = [
  ["n", "New task"],
  ["/", "Search"],
  ["j  k", "Next and previous task"],
  ["Enter", "Open the task that has the focus"],
  ["c", "Cancel it"],
  ["r", "Retry it"],
  ["1 – 4", "Only running, queued, failed, finished tasks"],
  ["0", "Clear all filters"],
  ["t", "Theme: system, light, dark"],
  ["f", "In a log: follow the end"],
  ["Esc", "Close, or clear the search"],
  ["?", "This card"],
];

/** The card of all keyboard shortcuts. */
export function showHelp() {
  const rows = SHORTCUTS.map(([keys, what]) =>
    h("div", {}, h("dt", {}, keys.split("  ").map((key) => h("kbd", {}, key))), h("dd", {}, what)));
  const { dialog } = makeDialog({ title: "Keyboard shortcuts", className: "small help" }, h("dl", { class: "shortcuts" }, rows));
  dialog.showModal();
}
