/** Single keys for what one does often; never while somebody types, or with Ctrl, Alt or Meta. */

const TYPING = "input, textarea, select, [contenteditable]";

/** `actions` maps a key to a function; `inDialog` those that work while a dialog is open. */
export function listenForKeys({ actions, inDialog }) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.target.closest?.(TYPING)) return;
    const available = document.querySelector("dialog[open]") ? inDialog : actions;
    const action = available[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
}
