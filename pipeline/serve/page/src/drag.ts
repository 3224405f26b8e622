// Pointing and dragging over a time axis, in shares of its width (0 to 1). Knows nothing of time or drawing.

const FROM_PX = 6;

export interface DragEvents {
  point(share: number | null): void;
  /** During a drag; null: there is no selection any more. */
  select(from: number | null, to: number): void;
  done(from: number, to: number): void;
  reset(): void;
}

/** Follow pointers over `area`; shares refer to the width of `ruler`. */
export function followDrag(area: HTMLElement, ruler: HTMLElement, events: DragEvents): void {
  let start: number | null = null;
  const share = (event: PointerEvent): number => {
    const { left, width } = ruler.getBoundingClientRect();
    return Math.min(1, Math.max(0, (event.clientX - left) / width));
  };
  const far = (event: PointerEvent): boolean =>
    start !== null && Math.abs(share(event) - start) * ruler.clientWidth >= FROM_PX;
  const ordered = (a: number, b: number): [number, number] => (a < b ? [a, b] : [b, a]);

  area.addEventListener("pointerdown", (event) => {
    if (event.button === 0) start = share(event);
  });
  area.addEventListener("pointermove", (event) => {
    events.point(share(event));
    if (start !== null && far(event)) {
      if (!area.hasPointerCapture(event.pointerId)) area.setPointerCapture(event.pointerId);
      events.select(...ordered(start, share(event)));
    }
  });
  area.addEventListener("pointerup", (event) => {
    const from = start;
    const dragged = far(event);
    start = null;
    events.select(null, 0);
    if (from !== null && dragged) events.done(...ordered(from, share(event)));
  });
  area.addEventListener("pointercancel", () => {
    start = null;
    events.select(null, 0);
  });
  area.addEventListener("pointerleave", () => events.point(null));
  area.addEventListener("dblclick", () => events.reset());
}
