// Converts lines to uPlot's options and data. The only module that knows uPlot's formats; it has no state.

import uPlot from "uplot";
import { TIME_STEPS, timeTicks, top, WHOLE_STEPS } from "./axes.ts";
import { type GraphData, type Line, stack } from "./lines.ts";
import { colour } from "./theme.ts";

export interface PlotSpec {
  kind: "lines" | "stack";
  /** The label of a tick on the value axis. */
  tick(value: number): string;
  /** The value axis always reaches at least this value. */
  ceiling?: number;
  /** The top of the value axis if all values are 0. */
  least?: number;
  /** Values are integers. */
  whole?: boolean;
}

const FONT = '11px "Inter Variable", system-ui, sans-serif';

/** Data as uPlot expects it: the middle of each step, then a column for each line, in the order of `seriesOf`. */
export function columns(spec: PlotSpec, data: GraphData, lines: Line[]): uPlot.AlignedData {
  const middles = data.at.map((at) => at + data.step / 2);
  // The tallest layer is drawn first, and the others over it.
  const values = spec.kind === "stack" ? stack(lines).reverse() : lines.map((line) => line.values);
  return [middles, ...values] as uPlot.AlignedData;
}

function seriesOf(spec: PlotSpec, lines: Line[]): uPlot.Series[] {
  if (spec.kind === "lines") return lines.map(lineSeries);
  const bars = uPlot.paths.bars!({ size: [0.84, 48], radius: 0 });
  return lines.toReversed().map((line) => ({
    label: line.label,
    fill: colour(line.colour),
    width: 0,
    paths: bars,
    points: { show: false },
  }));
}

function lineSeries(line: Line): uPlot.Series {
  const stroke = colour(line.colour);
  return {
    label: line.label,
    stroke,
    width: line.width ?? 1.75,
    ...(line.dash ? { dash: line.dash } : {}),
    ...(line.fill ? { fill: `color-mix(in srgb, ${stroke} 13%, transparent)` } : {}),
    ...(line.steps ? { paths: uPlot.paths.stepped!({ align: 1 }) } : {}),
    spanGaps: false,
    points: { show: true, filter: alone, size: 5, fill: stroke, width: 0 },
  };
}

/** Points with a gap on both sides: no line reaches them, so they need a dot to be visible. */
function alone(plot: uPlot, series: number): number[] {
  const values = plot.data[series]!;
  const found: number[] = [];
  for (let i = 0; i < values.length; i++) {
    if (values[i] != null && values[i - 1] == null && values[i + 1] == null) found.push(i);
  }
  return found;
}

function axes(spec: PlotSpec): uPlot.Axis[] {
  const shared = {
    stroke: colour("muted"),
    font: FONT,
    ticks: { show: false },
    grid: { stroke: colour("grid"), width: 1 },
  };
  return [
    {
      ...shared,
      grid: { show: false },
      size: 38,
      gap: 7,
      space: 78,
      incrs: TIME_STEPS,
      values: (_plot, splits, _axis, _space, spacing) => timeTicks(splits, spacing),
    },
    {
      ...shared,
      size: 58,
      gap: 8,
      space: 34,
      ...(spec.whole ? { incrs: WHOLE_STEPS } : {}),
      values: (_plot, splits) => splits.map((value) => spec.tick(value)),
    },
  ];
}

/** Move the crosshair to `left` pixels; `notify`: also call hooks and move other plots, which uPlot's types omit. */
export function pointAt(plot: uPlot, left: number, notify: boolean): void {
  const move = plot.setCursor as (to: { left: number; top: number }, hooks: boolean, others: boolean) => void;
  move({ left, top: left < 0 ? -10 : 0 }, notify, notify);
}

export interface PlotEvents {
  range(): [number, number];
  zoomed(from: number, to: number): void;
  pointed(index: number | null): void;
  reset(): void;
  drawn(plot: uPlot): void;
}

/** Return uPlot's options for these lines. */
export function options(spec: PlotSpec, lines: Line[], size: { width: number; height: number }, key: string, events: PlotEvents): uPlot.Options {
  return {
    ...size,
    padding: [10, 28, 0, 0],
    legend: { show: false },
    scales: {
      x: { time: true, range: () => events.range() },
      y: { range: (_plot, _least, greatest) => [0, top(greatest, spec.ceiling ?? null, spec.least ?? 1)] },
    },
    axes: axes(spec),
    series: [{}, ...seriesOf(spec, lines)],
    cursor: {
      y: false,
      sync: { key, setSeries: false },
      drag: { x: true, y: false, setScale: false, dist: 6 },
      points: spec.kind === "stack" ? { show: false } : { size: 7, width: 2, fill: colour("card") },
      bind: { dblclick: () => () => (events.reset(), null) },
    },
    hooks: {
      setCursor: [(plot) => events.pointed((plot.cursor.left ?? -1) < 0 ? null : (plot.cursor.idx ?? null))],
      setSelect: [
        (plot) => {
          const { left, width } = plot.select;
          if (width <= 0) return;
          const [from, to] = [plot.posToVal(left, "x"), plot.posToVal(left + width, "x")];
          plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
          events.zoomed(from, to);
        },
      ],
      draw: [(plot) => events.drawn(plot)],
    },
  };
}
