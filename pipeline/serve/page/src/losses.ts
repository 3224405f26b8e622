// Lost data: a mark on every graph that it affects, and a line of text that says how much, when and why.

import type uPlot from "uplot";
import { h } from "./dom.ts";
import { count, moment } from "./format.ts";
import type { Loss } from "./models.ts";
import { colour } from "./theme.ts";

const MOST = 5;

/** A time range whose figures are too low. */
export interface Lossy {
  from: number;
  to: number;
}

/** The loss in words; the number of batches is left out if no batch was lost. */
export function lossText({ replica, from, to, requests, batches, reasons }: Loss): string {
  const why = Object.keys(reasons).sort().join(", ").replaceAll("_", " ");
  const what = requests ? `${count(requests)} ${requests === 1 ? "request" : "requests"}` : `${count(batches)} ${batches === 1 ? "batch" : "batches"}`;
  const also = requests && batches ? ` in ${count(batches)} ${batches === 1 ? "batch" : "batches"}` : "";
  return `${what} of ${replica} lost${also} between ${moment(from)} and ${moment(to)}${why ? `: ${why}` : ""}`;
}

/** The notices above the graphs; hidden if nothing was lost in the range. */
export class Losses {
  readonly element = h("ul", { class: "losses", "aria-label": "Data lost in this range", hidden: true });
  private shown = "";

  update(losses: Loss[]): void {
    const signature = JSON.stringify(losses);
    if (signature === this.shown) return;
    this.shown = signature;
    this.element.hidden = !losses.length;
    const rest = losses.slice(0, Math.max(0, losses.length - MOST));
    const more = rest.reduce((sum, { requests }) => sum + requests, 0);
    this.element.replaceChildren(
      ...losses.slice(-MOST).map((loss) => h("li", {}, lossText(loss))),
      ...(rest.length ? [h("li", {}, `and ${count(more)} ${more === 1 ? "request" : "requests"} in ${rest.length} earlier losses`)] : []),
    );
  }
}

/** A hatched band at the bottom of the plot: the figures above it are too low. */
export function drawLosses(plot: uPlot, losses: Lossy[]): void {
  if (!losses.length) return;
  const { ctx, bbox } = plot;
  const height = 7 * devicePixelRatio;
  const bottom = bbox.top + bbox.height;
  ctx.save();
  ctx.strokeStyle = colour("s-failed");
  ctx.lineWidth = 1.5 * devicePixelRatio;
  for (const { from, to } of losses) {
    const left = Math.max(bbox.left, plot.valToPos(from, "x", true));
    const right = Math.min(bbox.left + bbox.width, Math.max(plot.valToPos(to, "x", true), left + height));
    if (right <= left) continue;
    ctx.save();
    ctx.beginPath();
    ctx.rect(left, bottom - height, right - left, height);
    ctx.clip();
    ctx.beginPath();
    for (let x = left - height; x < right; x += 5 * devicePixelRatio) {
      ctx.moveTo(x, bottom);
      ctx.lineTo(x + height, bottom - height);
    }
    ctx.stroke();
    ctx.restore();
  }
  ctx.restore();
}
