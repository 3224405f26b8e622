// A small graph without axes, of the last half hour. Gaps stay gaps.

import { svg } from "./dom.ts";
import type { Values } from "./models.ts";

const WIDTH = 120;
const HEIGHT = 32;
const PAD = 2;

/** Return a line over a tinted area, in a colour of the style sheet. `top`: the smallest maximum of the axis. */
export function sparkline(values: Values, colour: string, top = 0): SVGElement {
  const greatest = Math.max(top, ...values.map((value) => value ?? 0)) || 1;
  const x = (i: number): number => PAD + (i / Math.max(1, values.length - 1)) * (WIDTH - 2 * PAD);
  const y = (value: number): number => HEIGHT - PAD - (value / greatest) * (HEIGHT - 2 * PAD);
  const line: string[] = [];
  const area: string[] = [];
  for (const run of runs(values)) {
    const points = run.map(([i, value]) => `${x(i).toFixed(1)} ${y(value).toFixed(1)}`);
    // A single point has no line, so a short one is drawn.
    line.push(points.length > 1 ? `M${points.join("L")}` : `M${points[0]}h0.1`);
    area.push(`M${x(run[0]![0]).toFixed(1)} ${HEIGHT}L${points.join("L")}L${x(run.at(-1)![0]).toFixed(1)} ${HEIGHT}Z`);
  }
  const shape = svg(
    "svg",
    { class: "spark", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("path", { d: area.join(""), class: "spark-area" }),
    svg("path", { d: line.join(""), class: "spark-line", "vector-effect": "non-scaling-stroke" }),
  );
  shape.style.color = `var(--${colour})`;
  return shape;
}

/** Runs of values without a gap, as [index, value]. */
function runs(values: Values): [number, number][][] {
  const found: [number, number][][] = [];
  values.forEach((value, i) => {
    if (value === null) return;
    if (values[i - 1] == null) found.push([]);
    found.at(-1)!.push([i, value]);
  });
  return found;
}
