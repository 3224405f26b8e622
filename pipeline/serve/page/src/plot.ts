// From lines to uPlot's options and data. The only module that knows how uPlot wants things; it keeps nothing.

import uPlot from "uplot";
import { TIME_STEPS, timeTicks, top, WHOLE_STEPS } from "./axes.ts";
import { type GraphData, type Line, stack } from "./lines.ts";
import { colour } from "./theme.ts";

export interface PlotSpec {
  kind: "lines" | "stack";
  /** What a tick of the value axis says. */
  tick(value: number): string;
  /** The value axis always reaches up to here. */
  ceiling?: number;
  /** The top of the value axis while all is 0. */
  least?: number;
  /** Values are whole things. */
  whole?: boolean;
}

const FONT = '11px "Inter Variable", system-ui, sans-serif';

/** Data as uPlot takes it: the middles of the steps, then a column for each line, in the order of `seriesOf`. */
export function columns(spec: PlotSpec, data: GraphData, lines: Line[]): uPlot.AlignedData {
  const middles = data.at.map((at) => at + data.step / 2);
  // The tallest layer is drawn first, the others over it.
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

/** Points between gaps on both sides: no line reaches them, and without a dot they would not be seen. */
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

/** Move the crosshair to `left` pixels; `tell`: also the hooks and the other plots. uPlot's types leave that out. */
export function pointAt(plot: uPlot, left: number, tell: boolean): void {
  const move = plot.setCursor as (to: { left: number; top: number }, hooks: boolean, others: boolean) => void;
  move({ left, top: left < 0 ? -10 : 0 }, tell, tell);
}

export interface PlotEvents {
  range(): [number, number];
  zoomed(from: number, to: number): void;
  pointed(index: number | null): void;
  reset(): void;
  drawn(plot: uPlot): void;
}

/** Options of a plot of these lines. */
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
