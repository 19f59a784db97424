// Two charts of the last five minutes: calls per second, and times to the first token.

import { byId, element, setAttribute, setText } from "./elements.js";
import { duration, median, rate } from "./format.js";

const SPAN = 300;
const MAX_TARGETS = 4;

/** The distances between two lines of the grid. */
const INCREMENTS = [0.5, 1, 2, 5].concat(
  [1, 10, 100, 1_000, 10_000].flatMap((power) => [10, 20, 50].map((step) => step * power)),
);

const CALLS = [
  { label: "succeeded", color: "--good" },
  { label: "failed", color: "--bad", dash: [5, 3] },
];
const TOKEN_COLORS = ["--accent", "--series-2", "--series-3", "--series-4"];
const TOKEN_DASHES = [[], [6, 3], [2, 3], [8, 3, 2, 3]];

export class Charts {
  constructor() {
    this.samples = [];
    this.targets = [];
    this.pending = { succeeded: 0, failed: 0, tokens: new Map() };
    this.totals = null;
    this.begun = Date.now() / 1_000;
    this.calls = new Chart("calls-chart", "calls-legend", rate, 1);
    this.tokens = new Chart("token-chart", "token-legend", duration, 10);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.rebuild());
  }

  /** Begins anew with these totals: what happened while the page was not connected is unknown. */
  restart(totals) {
    this.totals = totals;
  }

  update(targets, totals) {
    this.pending.succeeded += totals.succeeded - this.totals.succeeded;
    this.pending.failed += totals.failed - this.totals.failed;
    this.totals = totals;
    for (const { target, first_token_ms: times } of targets) {
      if (times.length > 0)
        this.pending.tokens.set(target, [...(this.pending.tokens.get(target) ?? []), ...times]);
    }
  }

  /** Ends a step of time, and draws. A page in the background has long steps. */
  step() {
    const at = Date.now() / 1_000;
    const { succeeded, failed, tokens } = this.pending;
    const seconds = Math.max(at - this.begun, 0.1);
    const medians = new Map([...tokens].map(([target, times]) => [target, median(times)]));
    this.samples = this.samples.filter((sample) => at - sample.at < SPAN);
    this.samples.push({ at, seconds, succeeded, failed, medians });
    this.pending = { succeeded: 0, failed: 0, tokens: new Map() };
    this.begun = at;
    const names = new Set([...this.targets, ...medians.keys()]);
    if (names.size !== this.targets.length) this.targets = [...names].slice(0, MAX_TARGETS);
    this.draw();
  }

  /** The calls that succeeded and failed within about the last `span` seconds. */
  recent(span) {
    const now = Date.now() / 1_000;
    const samples = this.samples.filter(({ at }) => now - at < span);
    const sum = (name) => samples.reduce((total, sample) => total + sample[name], this.pending[name]);
    const seconds = samples.reduce((total, sample) => total + sample.seconds, now - this.begun);
    return { succeeded: sum("succeeded"), failed: sum("failed"), seconds: Math.max(seconds, 1) };
  }

  draw() {
    const times = this.samples.map(({ at }) => at);
    const perSecond = (name) => this.samples.map((sample) => sample[name] / sample.seconds);
    this.calls.draw(CALLS, [times, perSecond("succeeded"), perSecond("failed")]);
    const series = this.targets.map((label, index) => ({
      label,
      color: TOKEN_COLORS[index],
      dash: TOKEN_DASHES[index],
      isSparse: true,
    }));
    this.tokens.draw(series, [
      times,
      ...this.targets.map((target) => this.samples.map(({ medians }) => medians.get(target) ?? null)),
    ]);
  }

  rebuild() {
    this.calls.rebuild();
    this.tokens.rebuild();
    this.draw();
  }
}

class Chart {
  /** `least` is the smallest range of the values. */
  constructor(place, legend, format, least) {
    this.place = byId(place);
    this.legend = byId(legend);
    this.format = format;
    this.least = least;
    this.label = this.place.getAttribute("aria-label");
    this.plot = null;
    new ResizeObserver(() => this.resize()).observe(this.place);
  }

  draw(series, data) {
    if (this.plot === null || this.plot.series.length !== series.length + 1) this.build(series, data);
    else this.plot.setData(data);
    const latest = series.map(({ label }, index) => `${label}: ${this.latest(data[index + 1])}`);
    setAttribute(this.place, "aria-label", [this.label, ...latest].join(", "));
    [...this.legend.children].forEach((entry, index) =>
      setText(entry.lastElementChild, this.latest(data[index + 1])),
    );
  }

  latest(values) {
    const known = values.filter((value) => value !== null);
    return known.length === 0 ? "–" : this.format(known.at(-1));
  }

  build(series, data) {
    this.rebuild();
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(name).trim();
    const axis = {
      stroke: color("--muted"),
      font: `11px ${color("--font")}`,
      grid: { stroke: color("--line"), width: 1 },
      ticks: { show: false },
    };
    const lines = series.map(({ label, color: name, dash, isSparse }) => ({
      label,
      stroke: color(name),
      width: 2,
      dash,
      spanGaps: true,
      points: { show: isSparse === true, size: 5, fill: color(name) },
      fill: isSparse ? undefined : `color-mix(in srgb, ${color(name)} 12%, transparent)`,
    }));
    const options = {
      ...this.size(),
      padding: [8, 8, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
      scales: {
        x: { range: () => [Date.now() / 1_000 - SPAN, Date.now() / 1_000] },
        y: { range: (_, __, max) => [0, Math.max(max ?? 0, this.least) * 1.1] },
      },
      axes: [
        {
          ...axis,
          grid: { show: false },
          size: 28,
          space: 70,
          values: (_, ticks) => ticks.map((tick) => clockOf(tick)),
        },
        {
          ...axis,
          size: 56,
          space: 32,
          incrs: INCREMENTS,
          values: (_, ticks) => ticks.map((tick) => this.format(tick)),
        },
      ],
      series: [{}, ...lines],
    };
    this.plot = new window.uPlot(options, data, this.place);
    this.legend.replaceChildren(
      ...series.map(({ label, color: name }) =>
        element(
          "span",
          { class: "series", "data-color": name.slice(2) },
          element("span", { class: "key", "aria-hidden": "true" }),
          element("span", { class: "name" }, label),
          " ",
          element("span", { class: "value" }),
        ),
      ),
    );
  }

  /** Removes the drawing; the next one has the current colors. */
  rebuild() {
    this.plot?.destroy();
    this.plot = null;
  }

  resize() {
    this.plot?.setSize(this.size());
  }

  size() {
    return { width: Math.max(this.place.clientWidth, 200), height: 170 };
  }
}

function clockOf(seconds) {
  const date = new Date(1_000 * seconds);
  const two = (value) => String(value).padStart(2, "0");
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`.replace(/:00$/, "");
}
