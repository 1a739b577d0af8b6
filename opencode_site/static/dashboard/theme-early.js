// Runs before the first paint, so that a dark page never flashes white. Not a module: modules wait.
try {
  const chosen = localStorage.getItem("theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // Storage may be forbidden; the system's own preference holds then.
}
