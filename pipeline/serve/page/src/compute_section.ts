// Compute: the replica's processor, memory and accelerators; the average, or each replica and device.

import type { View } from "./address.ts";
import { h } from "./dom.ts";
import { byteRate, bytes, celsius, percent, watts } from "./format.ts";
import { Graph, type GraphSpec } from "./graph.ts";
import { graphData, isEmpty, type Line } from "./lines.ts";
import { scoped } from "./requests_section.ts";
import { Segmented } from "./segmented.ts";
import type { Section, SectionContext } from "./section.ts";
import type { Answer, Series } from "./shapes.ts";

interface HardwareSpec extends GraphSpec {
  metrics: { name: string; label: string; colour: string; limit?: boolean }[];
}

type Format = (value: number | null) => string;

function hardware(id: string, title: string, note: string, format: Format, metrics: HardwareSpec["metrics"], ceiling?: number): HardwareSpec {
  return {
    id,
    title,
    note: () => note,
    kind: "lines",
    format,
    tick: (value) => format(value),
    metrics,
    empty: "No samples in this time.",
    ...(ceiling ? { ceiling } : {}),
  };
}

const used = (name: string) => ({ name, label: "used", colour: "used" });
const limit = (name: string, label: string) => ({ name, label, colour: "limit", limit: true });

const SPECS: HardwareSpec[] = [
  hardware("cpu", "CPU", "of the replica's cores", percent, [used("cpu_percent")], 100),
  hardware("memory", "Memory", "without the page cache", bytes, [used("memory_used_bytes"), limit("memory_limit_bytes", "limit")]),
  hardware("gpu", "GPU", "share of time in which it computed", percent, [used("gpu_percent")], 100),
  hardware("gpu_memory", "GPU memory", "on the device", bytes, [used("gpu_memory_used_bytes"), limit("gpu_memory_total_bytes", "total")]),
  hardware("gpu_power", "GPU power", "drawn by the device", watts, [used("gpu_power_watts")]),
  hardware("gpu_temperature", "GPU temperature", "of the device", celsius, [used("gpu_temperature_celsius")]),
  hardware("network", "Network", "bytes a second", byteRate, [
    { name: "network_received_bytes", label: "received", colour: "used" },
    { name: "network_sent_bytes", label: "sent", colour: "used-2" },
  ]),
  hardware("disk", "Disk", "bytes a second", byteRate, [
    { name: "disk_read_bytes", label: "read", colour: "used" },
    { name: "disk_written_bytes", label: "written", colour: "used-2" },
  ]),
];

const COLOURS = 8;
const DASHES: (number[] | undefined)[] = [undefined, [8, 4], [2, 3], [10, 3, 2, 3]];

export class ComputeSection implements Section {
  readonly series = ["hardware"];
  readonly include: string[] = [];
  readonly element: HTMLElement;
  private readonly details: Segmented<"average" | "details">;
  private readonly graphs: { spec: HardwareSpec; graph: Graph }[];
  private readonly missing = h("p", { class: "section-note" });

  constructor({ crosshair, events, change }: SectionContext) {
    this.graphs = SPECS.map((spec) => ({ spec, graph: new Graph(spec, crosshair, scoped(events, spec.id)) }));
    const choices = [["average", "Average"], ["details", "Details"]] as const;
    this.details = new Segmented("Average or each replica", choices, (value) => change({ details: value === "details" }));
    const head = h("div", { class: "section-head" }, this.missing, this.details.element);
    this.element = h("div", { class: "section" }, head, h("div", { class: "grid" }, ...this.graphs.map(({ graph }) => graph.element)));
  }

  show(answer: Answer, view: View): void {
    this.details.set(view.details ? "details" : "average");
    const what = view.details ? "Each replica and device." : view.replica ? "The replica's figures." : "Average over running replicas.";
    this.missing.textContent = what;
    const colours = replicaColours(answer);
    for (const { spec, graph } of this.graphs) graph.update(graphData(answer, linesOf(spec, answer, view.details, colours)));
  }

  destroy(): void {
    for (const { graph } of this.graphs) graph.destroy();
  }
}

/** Each replica's place, the same in every graph. */
function replicaColours(answer: Answer): Map<string, number> {
  const names = new Set(answer.series.map((series) => series.replica ?? "").filter(Boolean));
  return new Map([...names].sort().map((name, place) => [name, place]));
}

function linesOf(spec: HardwareSpec, answer: Answer, details: boolean, places: Map<string, number>): Line[] {
  const found = answer.series.filter((series) => series.group === "hardware");
  return spec.metrics.flatMap((metric, place): Line[] => {
    const series = found.filter(({ name }) => name === metric.name);
    if (!details) {
      return series.slice(0, 1).map(({ values }) => ({
        key: metric.name,
        label: metric.label,
        colour: metric.colour,
        values,
        fill: !metric.limit && place === 0,
        width: metric.limit ? 1.5 : 2,
        ...(metric.limit ? { dash: [6, 4] } : place ? { dash: [8, 4] } : {}),
      }));
    }
    if (metric.limit) return limits(series, metric.label);
    return series.map((one) => detail(one, metric.label, spec.metrics.length > 1 && !spec.metrics[1]!.limit, place, places));
  });
}

function detail(series: Series, label: string, several: boolean, metricPlace: number, places: Map<string, number>): Line {
  const replica = series.replica ?? "";
  const place = places.get(replica) ?? 0;
  const device = Number(/\d+$/.exec(series.device ?? "")?.[0] ?? 0);
  const dash = DASHES[(Math.floor(place / COLOURS) + device + metricPlace) % DASHES.length];
  const name = [replica, series.device].filter(Boolean).join(" · ");
  return {
    key: [series.name, replica, series.device].filter(Boolean).join("."),
    label: several ? `${name} ${label}` : name,
    colour: `line-${place % COLOURS}`,
    values: series.values,
    width: 1.5,
    ...(dash ? { dash } : {}),
  };
}

/** Limits that are all the same are one line. */
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
