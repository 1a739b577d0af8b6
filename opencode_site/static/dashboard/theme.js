/** Light, dark, or as the system says. */

const NEXT = { system: "light", light: "dark", dark: "system" };
const system = () => matchMedia("(prefers-color-scheme: dark)");

/** What the user chose: "system", "light" or "dark". */
export function chosenTheme() {
  return document.documentElement.dataset.theme ?? "system";
}

/** Whether the page is dark just now, whoever decided it. */
export function isDark() {
  const chosen = chosenTheme();
  return chosen === "system" ? system().matches : chosen === "dark";
}

/** Goes on to the next of system, light and dark, and remembers it. */
export function nextTheme() {
  const theme = NEXT[chosenTheme()];
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  try {
    if (theme === "system") localStorage.removeItem("theme");
    else localStorage.setItem("theme", theme);
  } catch {
    // Storage may be forbidden: the choice holds until the page is closed.
  }
  dispatchEvent(new Event("themechange"));
  return theme;
}

/** Calls back whenever the colours change. */
export function onThemeChange(callback) {
  addEventListener("themechange", callback);
  system().addEventListener("change", callback);
}
