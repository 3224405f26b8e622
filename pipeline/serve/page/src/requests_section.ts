// The Requests section: summary boxes, HTTP requests, pending requests, latency and time to first byte.

import type { View } from "./address.ts";
import { SummaryFigures } from "./summary_figures.ts";
import { h } from "./dom.ts";
import { amount, count, duration, tick } from "./format.ts";
import { Graph, type GraphSpec } from "./graph.ts";
import { byName, graphData, isEmpty, type Line } from "./lines.ts";
import { Segmented } from "./segmented.ts";
import type { Section, SectionContext } from "./section.ts";
import type { Answer, Values } from "./models.ts";
import { statusColour } from "./status_colour.ts";

const NO_REPORTS = "No replica reported anything in this range.";

const HTTP: GraphSpec = {
  id: "requests",
  title: "HTTP requests",
  note: (step) => `each bar is ${duration(step)}`,
  kind: "stack",
  format: count,
  tick,
  whole: true,
  least: 4,
  empty: NO_REPORTS,
};

const PENDING: GraphSpec = {
  id: "pending",
  title: "Pending requests",
  note: () => "waiting for a status; mean and peak",
  kind: "lines",
  format: amount,
  tick,
  least: 4,
  empty: NO_REPORTS,
};

const timeSpec = (id: string, title: string, note: string): GraphSpec => ({
  id,
  title,
  note: () => note,
  kind: "lines",
  format: duration,
  tick: (value) => duration(value),
  least: 0.01,
  empty: "No requests ended in this range.",
});

const LATENCY = timeSpec("latency", "Latency distribution", "from arrival to the last byte");
const TTFB = timeSpec("ttfb", "Time to first byte", "from arrival to the status");

const PENDING_LINES: Omit<Line, "values">[] = [
  { key: "pending_mean", label: "pending", colour: "pending", width: 2.25, fill: true },
  { key: "pending_max", label: "peak", colour: "pending", dash: [2, 3], width: 1.25 },
  { key: "streaming_mean", label: "streaming", colour: "streaming", dash: [8, 4], width: 1.5 },
  { key: "streaming_max", label: "peak", colour: "streaming", dash: [2, 3], width: 1.25 },
  { key: "active_mean", label: "active", colour: "active", width: 1.5 },
  { key: "active_max", label: "peak", colour: "active", dash: [2, 3], width: 1.25 },
];

const QUANTILES: Omit<Line, "values">[] = [
  { key: "p99", label: "p99", colour: "p99", dash: [2, 3], width: 1.5 },
  { key: "p95", label: "p95", colour: "p95", dash: [6, 3], width: 1.5 },
  { key: "p90", label: "p90", colour: "p90", width: 1.5 },
  { key: "p50", label: "median", colour: "p50", width: 2.25, fill: true },
];

export class RequestsSection implements Section {
  readonly series = ["requests", "pending", "latency", "ttfb"];
  readonly include = ["summary"];
  readonly element: HTMLElement;
  private readonly summary = new SummaryFigures();
  private readonly by: Segmented<"class" | "status">;
  private readonly graphs: Graph[];

  constructor({ crosshair, events, change }: SectionContext) {
    this.graphs = [HTTP, PENDING, LATENCY, TTFB].map((spec) => new Graph(spec, crosshair, scoped(events, spec.id)));
    this.by = new Segmented("Group requests by", [["class", "Class"], ["status", "Status"]], (by) => change({ by }));
    this.graphs[0]!.controls.append(this.by.element);
    const grid = h("div", { class: "grid" }, ...this.graphs.map(({ element }) => element));
    this.element = h("div", { class: "section" }, this.summary.element, grid);
  }

  show(answer: Answer, view: View): void {
    this.by.set(view.by);
    if (answer.summary) this.summary.update(answer.summary);
    const [http, pending, latency, ttfb] = this.graphs;
    http!.update(graphData(answer, requestLines(byName(answer, "requests"))));
    pending!.update(graphData(answer, filled(PENDING_LINES, byName(answer, "pending"))));
    latency!.update(graphData(answer, filled(QUANTILES, byName(answer, "latency"))));
    ttfb!.update(graphData(answer, filled(QUANTILES, byName(answer, "ttfb"))));
  }

  destroy(): void {
    for (const graph of this.graphs) graph.destroy();
  }
}

/** Prefix line keys with the graph's id, as in the address: `graph.line`. */
export function scoped(events: SectionContext["events"], id: string): SectionContext["events"] {
  return {
    ...events,
    isHidden: (key) => events.isHidden(`${id}.${key}`),
    toggle: (key, alone) => events.toggle(`${id}.${key}`, alone),
  };
}

function filled(lines: Omit<Line, "values">[], series: Map<string, Values>): Line[] {
  return lines.flatMap((line) => (series.has(line.key) ? [{ ...line, values: series.get(line.key)! }] : []));
}

/** Successes at the bottom; informational statuses only if there were any, since they are not final. */
function requestLines(series: Map<string, Values>): Line[] {
  const names = [...series.keys()];
  const lines = [...series].map(([name, values]) => ({ key: name, label: name, colour: statusColour(name, names), values }));
  const none = ({ values }: Line): boolean => isEmpty(values) || values.every((value) => !value);
  return lines.filter((line) => !(line.key.startsWith("1") && none(line))).sort(bySeverity);
}

function bySeverity(a: Line, b: Line): number {
  const rank = ({ key }: Line): number => (key === "aborted" ? 1000 : key.startsWith("1") ? 299 : parseInt(key, 10) * (key.length === 3 && key.endsWith("xx") ? 100 : 1));
  return rank(a) - rank(b);
}
