// The Timeline section: running replicas, their limits, and the states of each replica.

import type { View } from "./address.ts";
import { h } from "./dom.ts";
import { count, tick } from "./format.ts";
import { Graph, type GraphSpec } from "./graph.ts";
import { byName, graphData, type Line } from "./lines.ts";
import { scoped } from "./requests_section.ts";
import { ReplicaBars } from "./replica_bars.ts";
import type { Section, SectionContext } from "./section.ts";
import type { Answer } from "./models.ts";

const RUNNING: GraphSpec = {
  id: "running",
  title: "Running replicas",
  note: () => "with the limits in force",
  kind: "lines",
  format: count,
  tick,
  whole: true,
  least: 2,
  empty: "No replica reported anything in this range.",
};

const LINES: Omit<Line, "values">[] = [
  { key: "running", label: "running", colour: "running", width: 2.25, fill: true, steps: true },
  { key: "max_replicas", label: "maximum", colour: "maximum", width: 1.75, steps: true },
  { key: "min_replicas", label: "minimum", colour: "minimum", width: 1.5, dash: [6, 4], steps: true },
];

export class TimelineSection implements Section {
  readonly series = ["replicas"];
  readonly include = ["timeline"];
  readonly element: HTMLElement;
  private readonly running: Graph;
  private readonly bars: ReplicaBars;

  constructor({ crosshair, events }: SectionContext) {
    this.running = new Graph(RUNNING, crosshair, scoped(events, RUNNING.id));
    this.bars = new ReplicaBars(crosshair, events);
    this.element = h("div", { class: "section" }, h("div", { class: "grid grid-one" }, this.running.element, this.bars.element));
  }

  show(answer: Answer, _view: View): void {
    const series = byName(answer, "replicas");
    const lines = LINES.flatMap((line) => (series.has(line.key) ? [{ ...line, values: series.get(line.key)! }] : []));
    this.running.update(graphData(answer, lines));
    this.bars.update(answer);
  }

  destroy(): void {
    this.running.destroy();
    this.bars.destroy();
  }
}
