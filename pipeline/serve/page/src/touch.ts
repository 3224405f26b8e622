// Touch on a plot: a horizontal swipe selects a range, as a mouse drag does; a vertical one still scrolls the page.

import type uPlot from "uplot";
import { pointAt } from "./plot.ts";

const FROM_PX = 8;

/** Let touches on `stage` move the crosshair and select; returns how to stop. */
export function followTouch(stage: HTMLElement, plot: () => uPlot | null): () => void {
  let startX: number | null = null;

  const at = (event: PointerEvent): number => {
    const { left, width } = plot()!.over.getBoundingClientRect();
    return Math.min(width, Math.max(0, event.clientX - left));
  };
  const down = (event: PointerEvent): void => {
    if (event.pointerType !== "touch" || !plot()) return;
    startX = at(event);
    pointAt(plot()!, startX, true);
  };
  const move = (event: PointerEvent): void => {
    const u = plot();
    if (startX === null || !u) return;
    const x = at(event);
    pointAt(u, x, true);
    const width = Math.abs(x - startX);
    if (width >= FROM_PX) u.setSelect({ left: Math.min(x, startX), width, top: 0, height: u.over.clientHeight }, false);
  };
  const up = (event: PointerEvent): void => {
    const u = plot();
    if (startX === null || !u) return;
    const x = at(event);
    const width = Math.abs(x - startX);
    const left = Math.min(x, startX);
    startX = null;
    u.setSelect({ left, top: 0, width: width >= FROM_PX ? width : 0, height: u.over.clientHeight }, width >= FROM_PX);
  };
  const cancel = (): void => {
    startX = null;
    plot()?.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
  };

  const listeners = { pointerdown: down, pointermove: move, pointerup: up, pointercancel: cancel } as const;
  for (const [name, listener] of Object.entries(listeners)) stage.addEventListener(name, listener as EventListener);
  return () => {
    for (const [name, listener] of Object.entries(listeners)) stage.removeEventListener(name, listener as EventListener);
  };
}
