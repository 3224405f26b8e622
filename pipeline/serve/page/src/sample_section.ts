// Samples over time for the Compute and Engine sections: the average, or each replica and device.

import type { View } from "./address.ts";
import { h } from "./dom.ts";
import { Graph, type GraphSpec } from "./graph.ts";
import { graphData, isEmpty, type Line } from "./lines.ts";
import { scoped } from "./requests_section.ts";
import { Segmented } from "./segmented.ts";
import type { Section, SectionContext } from "./section.ts";
import type { Answer, Group, Series } from "./models.ts";

export interface SampleSpec extends GraphSpec {
  metrics: { name: string; label: string; colour: string; limit?: boolean }[];
  /** Show the graph only if a value is above 0: a problem that most endpoints never have. */
  quiet?: boolean;
}

export type Format = (value: number | null) => string;

export function samples(id: string, title: string, note: string, format: Format, metrics: SampleSpec["metrics"], ceiling?: number): SampleSpec {
  return {
    id,
    title,
    note: () => note,
    kind: "lines",
    format,
    tick: (value) => format(value),
    metrics,
    empty: "No samples in this range.",
    ...(ceiling ? { ceiling } : {}),
  };
}

export const used = (name: string, label = "used") => ({ name, label, colour: "used" });
export const other = (name: string, label: string) => ({ name, label, colour: "used-2" });

const COLOURS = 8;
const DASHES: (number[] | undefined)[] = [undefined, [8, 4], [2, 3], [10, 3, 2, 3]];

export class SampleSection implements Section {
  readonly series: string[];
  readonly include: string[] = [];
  readonly element: HTMLElement;
  protected readonly grid = h("div", { class: "grid" });
  private readonly details: Segmented<"average" | "details">;
  private readonly graphs: { spec: SampleSpec; graph: Graph }[] = [];
  private readonly note = h("p", { class: "section-note" });

  constructor(
    private readonly group: Group,
    specs: SampleSpec[],
    private readonly detailsNote: string,
    private readonly context: SectionContext,
  ) {
    this.series = [group];
    const choices = [["average", "Average"], ["details", "Details"]] as const;
    this.details = new Segmented("Average or per replica", choices, (value) => context.change({ details: value === "details" }));
    const head = h("div", { class: "section-head" }, this.note, this.details.element);
    this.element = h("div", { class: "section" }, head, this.grid);
    for (const spec of specs) this.add(spec);
  }

  show(answer: Answer, view: View): void {
    this.details.set(view.details ? "details" : "average");
    const note = view.details ? this.detailsNote : view.replica ? "Figures of this replica." : "Average over running replicas.";
    this.note.textContent = note;
    const found = answer.series.filter(({ group }) => group === this.group);
    const indexes = replicaIndexes(found);
    for (const { spec, graph } of this.graphs) {
      const lines = linesOf(spec, found, view.details, indexes);
      graph.element.hidden = Boolean(spec.quiet) && !lines.some(({ values }) => values.some((value) => (value ?? 0) > 0));
      graph.update(graphData(answer, lines));
    }
  }

  destroy(): void {
    for (const { graph } of this.graphs) graph.destroy();
  }

  /** Append a graph. */
  protected add(spec: SampleSpec): void {
    const graph = new Graph(spec, this.context.crosshair, scoped(this.context.events, spec.id));
    this.graphs.push({ spec, graph });
    this.grid.append(graph.element);
  }

  protected has(metric: string): boolean {
    return this.graphs.some(({ spec }) => spec.metrics.some(({ name }) => name === metric));
  }
}

/** The index of each replica, the same in every graph. */
function replicaIndexes(found: Series[]): Map<string, number> {
  const names = new Set(found.map((series) => series.replica ?? "").filter(Boolean));
  return new Map([...names].sort().map((name, index) => [name, index]));
}

function linesOf(spec: SampleSpec, found: Series[], details: boolean, indexes: Map<string, number>): Line[] {
  return spec.metrics.flatMap((metric, index): Line[] => {
    const series = found.filter(({ name }) => name === metric.name);
    if (!details) {
      return series.slice(0, 1).map(({ values }) => ({
        key: metric.name,
        label: metric.label,
        colour: metric.colour,
        values,
        fill: !metric.limit && index === 0,
        width: metric.limit ? 1.5 : 2,
        ...(metric.limit ? { dash: [6, 4] } : index ? { dash: DASHES[index % DASHES.length]! } : {}),
      }));
    }
    if (metric.limit) return limits(series, metric.label);
    return series.map((one) => detail(one, metric.label, spec.metrics.length > 1 && !spec.metrics[1]!.limit, index, indexes));
  });
}

function detail(series: Series, label: string, several: boolean, metricIndex: number, indexes: Map<string, number>): Line {
  const replica = series.replica ?? "";
  const index = indexes.get(replica) ?? 0;
  const device = Number(/\d+$/.exec(series.device ?? "")?.[0] ?? 0);
  const dash = DASHES[(Math.floor(index / COLOURS) + device + metricIndex) % DASHES.length];
  const name = [replica, series.device].filter(Boolean).join(" · ");
  return {
    key: [series.name, replica, series.device].filter(Boolean).join("."),
    label: several ? `${name} ${label}` : name,
    colour: `line-${index % COLOURS}`,
    values: series.values,
    width: 1.5,
    ...(dash ? { dash } : {}),
  };
}

/** Equal limits are drawn as one line. */
function limits(series: Series[], label: string): Line[] {
  const seen = new Map<string, Line>();
  for (const one of series) {
    const greatest = String(Math.max(...one.values.map((value) => value ?? 0)));
    const before = seen.get(greatest);
    if (isEmpty(one.values)) continue;
    if (before) before.values = before.values.map((value, i) => value ?? one.values[i] ?? null);
    else {
      const key = [one.name, one.replica, one.device].filter(Boolean).join(".");
      seen.set(greatest, { key, label, colour: "limit", values: one.values, dash: [6, 4], width: 1.5 });
    }
  }
  return [...seen.values()];
}
