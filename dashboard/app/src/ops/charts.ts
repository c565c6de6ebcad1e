/** Two charts over the last minutes: events per second, and latency, per transport. */

import "uplot/dist/uPlot.min.css";

import uPlot from "uplot";

import { h, setText } from "../dom.js";
import { figure } from "../format.js";
import { merged, quantile, type Status } from "./status.js";

/** Seconds that a chart shows, at one point a second. */
const SHOWN = 300;

interface Line {
  readonly label: string;
  /** Name of the custom property that holds the colour. */
  readonly colour: string;
  readonly dashed?: boolean;
}

/** One chart: appended to once a second, its legend tells the latest values. */
class Chart {
  readonly #element: HTMLElement;
  readonly #lines: readonly Line[];
  readonly #format: (value: number) => string;
  readonly #values: HTMLElement[];
  readonly #canvas: HTMLElement;
  readonly #times: number[] = [];
  readonly #series: (number | null)[][];
  #plot: uPlot | null = null;

  constructor(element: HTMLElement, lines: readonly Line[], format: (value: number) => string) {
    this.#element = element;
    this.#lines = lines;
    this.#format = format;
    this.#series = lines.map(() => []);
    this.#values = lines.map(() => h("dd", {}, "–"));
    this.#canvas = h("div", { class: "chart-canvas", "aria-hidden": "true" });
    const legend = h(
      "dl",
      { class: "legend" },
      ...lines.map((line, number) =>
        h("div", {}, h("dt", { style: `--colour: var(${line.colour})`, "data-dashed": line.dashed === true }, line.label), this.#values[number]),
      ),
    );
    element.append(legend, this.#canvas);
    new ResizeObserver(() => this.#resize()).observe(this.#canvas);
    // The canvas holds colours, not properties: another scheme needs another plot.
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#make());
    this.#make();
  }

  add(atMs: number, values: readonly (number | null)[]): void {
    this.#times.push(atMs / 1_000);
    values.forEach((value, number) => {
      this.#series[number]?.push(value);
      const shown = this.#values[number];
      if (shown !== undefined) setText(shown, value === null ? "–" : this.#format(value));
    });
    if (this.#times.length > SHOWN) {
      this.#times.shift();
      for (const one of this.#series) one.shift();
    }
    this.#draw();
  }

  #draw(): void {
    const last = this.#times.at(-1) ?? Date.now() / 1_000;
    const first = Math.min(this.#times[0] ?? last, last - 60);
    this.#plot?.setData([this.#times, ...this.#series] as uPlot.AlignedData, false);
    this.#plot?.setScale("x", { min: first, max: last });
  }

  #make(): void {
    this.#plot?.destroy();
    const style = getComputedStyle(document.body);
    const colour = (name: string): string => resolved(this.#canvas, style.getPropertyValue(name));
    const font = `12px ${style.fontFamily}`;
    const axis = { stroke: colour("--muted"), font, ticks: { show: false }, grid: { stroke: colour("--line"), width: 1 } };
    const options: uPlot.Options = {
      width: Math.max(200, this.#canvas.clientWidth),
      height: 190,
      legend: { show: false },
      cursor: { show: false },
      scales: { y: { range: (_, __, max) => [0, Math.max(1, (max ?? 1) * 1.15)] } },
      axes: [
        { ...axis, size: 30, grid: { show: false }, splits: (_, __, min, max) => splits(min, max), values: (_, times) => times.map((at) => ago(at, this.#times.at(-1) ?? at)) },
        { ...axis, size: 52, values: (_, ticks) => ticks.map((tick) => this.#format(tick)) },
      ],
      series: [
        {},
        ...this.#lines.map((line): uPlot.Series => ({
          label: line.label,
          stroke: colour(line.colour),
          width: 2,
          points: { show: false },
          ...(line.dashed === true ? { dash: [5, 4] } : {}),
        })),
      ],
    };
    this.#plot = new uPlot(options, [this.#times, ...this.#series] as uPlot.AlignedData, this.#canvas);
    this.#draw();
  }

  #resize(): void {
    const width = this.#canvas.clientWidth;
    if (width > 0 && this.#element.isConnected) this.#plot?.setSize({ width, height: 190 });
  }
}

/** Both charts, fed by each status. */
export class Charts {
  readonly #rate: Chart;
  readonly #latency: Chart;

  constructor(rate: HTMLElement, latency: HTMLElement) {
    const transports: Line[] = [
      { label: "WebSocket", colour: "--websocket" },
      { label: "Supabase", colour: "--realtime" },
    ];
    this.#rate = new Chart(rate, [{ label: "Published", colour: "--muted", dashed: true }, ...transports], (value) => figure(value));
    this.#latency = new Chart(latency, transports, (value) => (value >= 1_000 ? `${figure(value / 1_000)} s` : `${figure(value)} ms`));
  }

  show(status: Status): void {
    const subscribers = status.instances.filter((one) => one.live && (one.role === "subscriber" || one.role === "page"));
    const share = (name: string): number => (status.rates[`delivered_${name}_per_s`] ?? 0) / Math.max(1, subscribers.length);
    const atMs = status.at_us / 1_000;
    this.#rate.add(atMs, [status.rates["published_per_s"] ?? 0, share("websocket"), share("realtime")]);
    const readers = status.instances.filter((one) => one.live && one.role !== "publisher");
    const p95 = (name: string): number | null =>
      quantile(merged(readers.map((one) => one.report.transports[name]?.latency_ms.counts ?? {})), 0.95);
    this.#latency.add(atMs, [p95("websocket"), p95("realtime")]);
  }
}

/** Marks at round distances from now. */
function splits(min: number, max: number): number[] {
  const step = max - min > 150 ? 60 : 15;
  const count = Math.floor((max - min) / step);
  return Array.from({ length: count + 1 }, (_, number) => max - (count - number) * step);
}

function ago(at: number, last: number): string {
  const seconds = Math.round(last - at);
  if (seconds < 1) return "now";
  return seconds % 60 ? `−${seconds} s` : `−${seconds / 60} min`;
}

/** A colour as the canvas understands it: `light-dark()` is resolved by the element. */
function resolved(element: HTMLElement, value: string): string {
  element.style.color = value;
  const found = getComputedStyle(element).color;
  element.style.color = "";
  return found;
}
