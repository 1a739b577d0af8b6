/** Icons as paths on a 20 × 20 grid, drawn with the text's colour. */

const PATHS = {
  running: "M10 2.5a7.5 7.5 0 1 1-7.5 7.5",
  queued: "M10 2.5a7.5 7.5 0 1 0 0 15 7.5 7.5 0 0 0 0-15M10 6v4.2l2.8 1.8",
  waiting: "M10 2.5a7.5 7.5 0 1 0 0 15 7.5 7.5 0 0 0 0-15M8 7v6M12 7v6",
  failed: "M10 2.5a7.5 7.5 0 1 0 0 15 7.5 7.5 0 0 0 0-15M7.4 7.4l5.2 5.2M12.6 7.4l-5.2 5.2",
  completed: "M10 2.5a7.5 7.5 0 1 0 0 15 7.5 7.5 0 0 0 0-15M6.6 10.3l2.4 2.4 4.5-5",
  cancelled: "M10 2.5a7.5 7.5 0 1 0 0 15 7.5 7.5 0 0 0 0-15M6.8 10h6.4",
  sun: "M10 6.5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7M10 1.8v1.6M10 16.6v1.6M1.8 10h1.6M16.6 10h1.6M4.2 4.2l1.1 1.1M14.7 14.7l1.1 1.1M15.8 4.2l-1.1 1.1M5.3 14.7l-1.1 1.1",
  moon: "M16.8 11.6A7 7 0 0 1 8.4 3.2a7 7 0 1 0 8.4 8.4",
  system: "M3 4.5h14v9H3zM7 17h6M10 13.5V17",
  keyboard: "M2.5 5.5h15v9h-15zM5.5 8.3h.01M8.5 8.3h.01M11.5 8.3h.01M14.5 8.3h.01M6.5 11.7h7",
  settings: "M3 6h7M14 6h3M3 14h3M10 14h7M12 4v4M8 12v4",
  close: "M5 5l10 10M15 5L5 15",
  retry: "M16 10a6 6 0 1 1-1.8-4.3M16.2 3v3.4h-3.4",
  log: "M4 5h12M4 8.4h12M4 11.8h8M4 15.2h5",
  copy: "M7 7h9v9H7zM4 13V4h9",
  download: "M10 3v9M6.2 8.6 10 12.4l3.8-3.8M4 16.5h12",
  down: "M10 4v11M5.4 10.4 10 15l4.6-4.6",
  plus: "M10 4v12M4 10h12",
  high: "M5.5 12 10 7.2 14.5 12",
  medium: "M5 10h10",
  low: "M5.5 8 10 12.8 14.5 8",
  warn: "M10 3 18 16.5H2zM10 8.2v3.6M10 14.2h.01",
};

/** An icon that says nothing to a screen reader: the text beside it does. */
export function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  for (const [attribute, value] of Object.entries({ viewBox: "0 0 20 20", class: "icon", "aria-hidden": "true" })) {
    svg.setAttribute(attribute, value);
  }
  const path = document.createElementNS(space, "path");
  path.setAttribute("d", PATHS[name] ?? PATHS.cancelled);
  svg.append(path);
  return svg;
}
