// What is drawn over the lines of a graph: scale events, and a veil over the incomplete step.

import type uPlot from "uplot";
import type { ScaleEvent } from "./models.ts";
import { colour } from "./theme.ts";

const ENDS = new Set(["draining", "terminated", "failed"]);

/** A short description of the event. */
export function eventText(event: ScaleEvent): string {
  if (event.kind === "settings") return `replicas set to ${event.min_replicas}–${event.max_replicas}`;
  return `${event.replica} ${event.state}${event.reason ? ` (${event.reason})` : ""}`;
}

/** Only events that change the number of running replicas or its limits; intermediate states would be clutter. */
export function isMark(event: ScaleEvent): boolean {
  return event.kind === "settings" || event.state === "running" || ENDS.has(event.state ?? "");
}

export function drawMarks(plot: uPlot, events: ScaleEvent[]): void {
  const { ctx, bbox } = plot;
  ctx.save();
  for (const event of events) {
    const x = Math.round(plot.valToPos(event.at, "x", true)) + 0.5;
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    const ratio = devicePixelRatio;
    const size = 4 * ratio;
    ctx.strokeStyle = ctx.fillStyle = colour(event.kind === "settings" ? "mark-settings" : ENDS.has(event.state ?? "") ? "mark-down" : "mark-up");
    ctx.lineWidth = ratio;
    ctx.setLineDash([2 * ratio, 3 * ratio]);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top + size * 2);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    ctx.beginPath();
    symbol(ctx, x, bbox.top + size, size, event);
    ctx.fill();
  }
  ctx.restore();
}

/** Up: a replica runs; down: one leaves; a diamond: settings. The shape differs, not only the colour. */
function symbol(ctx: CanvasRenderingContext2D, x: number, y: number, size: number, event: ScaleEvent): void {
  const up = event.state === "running";
  if (event.kind === "settings") {
    ctx.moveTo(x, y - size);
    ctx.lineTo(x + size, y);
    ctx.lineTo(x, y + size);
    ctx.lineTo(x - size, y);
  } else {
    ctx.moveTo(x - size, up ? y + size : y - size);
    ctx.lineTo(x + size, up ? y + size : y - size);
    ctx.lineTo(x, up ? y - size : y + size);
  }
  ctx.closePath();
}

export function drawVeil(plot: uPlot, from: number | null): void {
  if (from === null) return;
  const { ctx, bbox } = plot;
  const left = Math.max(bbox.left, plot.valToPos(from, "x", true));
  const width = bbox.left + bbox.width - left;
  if (width <= 0) return;
  ctx.save();
  ctx.globalAlpha = 0.5;
  ctx.fillStyle = colour("card");
  ctx.fillRect(left, bbox.top, width, bbox.height);
  ctx.restore();
}
