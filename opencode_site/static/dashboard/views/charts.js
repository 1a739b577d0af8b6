/** The last hour of a host as lines, drawn with Chart.js (a file of the page's own, loaded before this module). */

import { h } from "../dom.js";
import { bytes, hourMinute, percent, timeOfDay } from "../format.js";
import { isDark, onThemeChange } from "../theme.js";

const HOUR = 3_600_000;
const TICKS = 15 * 60_000;
/** The server's trend has a point a minute; a longer pause is a hole and is drawn as one. */
const LONGEST_JOINED = 150_000;

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** A chart of some fields of the samples. `lines`: [{field, label, color, dash}] */
export class LoadChart {
  element;
  #canvas = h("canvas", { role: "img" });
  #chart = null;
  #lines;
  #format;
  #max;

  constructor({ lines, unit, label }) {
    this.#lines = lines;
    this.#format = unit === "percent" ? percent : (value) => `${bytes(value)}/s`;
    this.#max = unit === "percent" ? 100 : undefined;
    this.#canvas.setAttribute("aria-label", label);
    this.element = h("div", { class: "chart" }, this.#canvas);
    onThemeChange(() => this.#paint());
  }

  show(samples, now) {
    if (!globalThis.Chart) return;
    this.#chart ??= this.#create();
    this.#chart.data.datasets.forEach((dataset, place) => {
      const { field } = this.#lines[place];
      dataset.data = samples.filter((sample) => Number.isFinite(sample[field])).map((sample) => ({ x: sample.t, y: sample[field] }));
    });
    Object.assign(this.#chart.options.scales.x, { min: now - HOUR, max: now });
    this.#chart.update("none");
  }

  #create() {
    const datasets = this.#lines.map(({ label, dash }) => ({
      label, data: [], borderWidth: 1.6, pointRadius: 0, pointHitRadius: 6, tension: 0.25, borderDash: dash ?? [], spanGaps: LONGEST_JOINED,
    }));
    const chart = new globalThis.Chart(this.#canvas, { type: "line", data: { datasets }, options: this.#options() });
    this.#chart = chart;
    this.#paint();
    return chart;
  }

  #options() {
    return {
      animation: false, parsing: false, normalized: true, responsive: true, maintainAspectRatio: false,
      interaction: { mode: "nearest", axis: "x", intersect: false },
      plugins: { legend: { display: false }, tooltip: this.#tooltip() },
      scales: {
        x: { type: "linear", border: { display: false }, afterBuildTicks: wholeQuarters,
          grid: { display: false }, ticks: { maxRotation: 0, autoSkip: false, callback: (value) => hourMinute(value), font: { size: 11 } } },
        y: { min: 0, max: this.#max, suggestedMax: this.#max ?? 1_000, border: { display: false },
          ticks: { maxTicksLimit: 3, callback: (value) => this.#format(value), font: { size: 11 } } },
      },
    };
  }

  #tooltip() {
    return {
      callbacks: {
        title: ([item]) => (item ? timeOfDay(item.parsed.x) : ""),
        label: (item) => ` ${item.dataset.label}: ${this.#format(item.parsed.y)}`,
      },
    };
  }

  #paint() {
    if (!this.#chart) return;
    const { scales, plugins } = this.#chart.options;
    this.#chart.data.datasets.forEach((dataset, place) => {
      dataset.borderColor = css(this.#lines[place].color);
      dataset.backgroundColor = dataset.borderColor;
    });
    for (const axis of [scales.x, scales.y]) axis.ticks.color = css("--muted");
    scales.y.grid = { color: css("--line") };
    Object.assign(plugins.tooltip, isDark() ? { backgroundColor: "#e8eaee", titleColor: "#14171c", bodyColor: "#14171c" } : { backgroundColor: "#1d2026", titleColor: "#fff", bodyColor: "#fff" });
    this.#chart.options.font = { family: css("--font") };
    this.#chart.update("none");
  }
}

function wholeQuarters(axis) {
  const ticks = [];
  for (let at = Math.ceil(axis.min / TICKS) * TICKS; at <= axis.max; at += TICKS) ticks.push({ value: at });
  axis.ticks = ticks;
}
